"""The labelled runs: the doctor is right about those it was not tuned on, and what it recommends recovers a run."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dkl.doctor import Cause, Fix
from dkl.doctor.case import CAUSES
from dkl.doctor.causes import load
from scripts import doctor_faults
from scripts import make_doctor_runs as runs
from scripts.doctor_faults import KINDS, Columns, Criterion, Fault, Remedy, faults, tried

load()
PAGE = Path(__file__).parents[2] / "docs" / "doctor-confusion.md"
STORED = [kind for kind in KINDS if (runs.RUNS / f"{kind}.parquet").exists()]


def names(kind: str) -> set[str]:
    return {known.name for known, _ in CAUSES if known.kind == kind}


def test_there_are_enough_runs_and_they_are_small() -> None:
    stored = [run for kind in STORED for run in runs.stored(kind)]
    assert len(stored) >= 60
    assert sum(path.stat().st_size for path in runs.RUNS.iterdir()) < 3e6


@pytest.mark.parametrize("kind", STORED)
def test_every_fault_is_stored_with_every_seed_and_has_a_cause_of_its_kind(kind: str) -> None:
    stored = {(run.fault.name, run.seed) for run in runs.stored(kind)}
    assert stored == {(fault.name, seed) for fault in faults(kind) for seed in fault.seeds}
    assert {fault.cause for fault in faults(kind)} - {None} <= names(kind)
    for fault in faults(kind):
        assert {seed % 2 for seed in fault.seeds} == {0, 1}, fault.name


@pytest.mark.parametrize("kind", STORED)
def test_the_held_out_half_is_answered_right(kind: str) -> None:
    score = runs.judged(run for run in runs.stored(kind) if run.half == "held-out")
    assert score.right >= 0.9 * score.faulty
    assert score.false_alarms <= 0.05 * score.healthy
    assert score.faulty > 0
    assert score.healthy > 0


@pytest.mark.parametrize("kind", STORED)
def test_what_is_recommended_recovers_the_run_and_the_faulty_run_has_not_recovered(kind: str) -> None:
    recovered: dict[tuple[str, str, bool], list[bool]] = defaultdict(list)
    for trial in runs.trials(kind):
        recovered[trial.fault, trial.remedy, trial.recommended].append(trial.recovered)
    for (fault, remedy, recommended), outcomes in recovered.items():
        assert len(outcomes) >= 2, (fault, remedy)
        if recommended:
            assert all(outcomes), (fault, remedy)
        else:
            assert sum(outcomes) <= len(outcomes) / 2, (fault, remedy)
    treated = {(trial.fault, trial.seed) for trial in runs.trials(kind)}
    for run in runs.stored(kind):
        if (run.fault.name, run.seed) in treated and run.fault.criterion is not None:
            assert not run.fault.criterion.holds(run.columns), (run.fault.name, run.seed)


@pytest.mark.parametrize("kind", STORED)
def test_every_remedy_was_tried_as_it_is_now(kind: str) -> None:
    assert runs.untried(kind) == set()


@pytest.mark.parametrize("kind", ["vae", "policy"])
def test_every_fix_of_every_cause_recovers_a_run(kind: str) -> None:
    named = {fault.name: fault for fault in faults(kind)}
    recovering = {
        (trial.cause, tried(named[trial.fault], trial.fix).text)
        for trial in runs.trials(kind)
        if trial.fix is not None and trial.recovered
    }
    assert recovering == {(known.name, fix.text) for known, _ in CAUSES if known.kind == kind for fix in known.fixes}


@pytest.mark.parametrize("kind", ["vae", "policy"])
def test_every_cause_has_a_labelled_run(kind: str) -> None:
    assert names(kind) == {fault.cause for fault in faults(kind)} - {None}


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == runs.page()


@dataclass(frozen=True)
class Plain:
    seed: int = 0


def _train(settings: Plain, out: Path) -> None:
    out.mkdir()
    assert settings.seed == 3
    lines = [{"step": 0, "kl": 1.0, "spare": 2.0}, {"step": 1, "kl": "nan", "late": "inf"}]
    (out / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))


def test_a_log_is_read_and_what_is_hidden_is_not() -> None:
    fault = Fault("vae", "none", None, _train, Plain(), hidden=("spa*",))
    columns = runs.trained(fault, 3)
    assert list(columns) == ["step", "kl", "late"]
    np.testing.assert_array_equal(columns["kl"], [1.0, np.nan])
    np.testing.assert_array_equal(columns["late"], [np.nan, np.inf])


def test_runs_are_stored_and_read_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = faults("vae")
    made: list[tuple[Fault, int, Columns]] = [
        (first, 0, {"step": np.arange(3.0), "kl": np.array([1.0, np.nan, np.inf])}),
        (first, 1, {"step": np.arange(2.0), "kl": np.array([1.0, 2.0]), "beta": np.array([0.5, 0.25])}),
        (second, 0, {"step": np.arange(1.0), "kl": np.array([-4.0])}),
    ]
    monkeypatch.setattr(runs, "RUNS", tmp_path)
    monkeypatch.setattr(runs, "faults", lambda kind: (first, second))
    runs.store(tmp_path / "vae.parquet", [runs.Run(*one) for one in made])
    read = runs.stored("vae")
    assert [(run.fault.name, run.seed) for run in read] == [(fault.name, seed) for fault, seed, _ in made]
    for run, (_, _, columns) in zip(read, made, strict=True):
        assert run.columns.keys() == columns.keys()
        for name, values in columns.items():
            np.testing.assert_array_equal(run.columns[name], values)


def test_runs_of_other_settings_must_be_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, *_ = faults("vae")
    monkeypatch.setattr(runs, "RUNS", tmp_path)
    monkeypatch.setattr(runs, "faults", lambda kind: (first, second))
    runs.store(tmp_path / "vae.parquet", [runs.Run(first, 0, {"step": np.arange(3.0)})])
    with pytest.raises(ValueError, match="make them again"):
        runs.stored("vae")


def test_what_is_no_fault_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="kind='other' is none of"):
        Fault("other", "x", None, _train, None)
    remedy = Remedy("nothing", None)
    with pytest.raises(ValueError, match="need a criterion"):
        Fault("vae", "x", None, _train, None, remedies=(remedy,))
    for words, count in (("Lower", 2), ("Raise", 0)):
        fault = Fault(
            "policy", "too fast", "of a test", _train, None, criterion=Criterion("never", lambda columns: False),
            remedies=(Remedy("slower", None, words),),
        )  # fmt: skip
        known = Cause("of a test", "policy", "", (Fix("Lower it."), Fix("Lower that.")), (), "", ())
        monkeypatch.setattr(doctor_faults, "CAUSES", [(known, lambda case: None)])
        with pytest.raises(ValueError, match=f"too fast: '{words}' begins {count} fixes of of a test.*'Lower it.'"):
            tried(fault, words)
    assert Criterion("always", lambda columns: True).holds({})
