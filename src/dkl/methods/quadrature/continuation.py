"""Log-densities below the resolution of numbers at an end of a support: a power times a smooth function, fitted."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dkl._array import Array, Namespace
from dkl.methods.nodes import Numbers

if TYPE_CHECKING:
    from dkl.methods.quadrature.line import Piece


@dataclass(frozen=True)
class Continued:
    """What log p is at an end of a support below the resolution, linear in its values at a few points nearby."""

    points: Numbers
    weights: Numbers

    def at(self, values: Array, v: Numbers, xp: Namespace = np) -> Array:
        """The values continued to v."""
        rows = _basis(v) @ self.weights
        return xp.sum(xp.asarray(rows, dtype=values.dtype) * values, axis=-1)


def _basis(v: Numbers) -> Numbers:
    d = np.exp(v)
    return np.stack([np.ones_like(v), v, d, d * d], axis=-1)


def continuation(piece: Piece) -> Continued:
    """What goes on below the resolution of a piece, from values at four points above it."""
    v = piece.resolved + math.log(16.0) * np.arange(4)
    d = np.exp(v)
    x = piece.anchor + piece.side * d
    exact = np.log(np.abs(x - piece.anchor))
    basis = _basis(exact)
    scale = np.max(np.abs(basis), axis=0)
    scale = np.where(scale > 1e-200, scale, 1.0)
    return Continued(x, np.linalg.pinv(basis / scale, rcond=1e-14) / scale[:, None])
