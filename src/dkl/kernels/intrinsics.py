"""What the loops ask of the compiler itself, beyond what Numba has words for."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


@intrinsic
def prefetch(typing_context: Any, array: Any, index: Any) -> Any:
    """Ask for the cache line of ``array[index]``, which may lie beyond the array's end: a hint never faults.

    Without it, a core that calculates a lot with each entry waits for memory.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        address = builder.bitcast(builder.gep(data, [arguments[1]]), byte)
        hint = builder.module.declare_intrinsic(
            "llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        )
        # For reading, into the first cache, of data.
        builder.call(hint, [address, word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


@intrinsic
def widest(typing_context: Any) -> Any:
    """Say in the function that calls this that its loops may fill the widest registers there are.

    A compiler takes half of them by default, lest a few wide instructions slow down what runs around them; here
    nothing else runs.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        # llvmlite's own ``add`` knows the attributes without a value alone.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def larger(typing_context: Any, x: Any, y: Any) -> Any:
    """The larger of two numbers, neither of which is NaN: the one form of which a loop over outcomes makes a vector."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = arguments[0].type
        function = builder.module.declare_intrinsic("llvm.maxnum", [number], ir.FunctionType(number, [number] * 2))
        return builder.call(function, arguments, fastmath=("nnan", "nsz"))

    return x(x, x), generate


@intrinsic
def select(typing_context: Any, condition: Any, x: Any, y: Any) -> Any:
    """``x`` if the condition holds, else ``y``; both are computed, where an ``if`` would be a branch at first."""
    number = typing_context.unify_types(x, y)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        condition, x, y = arguments
        return builder.select(condition, x, y)

    return number(types.boolean, number, number), generate
