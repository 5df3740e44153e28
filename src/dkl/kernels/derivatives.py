"""The derivatives of a formula that is written down as a trace: more steps of the same trace.

Each step passes on what the result owes it, its adjoint, to what it was made of, from the last step to the first. What
is selected and not taken is owed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from dkl.kernels.trace import Namespace, Symbol

_xp = Namespace()

# Of the adjoint g of a step's result y and of its operands, what each operand is owed; None for nothing.
_Rule = Callable[..., Sequence[Any]]


def _excess_of_power(g: Symbol, y: Symbol, x: Symbol, root: Symbol, power: Symbol) -> Sequence[Any]:
    """Of x − log(1 + x), 1 + x = root^power: nearby x/(1 + x) by x alone, so that nothing cancels; else by both."""
    near = (x < 0.25) & (x > -0.25)
    by_x = g * _xp.where(near, x / (1.0 + _xp.where(near, x, 0.0)), 1.0)
    return by_x, _xp.where(near, 0.0, -g * power / root), None


def _tanh(g: Symbol, y: Symbol, x: Symbol) -> Sequence[Any]:
    """1 − tanh² without the difference, by exp(−2|x|)."""
    fall = _xp.exp(-2.0 * abs(x))
    return (4.0 * (g * fall) / ((1.0 + fall) * (1.0 + fall)),)


def _gamma_rest_divergence(g: Symbol, value: Symbol, y: Symbol, x: Symbol, apart: Symbol) -> Sequence[Any]:
    """``apart`` is owed nothing: y and x, whose difference it is, have it already."""
    first, second = (y.trace.apply(f"gamma_rest_in_{place}", y, x, apart) for place in ("first", "second"))
    return g * first, g * second, None


_RULES: dict[str, _Rule] = {
    "+": lambda g, y, a, b: (g, g),
    "-": lambda g, y, a, b=None: (-g,) if b is None else (g, -g),
    "*": lambda g, y, a, b: (g * b, g * a),
    "/": lambda g, y, a, b: (g / b, -(g / b) * y),
    "select": lambda g, y, condition, a, b: (None, _xp.where(condition, g, 0.0), _xp.where(condition, 0.0, g)),
    "abs": lambda g, y, x: (_xp.where(x < 0.0, -g, g),),
    "exp": lambda g, y, x: (g * y,),
    "expm1": lambda g, y, x: (g * _xp.exp(x),),
    "expm1_minus": lambda g, y, x: (g * _xp.expm1(x),),
    "log": lambda g, y, x: (g / x,),
    "log1p": lambda g, y, x: (g / (1.0 + x),),
    "math.sqrt": lambda g, y, x: (0.5 * g / y,),
    "tanh": _tanh,
    "excess_of_power": _excess_of_power,
    "gamma_rest_divergence": _gamma_rest_divergence,
}


def adjoints(result: Symbol, seed: Symbol, inputs: Sequence[Symbol]) -> list[Symbol]:
    """The derivative of a result by each of some inputs, times a seed, as further steps of their trace."""
    trace = result.trace
    steps = list(trace.made)
    # Only what depends on these inputs is followed.
    active = {id(x) for x in inputs}
    for step in steps:
        if any(id(x) in active for x in step.operands):
            active.add(id(step))
    owed: dict[int, Symbol] = {id(result): seed}
    for step in reversed(steps):
        if id(step) not in active or id(step) not in owed:
            continue
        g = owed[id(step)]
        if step.operation not in _RULES:
            raise TypeError(f"a formula with {step.operation!r} of a parameter has no derivative")
        for operand, share in zip(step.operands, _shares(step, g), strict=True):
            if id(operand) in active and share is not None:
                owed[id(operand)] = owed[id(operand)] + share if id(operand) in owed else share
    return [owed.get(id(x), trace.lift(0.0)) for x in inputs]


def _shares(step: Symbol, g: Symbol) -> Sequence[Any]:
    return _RULES[step.operation](g, step, *step.operands)
