"""Schedules of β and of capacity: functions of the step alone, exact at their ends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from dkl._array import real_number


def _hold(name: str, value: float, lowest: float, *, strictly: bool = False) -> None:
    number = real_number(value, name)
    if not (number > lowest if strictly else number >= lowest) or math.isinf(number):
        raise ValueError(f"{name} = {value!r} must be {'above' if strictly else 'at least'} {lowest:g}, and finite")


def _at(step: float) -> float:
    number = real_number(step, "step")
    if not number >= 0:
        raise ValueError(f"step = {step!r} is no step: the first is 0")
    return number


def _between(start: float, end: float, share: float) -> float:
    # Exact at both ends, which start + (end − start)·share is not.
    return (1.0 - share) * start + share * end


@dataclass(frozen=True)
class LinearWarmup:
    """β rises in a straight line, then stays: KL annealing.

    Parameters
    ----------
    steps : float
        The step at which β is ``end``.
    start, end : float
        β at step 0, and from ``steps`` on; not negative.

    References
    ----------
    .. [1] S. R. Bowman et al., "Generating sentences from a continuous space", CoNLL (2016), section 3.1.

    Examples
    --------
    >>> from dkl.training import LinearWarmup
    >>> beta = LinearWarmup(steps=1000)
    >>> beta(0), beta(500), beta(1000), beta(5000)
    (0.0, 0.5, 1.0, 1.0)
    """

    steps: float
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _hold("steps", self.steps, 0.0, strictly=True)
        _hold("start", self.start, 0.0)
        _hold("end", self.end, 0.0)

    def __call__(self, step: float) -> float:
        """β at a step, the first of which is 0."""
        return _between(self.start, self.end, min(_at(step) / self.steps, 1.0))


@dataclass(frozen=True)
class Cyclical:
    """β rises again and again from ``start`` to ``end``, and stays there for the rest of each period.

    Parameters
    ----------
    period : float
        Steps from one start to the next.
    ramp : float
        Which share of a period β takes to rise, above 0 and at most 1.
    start, end : float
        β at the start of each period, and after the ramp; not negative.

    References
    ----------
    .. [1] H. Fu et al., "Cyclical annealing schedule: a simple approach to mitigating KL vanishing", NAACL (2019),
       equations 6 and 7.

    Examples
    --------
    >>> from dkl.training import Cyclical
    >>> beta = Cyclical(period=1000)
    >>> beta(0), beta(250), beta(500), beta(999), beta(1000)
    (0.0, 0.5, 1.0, 1.0, 0.0)
    """

    period: float
    ramp: float = 0.5
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _hold("period", self.period, 0.0, strictly=True)
        _hold("ramp", self.ramp, 0.0, strictly=True)
        if self.ramp > 1:
            raise ValueError(f"ramp = {self.ramp!r} must be at most 1: it is a share of the period")
        _hold("start", self.start, 0.0)
        _hold("end", self.end, 0.0)

    def __call__(self, step: float) -> float:
        """β at a step, the first of which is 0."""
        number = _at(step)
        if math.isinf(number):
            raise ValueError(f"step = {step!r} has no place in a period: give a finite one")
        return _between(self.start, self.end, min(number % self.period / self.period / self.ramp, 1.0))


@dataclass(frozen=True)
class Sigmoid:
    """β = end/(1 + exp(−steepness·(step − midpoint))): it rises slowly, then fast, then slowly.

    Parameters
    ----------
    midpoint : float
        The step at which β is half of ``end``; not negative.
    steepness : float
        Positive, for each step: β rises from 12 % to 88 % within 4/steepness steps.
    end : float
        What β tends to; not negative.

    References
    ----------
    .. [1] S. R. Bowman et al., "Generating sentences from a continuous space", CoNLL (2016), figure 2.

    Examples
    --------
    >>> from dkl.training import Sigmoid
    >>> beta = Sigmoid(midpoint=1000, steepness=0.01)
    >>> round(beta(0), 6), beta(1000), beta(10_000)
    (4.5e-05, 0.5, 1.0)
    """

    midpoint: float
    steepness: float
    end: float = 1.0

    def __post_init__(self) -> None:
        _hold("midpoint", self.midpoint, 0.0)
        _hold("steepness", self.steepness, 0.0, strictly=True)
        _hold("end", self.end, 0.0)

    def __call__(self, step: float) -> float:
        """β at a step, the first of which is 0."""
        x = self.steepness * (_at(step) - self.midpoint)
        if x >= 0:
            return self.end / (1.0 + math.exp(-x))
        rising = math.exp(x)
        return self.end * rising / (1.0 + rising)


@dataclass(frozen=True)
class Capacity:
    """The capacity C that the KL is held to, rising in a straight line from 0, and the penalty γ·|KL − C|.

    The penalty takes the place of β·KL: a KL below C costs as much as one above it.

    Parameters
    ----------
    steps : float
        The step at which C is ``capacity``.
    capacity : float
        The last C: nats for each row, summed over latent dimensions.
    gamma : float
        γ, positive.

    References
    ----------
    .. [1] C. P. Burgess et al., "Understanding disentangling in β-VAE", arXiv:1804.03599 (2018), equation 8.

    Examples
    --------
    >>> from dkl.training import Capacity
    >>> schedule = Capacity(steps=1000, capacity=25.0)
    >>> schedule(0), schedule(500), schedule(2000)
    (0.0, 12.5, 25.0)
    >>> schedule.penalty(13.0, step=500)
    500.0
    """

    steps: float
    capacity: float
    gamma: float = 1000.0

    def __post_init__(self) -> None:
        _hold("steps", self.steps, 0.0, strictly=True)
        _hold("capacity", self.capacity, 0.0)
        _hold("gamma", self.gamma, 0.0, strictly=True)

    def __call__(self, step: float) -> float:
        """C at a step, the first of which is 0, in nats."""
        return _between(0.0, self.capacity, min(_at(step) / self.steps, 1.0))

    def penalty(self, kl: Any, step: float) -> Any:
        """γ·|KL − C| of a number or a tensor: the mean over the batch of each row's KL, in nats."""
        return self.gamma * abs(kl - self(step))
