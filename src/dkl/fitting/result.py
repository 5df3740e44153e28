"""The answer of a fit: the member found, every local optimum beside it, and what of the target it leaves out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from dkl.estimate import Estimate

if TYPE_CHECKING:
    from dkl.fitting.direct.path import Path
    from dkl.fitting.problem import Problem


@dataclass(frozen=True)
class Optimum:
    """A local optimum.

    Attributes
    ----------
    distribution : Distribution
        The member there.
    value : float
        The divergence there, in nats where it has a unit.
    basin : float
        The share of the starts that came to it.
    """

    distribution: Any
    value: float
    basin: float = 1.0

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {"distribution": shown(self.distribution), "value": _finite(self.value), "basin": self.basin}


@dataclass(frozen=True)
class Boundary:
    """Where the divergence falls towards, if no member has the least of it.

    Attributes
    ----------
    infimum : float
        What it comes to there, in nats where it has a unit.
    near : Distribution or None
        A member as near to it as numbers come; None where no number is near.
    reason : str
        What happens there.
    """

    infimum: float
    near: Any
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold."""
        return {
            "infimum": _finite(self.infimum),
            "near": None if self.near is None else shown(self.near),
            "reason": self.reason,
        }


@dataclass(frozen=True, eq=False)
class Fit:
    """The member of a family that is least far from a target, by one divergence.

    Attributes
    ----------
    distribution : Distribution or None
        The best member found: of a batch of targets a batch. None where no member is the best, as ``boundary`` says.
    divergence : Estimate or None
        How far it is from the target, from the target to the fit; None beside no member. Of a target that is known by
        samples alone, or up to a factor, ``reason`` says what it stands for.
    method : str
        How it was found, by the name that the field gives it.
    converged : bool
        Whether the method came to its end; ``reason`` says why, where it did not.
    optima : tuple of Optimum
        Every local optimum that was found, the best first: one, for a method that has one. Of a batch, a tuple for each
        target.
    trace : tuple of float
        What the method made smaller, one number an iteration of the best start.
    normaliser : Estimate or None
        The integral of an unnormalised target; None where the target is normalised.
    boundary : Boundary or None
        Where the divergence falls towards, if no member has the least.
    reason : str or None
        What there is to say about the answer: why there is none, or how far it is to be trusted.
    details : dict
        What else a method tells, by name: such as the sites of expectation propagation.
    """

    distribution: Any
    divergence: Estimate | None
    method: str
    converged: bool
    optima: tuple[Any, ...] = ()
    trace: tuple[float, ...] = ()
    normaliser: Estimate | None = None
    boundary: Boundary | None = None
    reason: str | None = None
    details: dict[str, Any] = field(default_factory=dict)
    problem: Problem | None = field(default=None, repr=False)

    @cached_property
    def dropped(self) -> tuple[Any, ...]:
        """The parts of the target that the fit ignores, the largest first; see :mod:`dkl.fitting.dropped`."""
        from dkl.fitting.dropped import dropped

        if "fits" in self.details:
            return tuple(fit.dropped for fit in self.details["fits"])  # one tuple for each target of the batch
        if self.problem is None or self.distribution is None:
            return ()
        return dropped(self.problem, self.distribution)

    def path(self, alphas: Sequence[float], *, progress: Any = None) -> Path:
        """The optimum as α runs from seeking a mode (0 and below) to covering the target (1 and above).

        Parameters
        ----------
        alphas : sequence of float
            In Minka's convention: 0 is the reverse KL, 1 the forward KL.
        progress : callable, optional
            Called with the number of α done and of all.

        Returns
        -------
        Path
            All local optima at each α, and the α at which the best one jumps from one to another.

        Raises
        ------
        ValueError
            If an α is no number, there are less than two, or the target cannot be fitted by direct minimisation.
        """
        from dkl.fitting.direct.path import path

        if self._of_batch:
            raise ValueError("a batch has no path of its own: take one of details['fits'], or fit one target")
        if self.problem is None:
            raise ValueError(f"a fit by {self.method} has no path: it knows its own target only through its steps")
        return path(self.problem, alphas, progress=progress)

    @property
    def log_normaliser(self) -> float | None:
        """The logarithm of the integral of an unnormalised target, which may leave the floating range itself."""
        return self.details.get("log_normaliser")

    @property
    def free_parameters(self) -> int | None:
        """How many numbers of a member were fitted to observations; None of a fit to anything else."""
        if "fits" in self.details:
            return self.details["fits"][0].free_parameters  # type: ignore[no-any-return]
        if "observations" not in self.details or self.distribution is None:
            return None
        return free_parameters(self.distribution)

    @property
    def aic(self) -> Any:
        """Akaike's criterion of a fit to observations, 2·k − 2·log L [1]: the lower, the better; None elsewhere.

        L is the likelihood of all observations (not its mean), k the number of free parameters. Of a batch an array.

        References
        ----------
        .. [1] H. Akaike, "A new look at the statistical model identification", IEEE Transactions on Automatic Control
           19 (1974).
        """
        return self._criterion(lambda n, k, log_likelihood: 2.0 * k - 2.0 * log_likelihood)

    @property
    def bic(self) -> Any:
        """The Bayesian criterion of a fit to n observations, k·log n − 2·log L [1]; None elsewhere.

        Of weighted observations n is 1/Σw², how many equal ones would tell as much. Of a batch an array.

        References
        ----------
        .. [1] G. Schwarz, "Estimating the dimension of a model", Annals of Statistics 6 (1978).
        """
        return self._criterion(lambda n, k, log_likelihood: k * math.log(n) - 2.0 * log_likelihood)

    def _criterion(self, of: Callable[[float, int, Any], Any]) -> Any:
        """A function of the observations, the free parameters and log L."""
        if "fits" in self.details:
            each = [fit._criterion(of) for fit in self.details["fits"]]
            return None if None in each else np.reshape(each, self.distribution.batch_shape)
        parameters = self.free_parameters
        if parameters is None:
            return None
        n = self.details["observations"]
        return of(n, parameters, n * self.details["log_likelihood"])

    @property
    def _of_batch(self) -> bool:
        return bool(self.optima) and isinstance(self.optima[0], tuple)

    def _likelihood(self) -> dict[str, Any] | None:
        """The mean of log q over the observations, and its standard error; a list of each, of a batch."""
        if "log_likelihood" not in self.details:
            return None
        return {name: _listed(self.details[key]) for name, key in (("mean", "log_likelihood"), ("stderr", "stderr"))}

    def to_dict(self) -> dict[str, Any]:
        """A form that JSON can hold: an infinite number is None."""
        optima = [
            [o.to_dict() for o in each] if isinstance(each, tuple) else each.to_dict() for each in self.optima
        ]  # fmt: skip
        return {
            "distribution": None if self.distribution is None else shown(self.distribution),
            "divergence": None if self.divergence is None else self.divergence.to_dict(),
            "method": self.method,
            "converged": self.converged,
            "optima": optima,
            "log_likelihood": self._likelihood(),
            "free_parameters": self.free_parameters,
            "aic": None if self.aic is None else _listed(self.aic),
            "bic": None if self.bic is None else _listed(self.bic),
            "dropped": [
                [part.to_dict() for part in each] if isinstance(each, tuple) else each.to_dict()
                for each in self.dropped
            ],
            "log_normaliser": self.log_normaliser,
            "normaliser": None if self.normaliser is None else self.normaliser.to_dict(),
            "boundary": None if self.boundary is None else self.boundary.to_dict(),
            "reason": self.reason,
        }

    def __repr__(self) -> str:
        if self.boundary is not None:
            return f"Fit(no optimum: infimum {self.boundary.infimum:.6g} near {self.boundary.near!r}; {self.reason})"
        said = "" if self.converged else "; not converged"
        more = f"\n  {self.reason}" if self.reason else ""
        several = f"; {len(self.optima)} {'targets' if self._of_batch else 'local optima'}"
        several = several if len(self.optima) > 1 else ""
        measured = "" if self.divergence is None else f"\n  {self.divergence!r}"
        return f"Fit({self.distribution!r}; method {self.method}{several}{said}){measured}{more}"


