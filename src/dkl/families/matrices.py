"""Parameters that are vectors and matrices: what they must be, and the families that have them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from dkl._array import Array, Namespace, epsilon, first_failing, holds, to_numpy, widest
from dkl.families.constraints import Constraint, positive, real
from dkl.families.exponential import ExponentialFamily
from dkl.families.triangular import identity, symmetric

vector = Constraint("finite", real.met, 1)
positive_vector = Constraint("positive and finite", positive.met, 1)
matrix = Constraint("finite", real.met, 2)


class Definite(Constraint):
    """A symmetric positive definite matrix along the last two axes."""

    def __init__(self) -> None:
        super().__init__("finite", real.met, 2)

    def hold(self, xp: Namespace, x: Array, name: str) -> None:
        """Raise a ValueError that names the matrix of the batch and what is wrong with it; not where it is hidden."""
        super().hold(xp, x, name)
        _hold_square(x, name)
        sizes = xp.sqrt(xp.abs(xp.linalg.diagonal(x)))
        scale = sizes[..., :, None] * sizes[..., None, :]
        good = xp.abs(x - xp.matrix_transpose(x)) <= math.sqrt(epsilon(xp, x.dtype)) * scale
        symmetric_to_see = holds(xp.all(good))
        if symmetric_to_see is None:
            return
        if not symmetric_to_see:
            *batch, i, j = np.argwhere(~to_numpy(good))[0].tolist()
            one, other = (float(to_numpy(x)[(*batch, *at)]) for at in ((i, j), (j, i)))
            raise ValueError(
                f"{name}{_index(*batch, i, j)} = {one:.9g} is not {name}{_index(*batch, j, i)} = {other:.9g}: it must "
                "be symmetric within rounding; ½·(x + xᵀ) is"
            )
        if not _has_factor(xp, widest(xp, x)):
            matrices = to_numpy(x).astype(np.float64)
            least = np.linalg.eigvalsh(matrices)[..., 0]
            largest = np.abs(matrices).max(axis=(-2, -1))
            relative = least / np.where(largest > 0, largest, 1.0)
            where = np.unravel_index(int(np.argmin(relative)), least.shape)
            raise ValueError(
                f"{name}{_index(*where)} is not positive definite within rounding: its smallest eigenvalue is "
                f"{least[where]:.3g}; a degenerate distribution has no density, leave out what the rest determines"
            )


class LowerTriangular(Constraint):
    """A lower triangular matrix with a positive diagonal along the last two axes."""

    def __init__(self) -> None:
        super().__init__("finite", real.met, 2)

    def hold(self, xp: Namespace, x: Array, name: str) -> None:
        """Raise a ValueError that names the entry that is out of place."""
        super().hold(xp, x, name)
        _hold_square(x, name)
        if holds(xp.all(x == xp.tril(x))) is False:
            at, value = first_failing(x, x == xp.tril(x))
            raise ValueError(f"{name}{at} = {value:g} lies above the diagonal: it must be lower triangular")
        good = (x > 0) | (identity(xp, x) == 0)
        if holds(xp.all(good)) is False:
            at, value = first_failing(x, good)
            raise ValueError(f"{name}{at} = {value:g} lies on the diagonal, which must be positive")


class MatrixParameters(ExponentialFamily):
    """A family some of whose parameters are matrices with a structure that is checked."""

    def _hold_sizes(self, **axes: tuple[int, str, int]) -> None:
        """Each parameter's axis must be as long as another's: name=(its axis, the other's name, the other's axis)."""
        for name, (axis, other, its) in axes.items():
            x, y = self.parameters.get(name), self.parameters[other]
            if x is not None and x.shape[axis] != y.shape[its]:
                raise ValueError(
                    f"{type(self).__name__}: {name} of shape {tuple(x.shape)} does not fit {other} of shape "
                    f"{tuple(y.shape)}: axis {axis} of the one must be as long as axis {its} of the other"
                )

    def _whole(self, x: Array, ndim: int = 0) -> Array:
        """An array of the whole batch, with so many trailing axes of its own."""
        own = tuple(x.shape)[len(x.shape) - ndim :]
        return self.xp.broadcast_to(x, (*self.batch_shape, *own))


def _has_factor(xp: Namespace, x: Array) -> bool:
    """Whether Cholesky's factor can be found: the libraries raise each its own error, or answer nan."""
    try:
        factor = xp.linalg.cholesky(symmetric(xp, x.detach() if hasattr(x, "detach") else x))
    except (np.linalg.LinAlgError, RuntimeError):
        return False
    return holds(xp.all(xp.isfinite(factor))) is not False


def _hold_square(x: Array, name: str) -> None:
    if x.shape[-1] != x.shape[-2] or x.shape[-1] == 0:
        raise ValueError(f"{name} of shape {tuple(x.shape)} is not square: its last two axes must be of equal length")


def _index(*at: Any) -> str:
    return f"[{', '.join(str(int(i)) for i in at)}]" if at else ""
