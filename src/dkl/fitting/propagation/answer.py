"""What a member that was found factor by factor is told with: how far it is from the whole product, and its integral.

On a line and in a plane quadrature looks at the product itself. Elsewhere the member's own samples do, as they do for
every method that fits in many dimensions (:mod:`dkl.fitting.variational.importance`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.estimate import Estimate
from dkl.families.base import Distribution
from dkl.fitting.measuring import measured
from dkl.fitting.points import Points, nodes, on_host
from dkl.fitting.problem import Problem
from dkl.fitting.propagation.products import Product
from dkl.fitting.result import Fit, Optimum
from dkl.fitting.variational.importance import DRAWN, weighed
from dkl.methods import measure
from dkl.methods.nodes import Numbers

# As often quadrature asks each factor on a line and in a plane, how many answers are waited for, and of samples.
_SEEN = {(): 25_000, (2,): 375_000}
_MOST = 100_000_000
_OF_SAMPLES = 8_000_000
_LEAST_DRAWN = 1 << 10


def told(
    problem: Problem, distribution: Any, method: str, converged: bool, trace: list[float], said: list[str],
    details: dict[str, Any], *, exact: bool = False, lost: int | None = None,
) -> Fit:  # fmt: skip
    """The fit, with its divergence from the product as far as that can be measured.

    Parameters
    ----------
    problem : Problem
    distribution : Distribution
        The member found.
    method : str
    converged : bool
    trace : list of float
    said : list of str
        What there is to say about the steps.
    details : dict
    exact : bool
        Whether the member is the target, as all factors were members themselves.
    lost : int, optional
        A site that found no mass beside the others.

    Raises
    ------
    ValueError
        If such a site leaves nothing of the product where the fit is.
    """
    target = problem.target
    assert isinstance(target, Product)
    divergence: Estimate | None = None
    normaliser: Estimate | None = None
    if exact:
        divergence = measure(distribution, distribution, problem.divergence)
        details = details | {"log_normaliser": details["log_evidence"]}
    elif (seen := _seen(target, said)) is not None:
        divergence, normaliser = measured(problem, distribution, seen)
        details = details | {"log_normaliser": seen.log_mass}
    else:
        divergence, normaliser, more = _by_samples(problem, target, distribution, said, lost)
        details = details | more
    optima = () if divergence is None else (Optimum(distribution, float(to_numpy(divergence.value))),)
    return Fit(
        distribution, divergence, method, converged, optima, tuple(trace), normaliser,
        reason="; ".join(said) or None, details=details, problem=None if divergence is None else problem,
    )  # fmt: skip


def _seen(target: Product, said: list[str]) -> Points | None:
    """The nodes of quadrature; None where that does not look, or does not find the mass."""
    asked = _SEEN.get(target.event_shape)
    if asked is None or target.count * asked > _MOST:
        return None
    try:
        seen = nodes(on_host(target))
    except ValueError as error:
        said.append(f"quadrature does not see the product: {error}")
        return None
    if seen is None:
        said.append("quadrature does not see the product")
    return seen


def _by_samples(
    problem: Problem, target: Product, distribution: Distribution, said: list[str], lost: int | None
) -> tuple[Estimate | None, Estimate | None, dict[str, Any]]:
    """Divergence, integral and its logarithm by samples of the member."""
    drawn = min(DRAWN, _OF_SAMPLES // target.count)
    if drawn < _LEAST_DRAWN:
        said.append(
            f"the divergence is not measured: it would ask {target.count} factors at {_LEAST_DRAWN} samples each"
        )
        return None, None, {}
    host = on_host(target)

    def log_p(x: Numbers) -> Numbers:
        return np.asarray(host.log_prob(x if target.event_ndim else x[:, 0]), dtype=float)

    weights = weighed(log_p, [distribution], problem.rng(), drawn)
    if np.isneginf(weights.log_p).all():
        if lost is not None:
            raise ValueError(
                f"site {lost} excludes what the others leave: beside them its factor has no mass that is found, and "
                f"the product is 0 at each of {weights.log_p.size} samples of what was fitted; check log_factor, or "
                "leave out what contradicts the rest"
            )
        said.append(
            f"the divergence is not measured: the product is 0 at each of {weights.log_p.size} samples of the fit"
        )
        return None, None, {}
    if weights.distrust is not None:
        said.append(weights.distrust)
    # Where the product is 0, as a factor may be, no bound is left.
    elbo, stderr = weights.bound(0, 0.0) if np.isfinite(weights.own).all() else (-math.inf, 0.0)
    more = {
        "elbo": elbo, "elbo_stderr": stderr,
        "log_normaliser": weights.log_normaliser, "log_normaliser_stderr": weights.log_stderr,
    }  # fmt: skip
    return weights.divergence(0, problem.divergence), weights.normaliser, more
