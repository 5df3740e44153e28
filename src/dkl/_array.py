"""Arrays of any library: their namespace and dtype, and the few functions that stay right near 0 and ∞.

Everything here is written in the Python array API standard, so one definition serves NumPy, PyTorch, JAX and any
other conforming library, and each one's own autodiff differentiates it. A branch that is not taken is always fed a
harmless number first: an infinite value in an unused branch of ``where`` would turn the gradient into NaN.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from functools import wraps
from numbers import Real
from operator import methodcaller
from typing import Any, ParamSpec, TypeAlias, TypeVar

import array_api_compat
import numpy as np

from dkl.kernels.trace import Symbol

Array: TypeAlias = Any
Namespace: TypeAlias = Any
Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Below this length the library's own sum is as accurate as a tree of sums.
_TREE_LEAF = 64


def overflowing(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Let numbers leave the floating range without NumPy's warning: an infinite term, or none, is an answer here."""

    @wraps(function)
    def quiet(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if compiling():
            return function(*args, **kwargs)
        with np.errstate(over="ignore", under="ignore"):
            return function(*args, **kwargs)

    return quiet


class once:  # noqa: N801  it stands where functools.cached_property would
    """A property that is calculated once; torch.compile cannot see through the lock of functools.cached_property."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function, self.name, self.__doc__ = function, function.__name__, function.__doc__

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = self.function(instance)
        setattr(instance, self.name, value)
        return value


def compiling() -> bool:
    """Whether torch.compile is looking on, which can see neither values nor memory."""
    torch = sys.modules.get("torch")
    return torch is not None and torch.compiler.is_compiling()


# The namespace of each type of array met so far; None for a type that is no array. A dictionary and not
# functools.cache, through which torch.compile cannot see.
_namespaces: dict[type, Namespace | None] = {}


def _namespace(x: Any) -> Namespace | None:
    kind = type(x)
    if kind not in _namespaces:
        is_array = array_api_compat.is_array_api_obj(x)
        _namespaces[kind] = array_api_compat.array_namespace(x) if is_array else None
    return _namespaces[kind]


_numpy = _namespace(np.empty(0))


def is_numpy(xp: Namespace) -> bool:
    """Whether a namespace is NumPy's."""
    return xp is _numpy


def namespace_of(**arguments: Any) -> Namespace:
    """The array API namespace shared by the arguments that are arrays; NumPy's where none is (lists, numbers)."""
    found = {name: _namespace(x) for name, x in arguments.items()}
    spaces = [xp for xp in found.values() if xp is not None]
    if not spaces:
        # torch.compile traces NumPy's arrays too, but not the questions that are asked of them here.
        return _namespace(sys.modules["torch"].empty(0)) if compiling() else _numpy
    if any(xp is not spaces[0] for xp in spaces):
        names = {name: xp.__name__.removeprefix("array_api_compat.") for name, xp in found.items() if xp is not None}
        kinds = " and ".join(f"{name} is from {library}" for name, library in names.items())
        raise TypeError(f"{kinds}: convert one of them, so that both come from the same array library")
    return spaces[0]


def as_array(xp: Namespace, x: Any, name: str, like: Any = None) -> Array:
    """``x`` as an array of ``xp`` with a real dtype, on the device of ``like``; a TypeError names what is not one."""
    if isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be lost: fill it, or drop what it masks")
    if _namespace(x) is None and compiling():
        dtype, device = (xp.float64, None) if like is None else (like.dtype, like.device)
        return xp.asarray(x, dtype=dtype, device=device)
    if _namespace(x) is None:
        try:
            host = np.asarray(x)
        except (ValueError, TypeError) as error:
            raise TypeError(f"{name} is a {type(x).__name__} that is not a rectangular array: {error}") from error
        if host.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got {_describe_kind(x, host)}")
        if xp is _numpy or _namespace(like) is None:
            return xp.asarray(host)
        # A list beside another library's array takes that array's precision, as a Python number would.
        dtype = like.dtype if host.dtype.kind == "f" and xp.isdtype(like.dtype, "real floating") else None
        return xp.asarray(host, dtype=dtype, device=device_of(like))
    if x.dtype == xp.float64 or x.dtype == xp.float32:
        return x
    real = x.dtype.kind in "biuf" if xp is _numpy else not xp.isdtype(x.dtype, "complex floating")
    if not real:
        raise TypeError(f"{name} must hold real numbers, got an array of dtype {x.dtype}")
    return x


def _describe_kind(x: Any, host: np.ndarray[Any, Any]) -> str:
    if host.ndim == 0 and host.dtype.kind == "O":
        return f"a {type(x).__name__}"
    return f"a {type(x).__name__} of dtype {host.dtype}"


def device_of(x: Array) -> Any:
    """Where an array lives, in its library's own terms."""
    # torch.compile would warn of the caches inside array_api_compat.
    return x.device if hasattr(x, "detach") else array_api_compat.device(x)


def real_number(value: Any, name: str) -> float:
    """A parameter as a float: any library's real scalar, but no boolean and no array."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        return float(value) + 0.0  # no negative zero
    except OverflowError:
        raise ValueError(f"{name} lies beyond the largest float, {sys.float_info.max:.4g}") from None


def real_floating(xp: Namespace, *arrays: Array) -> list[Array]:
    """The arrays in one floating dtype in which it is safe to accumulate: float32 at least.

    Integers and booleans become the library's default floating dtype; float16 and bfloat16 become float32.
    """
    first = arrays[0].dtype
    if first in (xp.float64, xp.float32) and all(x.dtype == first for x in arrays):
        return list(arrays)
    common = xp.result_type(*(_working_dtype(xp, x.dtype) for x in arrays))
    return [x if x.dtype == common else xp.astype(x, common) for x in arrays]


def _working_dtype(xp: Namespace, dtype: Any) -> Any:
    if is_half(dtype):
        return xp.float32
    return dtype if xp.isdtype(dtype, "real floating") else default_dtype(xp)


def default_dtype(xp: Namespace) -> Any:
    """The floating dtype that a library gives to Python's floats."""
    return xp.__array_namespace_info__().default_dtypes()["real floating"]


def is_half(dtype: Any) -> bool:
    """Whether a dtype is float16 or bfloat16, by name: the array API standard knows neither."""
    return str(dtype).removeprefix("torch.") in ("float16", "bfloat16")


def widest(xp: Namespace, x: Array) -> Array:
    """``x`` in float64 where its library and device have it, else unchanged (JAX without x64, some accelerators)."""
    if x.dtype == xp.float64:
        return x
    dtypes = xp.__array_namespace_info__().dtypes(device=device_of(x), kind="real floating")
    wide = dtypes.get("float64")
    return x if wide is None else xp.astype(x, wide)


def epsilon(xp: Namespace, dtype: Any) -> float:
    """The spacing of a dtype's numbers at 1 (2⁻⁷ for bfloat16)."""
    if is_half(dtype):
        return 2.0**-7 if "bfloat16" in str(dtype) else 2.0**-10
    return float(xp.finfo(dtype).eps)


def holds(condition: Array) -> bool | None:
    """The truth of a one-element boolean array, or None where a tracer hides it (jax.jit, torch.compile, vmap)."""
    return _seen(condition, bool)


def number(x: Array) -> float | None:
    """The number of an array without axes, or None where a tracer hides it."""
    return _seen(x, methodcaller("item"))  # float() would warn of a gradient


def _seen(x: Array, read: Callable[[Array], Result]) -> Result | None:
    if compiling() or isinstance(x, Symbol):
        return None
    jax = sys.modules.get("jax")
    hidden: tuple[type[Exception], ...] = () if jax is None else (jax.errors.ConcretizationTypeError,)
    try:
        return read(x)
    except hidden:
        return None
    except RuntimeError as error:
        # torch.func.vmap has no class of its own for "this value cannot be seen".
        if str(error).startswith("vmap:"):
            return None
        raise


def to_numpy(x: Array) -> np.ndarray[Any, Any]:
    """A NumPy copy or view of any array, for messages and for libraries that know NumPy alone."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if is_half(x.dtype) else x
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(x, jax.core.Tracer):
        x = jax.lax.stop_gradient(x)  # under plain jax.grad the values can be seen
    return np.asarray(x)


def first_failing(x: Array, good: Array) -> tuple[str, float]:
    """The index, as it is written in Python, and value of the first entry that is not good."""
    where = np.argwhere(~to_numpy(good))[0]
    return (f"[{', '.join(map(str, where))}]" if where.size else ""), float(to_numpy(x)[tuple(where)])


def as_scalar(x: Array) -> Any:
    """A zero-dimensional NumPy array as the scalar that NumPy's own reductions return; any other array as it is."""
    return x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x


def tree_sum(xp: Namespace, x: Array) -> Array:
    """The sum along the last axis by halves: rounding error O(log n · ε) in every library, whatever the strides."""
    odd: list[Array] = []
    n = x.shape[-1]
    while n > _TREE_LEAF:
        if n % 2:
            odd.append(x[..., n - 1])
        half = n // 2
        x = x[..., :half] + x[..., half : 2 * half]
        n = half
    total = xp.sum(x, axis=-1)
    for last in reversed(odd):
        total = total + last
    return total


def logsumexp(xp: Namespace, x: Array) -> Array:
    """Log Σ exp(x) along the last axis; −inf for a sum of nothing."""
    top = xp.max(x, axis=-1, keepdims=True)
    top = xp.where(xp.isfinite(top), top, 0.0)
    total = tree_sum(xp, xp.exp(x - top))
    empty = total == 0
    log_total = xp.log(xp.where(empty, 1.0, total)) + top[..., 0]
    return xp.where(empty, -math.inf, log_total)


def log_softmax(xp: Namespace, x: Array) -> Array:
    """Logits to log-probabilities along the last axis, to full relative precision also where one outcome has it all.

    The largest term is left out of the sum and its 1 is put back by log1p, so that log p = −Σ others keeps its digits.
    """
    outcomes = xp.arange(x.shape[-1], device=device_of(x))
    first = outcomes == xp.argmax(x, axis=-1, keepdims=True)
    # Not xp.max, whose derivative is shared among equal ones: the 1 that is put back is the first one's alone.
    top = xp.sum(xp.where(first, x, 0.0), axis=-1, keepdims=True)
    rest = xp.where(first, 0.0, xp.exp(x - top))
    return (x - top) - xp.log1p(tree_sum(xp, rest))[..., None]


def expm1_minus(xp: Namespace, u: Array) -> Array:
    """exp(u) − 1 − u ≥ 0, by its series near 0, where the two terms cancel to second order."""
    if hasattr(xp, "expm1_minus"):
        return xp.expm1_minus(u)
    eps = epsilon(xp, u.dtype)
    near = xp.abs(u) < 0.5
    small = xp.where(near, u, 0.0)
    # exp(u) − 1 − u = u²/2 · (1 + u/3 · (1 + u/4 · (…))), cut where a term of |u| = 1/2 falls below ε.
    last = 3
    while 2.0 * 0.5 ** (last - 2) / math.factorial(last) > eps / 4:
        last += 1
    series = 1.0 + small / last
    for k in range(last - 1, 2, -1):
        series = 1.0 + small / k * series
    large = xp.where(near, 1.0, u)
    return xp.where(near, 0.5 * small * small * series, xp.expm1(large) - large)


def root(xp: Namespace, x: Array) -> Array:
    """√x with gradient 0 at 0, where the true one is infinite or, for a distance, does not exist."""
    positive = x > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, x, 1.0)), 0.0 * x)
