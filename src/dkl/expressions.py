"""Distributions written as text, such as ``normal(0, 1)`` or ``0.3*normal(-2, 1) + 0.7*normal(2, scale=0.5)``.

The text is read as data: numbers, lists of them, names of distributions and of their parameters. Nothing in it is run.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable, Collection
from functools import cache
from typing import Any, cast

from dkl import families
from dkl.divergences import kl
from dkl.mixture import Mixture, MixtureFamily
from dkl.representations import Counts, Logits, Probs, Representation

_LONGEST = 10_000


def parse(text: str) -> Representation:
    """The distribution that a text describes.

    Parameters
    ----------
    text : str
        A name of :func:`names` with numbers, by place or by name, in parentheses; a list in brackets where a parameter
        is a vector or a matrix; or a sum of weights times distributions, which is a mixture.

    Returns
    -------
    Distribution or representation

    Raises
    ------
    ValueError
        For text that is none, with the place and what would be; for parameters that the distribution refuses.

    Examples
    --------
    >>> from dkl.expressions import parse
    >>> parse("normal(0, scale=2)")
    Normal(loc=0, scale=2)
    >>> parse("nomal(0, 1)")
    Traceback (most recent call last):
    ValueError: 'nomal(0, 1)': there is no distribution 'nomal'; did you mean 'normal'?
    """
    if len(text) > _LONGEST:
        raise ValueError(f"an expression of {len(text)} characters is longer than {_LONGEST}")
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        place = f" at character {error.offset} ({error.msg})" if isinstance(error, SyntaxError) and error.offset else ""
        raise ValueError(f"{text!r}: not an expression{place}; write for example 'normal(0, 1)'") from None
    try:
        return _read(node)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{text!r}: {error}") from None


def parse_family(text: str) -> type[families.Distribution] | MixtureFamily:
    """The family that a text names.

    Parameters
    ----------
    text : str
        A name of :func:`names` without parameters, or ``"mixture:normal:3"`` for mixtures of three of them.

    Returns
    -------
    type or MixtureFamily
        What :func:`dkl.fit` takes.

    Raises
    ------
    ValueError
        For a name that is none, with the nearest that is; for a number of components that is none.

    Examples
    --------
    >>> from dkl.expressions import parse_family
    >>> parse_family("student_t"), parse_family("mixture:normal:3")
    (<class 'dkl.families.others.StudentT'>, Mixture.of(Normal, 3))
    """
    head, colon, rest = text.strip().partition(":")
    if not colon:
        return _families()[_found(head, _families())]
    name, _, count = rest.partition(":")
    if head.lower() != "mixture" or not count.isdecimal():
        raise ValueError(f"{text!r} is no family: write a name such as 'normal', or 'mixture:normal:3'")
    return Mixture.of(_families()[_found(name, _families())], int(count))


def parse_number(text: str) -> Any:
    """The number, or list of numbers, that a text holds: such as ``10``, ``1/3`` or ``[1, 2.5]``.

    Parameters
    ----------
    text : str

    Returns
    -------
    float or list

    Raises
    ------
    ValueError
        For text that is none.

    Examples
    --------
    >>> from dkl.expressions import parse_number
    >>> parse_number("[1, -1/4]")
    [1.0, -0.25]
    """
    try:
        return _number(ast.parse(text.strip()[:_LONGEST], mode="eval").body)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise ValueError(f"{text!r} is no number, and no list of numbers in brackets") from None


@cache
def _families() -> dict[str, type[families.Distribution]]:
    return {
        _spelled(name): getattr(families, name)
        for name in families.__all__
        if not inspect.isabstract(getattr(families, name))
    }


@cache
def _makers() -> dict[str, Callable[..., Representation]]:
    known: dict[str, Callable[..., Representation]] = dict(_families())
    return known | {"probs": _outcomes(Probs), "logits": _outcomes(Logits), "counts": _outcomes(Counts)}


def names() -> tuple[str, ...]:
    """The names that an expression may use."""
    return tuple(sorted(_makers()))


def _spelled(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _outcomes(kind: type) -> Callable[..., Representation]:
    def make(*numbers: Any) -> Representation:
        made: Representation = kind(
            list(numbers[0]) if len(numbers) == 1 and isinstance(numbers[0], list) else list(numbers)
        )
        # The numbers are looked at when something is measured: here, so that what is wrong is said of the text.
        try:
            kl(made, made)
        except ValueError as error:
            raise ValueError(str(error).replace("p[", f"{kind.__name__.lower()}[", 1)) from None
        return made

    return make


def _read(node: ast.expr) -> Representation:
    terms = list(_terms(node))[::-1]
    if len(terms) == 1 and terms[0][0] is None:
        return _made(terms[0][1])
    weights = [weight for weight, _ in terms]
    if None in weights:
        raise ValueError("every part of a sum needs a weight, as in 0.5*normal(0, 1) + 0.5*normal(3, 1)")
    parts = [_made(call) for _, call in terms]
    if not all(isinstance(part, families.Distribution) for part in parts):
        raise ValueError("lists of outcomes have no place in a sum: mix their numbers instead")
    return Mixture(cast("list[families.Distribution]", parts), weights)


def _terms(node: ast.expr) -> Any:
    """The weights and calls that a sum is made of, the last first; a weight of None for a call alone."""
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        right, node = node.right, node.left
        yield from _terms(right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult):
        if isinstance(node.left, ast.Call):
            raise ValueError(f"{ast.unparse(node)!r}: the weight comes first, as in 0.5*normal(0, 1)")
        yield _number(node.left), node.right
    else:
        yield None, node


def _made(node: ast.expr) -> Representation:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise ValueError(
            f"{ast.unparse(node)!r} is no distribution: write its name and parameters, as in 'gamma(2, rate=1)'"
        )
    known = _makers()
    name = _found(node.func.id, known)
    if any(keyword.arg is None for keyword in node.keywords):
        raise ValueError(f"{ast.unparse(node)!r}: ** has no place here")
    given = [_number(x) for x in node.args], {str(k.arg): _number(k.value) for k in node.keywords}
    signature = inspect.signature(known[name])
    try:
        signature.bind(*given[0], **given[1])
    except TypeError as error:
        raise ValueError(f"{name} takes {', '.join(signature.parameters)}: {error}") from None
    return known[name](*given[0], **given[1])


def _found(given: str, known: Collection[str]) -> str:
    """A name as it stands in the list: "StudentT" and "studentt" are "student_t"."""
    spelled = {name.replace("_", ""): name for name in known}
    name = spelled.get(given.lower().replace("_", ""), given.lower())
    if name not in known:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known))}"
        raise ValueError(f"there is no distribution {given!r}; {hint}")
    return name


def _number(node: ast.expr) -> Any:
    if isinstance(node, ast.List | ast.Tuple):
        return [_number(x) for x in node.elts]
    sign = 1
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        sign, node = (-sign if isinstance(node.op, ast.USub) else sign), node.operand
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return sign * float(cast(float, node.value))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        over, under = _number(node.left), _number(node.right)
        if isinstance(over, float) and isinstance(under, float) and under:
            return sign * over / under
    raise ValueError(f"{ast.unparse(node)!r} is no number")
