"""Objects that no adapter knows: a density if they have ``log_prob``, ``logpdf`` or ``logpmf``.

Outcomes are drawn by their ``sample`` or ``rvs``, if they have one, and the support is asked for by ``support``: an
attribute that describes a set (PyTorch, NumPyro) or a method that gives two ends (SciPy).
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl._array import Array, device_of, holds, namespace_of, to_numpy
from dkl.adapters.derived import OneHot, Transformed, one_of_batch
from dkl.adapters.products import cells
from dkl.density import Density, UnansweredError
from dkl.families.base import Distribution
from dkl.representations import Representation
from dkl.supports import Integers, Interval, Matrices, Simplex, Support, Vectors

LogProb = Callable[[Array], Array]
Sampler = Callable[[tuple[int, ...], np.random.Generator], Any]


class _ShapelessError(Exception):
    """An object does not tell the shape of its outcomes."""


class Foreign(Density):
    """A density of several distributions at once, or of outcomes with several axes, which the object keeps itself."""

    def __init__(
        self,
        log_prob: LogProb,
        sample: Any,
        support: Support,
        batch_shape: tuple[int, ...],
        event_shape: tuple[int, ...],
    ) -> None:
        super().__init__(log_prob, sample, support)
        self.batch_shape, self._shape = batch_shape, event_shape

    @property
    def event_ndim(self) -> int:  # type: ignore[override]
        """As many axes as an outcome has."""
        return len(self._shape)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """As the object tells it."""
        return self._shape

    def _member(self, index: tuple[Any, ...]) -> Foreign:
        """The density at one place of the batch."""
        draw = self._draw
        log_prob, drawn, support = one_of_batch(
            self._function,
            None if draw is None else lambda leading, rng: draw(math.prod(leading), rng),
            self.support,
            self.batch_shape,
            index,
            self.event_ndim,
        )
        sample = None if drawn is None else lambda n, rng: drawn((n,), rng)
        made = Foreign(log_prob, sample, support, np.empty(self.batch_shape)[index].shape, self.event_shape)
        made.xp, made.dtype, made._like = self.xp, self.dtype, self._like
        return made

    def _log_prob(self, x: Array) -> Array:
        given = self._told(self._function, x)
        if namespace_of(given=given) is not self.xp:
            given = self.xp.asarray(to_numpy(given))
        return self.xp.astype(given, x.dtype)

    def sample(self, shape: int | tuple[int, ...] = (), *, rng: Any = None) -> Any:
        """Draw outcomes, if the object can; see :meth:`dkl.density.Density.sample`."""
        leading = (shape,) if isinstance(shape, int) else tuple(shape)
        return super().sample((*leading, *self.batch_shape), rng=rng)

    def _sample(self, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
        if self._draw is None:
            return super()._sample(shape, rng)
        # The batch's axes follow by themselves.
        n = math.prod(shape[: len(shape) - len(self.batch_shape)])
        return to_numpy(self._told(self._draw, n, rng)).reshape(*shape, *self.event_shape)


def density(x: Any) -> Representation | None:
    """The object as a ``dkl.Density``, or None if it has no log-density."""
    log_prob, draw = log_prob_of(x), sample_of(x)
    if log_prob is None:
        return None
    try:
        batch, event = shapes_of(x)
    except _ShapelessError:
        return None
    support = support_of(x)
    if support is None:
        support = _everything(event, not hasattr(x, "logpdf") and hasattr(x, "logpmf"))
    log_prob = _answering(x, "log-density", log_prob)
    sample = None if draw is None else _answering(x, "sampler", lambda n, rng: to_numpy(draw((n,), rng)))
    made = (
        Density(log_prob, sample, support)
        if not batch and len(event) < 2
        else Foreign(log_prob, sample, support, batch, event)
    )
    like = _like(x)
    return made if like is None else made.moved(namespace_of(like=like), like)


def image(x: Any, base: Any, change: Any) -> Transformed | None:
    """The object as an image of its base, if both are known well enough."""
    log_prob, draw, support = log_prob_of(x), sample_of(x), support_of(x)
    known = isinstance(base, Distribution) and not isinstance(base, Density)
    if not known or log_prob is None or draw is None or support is None:
        return None
    batch, event = shapes_of(x)
    return Transformed(
        base,
        change,
        log_prob=log_prob,
        sample=lambda shape, rng: to_numpy(draw(shape, rng)),
        support=support,
        batch_shape=batch,
        event_shape=event,
    )


def _answering(x: Any, what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of the object that is named after it, and whose errors say whose they are."""
    title = _title(x)

    def asked(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            NotImplementedError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as e:
            said = f": {e}" if str(e) else ""
            raise UnansweredError(
                f"the {what} of {title} failed with {type(e).__name__}{said}; dkl.Density takes a log_prob and sample "
                "of your own in its place"
            ) from e

    asked.__name__ = title
    return asked


def _title(x: Any) -> str:
    """An object by its class and parameters."""
    if hasattr(x, "dist") and hasattr(x, "kwds"):
        given = [*map(str, x.args), *(f"{name}={value}" for name, value in x.kwds.items())]
        return f"{x.dist.name}({', '.join(given)})"
    shown = repr(x)
    return type(x).__name__ if "object at 0x" in shown or len(shown) > 80 else shown


def shapes_of(x: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of a batch and of an outcome, where an object tells them."""
    if hasattr(x, "batch_shape") and hasattr(x, "event_shape"):
        return tuple(x.batch_shape), tuple(x.event_shape)
    if hasattr(x, "args") and hasattr(x, "kwds"):  # SciPy's frozen distributions of numbers
        return np.broadcast_shapes(*(np.shape(a) for a in (*x.args, *x.kwds.values()))), ()
    if "multi_rv_frozen" in (base.__name__ for base in type(x).__mro__):  # and those of more
        if not hasattr(x, "rvs"):
            raise _ShapelessError
        return (), np.shape(_rvs(x.rvs, (2,), {"random_state": np.random.default_rng(0)}))[1:]
    return (), ()


def _everything(event: tuple[int, ...], discrete: bool) -> Support:
    """What can be said of the outcomes by their shape and kind alone."""
    if discrete and not event:
        return Integers(-math.inf, math.inf)
    if len(event) == 1:
        return Vectors(event[0])
    return Matrices(*event) if len(event) == 2 else Interval()


def _like(x: Any) -> Any:
    """An array of the library of an object that has parameters in one, in their dtype; None for NumPy's."""
    if "torch" in _library(x):
        import torch

        arrays = (value for value in vars(x).values() if isinstance(value, torch.Tensor))
        return next((value for value in arrays if value.is_floating_point()), torch.empty(0))
    if "numpyro" in _library(x):
        import jax.numpy

        return jax.numpy.empty(0)
    return None


def _library(x: Any) -> set[str]:
    return {base.__module__.partition(".")[0] for base in type(x).__mro__}


def _method(x: Any, *names: str) -> Any:
    return next((getattr(x, name) for name in names if callable(getattr(x, name, None))), None)


def log_prob_of(x: Any) -> LogProb | None:
    """The log-density as a function of an array of any library; −inf outside the support that the object tells."""
    own = _method(x, "log_prob") or _method(x, "logpmf" if _discrete(x) else "logpdf", "logpdf", "logpmf")
    if own is None or isinstance(x, type):
        return None
    if "torch" in _library(x):
        return _torch_log_prob(x)
    if "numpyro" in _library(x):
        return _numpyro_log_prob(x, own)
    if "scipy" in _library(x):

        def by_numpy(outcomes: Array) -> Array:
            xp = namespace_of(outcomes=outcomes)
            value = np.asarray(own(to_numpy(outcomes)))
            return value if xp is namespace_of() else xp.asarray(value, device=device_of(outcomes))

        return by_numpy
    return own  # type: ignore[no-any-return]


def _torch_log_prob(x: Any) -> LogProb:
    import torch

    # With validation PyTorch raises an error for an outcome outside the support, whose density is 0.
    unchecked = copy.copy(x)
    unchecked._validate_args = False
    try:
        inside_of = x.support.check
    except (NotImplementedError, AttributeError):
        return unchecked.log_prob  # type: ignore[no-any-return]

    def log_prob(outcomes: Array) -> Array:
        outcomes = torch.as_tensor(outcomes)
        inside = inside_of(outcomes)
        value = unchecked.log_prob(outcomes)
        return value if holds(inside.all()) is not False else torch.where(inside, value, -math.inf)

    return log_prob


def _numpyro_log_prob(x: Any, own: LogProb) -> LogProb:
    import jax

    outcome_ndim = len(x.batch_shape) + len(x.event_shape)

    def log_prob(outcomes: Array) -> Array:
        if isinstance(outcomes, jax.core.Tracer) or len(outcomes.shape) <= outcome_ndim:
            return own(outcomes)
        # Every operation is compiled anew for every shape: as many outcomes as a power of two make few of them.
        host = np.asarray(outcomes)
        count = len(host)
        padded = max(64, 1 << (count - 1).bit_length()) if count else 0
        return own(np.concatenate([host, np.repeat(host[-1:], padded - count, axis=0)]))[:count]

    return log_prob


def sample_of(x: Any) -> Sampler | None:
    """A function of a leading shape and a generator that draws outcomes; None if the object draws none."""
    own = _method(x, "sample", "rvs")
    if own is None:
        return None
    library = _library(x)
    if "torch" in library:
        return lambda shape, rng: _torch_sample(own, shape, rng)
    if "numpyro" in library:
        return lambda shape, rng: _numpyro_sample(own, shape, rng)
    try:
        known = set(inspect.signature(own).parameters)
    except (TypeError, ValueError):
        known = set()
    if "size" in known:
        return lambda shape, rng: _rvs(own, shape, {"random_state": rng} if "random_state" in known else {})
    return lambda shape, rng: own(shape, **({"rng": rng} if "rng" in known else {}))


def _torch_sample(own: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    import torch

    # PyTorch draws from its one global state, which the caller's own program goes on using.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(int(rng.integers(2**63)))
        return own(torch.Size(shape))


def _numpyro_sample(own: Any, shape: tuple[int, ...], rng: np.random.Generator) -> Any:
    import jax

    return own(jax.random.key(int(rng.integers(2**31))), shape)


# So near to the last whole number of 64 bits that the tail beyond it is cut off.
_LARGEST = 2**61


def _rvs(own: Any, shape: tuple[int, ...], options: dict[str, Any]) -> Any:
    # SciPy drops axes of length 1, so at least two outcomes are asked for.
    count = math.prod(shape)
    drawn = np.asarray(own(size=max(count, 2), **options))[:count]
    if drawn.dtype.kind == "i" and drawn.size and np.abs(drawn).max() > _LARGEST:
        raise OverflowError("it draws whole numbers of 64 bits, and its tail reaches beyond them")
    return drawn.reshape(*shape, *drawn.shape[1:])


def _discrete(x: Any) -> bool:
    """Whether an object that has both kinds of densities, as SciPy's newer ones do, is one of probabilities."""
    return any(base.__name__ in ("DiscreteDistribution", "rv_discrete_frozen") for base in type(x).__mro__)


def support_of(x: Any) -> Support | None:
    """The support of an object that tells it in a way that is known here."""
    try:
        told = getattr(x, "support", None)
    except NotImplementedError:
        return None
    if callable(told) and not hasattr(told, "check"):
        return _between_ends(x, told) if "scipy" in _library(x) else None
    if isinstance(told, Support) or told is None:
        return told
    return _constrained(told, tuple(getattr(x, "batch_shape", ())) + tuple(getattr(x, "event_shape", ())))


def _between_ends(x: Any, ends: Any) -> Support | None:
    low, high = ends()
    table = getattr(getattr(x, "dist", None), "xk", None)
    if table is not None and not np.all(np.asarray(table) == np.floor(table)):
        raise TypeError(
            "a table of outcomes that are no whole numbers is measured by their order: give its probabilities, "
            "dkl.Probs(dist.dist.pk)"
        )
    return Integers(low, high) if _discrete(x) else Interval(low, high)


def _constrained(constraint: Any, shape: tuple[int, ...]) -> Support | None:
    """A set as PyTorch and NumPyro describe it, whose classes have the same names."""
    kind = type(constraint).__name__.strip("_").lower()
    if kind in ("independentconstraint", "independent"):
        joined = constraint.reinterpreted_batch_ndims
        cell = _constrained(constraint.base_constraint, shape)
        return None if cell is None else cells(cell, shape, joined)
    if kind == "mixturesamefamilyconstraint":
        return _constrained(constraint.base_constraint, shape)
    if kind == "onehot":
        return OneHot(shape[-1])
    if kind == "simplex":
        return Simplex(shape[-1])
    if kind == "realvector":
        return cells(Interval(), shape, 1)
    fixed = {
        "boolean": Integers(0, 1),
        "integernonnegative": Integers(0),
        "integerpositive": Integers(1),
        "nonnegative": Interval(0.0),
        "positive": Interval(0.0),
        "real": Interval(),
        "unitinterval": Interval(0.0, 1.0),
    }
    if kind in fixed:
        return fixed[kind]
    low = getattr(constraint, "lower_bound", -math.inf)
    high = getattr(constraint, "upper_bound", math.inf)
    if kind.startswith("integer"):
        return Integers(low, high)
    if kind.endswith("interval") or kind.startswith(("greaterthan", "lessthan")):
        return Interval(low, high)
    return None
