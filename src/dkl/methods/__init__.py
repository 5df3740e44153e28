"""One method of measuring a file; importing the package registers the rules."""

from __future__ import annotations

from typing import Any

from dkl import rules
from dkl._array import real_number
from dkl.divergences import Divergence, kl
from dkl.estimate import Estimate
from dkl.methods import angles, closed_form, exact, monte_carlo, pairs_closed, quadrature, search, series
from dkl.representations import Axis

__all__ = ["angles", "closed_form", "exact", "measure", "monte_carlo", "pairs_closed", "quadrature", "search", "series"]


def measure(
    p: Any,
    q: Any,
    divergence: Divergence = kl,
    *,
    method: str | None = None,
    rng: Any = None,
    rtol: float | None = None,
    samples: int | None = None,
    progress: Any = None,
    axis: Axis = -1,
    base: float | None = None,
) -> Estimate:
    """Measure a divergence and say how: value, error, method, direction, unit, and why it is infinite.

    Parameters
    ----------
    p, q : array_like, representation or distribution
        As for the divergence itself: a raw array holds probabilities.
    divergence : Divergence
        Any member of the family; ``dkl.kl`` by default.
    method : str, optional
        Force one of ``dkl.rules.METHODS`` instead of the first that fits.
    rng : numpy.random.Generator, int, optional
        The source of randomness, or its seed, of a method that samples.
    rtol : float, optional
        The relative error at which quadrature and sampling stop.
    samples : int, optional
        How many samples of P and Q together Monte Carlo draws; with ``rtol``, at most.
    progress : callable, optional
        Called now and then by Monte Carlo with the samples drawn, the most that will be, and the relative error so far.
    axis : int, tuple of int, or None
        The axis of outcomes; distributions have none.
    base : float, optional
        The base of the logarithm: 2 for bits. Nats by default.

    Returns
    -------
    Estimate

    Raises
    ------
    ValueError, TypeError
        As in calling the divergence.

    Examples
    --------
    >>> import dkl
    >>> dkl.measure([0.9, 0.1], [0.5, 0.5], base=2)
    Estimate(kl = 0.531004 bits; from P to Q: the mean of log(p/q) under P, the first argument; method exact)
    """
    if not isinstance(divergence, Divergence):
        raise TypeError(f"divergence must be a member of the family such as dkl.kl, got {divergence!r}")
    if rtol is not None and not 0 < real_number(rtol, "rtol") < 1:
        raise ValueError(f"rtol = {rtol!r} is no relative error: it lies strictly between 0 and 1")
    if samples is not None and not real_number(samples, "samples") >= 1:
        raise ValueError(f"samples = {samples!r} must be a positive number of samples")
    wished = {"rng": rng, "rtol": rtol, "samples": samples, "progress": progress}
    options = {name: value for name, value in wished.items() if value is not None}
    return rules.evaluate(divergence, p, q, method=method, axis=axis, base=base, explain=True, **options)
