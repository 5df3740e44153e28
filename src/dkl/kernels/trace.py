"""A divergence's definition, written down as straight-line code.

The members of the family are defined once, in the array API, by what they do to the outcomes of a pair. Called with the
symbols of this module in the place of arrays, a definition leaves behind the list of its steps; :meth:`Trace.function`
prints them as the source of a scalar function that a compiler can fuse into a loop. Every number that a definition
brings in (an order, a weight, the coefficients of a series) becomes an argument, so that all orders share one function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

#: What a traced function is given of an outcome; of probabilities, the last three are made where they are needed.
ARGUMENTS = ("p", "q", "difference", "log_ratio", "log_p", "log_q")


#: The name of an input that is 1 wherever the function will be called: no factor or divisor is made of it.
ONE = "1.0"
_INFIX = ("+", "-", "*", "/", "<", "<=", ">", ">=", "==", "&", "|")


@dataclass(eq=False)
class Trace:
    """The steps of a definition, each computed once, and the numbers that it brings in."""

    dtype: np.dtype[Any]
    steps: list[str] = field(default_factory=list)
    constants: list[float] = field(default_factory=list)
    #: What the steps made, in their order.
    made: list[Symbol] = field(default_factory=list)
    _known: dict[str, Symbol] = field(default_factory=dict)

    def input(self, name: str) -> Symbol:
        """A symbol for an argument of the function."""
        return Symbol(self, name)

    def apply(self, operation: str, *operands: Any) -> Symbol:
        """The symbol that holds what an operator or a function of the loops makes of symbols and numbers."""
        symbols = tuple(map(self.lift, operands))
        names = [x.name for x in symbols]
        if operation in ("*", "/") and names[-1] == ONE:
            return symbols[0]
        if operation == "*" and names[0] == ONE:
            return symbols[1]
        if len(names) == 2 and operation in _INFIX:
            expression = f"{names[0]} {operation} {names[1]}"
        else:
            expression = f"{operation}({', '.join(names)})"
        if expression not in self._known:
            name = f"v{len(self.steps)}"
            self.steps.append(f"{name} = {expression}")
            self._known[expression] = Symbol(self, name, operation, symbols)
            self.made.append(self._known[expression])
        return self._known[expression]

    def lift(self, value: Any) -> Symbol:
        """A symbol as it is; a number as the next of the function's constants."""
        if isinstance(value, Symbol):
            return value
        self.constants.append(float(value))
        return Symbol(self, f"c[{len(self.constants) - 1}]")

    def forget_steps(self) -> None:
        """Begin another function that shares the constants."""
        self.steps.clear()
        self.made.clear()
        self._known.clear()

    def function(self, name: str, arguments: Sequence[str], results: Sequence[Symbol]) -> str:
        """The source of the function; its last argument ``c`` is the tuple of constants."""
        return self._source([*arguments, "c"], name, [f"return {', '.join(r.name for r in results)}"])

    def procedure(self, name: str, arguments: Sequence[str], results: Sequence[Symbol]) -> str:
        """The source of a procedure that leaves its results under a lane ``j`` of ``made``, its last arguments."""
        stores = [f"made[{i} * PITCH + j] = {x.name}" for i, x in enumerate(results)]
        return self._source([*arguments, "c", "made", "j"], name, stores)

    def _source(self, arguments: Sequence[str], name: str, ending: Sequence[str]) -> str:
        lines = [f"def {name}({', '.join(arguments)}):", *(f"    {line}" for line in (*self.steps, *ending))]
        return "\n".join([*lines, ""])


