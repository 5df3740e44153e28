"""Arrays of any library: their namespace and dtype, and the few functions that stay right near 0 and ∞.

Everything here is written in the Python array API standard, so one definition serves NumPy, PyTorch, JAX and any
other conforming library, and each one's own autodiff differentiates it. A branch that is not taken is always fed a
harmless number first: an infinite value in an unused branch of ``where`` would turn the gradient into NaN.
"""

from __future__ import annotations

import math
import sys
from typing import Any, TypeAlias

import array_api_compat
import numpy as np

Array: TypeAlias = Any
Namespace: TypeAlias = Any

# Below this length the library's own sum is as accurate as a tree of sums.
_TREE_LEAF = 64


# NumPy warns where a number leaves the floating range. Here that is an answer (an infinite term, a vanishing one).
overflowing = np.errstate(over="ignore", under="ignore")


def namespace_of(**arguments: Any) -> Namespace:
    """The array API namespace shared by the arguments that are arrays; NumPy's where none is (lists, numbers)."""
    arrays = {name: x for name, x in arguments.items() if array_api_compat.is_array_api_obj(x)}
    spaces = {name: array_api_compat.array_namespace(x) for name, x in arrays.items()}
    distinct = {space.__name__: name for name, space in spaces.items()}
    if len(distinct) > 1:
        kinds = " and ".join(f"{name} a {type(arrays[name]).__module__.split('.')[0]} array" for name in arguments)
        raise TypeError(f"{kinds}: convert one of them, so that both come from the same array library")
    if spaces:
        return next(iter(spaces.values()))
    return array_api_compat.array_namespace(np.empty(0))


def as_array(xp: Namespace, x: Any, name: str, like: Array | None = None) -> Array:
    """``x`` as an array of ``xp`` with a real dtype, on the device of ``like``; a TypeError names what is not one."""
    if not array_api_compat.is_array_api_obj(x):
        try:
            host = np.asarray(x)
        except (ValueError, TypeError) as error:
            raise TypeError(f"{name} is a {type(x).__name__} that is not a rectangular array: {error}") from error
        if host.dtype.kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got {_describe_kind(x, host)}")
        device = (
            {} if like is None or array_api_compat.is_numpy_namespace(xp) else {"device": array_api_compat.device(like)}
        )
        return xp.asarray(host.tolist() if host.ndim == 0 else host, **device)
    if array_api_compat.is_numpy_array(x) and x.dtype.kind not in "biuf":
        raise TypeError(f"{name} must hold real numbers, got an array of dtype {x.dtype}")
    if not array_api_compat.is_numpy_array(x) and xp.isdtype(x.dtype, "complex floating"):
        raise TypeError(f"{name} must hold real numbers, got an array of dtype {x.dtype}")
    return x


def _describe_kind(x: Any, host: np.ndarray[Any, Any]) -> str:
    if host.ndim == 0 and host.dtype.kind == "O":
        return f"a {type(x).__name__}"
    return f"a {type(x).__name__} of dtype {host.dtype}"


def real_floating(xp: Namespace, *arrays: Array) -> list[Array]:
    """The arrays in one floating dtype in which it is safe to accumulate: float32 at least.

    Integers and booleans become the library's default floating dtype; float16 and bfloat16 become float32.
    """
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
    dtypes = xp.__array_namespace_info__().dtypes(device=array_api_compat.device(x), kind="real floating")
    wide = dtypes.get("float64")
    return x if wide is None or x.dtype == wide else xp.astype(x, wide)


def epsilon(xp: Namespace, dtype: Any) -> float:
    """The spacing of a dtype's numbers at 1 (2⁻⁷ for bfloat16)."""
    if is_half(dtype):
        return 2.0**-7 if "bfloat16" in str(dtype) else 2.0**-10
    return float(xp.finfo(dtype).eps)


def holds(condition: Array) -> bool | None:
    """The truth of a one-element boolean array, or None where a tracer hides it (jax.jit, torch.compile, vmap)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.compiler.is_compiling():
        return None
    jax = sys.modules.get("jax")
    hidden: tuple[type[Exception], ...] = () if jax is None else (jax.errors.ConcretizationTypeError,)
    try:
        return bool(condition)
    except hidden:
        return None
    except RuntimeError as error:
        # torch.func.vmap has no class of its own for "this value cannot be seen".
        if str(error).startswith("vmap:"):
            return None
        raise


def to_numpy(x: Array) -> np.ndarray[Any, Any]:
    """A NumPy copy or view of any array, for messages and for libraries that know NumPy alone."""
    if array_api_compat.is_torch_array(x):
        x = x.detach().cpu()
        x = x.float() if is_half(x.dtype) else x
        return np.asarray(x.numpy())
    return np.asarray(x)


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
    top = xp.max(x, axis=-1, keepdims=True)
    first = xp.argmax(x, axis=-1, keepdims=True)
    outcomes = xp.arange(x.shape[-1], device=array_api_compat.device(x))
    rest = xp.where(outcomes == first, 0.0, xp.exp(x - top))
    return (x - top) - xp.log1p(tree_sum(xp, rest))[..., None]


def expm1_minus(xp: Namespace, u: Array) -> Array:
    """exp(u) − 1 − u ≥ 0, by its series near 0, where the two terms cancel to second order."""
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
