"""The game behind the variational bound, in PyTorch: a critic that tells samples from a fit, and the fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

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


class Critic(nn.Module):  # type: ignore[misc]
    """A score of vectors: a quadratic function and two hidden layers."""

    def __init__(self, d: int, hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = [(hidden, d), (hidden, hidden), (1, hidden)]
        self.weights = nn.ParameterList(
            torch.randn(size, dtype=torch.float64, generator=generator) / math.sqrt(size[1]) for size in sizes
        )
        self.biases = nn.ParameterList(torch.zeros(size[0], dtype=torch.float64) for size in sizes)
        self.linear = nn.Parameter(torch.zeros(d, dtype=torch.float64))
        self.square = nn.Parameter(torch.zeros(d, d, dtype=torch.float64))
        # At first it tells nothing apart.
        with torch.no_grad():
            self.weights[-1].mul_(0.0)

    def forward(self, y: Tensor) -> Tensor:
        """One score a row."""
        h = y
        for weight, bias in zip(list(self.weights)[:-1], list(self.biases)[:-1], strict=True):
            h = torch.tanh(h @ weight.mT + bias)
        deep = (h @ self.weights[-1].mT + self.biases[-1])[:, 0]
        return deep + y @ self.linear + ((y @ self.square) * y).sum(-1)


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
        critic = Critic(self.shape.d, self.hidden, torch.Generator().manual_seed(seed))
        optimiser = torch.optim.Adam(critic.parameters(), lr=_CRITIC_RATE, betas=(0.5, 0.99))
        theta, first, second = start.copy(), np.zeros_like(start), np.zeros_like(start)
        half = steps // 2
        size = max((steps - half) // _PIECES, 1)
        pieces = np.zeros((_PIECES, theta.size))
        trace: list[float] = []
        for _ in range(max(int(_AHEAD * steps), 1)):
            self._taught(critic, optimiser, theta, rng)
        for t in range(steps):
            for _ in range(_CRITIC_STEPS):
                bound = self._taught(critic, optimiser, theta, rng)
            gradient = self.gradient(critic, theta, rng)
            first = 0.5 * first + 0.5 * gradient
            second = 0.99 * second + 0.01 * gradient**2
            rate = self.rate / (1.0 + 10.0 * t / steps)
            up = first / (1.0 - 0.5 ** (t + 1))
            theta = theta - rate * up / (np.sqrt(second / (1.0 - 0.99 ** (t + 1))) + 1e-12)
            if t >= steps - size * _PIECES:
                pieces[(t - (steps - size * _PIECES)) // size] += theta / size
            if t % max(steps // 100, 1) == 0:
                trace.append(bound)
            if told is not None:
                told(t + 1)
        mean = pieces.mean(axis=0)
        for group in optimiser.param_groups:
            group["betas"] = (0.9, 0.99)
        for t in range(max(int(_LAST * steps), 1)):
            for group in optimiser.param_groups:
                group["lr"] = _CRITIC_RATE / (1.0 + 10.0 * t / (_LAST * steps))
            self._taught(critic, optimiser, mean, rng)
        value, stderr = self._judged(critic, mean, held, rng)
        early, late = pieces[: _PIECES // 2], pieces[_PIECES // 2 :]
        change = _rms(late.mean(axis=0) - early.mean(axis=0))
        noise = _rms(pieces.std(axis=0, ddof=1)) / math.sqrt(_PIECES)
        converged = change <= max(4.0 * noise, _STILL) and change < 10.0 * _STILL
        return Played(mean, value, stderr, converged, change, noise, tuple(trace))

    def _fake(self, theta: Numbers, n: int, rng: np.random.Generator) -> tuple[Numbers, Tensor]:
        z = rng.standard_normal((n, self.shape.noise))
        return z, torch.from_numpy(self.shape.drawn(theta, z)[0])

    def _taught(
        self, critic: Critic, optimiser: torch.optim.Optimizer, theta: Numbers, rng: np.random.Generator
    ) -> float:
        """One step of the critic; the bound before it."""
        real = torch.from_numpy(self.seen[rng.integers(len(self.seen), size=self.samples)])
        _, fake = self._fake(theta, self.samples, rng)
        with torch.enable_grad():
            loss = self.rules.discriminator_loss(critic(real), critic(fake))
            optimiser.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(critic.parameters(), _LONGEST)
        optimiser.step()
        return -float(loss.detach())

    def gradient(self, critic: Critic, theta: Numbers, rng: np.random.Generator) -> Numbers:
        """The gradient of the bound by q's numbers."""
        z, fake = self._fake(theta, self.samples, rng)
        fake.requires_grad_(True)
        with torch.enable_grad():
            loss = self.rules.generator_loss(critic(fake), saturating=True)
            (by_y,) = torch.autograd.grad(loss, fake)
        return self.shape.gradient(theta, z, by_y.numpy())

    def _judged(self, critic: Critic, theta: Numbers, held: Numbers, rng: np.random.Generator) -> tuple[float, float]:
        """The bound on the samples held out and fresh ones of q, and its standard error."""
        _, fake = self._fake(theta, _FAKE * len(held), rng)
        with torch.no_grad():
            gain = self.rules.activation(critic(torch.from_numpy(held)))
            loss = self.rules.conjugate(critic(fake))
        variance = float(gain.var()) / len(gain) + float(loss.var()) / len(loss)
        return float(gain.mean() - loss.mean()), math.sqrt(variance)


def _rms(x: Numbers) -> float:
    return math.sqrt(float(np.mean(x**2)))