class Symbol:
    """A real or boolean value of a traced function."""

    __slots__ = ("name", "operands", "operation", "trace")

    #: It stands for a number, which has no axes, and whose value cannot be seen.
    shape = ()

    if TYPE_CHECKING:
        # Made below, all alike.
        def __add__(self, other: Any) -> Symbol: ...
        def __radd__(self, other: Any) -> Symbol: ...
        def __sub__(self, other: Any) -> Symbol: ...
        def __mul__(self, other: Any) -> Symbol: ...
        def __rmul__(self, other: Any) -> Symbol: ...
        def __truediv__(self, other: Any) -> Symbol: ...
        def __rtruediv__(self, other: Any) -> Symbol: ...
        def __lt__(self, other: Any) -> Symbol: ...
        def __gt__(self, other: Any) -> Symbol: ...
        def __and__(self, other: Any) -> Symbol: ...

    def __init__(self, trace: Trace, name: str, operation: str = "", operands: tuple[Symbol, ...] = ()) -> None:
        self.trace, self.name, self.operation, self.operands = trace, name, operation, operands

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the arrays that the function will be applied to."""
        return self.trace.dtype

    def __bool__(self) -> bool:
        raise TypeError("a symbol has no truth value: choose with xp.where, as traced code must")

    def __pow__(self, exponent: float) -> Symbol:
        if exponent == 2:
            return self * self
        if exponent == -2:
            return 1.0 / (self * self)
        if exponent == -0.5:
            return 1.0 / self.trace.apply("math.sqrt", self)
        raise TypeError(f"a symbol can be squared, not raised to {exponent!r}")

    def __neg__(self) -> Symbol:
        return self.trace.apply("-", self)

    def __abs__(self) -> Symbol:
        return self.trace.apply("abs", self)

    def __invert__(self) -> Symbol:
        return self.trace.apply("not ", self)


def _binary(operator: str) -> tuple[Callable[[Symbol, Any], Symbol], Callable[[Symbol, Any], Symbol]]:
    def forward(self: Symbol, other: Any) -> Symbol:
        return self.trace.apply(operator, self, other)

    def reflected(self: Symbol, other: Any) -> Symbol:
        return self.trace.apply(operator, other, self)

    return forward, reflected


for _name, _operator in (("add", "+"), ("sub", "-"), ("mul", "*"), ("truediv", "/")):
    _forward, _reflected = _binary(_operator)
    setattr(Symbol, f"__{_name}__", _forward)
    setattr(Symbol, f"__r{_name}__", _reflected)
for _name, _operator in (("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">="), ("eq", "=="), ("and", "&"), ("or", "|")):
    setattr(Symbol, f"__{_name}__", _binary(_operator)[0])


class Namespace:
    """The part of the array API in which divergences are defined, on symbols."""

    finfo = staticmethod(np.finfo)

    @staticmethod
    def where(condition: Symbol, x: Any, y: Any) -> Symbol:
        """``x`` where the condition holds, else ``y``; both are computed."""
        return condition.trace.apply("select", condition, x, y)

    @staticmethod
    def excess(x: Symbol, root: Symbol, power: float) -> Symbol:
        """X − log(1 + x), where 1 + x = root^power."""
        return x.trace.apply("excess_of_power", x, root, power)

    @staticmethod
    def gamma_rest_divergence(y: Symbol, x: Symbol, apart: Symbol) -> Symbol:
        """See :func:`dkl.families.special.gamma_rest_divergence`."""
        return y.trace.apply("gamma_rest_divergence", y, x, apart)

    @staticmethod
    def isfinite(x: Symbol) -> Symbol:
        """Whether a number is neither infinite nor NaN."""
        return abs(x) < math.inf

    @staticmethod
    def all(x: Symbol) -> Symbol:
        """The one truth that there is at a place."""
        return x

    def __getattr__(self, name: str) -> Callable[[Symbol], Symbol]:
        if name not in ("exp", "expm1", "expm1_minus", "log", "log1p", "sqrt", "abs", "tanh"):
            raise AttributeError(f"traced code cannot call xp.{name}")
        return lambda x: x.trace.apply("math.sqrt" if name == "sqrt" else name, x)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The symbols of one pair's outcome: what :class:`dkl.pairs.Outcomes` is for arrays.

    The numbers that keep their digits where p and q nearly agree are made by the primitives of :mod:`dkl.kernels`, from
    p, q and p − q if the pair came as probabilities, and with log(p/q) if it came as logarithms.
    """

    xp: ClassVar[Any] = Namespace()
    p: Symbol
    q: Symbol
    difference: Symbol
    from_logs: bool
    _log_ratio: Symbol | None = None
    _log_p: Symbol | None = None
    _log_q: Symbol | None = None

    @property
    def log_ratio(self) -> Symbol:
        """log(p/q)."""
        if self._log_ratio is not None:
            return self._log_ratio
        return self._call("log_quotient", self.p, self.q, self.difference)

    @property
    def kl_terms(self) -> Symbol:
        """p·log(p/q) − p + q."""
        if self._log_ratio is not None:
            return self._call("kl_term_from_log", self.p, self.q, self._log_ratio)
        return self._call("kl_term", self.p, self.q, self.difference)

    @property
    def js_terms(self) -> Symbol:
        """½·(p·log(p/m) + q·log(q/m)) with m = (p + q)/2."""
        return self._call("js_term", self.p, self.q, self.difference)

    @property
    def log_p(self) -> Symbol:
        """Log p."""
        return self.xp.log(self.p) if self._log_p is None else self._log_p

    @property
    def log_q(self) -> Symbol:
        """Log q."""
        return self.xp.log(self.q) if self._log_q is None else self._log_q

    @property
    def swapped(self) -> Outcomes:
        """The pair (Q, P)."""
        L = None if self._log_ratio is None else -self._log_ratio
        return Outcomes(self.q, self.p, -self.difference, self.from_logs, L, self._log_q, self._log_p)

    def mixed(self, share: float, rest: float) -> Outcomes:
        """The pair (P, rest·P + share·Q)."""
        if rest == 0:
            return self
        # The mixture is no smaller than a share of p, so that the quotient of the two is safe also from logs.
        return Outcomes(self.p, rest * self.p + share * self.q, share * self.difference, from_logs=False)

    def _call(self, name: str, *arguments: Symbol) -> Symbol:
        return self.p.trace.apply(name, *arguments)


