"""dkl against frozen values of 80-digit arithmetic, on every backend."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dkl
from dkl.methods import fused

from ..contract.backends import BACKENDS, Backend
from ..contract.samples import OUTCOMES, sample
from .cases import FEW, MEMBERS, Case, cases, wrap
from .make_references import digest, entry, with_logs

REFERENCES: dict[str, Any] = json.loads(Path(__file__).with_name("references.json").read_text())
#: The bar of relative error.
BAR = {"float64": 1e-12, "float32": 1e-5}


@cache
def _case(name: str) -> Case:
    stored = REFERENCES[name]
    if "p" not in stored:
        return next(case for case in cases() if case.name == name)
    p, q = (np.array([float.fromhex(v) for v in stored[side]]).astype(stored["dtype"]) for side in "pq")
    return Case(name, tuple(stored["kinds"]), p, q)


@cache
def _member(name: str) -> dkl.Divergence:
    cls, parameter = MEMBERS[name]
    return getattr(dkl, cls) if parameter is None else getattr(dkl, cls)(parameter)


def _tolerance(case: Case, reference: float, name: str) -> float:
    """The bar, or what the rounding of the inputs' conversion leaves where the two sides are of different kinds.

    A conversion (exp, log, a quotient of counts) perturbs each log-ratio by δ ≤ ε·(1 + |log p|). A KL of K is ½ E[L²]
    to leading order, so it moves by up to δ·√(2K), in relative terms by δ·√(2/K); a Rényi divergence of order a, whose
    mean is taken under another measure, by up to |a| times that.
    """
    bar = BAR[case.p.dtype.name]
    if case.kinds == ("counts", "counts") or case.kinds[0] != case.kinds[1]:
        values = {n: float(v) for n, v in REFERENCES[case.name]["values"].items()}
        size = values["js"] if values["js"] > 0 else 1.0
        eps = np.finfo(case.p.dtype if case.kinds == ("counts", "counts") else "float64").eps
        logs = [-np.log(x[x > 0] / x.sum()) if kind in ("probs", "counts") else np.zeros(1) for kind, x in
                zip(case.kinds, (case.p, case.q), strict=True)]  # fmt: skip
        order = abs(MEMBERS[name][1] or 1.0) if math.isfinite(MEMBERS[name][1] or 1.0) else 1.0
        bar = max(
            bar, float(eps) * (1 + max(float(x.max()) for x in logs)) * math.sqrt(2 / (8 * size)) * 4 * (1 + order)
        )
    return bar * reference


def _shortfall(case: Case, name: str, got: float, backend: Backend) -> str | None:
    """What is wrong with a value, if anything."""
    finfo = np.finfo(case.p.dtype)
    exact = float(REFERENCES[case.name]["values"][name])
    mixed = case.kinds[0] != case.kinds[1]
    largest = float(finfo.max) if not mixed else float(np.finfo("float64").max)
    if math.isnan(got) or got < 0:
        return f"{name}: got {got}, exact {exact:.17g}"
    if exact > largest * (1 - BAR[finfo.dtype.name]):
        return None if got == math.inf or got >= largest * 0.99 else f"{name}: got {got}, exact {exact:.17g}"
    lost = float(finfo.smallest_subnormal if backend.keeps_subnormals else finfo.smallest_normal) * 4 * len(case.p)
    order = MEMBERS[name][1]
    if order is not None and order != 1 and math.isfinite(order):
        lost *= 1 + abs(order) + 1 / abs(order - 1)  # a quotient by (order − 1) magnifies what underflow took
    if name == "hellinger":
        lost = math.sqrt(lost)
    if not abs(got - exact) <= _tolerance(case, exact, name) + lost:
        off = abs(got - exact) / exact if exact else math.inf
        return f"{name}: got {got:.17g}, exact {exact:.17g}, relative error {off:.2g}"
    return None


@pytest.mark.parametrize("few", [0, fused.FEW], ids=["by arrays", "by numbers"])
@pytest.mark.parametrize("name", list(REFERENCES))
def test_every_member_meets_the_bar(name: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "FEW", few)
    case = _case(name)
    p, q = (wrap(dkl, kind, x) for kind, x in zip(case.kinds, (case.p, case.q), strict=True))
    got = {member: float(_member(member)(p, q)) for member in REFERENCES[name]["values"]}
    _assert_right({(case, member): value for member, value in got.items()}, BACKENDS["numpy"])


def _assert_right(got: dict[tuple[Case, str], float], backend: Backend) -> None:
    wrong = [f"{c.name}: {w}" for (c, member), x in got.items() if (w := _shortfall(c, member, x, backend))]
    assert not wrong, f"{len(wrong)} of {len(got)} values are off; " + "\n".join(wrong[:6])


Stack = tuple[tuple[str, str], str, int]
#: Pairs of up to this many outcomes are padded with impossible ones, which changes nothing, and their stacks to this
#: height by repetition, so that a library that compiles for each shape has one to compile for: that of the laws.
_WIDTH, _HEIGHT = OUTCOMES, sample().p.shape[0]


@cache
def _stacks() -> dict[Stack, list[Case]]:
    """The cases that fit in one array, as rows of a batch."""
    stacks: dict[Stack, list[Case]] = {}
    for name, stored in REFERENCES.items():
        case = _case(name)
        stacks.setdefault((case.kinds, stored["dtype"], max(case.p.shape[0], _WIDTH)), []).append(case)
    return stacks


def _batch(rows: list[Case], side: int, width: int) -> np.ndarray:
    nothing = 0.0 if rows[0].kinds[side] in ("probs", "counts") else -math.inf
    batch = [np.pad(x, (0, width - x.size), constant_values=nothing) for x in ((c.p, c.q)[side] for c in rows)]
    return np.resize(np.stack(batch), (_HEIGHT if width == _WIDTH else len(rows), width))


# A compiler takes seconds for each new shape: long rows are of one shape and dtype here; NumPy has them all, above.
_SHORT_OR_LONG = [
    s for s in _stacks() if s[2] == _WIDTH or (s[2] == 10_000 and s[1] == "float32" and s[0][0] == "logits")
]


@pytest.mark.parametrize("stack", _SHORT_OR_LONG, ids=lambda s: f"{s[1]}-{'-'.join(s[0])}-{s[2]}")
def test_every_backend_meets_the_bar_on_stacked_pairs(stack: Stack, backend: Backend) -> None:
    kinds, _, width = stack
    rows = _stacks()[stack]
    if not backend.keeps_subnormals:
        rows = [case for case in rows if not _has_subnormals(case)]
    assert len(rows) <= _HEIGHT
    p, q = (wrap(dkl, kinds[i], backend.asarray(_batch(rows, i, width))) for i in (0, 1))
    got = {}
    for member in FEW:
        values = backend.to_numpy(_member(member)(p, q))[: len(rows)]
        got |= {(case, member): float(value) for case, value in zip(rows, values, strict=True)}
    _assert_right(got, backend)


@pytest.mark.parametrize("stack", _stacks(), ids=lambda s: f"{s[1]}-{'-'.join(s[0])}-{s[2]}")
def test_the_loops_meet_the_bar(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "LEAST", 0)
    monkeypatch.setattr(fused, "FEW", 0)
    kinds, _, width = stack
    rows = _stacks()[stack]
    p, q = (wrap(dkl, kinds[i], _batch(rows, i, width)[: len(rows)]) for i in (0, 1))
    # Of two kinds, probabilities are loaded through their logarithms; what follows is compiled anew for that, but it is
    # the code of two sides of logits, which have every member.
    names = FEW if kinds[0] != kinds[1] else REFERENCES[rows[0].name]["values"]
    got = {}
    for name in names:
        member = _member(name)
        assert (fused.total(member, p, q, -1) is not None) == (member.core is not None), name
        measured = [(case, value) for case, value in zip(rows, member(p, q), strict=True)]
        got |= {(case, name): float(value) for case, value in measured if name in REFERENCES[case.name]["values"]}
    _assert_right(got, BACKENDS["numpy"])


def _has_subnormals(case: Case) -> bool:
    x = np.concatenate([case.p, case.q])
    return case.kinds[0] == "probs" and bool(((x > 0) & (x < np.finfo(x.dtype).smallest_normal)).any())


def test_every_case_is_frozen_with_its_inputs() -> None:
    made = {case.name: case for case in cases()}
    assert set(made) == set(REFERENCES)
    for name, case in made.items():
        if case.large:
            assert digest(case) == REFERENCES[name]["sha256"], name
        elif not case.take_logs:
            stored = _case(name)
            np.testing.assert_array_equal(stored.p, case.p)
            np.testing.assert_array_equal(stored.q, case.q)


def test_the_script_makes_the_frozen_values() -> None:
    for case in cases()[::17]:
        if case.p.shape[0] <= 10:
            made = json.loads(json.dumps(entry(with_logs(case))))
            assert made == REFERENCES[case.name], case.name


LESSON = [
    ([0.9, 0.1], [0.1, 0.9], 1.7577796618689758, 1.7577796618689758, 0.3680642071684971),
    ([0.9, 0.1], [0.5, 0.5], 0.3680642071684971, 0.5108256237659907, 0.10174922507919676),
    ([0.7, 0.2, 0.1], [0.1, 0.2, 0.7], 1.1675460894331877, 1.1675460894331877, 0.25310161544280674),
    ([0.99, 0.01], [0.5, 0.5], 0.637145646205098, 1.614463080360851, 0.19318747481657023),
    ([0.7, 0.2, 0.1], [0.8, 0.2, 0.0], math.inf, 0.10682511409961822, 0.03632526246259268),
]


@pytest.mark.parametrize(("p", "q", "forward", "backward", "js"), LESSON)
def test_the_lesson_to_the_last_digit(p: Any, q: Any, forward: float, backward: float, js: float) -> None:
    for got, expected in ((dkl.kl(p, q), forward), (dkl.kl(q, p), backward), (dkl.js(p, q), js)):
        # The decimals of the lesson are no floats: 0.7 + 0.2 + 0.1 and its like are off by one unit in the last place.
        assert float(got) == pytest.approx(expected, rel=4e-16, abs=1.2e-16)


def test_the_cases_span_what_is_claimed() -> None:
    for dtype, least in (("float64", 1e-26), ("float32", 2e-13)):
        sizes = [float(r["values"]["kl"]) for r in REFERENCES.values() if r["dtype"] == dtype]
        positive = [x for x in sizes if 0 < x < math.inf]
        assert min(positive) < least * 10
        assert max(positive) > 900
        assert math.inf in sizes
        assert 0.0 in sizes
