"""The game behind the variational bound: a critic that tells samples from a fit, and the fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from dkl.divergences import Divergence
from dkl.fitting.variational.shapes import Shape
from dkl.methods.nodes import Numbers
from dkl.training import FGAN

# Steps of the critic for one of q, and its rate.
_CRITIC_STEPS = 2
_CRITIC_RATE = 0.005
# Of the critic alone, before q moves, which would follow its first mistakes out of a mode, and once q stands still: in
# shares of the game's steps; and samples of q for one held out.
_AHEAD = 0.3
_LAST = 0.5
_FAKE = 8
_PIECES = 8
# Longer gradients of the critic are shortened: the conjugate may be an exponential.
_LONGEST = 5.0
# A change of q below this, in units of the samples' spread, is none.
_STILL = 0.05


@dataclass(frozen=True)
class Played:
    """What one game came to.

    Attributes
    ----------
    theta : array
        q's numbers, the mean over the second half of the game.
    bound, stderr : float
        On the samples held out.
    converged : bool
    change, noise : float
        Of q from the third quarter of the game to the last, and the standard error of its mean.
    trace : tuple of float
        The bound at about a hundred steps, on the samples of the step.
    """

    theta: Numbers
    bound: float
    stderr: float
    converged: bool
    change: float
    noise: float
    trace: tuple[float, ...]


class Layers(NamedTuple):
    """The vectors that a critic has scored, and what its layers made of them."""

    y: Numbers
    first: Numbers
    second: Numbers


class Critic:
    """A score of vectors, a quadratic function and two hidden layers, with its derivatives written out.

    It is small, and a step of it takes longer to hand to PyTorch than to calculate.

    Attributes
    ----------
    numbers : array
        All that it learns; the others are views of it.
    inner, deep, out : array, shapes (hidden, d), (hidden, hidden), (hidden,)
        Of the layers, with ``inner_bias``, ``deep_bias`` and ``bias``.
    linear, square : array, shapes (d,) and (d, d)
    """

    def __init__(self, d: int, hidden: int, rng: np.random.Generator) -> None:
        shapes = [(hidden, d), (hidden,), (hidden, hidden), (hidden,), (hidden,), (1,), (d,), (d, d)]
        self.numbers = np.zeros(sum(math.prod(shape) for shape in shapes))
        self._cuts = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
        parts = [part.reshape(shape) for part, shape in zip(np.split(self.numbers, self._cuts), shapes, strict=True)]
        self.inner, self.inner_bias, self.deep, self.deep_bias, self.out, self.bias, self.linear, self.square = parts
        # At first it tells nothing apart: what comes out of the layers has weight 0.
        self.inner[:] = rng.standard_normal(self.inner.shape) / math.sqrt(d)
        self.deep[:] = rng.standard_normal(self.deep.shape) / math.sqrt(hidden)

    def scores(self, y: Numbers) -> tuple[Numbers, Layers]:
        """One score a row, and what its derivatives need."""
        first = np.tanh(y @ self.inner.T + self.inner_bias)
        second = np.tanh(first @ self.deep.T + self.deep_bias)
        quadratic = ((y @ self.square + self.linear) * y).sum(axis=1)
        return second @ self.out + self.bias + quadratic, Layers(y, first, second)

    def _back(self, layers: Layers, by_score: Numbers) -> tuple[Numbers, Numbers]:
        """The gradient by what enters each layer."""
        into_second = by_score[:, None] * self.out * (1.0 - layers.second**2)
        return into_second @ self.deep * (1.0 - layers.first**2), into_second

    def by_numbers(self, layers: Layers, by_score: Numbers) -> Numbers:
        """The gradient of Σ by_score·score by all that it learns."""
        into_first, into_second = self._back(layers, by_score)
        weighted = by_score[:, None] * layers.y
        parts = (
            into_first.T @ layers.y, into_first.sum(axis=0), into_second.T @ layers.first, into_second.sum(axis=0),
            by_score @ layers.second, by_score.sum(), weighted.sum(axis=0), layers.y.T @ weighted,
        )  # fmt: skip
        return np.concatenate([np.ravel(part) for part in parts])

    def by_rows(self, layers: Layers, by_score: Numbers) -> Numbers:
        """The gradient of the same by the vectors."""
        into_first, _ = self._back(layers, by_score)
        return into_first @ self.inner + by_score[:, None] * (layers.y @ (self.square + self.square.T) + self.linear)


class Adam:
    """The steps of D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR (2015), downhill."""

    def __init__(self, size: int, decay: float) -> None:
        self.decay, self._times = decay, 0
        self._first, self._second = np.zeros(size), np.zeros(size)

    def step(self, gradient: Numbers, rate: float) -> Numbers:
        """What to add."""
        self._times += 1
        self._first += (1.0 - self.decay) * (gradient - self._first)
        self._second += 0.01 * (gradient**2 - self._second)
        size = np.sqrt(self._second / (1.0 - 0.99**self._times)) + 1e-12
        made: Numbers = -rate / (1.0 - self.decay**self._times) * self._first / size
        return made


class Game:
    """A divergence, a shape of q, and the samples that both sides learn from.

    Parameters
    ----------
    divergence : Divergence
        An f-divergence.
    shape : Shape
    seen : array, shape (n, d)
        In units of their own spread.
    samples : int
        Of each side in a step.
    hidden : int
    rate : float
        Of q.
    """

    def __init__(
        self, divergence: Divergence, shape: Shape, seen: Numbers, samples: int, hidden: int, rate: float
    ) -> None:
        self.rules, self.shape, self.seen = FGAN(divergence), shape, seen
        self.samples, self.hidden, self.rate = samples, hidden, rate

    def play(
        self, start: Numbers, steps: int, held: Numbers, seed: int, told: Callable[[int], None] | None = None
    ) -> Played:
        """One game from one start; the critic then goes on alone, and is judged by samples that are held out."""
        rng = np.random.default_rng(seed)
        critic = Critic(self.shape.d, self.hidden, rng)
        teacher, mover = Adam(critic.numbers.size, 0.5), Adam(start.size, 0.5)
        theta = start.copy()
        half = steps // 2
        size = max((steps - half) // _PIECES, 1)
        pieces = np.zeros((_PIECES, theta.size))
        trace: list[float] = []
        for _ in range(max(int(_AHEAD * steps), 1)):
            self._taught(critic, teacher, _CRITIC_RATE, theta, rng)
        for t in range(steps):
            for _ in range(_CRITIC_STEPS):
                bound = self._taught(critic, teacher, _CRITIC_RATE, theta, rng)
            theta = theta + mover.step(self.gradient(critic, theta, rng), self.rate / (1.0 + 10.0 * t / steps))
            if t >= steps - size * _PIECES:
                pieces[(t - (steps - size * _PIECES)) // size] += theta / size
            if t % max(steps // 100, 1) == 0:
                trace.append(bound)
            if told is not None:
                told(t + 1)
        mean = pieces.mean(axis=0)
        teacher = Adam(critic.numbers.size, 0.9)
        for t in range(max(int(_LAST * steps), 1)):
            self._taught(critic, teacher, _CRITIC_RATE / (1.0 + 10.0 * t / (_LAST * steps)), mean, rng)
        value, stderr = self._judged(critic, mean, held, rng)
        early, late = pieces[: _PIECES // 2], pieces[_PIECES // 2 :]
        change = _rms(late.mean(axis=0) - early.mean(axis=0))
        noise = _rms(pieces.std(axis=0, ddof=1)) / math.sqrt(_PIECES)
        converged = change <= max(4.0 * noise, _STILL) and change < 10.0 * _STILL
        return Played(mean, value, stderr, converged, change, noise, tuple(trace))

    def _fake(self, theta: Numbers, n: int, rng: np.random.Generator) -> tuple[Numbers, Numbers]:
        z = rng.standard_normal((n, self.shape.noise))
        return z, self.shape.placed(theta, z)

    def _taught(self, critic: Critic, teacher: Adam, rate: float, theta: Numbers, rng: np.random.Generator) -> float:
        """One step of the critic; the bound before it."""
        real = self.seen[rng.integers(len(self.seen), size=self.samples)]
        _, fake = self._fake(theta, self.samples, rng)
        # Each side by itself: products of this size stay with one thread, and a second would only be waited for.
        (of_real, real_layers), (of_fake, fake_layers) = critic.scores(real), critic.scores(fake)
        v, w = (torch.from_numpy(found).requires_grad_(True) for found in (of_real, of_fake))
        with torch.enable_grad():
            loss = self.rules.discriminator_loss(v, w)
            by_real, by_fake = torch.autograd.grad(loss, (v, w))
        gradient = critic.by_numbers(real_layers, by_real.numpy()) + critic.by_numbers(fake_layers, by_fake.numpy())
        length = math.sqrt(float(gradient @ gradient))
        critic.numbers += teacher.step(gradient * min(1.0, _LONGEST / (length + 1e-6)), rate)
        return -float(loss.detach())

    def gradient(self, critic: Critic, theta: Numbers, rng: np.random.Generator) -> Numbers:
        """The gradient of the bound by q's numbers."""
        z, fake = self._fake(theta, self.samples, rng)
        found, layers = critic.scores(fake)
        scores = torch.from_numpy(found).requires_grad_(True)
        with torch.enable_grad():
            loss = self.rules.generator_loss(scores, saturating=True)
            (by_score,) = torch.autograd.grad(loss, scores)
        return self.shape.gradient(theta, z, critic.by_rows(layers, by_score.numpy()))

    def _judged(self, critic: Critic, theta: Numbers, held: Numbers, rng: np.random.Generator) -> tuple[float, float]:
        """The bound on the samples held out and fresh ones of q, and its standard error."""
        _, fake = self._fake(theta, _FAKE * len(held), rng)
        gain = self.rules.activation(torch.from_numpy(critic.scores(held)[0]))
        loss = self.rules.conjugate(torch.from_numpy(critic.scores(fake)[0]))
        variance = float(gain.var()) / len(gain) + float(loss.var()) / len(loss)
        return float(gain.mean() - loss.mean()), math.sqrt(variance)


def _rms(x: Numbers) -> float:
    return math.sqrt(float(np.mean(x**2)))
