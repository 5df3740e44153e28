"""The benchmark's machinery on tiny shapes. No time is asserted anywhere."""

from __future__ import annotations

import gc
import io
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from benchmarks import memory, read_limit, report, startup, timing
from benchmarks.__main__ import main
from benchmarks.contest import Entry, Result, answers, contest
from benchmarks.libraries import NUMPY, on_equal_terms
from benchmarks.peers import OURS, PEERS, Peer
from benchmarks.report import Report
from benchmarks.timing import Budget, Times, alternate
from benchmarks.truth import truths
from benchmarks.work import DTYPES, GIVEN, MEMBERS, QUICK_SHAPES, TASKS, Pair, Work, everything, glance, main_lines

ONCE = Budget(rounds=1, least=1, block=0.0)
WRONG = Peer("hasty", NUMPY, lambda: {("kl", "probabilities"): lambda p, q: np.sum(p * np.log(p / q), axis=-1) * 1.2})
#: Everything in float32, and KL in float64.
TINY = [
    Work(member, task, Pair(given, dtype, (3, 8)))
    for member, task, given, dtype in itertools.product(MEMBERS, TASKS, GIVEN, DTYPES)
    if dtype == "float32" or member == "kl"
]


def _contest(work: Work, peers: list[Peer] | None = None) -> Result:
    x, y = work.pair.arrays()
    return contest(work, x, y, truths(work.pair, x, y, [work.member])[work.member], ONCE, peers)


def _report(*results: Result) -> Report:
    environment = {"machine": "here", "cpu": "some", "cores": 2, "system": "any", "date": "2000-01-01", "load": 0.0}
    environment |= {"dkl_from": "there", "threads": {"torch": 2}, "omp_wait_policy": "passive"}
    more = {"versions": {"dkl": "0"}, "truth_epsilon": 1e-19, "memory_method": "high water"}
    return Report(environment | more, quick=False, results=list(results))


def _printed(found: Report) -> str:
    out = io.StringIO()
    report.show(found, Console(width=120, file=out))
    return out.getvalue()


def _strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("work", TINY, ids=lambda work: work.name)
def test_every_peer_is_right_where_it_is_easy(work: Work) -> None:
    with on_equal_terms():
        result = _contest(work)
    assert all(peer.installed for peer in PEERS)
    assert result.ours is not None
    assert len(result.entries) >= 3
    for entry in result.entries:
        assert entry.left_out is None, entry
        assert entry.error is not None
        assert entry.error < (1e-3 if work.pair.dtype == "float32" else 1e-12), entry
        assert (entry.gradient_error is not None) == (work.task == "gradient")
        assert entry.times is not None
        assert len(entry.times.seconds) == 1


def test_a_wrong_answer_is_shown_as_wrong() -> None:
    result = _contest(TINY[0], [PEERS[0], WRONG, PEERS[1]])
    hasty = result.entries[-1]
    assert hasty.wrong
    assert hasty.error == pytest.approx(0.2, rel=1e-5)
    found = _report(result)
    assert not found.ours_is_wrong
    assert "wrong: 2e-01" in _printed(found)
    assert "(wrong: 2e-01)" in report.markdown(found, {"KL": TINY[0]})
    assert [c["wrong"] for c in report.to_dict(found)["results"][0]["contestants"]] == [False, True]


def test_ours_is_held_to_the_same() -> None:
    assert _report(_contest(TINY[0], [replace(WRONG, name=OURS)])).ours_is_wrong


def test_a_failure_is_a_result() -> None:
    def fail(p: object, q: object) -> object:
        raise ValueError("no")

    failing = Peer("failing", NUMPY, lambda: {("kl", "probabilities"): fail})
    result = _contest(TINY[0], [*PEERS[:3], failing])
    assert result.entries[-1].left_out == "failed: ValueError: no"
    assert "failing: failed: ValueError: no" in _printed(_report(result))
    assert _report(_contest(TINY[0], [replace(failing, name=OURS)])).ours_is_wrong


def test_a_call_that_needs_too_much_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available", lambda: 40_000_000)
    result = _contest(Work("kl", "value", Pair("probabilities", "float64", (160, 50_000))), PEERS[2:3])
    assert "GB" in (result.entries[0].left_out or "")
    assert result.entries[0].times is None


def test_a_package_that_is_missing_has_no_part() -> None:
    assert _contest(TINY[0], [replace(WRONG, package="no_such_package")]).entries == ()


def test_the_read_limit_reads_both_inputs() -> None:
    for dtype in DTYPES:
        x, y = Pair("logits", dtype, (7, 1001)).arrays()
        total = x.sum(dtype=float) + y.sum(dtype=float)
        assert read_limit.kernel()(x, y) == pytest.approx(total, rel=1e-3)
    result = _contest(Work("tv", "value", Pair("probabilities", "float32", (7, 1001))), PEERS[2:3])
    assert result.read is not None
    assert result.over_read(result.entries[0]) is not None
    assert read_limit.NAME in _printed(_report(result))
    assert _contest(TINY[0], PEERS[2:3]).read is None