class Core(Protocol):
    """What a divergence tells of itself: see :class:`dkl.divergences.base.Member`."""

    def __hash__(self) -> int:
        """One for equal definitions."""

    @property
    def f_zero(self) -> float:
        """f(0)."""

    @property
    def slope_inf(self) -> float:
        """Lim f(t)/t."""

    @property
    def slopes(self) -> tuple[float, float]:
        """The derivatives of a term at p = 0 and at q = 0."""

    def inside(self, shared: Any) -> Any:
        """The terms."""

    def log_gradient(self, shared: Any) -> Any:
        """Their derivatives with respect to log p and log q."""


@cache
def traced(core: Core, source: str, precision: str) -> tuple[str, tuple[float, ...]]:
    """The source of a divergence's term and of its derivatives, and the constants of both."""
    trace = Trace(np.dtype(precision))
    for edge in (core.f_zero, core.slope_inf, *core.slopes):
        trace.lift(edge)
    outcomes = _outcomes(trace, source)
    term = trace.function("term", ARGUMENTS, [trace.lift(core.inside(outcomes))])
    trace.forget_steps()
    gradient = trace.function(
        "log_gradient", ARGUMENTS, [trace.lift(x) for x in core.log_gradient(_outcomes(trace, source))]
    )
    return f"{term}\n{gradient}", tuple(trace.constants)


def _outcomes(trace: Trace, source: str) -> Outcomes:
    p, q, difference, log_ratio, log_p, log_q = (trace.input(name) for name in ARGUMENTS)
    if source == "probabilities":
        return Outcomes(p, q, difference, from_logs=False)
    return Outcomes(p, q, difference, True, log_ratio, log_p, log_q)