def free_parameters(distribution: Any) -> int:
    """How many numbers name a member of its family: of shares all but one, of a symmetric matrix one triangle."""
    from dkl.families.matrices import Definite, LowerTriangular
    from dkl.families.outcomes import Categorical
    from dkl.mixture import Mixture

    if isinstance(distribution, Mixture):
        return len(distribution.each) - 1 + sum(map(free_parameters, distribution.each))
    total, members = 0, math.prod(distribution.batch_shape)
    for name, x in distribution.given.items():
        if name in getattr(type(distribution), "known", ()):
            continue
        size = math.prod(x.shape) // members
        if isinstance(type(distribution).constraints[name], Definite | LowerTriangular):
            size = x.shape[-1] * (x.shape[-1] + 1) // 2
        elif name == "mean_direction" or isinstance(distribution, Categorical):
            size -= 1  # a length of 1, or shares that sum to 1
        total += size
    return total


def _listed(x: Any) -> Any:
    made = np.asarray(x, dtype=float).tolist()
    return _finite(made) if isinstance(made, float) else [_listed(each) for each in made]


def _finite(x: float) -> float | None:
    return float(x) if math.isfinite(x) else None


def shown(distribution: Any) -> dict[str, Any]:
    """A distribution as its name and parameters, for JSON."""
    from dkl._array import to_numpy
    from dkl.mixture import Mixture

    made: dict[str, Any] = {"family": type(distribution).__name__}
    if isinstance(distribution, Mixture):
        made["components"] = [shown(each) for each in distribution.each]
    parameters = {name: to_numpy(x).tolist() for name, x in distribution.given.items()}
    return made | {"parameters": parameters}
