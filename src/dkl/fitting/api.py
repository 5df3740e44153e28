"""The one call: the member of a family that is least far from a target."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from dkl._array import to_numpy
from dkl.density import Density
from dkl.divergences import Divergence, kl
from dkl.families.base import Distribution
from dkl.families.constraints import gathered
from dkl.fitting.problem import (
    ANYWHERE,
    METHODS,
    DeclinedError,
    NothingFitsError,
    Problem,
    candidates,
    name_of,
    options_of,
)
from dkl.fitting.result import Fit
from dkl.representations import FiniteOutcomes, Probs, Representation, Samples, interpret


def fit(
    family: Any,
    target: Any,
    divergence: Divergence = kl,
    *,
    method: str | None = None,
    rng: Any = 0,
    **options: Any,
) -> Fit:
    """Fit a family to a target: the member q with the least D(target‖q).

    ``dkl.kl`` gives the member that covers the target (its mean and spread), ``dkl.reverse_kl`` one that seeks a mode,
    and ``dkl.Alpha`` what lies between and beyond.

    Parameters
    ----------
    family : type or MixtureFamily
        A class of ``dkl.families``, or ``dkl.Mixture.of(Normal, 3)``.
    target : distribution, Density, Mixture, Samples, Counts, Probs or Product
        What is to be met, or a batch of it, each of whose members is met; objects of SciPy, PyTorch and NumPyro, too.
        Samples lie along the last axis (the last but one, of vectors); of ``Counts`` entry k is the number k. A
        log-density may lack its normaliser, which is then found and told.
    divergence : Divergence
        From the target to the fit; ``dkl.kl`` if not given.
    method : str, optional
        One of ``dkl.fitting.METHODS``; the first that fits if not given.
    rng : int or numpy.random.Generator
        The seed of all that is drawn. The answer is the same for the same seed.
    **options
        The parameters that the family keeps fixed (``total_count=10`` of a Binomial), and what a method takes:
        ``starts`` and ``rtol`` of direct minimisation, ``weights`` of samples, ``components``, ``damping``, ``steps``,
        ``samples``, ``progress``; each is described where its method is.

    Returns
    -------
    Fit
        The member, the divergence with its error, every local optimum that was found, and what of the target the member
        leaves out.

    Raises
    ------
    ValueError
        For an improper target, empty or non-finite samples, densities with NaN, or supports that make every member
        infinitely far.
    TypeError
        For a family, target or option that does not go with the others, and where no method fits: the message says
        which do.

    Notes
    -----
    The forward KL is moment matching in every exponential family [1]_, in closed form or by one quadrature, and
    expectation maximisation for mixtures. In one and two dimensions everything else is minimised directly, with
    gradients by the same quadrature, from many starts: some tens of milliseconds a start in one dimension, about a
    second in two.

    References
    ----------
    .. [1] M. J. Wainwright, M. I. Jordan, "Graphical Models, Exponential Families, and Variational Inference",
       Foundations and Trends in Machine Learning 1 (2008), section 3.6.
    .. [2] T. Minka, "Divergence measures and message passing", Microsoft Research TR-2005-173 (2005).

    Examples
    --------
    >>> import dkl
    >>> from dkl.families import Normal
    >>> target = dkl.Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])
    >>> dkl.fit(Normal, target).distribution                     # covers both
    Normal(loc=0, scale=3.16228)
    >>> dkl.fit(Normal, target, dkl.reverse_kl).distribution     # seeks one
    Normal(loc=-2.98431, scale=1.02337)
    """
    problem = _problem(family, target, divergence, method, rng, options)
    shape = _batch(problem)
    if not shape:
        return solved(problem)
    if 0 in shape:
        raise ValueError(f"the target is an empty batch, of shape {shape}: there is nothing to fit")
    at_once = _at_once(problem)
    return _of_batch(problem, shape) if at_once is None else at_once


def solved(problem: Problem) -> Fit:
    """The fit of one target by the first method that does not decline."""
    declined: dict[str, list[str]] = {}  # the methods, by the reason
    for entry in candidates(problem.method, problem.options):
        try:
            return entry.fit(problem)
        except DeclinedError as why:
            methods = declined.setdefault(str(why), [])
            methods += [entry.method] * (entry.method not in methods)
    wished = [name for name in problem.options if name not in ANYWHERE]
    reasons = tuple(
        f"{methods[0]} {why}" if len(methods) == 1 else f"{', '.join(methods)} (each {why})"
        for why, methods in declined.items()
    )
    advice = "" if problem.method is None else "without method= the others are tried"
    if problem.forward and isinstance(problem.target, Density):
        advice = "a density that nobody can draw from, in more than two dimensions, is fitted by dkl.reverse_kl"
    if problem.method is None and not problem.forward and isinstance(problem.target, Samples):
        advice = "of samples dkl.kl, which is maximum likelihood, fits most families"
    raise NothingFitsError(
        f"nothing fits {name_of(problem.family)} to {_told(problem.target)} by {problem.divergence.name}"
        f"{f' with {_joined(wished)}' if wished else ''}",
        reasons or (f"no method takes {_joined(wished)} together",),
        advice,
    )


def _problem(
    family: Any, target: Any, divergence: Any, method: str | None, rng: Any, options: dict[str, Any]
) -> Problem:
    if not _is_family(family):
        hint = f": give its class, {type(family).__name__}" if isinstance(family, Distribution) else ""
        raise TypeError(
            "family must be a class of dkl.families, or the mixtures of so many members of one, such as "
            f"dkl.Mixture.of(Normal, 2), got {family!r}{hint}"
        )
    if not isinstance(divergence, Divergence):
        raise TypeError(f"divergence must be a member of the family such as dkl.reverse_kl, got {divergence!r}")
    if method is not None and method not in METHODS:
        raise ValueError(f"method = {method!r} is not one of {', '.join(METHODS)}")
    fixed = tuple(getattr(family, "known", ()))
    known = {name: value for name, value in options.items() if name in fixed}
    rest = {name: value for name, value in options.items() if name not in fixed}
    missing = [name for name in fixed if name not in known]
    if missing:
        raise TypeError(f"{name_of(family)} keeps {' and '.join(missing)} fixed: give {'=…, '.join(missing)}=…")
    if known:
        owner, constraints = name_of(family), getattr(family, "component", family).constraints
        xp, numbers = gathered(owner, known)
        for name, value in numbers.items():
            constraints[name].hold(xp, value, f"{owner}: {name}")
    taken = options_of(method)
    for name in rest:
        if name not in taken:
            raise TypeError(_untaken(name, family, method, taken))
    seed = rng.integers(2**63) if isinstance(rng, np.random.Generator) else rng
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or int(seed) < 0:
        raise TypeError(f"rng must be a seed that is no negative number, or a numpy.random.Generator, got {rng!r}")
    if rest.get("progress") is not None and not callable(rest["progress"]):
        raise TypeError(f"progress must be a function of the steps done and of all, got {rest['progress']!r}")
    read = _target(target)
    outcome = getattr(read, "event_ndim", None)
    if outcome is not None and outcome != family.event_ndim:
        forms = {0: "a number", 1: "a vector", 2: "a matrix"}
        of_density = ", such as support=dkl.supports.Vectors(2)" if isinstance(read, Density) else ""
        raise ValueError(
            f"an outcome of the target, {read!r}, is {forms[outcome]}, and one of "
            f"{name_of(family)} {forms[int(family.event_ndim)]}: both must be alike{of_density}"
        )
    return Problem(family, read, divergence, known, int(seed), rest, method)


def _is_family(family: Any) -> bool:
    if isinstance(family, type):
        from dkl.mixture import Mixture

        return issubclass(family, Distribution) and not issubclass(family, Mixture | Density)
    return hasattr(family, "component")


def _untaken(name: str, family: Any, method: str | None, taken: frozenset[str]) -> str:
    """What is said of an option that nothing takes."""
    if name == "seed":
        return "dkl.fit takes no seed: write rng="
    if name in getattr(family, "component", family).constraints:
        return f"dkl.fit takes no {name}: {name_of(family)} has it fitted, and only what a family keeps fixed is given"
    if method is None:
        return f"dkl.fit takes no {name}; its methods take {_list(taken)}"
    return f"{method} takes no {name}; it takes {_list(taken)}"


def _told(target: Representation) -> str:
    """A target in a message: of arrays their shape alone."""
    if isinstance(target, Samples | FiniteOutcomes):
        return f"{type(target).__name__} of shape {tuple(np.shape(to_numpy(target.array)))}"
    return f"{target!r:.200}"


def _target(target: Any) -> Representation:
    if target is None or isinstance(target, str | type | bool | int | float):
        raise TypeError(
            f"target must be a distribution, dkl.Density, dkl.Samples, dkl.Counts or the like, got {target!r}"
        )
    read = interpret(target)
    if isinstance(read, Probs) and callable(target):
        raise TypeError("a function is no target: wrap it, dkl.Density(log_prob, support=…), if it is a log-density")
    if isinstance(read, Probs) and read is not target and not isinstance(target, Representation):
        raise TypeError(
            "a raw array is no target: wrap it, dkl.Samples(x) for observations, dkl.Counts(x) or dkl.Probs(x) for the "
            "outcomes 0, 1, 2, …"
        )
    return read


def _batch(problem: Problem) -> tuple[int, ...]:
    """The shape of the batch of targets."""
    target, ndim = problem.target, int(getattr(problem.family, "event_ndim", 0))
    if isinstance(target, Samples):
        shape = tuple(np.shape(to_numpy(target.array)))
        if len(shape) < 1 + ndim:
            raise ValueError(f"samples of shape {shape} are too flat: an outcome of the family has {ndim} axes")
        return shape[: len(shape) - 1 - ndim]
    if isinstance(target, FiniteOutcomes):
        return tuple(np.shape(to_numpy(target.array)))[:-1]
    return tuple(getattr(target, "batch_shape", ()))


def _row(target: Representation, row: tuple[int, ...], shape: tuple[int, ...]) -> Representation:
    if isinstance(target, Samples | FiniteOutcomes):
        return type(target)(to_numpy(target.array)[row])
    from dkl.mixture import member

    made: Representation = member(target, row)  # type: ignore[arg-type]
    return made


def _at_once(problem: Problem) -> Fit | None:
    """The fit of a whole batch by the first way that takes one."""
    for entry in candidates(problem.method, problem.options):
        if entry.batched:
            with suppress(DeclinedError):  # then its targets are fitted one by one
                return entry.fit(problem)
    return None


def _of_batch(problem: Problem, shape: tuple[int, ...]) -> Fit:
    """Each target of a batch by itself; the members stacked into one batch."""
    fits = [
        solved(problem.with_(target=_row(problem.target, row, shape))) for row in np.ndindex(*shape)
    ]  # fmt: skip
    none = [k for k, made in enumerate(fits) if made.distribution is None]
    if none:
        at = np.unravel_index(none[0], shape)
        place = [int(i) for i in at]
        advice, target = "fit it alone to see", problem.target
        if isinstance(target, Samples) and (given := np.shape(to_numpy(target.array)))[len(shape)] == 1:
            advice = (
                f"of samples of shape {given} each target has one: are they all of one target? They lie along "
                f"axis {len(shape)}"
            )
        raise ValueError(f"target{place} has no best member: {fits[none[0]].reason}; {advice}")
    distribution = stacked([made.distribution for made in fits], shape)
    from dkl.methods import measure

    divergence = None
    if isinstance(problem.target, Distribution) and all(made.normaliser is None for made in fits):
        divergence = measure(problem.target, distribution, problem.divergence, rng=problem.seed)
    return Fit(
        distribution, divergence, fits[0].method, all(made.converged for made in fits),
        tuple(made.optima for made in fits),
        reason=next((made.reason for made in fits if made.reason), None),
        details={"fits": fits},
    )  # fmt: skip


def stacked(members: list[Any], shape: tuple[int, ...]) -> Any:
    """Members of one family as a batch of that shape."""
    first = members[0]
    from dkl.mixture import Mixture

    if isinstance(first, Mixture):
        weights = np.stack([to_numpy(m.given["weights"]) for m in members])
        parts = [stacked([m.each[k] for m in members], shape) for k in range(len(first.each))]
        return Mixture(parts, weights.reshape(*shape, weights.shape[-1]))
    given = {}
    for name in first.given:
        each = np.stack([np.asarray(to_numpy(m.given[name])) for m in members])
        given[name] = each.reshape(*shape, *each.shape[1:])
    return type(first)(**given)


def _joined(names: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
