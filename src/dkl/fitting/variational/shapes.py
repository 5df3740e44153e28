"""Normal distributions as samples y = loc + factor·z in the units of a frame, and gradients through them.

Each shape says how its numbers θ make a sample, what −∂(log q)/∂y is there, and what a gradient by y is by θ.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import solve_triangular

from dkl.families.multivariate import LOG_TAU, DiagonalNormal, LowRankNormal, MultivariateNormal
from dkl.families.normal import Normal
from dkl.fitting.variational.laplace import Frame
from dkl.methods.nodes import Numbers


@dataclass(frozen=True)
class Shape(ABC):
    """One way to give a normal distribution of vectors of length d by a vector θ, its first d numbers the mean."""

    d: int

    #: Whether it has correlations of its own in a frame that has none.
    full = False

    @property
    def noise(self) -> int:
        """How many normal numbers a sample takes."""
        return self.d

    @property
    def pace(self) -> float:
        """What to multiply a rate of steps by that move every number at once."""
        return 1.0

    @abstractmethod
    def begun(self) -> Numbers:
        """θ of the frame's own distribution, or one near it."""

    @abstractmethod
    def placed(self, theta: Numbers, z: Numbers) -> Numbers:
        """Samples y in the frame."""

    @abstractmethod
    def drawn(self, theta: Numbers, z: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Samples y in the frame, log q, and −∂(log q)/∂y."""

    @abstractmethod
    def gradient(self, theta: Numbers, z: Numbers, by_y: Numbers) -> Numbers:
        """The gradient by θ of Σ by_y·y."""

    @abstractmethod
    def reframed(self, frame: Frame, theta: Numbers) -> tuple[Frame, Numbers]:
        """A frame of what θ is in this one, and θ there."""

    def apart(self, theta: Numbers, other: Numbers) -> Numbers:
        """How far two θ of one frame are from each other, number by number."""
        return theta - other

    @abstractmethod
    def factor(self, frame: Frame, theta: Numbers) -> Numbers:
        """A matrix F with covariance F·Fᵀ, or the widths."""

    @abstractmethod
    def member(self, frame: Frame, theta: Numbers) -> Any:
        """The distribution."""

    @abstractmethod
    def errors(self, frame: Frame, theta: Numbers, error: Numbers) -> tuple[Numbers, Numbers]:
        """Standard errors of the means and of the standard deviations from those of θ."""

    def loc(self, frame: Frame, theta: Numbers) -> Numbers:
        """The mean, in the target's units."""
        made: Numbers = frame.out(theta[None, : self.d])[0]
        return made

    def moments(self, frame: Frame, theta: Numbers) -> tuple[Numbers, Numbers]:
        """The means and standard deviations of the components."""
        factor = self.factor(frame, theta)
        return self.loc(frame, theta), factor if factor.ndim == 1 else np.sqrt((factor**2).sum(axis=1))

    def _of_loc(self, frame: Frame, error: Numbers) -> Numbers:
        mine = error[: self.d]
        return frame.factor * mine if frame.factor.ndim == 1 else np.sqrt(frame.factor**2 @ mine**2)


@dataclass(frozen=True)
class Widths(Shape):
    """Independent components: means and logarithms of widths."""

    scalar: bool = False

    def begun(self) -> Numbers:
        """The frame's own."""
        return np.zeros(2 * self.d)

    def placed(self, theta: Numbers, z: Numbers) -> Numbers:
        """See :class:`Shape`."""
        made: Numbers = theta[: self.d] + np.exp(theta[self.d :]) * z
        return made

    def drawn(self, theta: Numbers, z: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """See :class:`Shape`."""
        log_width = theta[self.d :]
        log_q = -0.5 * (z**2).sum(axis=1) - log_width.sum() - 0.5 * self.d * LOG_TAU
        return self.placed(theta, z), log_q, z / np.exp(log_width)

    def gradient(self, theta: Numbers, z: Numbers, by_y: Numbers) -> Numbers:
        """See :class:`Shape`."""
        return np.concatenate([by_y.sum(axis=0), (by_y * z).sum(axis=0) * np.exp(theta[self.d :])])

    def reframed(self, frame: Frame, theta: Numbers) -> tuple[Frame, Numbers]:
        """Its own mean and widths."""
        return replace(frame, loc=self.loc(frame, theta), factor=self.factor(frame, theta)), self.begun()

    def factor(self, frame: Frame, theta: Numbers) -> Numbers:
        """The widths."""
        made: Numbers = frame.factor * np.exp(theta[self.d :])
        return made

    def member(self, frame: Frame, theta: Numbers) -> Any:
        """A DiagonalNormal, or a Normal."""
        loc, scale = self.loc(frame, theta), self.factor(frame, theta)
        return Normal(float(loc[0]), float(scale[0])) if self.scalar else DiagonalNormal(loc, scale)

    def errors(self, frame: Frame, theta: Numbers, error: Numbers) -> tuple[Numbers, Numbers]:
        """See :class:`Shape`."""
        return self._of_loc(frame, error), self.factor(frame, theta) * error[self.d :]


@dataclass(frozen=True)
class Lower(Shape):
    """Any covariance: the entries of a lower triangular factor, its diagonal by logarithms."""

    full = True

    @property
    def pace(self) -> float:
        """Entries of size r and any sign make a matrix of norm some r·√d, which must stay well below 1."""
        return min(1.0, 4.0 / math.sqrt(self.d))

    @cached_property
    def _below(self) -> tuple[Numbers, Numbers]:
        return np.tril_indices(self.d, -1)

    def begun(self) -> Numbers:
        """The frame's own."""
        return np.zeros(2 * self.d + self.d * (self.d - 1) // 2)

    def _inner(self, theta: Numbers) -> Numbers:
        made = np.diag(np.exp(theta[self.d : 2 * self.d]))
        made[self._below] = theta[2 * self.d :]
        return made

    def placed(self, theta: Numbers, z: Numbers) -> Numbers:
        """See :class:`Shape`."""
        made: Numbers = theta[: self.d] + z @ self._inner(theta).T
        return made

    def drawn(self, theta: Numbers, z: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """See :class:`Shape`."""
        inner = self._inner(theta)
        log_q = -0.5 * (z**2).sum(axis=1) - theta[self.d : 2 * self.d].sum() - 0.5 * self.d * LOG_TAU
        return theta[: self.d] + z @ inner.T, log_q, solve_triangular(inner, z.T, trans="T", lower=True).T

    def gradient(self, theta: Numbers, z: Numbers, by_y: Numbers) -> Numbers:
        """See :class:`Shape`."""
        by_inner = by_y.T @ z
        on = np.diagonal(by_inner) * np.exp(theta[self.d : 2 * self.d])
        return np.concatenate([by_y.sum(axis=0), on, by_inner[self._below]])

    def reframed(self, frame: Frame, theta: Numbers) -> tuple[Frame, Numbers]:
        """Its own mean and factor."""
        return replace(frame, loc=self.loc(frame, theta), factor=self.factor(frame, theta)), self.begun()

    def factor(self, frame: Frame, theta: Numbers) -> Numbers:
        """The lower triangular factor of the covariance."""
        inner = self._inner(theta)
        return frame.factor[:, None] * inner if frame.factor.ndim == 1 else frame.factor @ inner

    def member(self, frame: Frame, theta: Numbers) -> Any:
        """A MultivariateNormal by its factor."""
        return MultivariateNormal(self.loc(frame, theta), cholesky=self.factor(frame, theta))

    def errors(self, frame: Frame, theta: Numbers, error: Numbers) -> tuple[Numbers, Numbers]:
        """See :class:`Shape`."""
        of_inner = np.diag(error[self.d : 2 * self.d] * np.exp(theta[self.d : 2 * self.d]))
        of_inner[self._below] = error[2 * self.d :]
        outer = np.diag(frame.factor) if frame.factor.ndim == 1 else frame.factor
        of_factor = outer**2 @ of_inner**2
        factor = self.factor(frame, theta)
        sd = np.sqrt((factor**2).sum(axis=1))
        return self._of_loc(frame, error), np.sqrt((factor**2 * of_factor).sum(axis=1)) / sd


@dataclass(frozen=True)
class LowRank(Shape):
    """Independent components beside a few directions: means, logarithms of widths, and W."""

    rank: int = 1

    @property
    def noise(self) -> int:
        """One for each component and each direction."""
        return self.d + self.rank

    def begun(self) -> Numbers:
        """The frame's own, with small directions: at none at all the gradient by W would be 0 for ever."""
        w = 0.1 * np.random.default_rng(0).standard_normal(self.d * self.rank)
        return np.concatenate([np.zeros(2 * self.d), w])

    def _parts(self, theta: Numbers) -> tuple[Numbers, Numbers]:
        return np.exp(theta[self.d : 2 * self.d]), theta[2 * self.d :].reshape(self.d, self.rank)

    def placed(self, theta: Numbers, z: Numbers) -> Numbers:
        """See :class:`Shape`."""
        width, w = self._parts(theta)
        made: Numbers = theta[: self.d] + (width * z[:, : self.d] + z[:, self.d :] @ w.T)
        return made

    def drawn(self, theta: Numbers, z: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """See :class:`Shape`; the inverse by Woodbury's formula."""
        width, w = self._parts(theta)
        apart = width * z[:, : self.d] + z[:, self.d :] @ w.T
        v = w / width[:, None]
        inner = np.linalg.cholesky(np.eye(self.rank) + v.T @ v)
        u = apart / width
        inverse = np.linalg.inv(inner)
        across = inverse @ (u @ v).T
        log_q = -0.5 * ((u**2).sum(axis=1) - (across**2).sum(axis=0)) - np.log(width).sum()
        log_q = log_q - np.log(np.diagonal(inner)).sum() - 0.5 * self.d * LOG_TAU
        pull = (u - (across.T @ inverse) @ v.T) / width
        return theta[: self.d] + apart, log_q, pull

    def gradient(self, theta: Numbers, z: Numbers, by_y: Numbers) -> Numbers:
        """See :class:`Shape`."""
        width, _ = self._parts(theta)
        of_width = (by_y * z[:, : self.d]).sum(axis=0) * width
        return np.concatenate([by_y.sum(axis=0), of_width, (by_y.T @ z[:, self.d :]).ravel()])

    def reframed(self, frame: Frame, theta: Numbers) -> tuple[Frame, Numbers]:
        """Its own mean and the whole widths of its components, by which W is measured then."""
        width, w = self._parts(theta)
        whole = np.sqrt(width**2 + (w**2).sum(axis=1))
        moved = replace(frame, loc=self.loc(frame, theta), factor=frame.factor * whole)
        return moved, np.concatenate([np.zeros(self.d), np.log(width / whole), (w / whole[:, None]).ravel()])

    def apart(self, theta: Numbers, other: Numbers) -> Numbers:
        """With W turned towards the other's, for W·R with R·Rᵀ = 1 is the same distribution."""
        (_, mine), (_, its) = self._parts(theta), self._parts(other)
        left, _, right = np.linalg.svd(mine.T @ its)
        turned = np.concatenate([theta[: 2 * self.d], (mine @ left @ right).ravel()])
        made: Numbers = turned - other
        return made

    def factor(self, frame: Frame, theta: Numbers) -> Numbers:
        """The directions beside the widths on a diagonal."""
        width, w = self._parts(theta)
        made: Numbers = frame.factor[:, None] * np.concatenate([w, np.diag(width)], axis=1)
        return made

    def member(self, frame: Frame, theta: Numbers) -> Any:
        """A LowRankNormal."""
        width, w = self._parts(theta)
        return LowRankNormal(self.loc(frame, theta), frame.factor[:, None] * w, (frame.factor * width) ** 2)

    def errors(self, frame: Frame, theta: Numbers, error: Numbers) -> tuple[Numbers, Numbers]:
        """See :class:`Shape`."""
        width, w = self._parts(theta)
        of_width, of_w = self._parts(np.concatenate([error[: self.d], np.zeros(self.d), error[2 * self.d :]]))
        of_width = width * error[self.d : 2 * self.d]
        sd = np.sqrt(width**2 + (w**2).sum(axis=1))
        squared = (width * of_width) ** 2 + ((w * of_w) ** 2).sum(axis=1)
        return self._of_loc(frame, error), frame.factor * np.sqrt(squared) / sd


def shape_of(family: type, d: int, rank: int = 0) -> Shape:
    """The shape of a family of normal distributions.

    Raises
    ------
    ValueError
        If a rank is not below the dimension.
    """
    if family is MultivariateNormal:
        return Lower(d)
    if family is LowRankNormal:
        if not rank < max(d, 2):
            raise ValueError(f"rank = {rank} must be below the dimension, {d}: MultivariateNormal has every covariance")
        return LowRank(d, rank)
    return Widths(d, scalar=family is Normal)