def test_contestants_alternate_and_each_begins_in_turn() -> None:
    called: list[str] = []
    calls = {name: (lambda name=name: called.append(name)) for name in "abc"}
    times = alternate(calls, Budget(rounds=3, least=3, block=0.0))
    # One call each decides how many make a block; then come the rounds.
    assert "".join(called) == "abc" + "abcbcacab"
    assert [len(one.seconds) for one in times.values()] == [3, 3, 3]


def test_quick_calls_are_repeated_and_rounds_end_with_the_time() -> None:
    times = alternate({"a": lambda: None}, Budget(rounds=50, least=2, seconds=0.0, block=1e-4))["a"]
    assert times.calls > 10
    assert len(times.seconds) == 2


def test_ratios_are_taken_within_rounds() -> None:
    ours, slower = Times((1.0, 2.0, 10.0), 1), Times((3.0, 6.0, 10.0), 1)
    assert slower.over(ours) == 3.0
    assert slower.quartiles == (4.5, 8.0)


@pytest.mark.skipif(memory.method() != "high water", reason="what memory is measured by needs Linux's clear_refs")
def test_memory_that_is_freed_within_a_call_is_seen() -> None:
    size = 48 * 2**20

    def call() -> float:
        return float(np.ones(size // 8).sum())

    call()
    assert size <= (memory.peak_extra(call) or 0) + 2**20 <= 1.2 * size
    assert (memory.peak_extra(lambda: None) or 0) < 2**20


def test_sampled_memory_keeps_the_answer_in_sight() -> None:
    size = 48 * 2**20
    peak, answer = memory._sampled(lambda: np.ones(size // 8))
    assert peak >= size
    assert len(answer) == size // 8  # type: ignore[arg-type]


def test_plans() -> None:
    assert len(list(everything(QUICK_SHAPES))) == 5 * 2 * 2 * 2 * 5
    names = [work.name for work in glance(QUICK_SHAPES)]
    assert len(names) == len(set(names)) < 60
    assert {work.name for work in main_lines(QUICK_SHAPES).values()} <= set(names)


def test_nearly_equal_pairs_show_who_cancels() -> None:
    pair = Pair("logits", "float32", (2, 256), 1e-9)
    x, y = pair.arrays()
    with on_equal_terms():
        entries = answers(pair, x, y, truths(pair, x, y, ["kl"])["kl"])
    wrong = {entry.name: entry.wrong for entry in entries}
    assert not wrong.pop(OURS)
    assert len(wrong) == 6
    assert all(wrong.values())


def test_startup_is_beyond_the_bare_interpreter() -> None:
    assert startup.programs(quick=True, installed=["scipy"])[0] == startup.BARE
    assert not any(name.startswith("torch") for name in startup.programs(quick=False, installed=["scipy"]))
    times = startup.start([startup.BARE, startup.IMPORT], rounds=1)
    assert set(times) == {startup.BARE, startup.IMPORT}
    found = _report()
    found.startup = times
    assert "beyond" in _printed(found)
    assert "`import dkl`" in report.markdown(found, {})


def test_a_file_is_whole_and_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    assert main(["--quick", "--only", "kl/probabilities/value/float32/10$", "--json", str(path)]) == 0
    assert "kl/probabilities/value/float32/10" in capsys.readouterr().out
    found = _strict(path.read_text())
    assert found["quick"] is True
    assert {"numpy", "torch", "jax", "numba", "scipy", "dkl", "python"} <= set(found["versions"])
    (result,) = found["results"]
    ours = result["contestants"][0]
    assert ours["name"] == OURS
    assert len(ours["seconds"]["rounds"]) == 3
    assert ours["seconds"]["min"] <= ours["seconds"]["median"] <= ours["seconds"]["max"]
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_number_is_null(tmp_path: Path) -> None:
    entry = Entry("lost", value_error=float("inf"))
    report.write_json(tmp_path / "out.json", _report(Result(TINY[0], (entry,), None)))
    (lost,) = _strict((tmp_path / "out.json").read_text())["results"][0]["contestants"]
    assert (lost["value_error"], lost["wrong"]) == (None, True)


def test_a_failure_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_text("before")

    def fail(descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        report.write_json(path, _report())
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_pattern_without_work_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "no such work"]) == 2
    assert "--list" in capsys.readouterr().err


def test_a_file_that_cannot_be_written_is_said_before_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json", "no/such/folder/out.json"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_list_names_the_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "^kl/logits/value|near|import"]) == 0
    names = capsys.readouterr().out.split()
    assert "kl/logits/value/float32/128x131072" in names
    assert names[-3:] == ["near/probabilities", "near/logits", "import"]


def test_garbage_is_collected_again_after_a_run() -> None:
    with timing.settled():
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0
