"""The labelled runs by which `dkl doctor` is judged: examples with one fault injected each, and healthy ones.

From the root of the repository,

- ``python -m scripts.make_doctor_runs make`` trains every fault with every seed and stores the logs in
  ``tests/doctor/runs``, one file a kind of training; ``--kind`` and ``--fault`` remake some of them;
- ``python -m scripts.make_doctor_runs fix`` trains them again with the recommended fixes, and stores which recover;
- ``python -m scripts.make_doctor_runs judge`` diagnoses the stored runs, and says what was mistaken for what;
- ``python -m scripts.make_doctor_runs page > docs/doctor-confusion.md`` remakes the page;
- ``python -m scripts.make_doctor_runs causes > docs/doctor-causes.md`` remakes the list of causes.

Even seeds are for tuning, odd seeds are held out: ``judge`` looks at the tuning half unless it is told to look at the
other.
"""

from __future__ import annotations

import contextlib
import io
import json
import multiprocessing
import os
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dkl.doctor import Diagnosis, diagnose
from scripts import doctor_causes
from scripts.doctor_faults import KINDS, Columns, Fault, faults

#: Where the runs are stored.
RUNS = Path(__file__).parents[1] / "tests" / "doctor" / "runs"

#: Training runs side by side.
PROCESSES = 2

#: On how many seeds of a fault each remedy is tried.
TRIED = 2

HALVES = ("tuning", "held-out")
HEALTHY = "healthy"
CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Run:
    """One labelled run, as it is stored."""

    fault: Fault
    seed: int
    columns: Columns

    @property
    def half(self) -> str:
        """The half of the set to which its seed belongs."""
        return HALVES[self.seed % 2]

    @property
    def truth(self) -> str:
        """The cause that must be found."""
        return self.fault.cause or HEALTHY

    def diagnosis(self) -> Diagnosis:
        """What the doctor says of it."""
        return diagnose(self.columns, kind=self.fault.kind, **self.fault.known)


@dataclass(frozen=True)
class Trial:
    """What came of a remedy on one seed."""

    fault: str
    cause: str
    seed: int
    remedy: str
    #: What it changes of the example's usual settings.
    changed: str
    #: The first words of the cause's fix that it tries; None for what would not help.
    fix: str | None
    recovered: bool

    @property
    def recommended(self) -> bool:
        """Whether the finding names it as a fix."""
        return self.fix is not None


def trained(fault: Fault, seed: int, settings: Any = None) -> Columns:
    """Train once, with the fault's settings or others, and read the log."""
    settings = replace(fault.settings if settings is None else settings, seed=seed)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
        out = Path(folder) / "run"
        fault.run(settings, out)
        lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    names = [name for name in dict.fromkeys(name for line in lines for name in line) if not _hidden(fault, name)]
    return {name: np.array([float(line.get(name, "nan")) for line in lines]) for name in names}


def changed(settings: Any) -> str:
    """What settings change of the usual ones, but for the seed."""
    usual = type(settings)()
    return ", ".join(
        f"{name}={value!r}"
        for name, value in vars(settings).items()
        if name != "seed" and value != getattr(usual, name)
    )


def _hidden(fault: Fault, name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in fault.hidden)


def store(path: Path, runs: Iterable[Run]) -> None:
    """Write runs into one Parquet file: a row for each line of a log, a column for each series of any of them."""
    runs = sorted(runs, key=lambda run: (run.fault.name, run.seed))
    names = list(dict.fromkeys(name for run in runs for name in run.columns))
    table: dict[str, Any] = {"fault": [], "seed": []}
    parts: dict[str, list[pa.Array]] = {name: [] for name in names}
    for run in runs:
        rows = len(run.columns["step"])
        table["fault"] += [run.fault.name] * rows
        table["seed"] += [run.seed] * rows
        for name in names:
            # Missing is null; NaN is a value that was logged.
            parts[name].append(
                pa.array(run.columns[name].astype(np.float32)) if name in run.columns else pa.nulls(rows, pa.float32())
            )
    table["seed"] = pa.array(table["seed"], pa.int16())
    columns = pa.table({**table, **{name: pa.chunked_array(chunks) for name, chunks in parts.items()}})
    settings = {run.fault.name: repr(run.fault.settings) for run in runs}
    pq.write_table(
        columns.replace_schema_metadata({"settings": json.dumps(settings, ensure_ascii=False)}),
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=["fault", "seed", "step"],
        use_byte_stream_split=[name for name in names if name != "step"],
    )


def stored(kind: str) -> list[Run]:
    """The stored runs of one kind of training, in the order of its faults.

    Raises
    ------
    ValueError
        If a fault is not stored, or was stored with other settings: the runs must be made again.
    """
    path = RUNS / f"{kind}.parquet"
    if not path.exists():
        return []
    table = pq.read_table(path)
    settings = json.loads(table.schema.metadata[b"settings"])
    known = {fault.name: fault for fault in faults(kind)}
    stale = {name for name, fault in known.items() if settings.get(name) != repr(fault.settings)} | (
        settings.keys() - known.keys()
    )
    if stale:
        raise ValueError(
            f"{path} holds other runs than scripts/doctor_faults/{kind}.py names: {sorted(stale)}; make them again"
        )
    return sorted(_read(table, known), key=lambda run: (list(known).index(run.fault.name), run.seed))


def _read(table: pa.Table, known: dict[str, Fault]) -> Iterator[Run]:
    names = np.array(table["fault"].to_pylist())
    seeds = table["seed"].to_numpy()
    for name, fault in known.items():
        for seed in np.unique(seeds[names == name]):
            rows = table.filter(pa.array((names == name) & (seeds == seed)))
            columns = {
                column: rows[column].to_numpy().astype(np.float64)
                for column in rows.column_names[2:]
                if rows[column].null_count < len(rows)
            }
            yield Run(fault, int(seed), columns)


def _make(job: tuple[str, str, int]) -> tuple[str, int, Columns]:
    kind, name, seed = job
    return name, seed, trained(_named(kind, name), seed)


def _try(job: tuple[str, str, int, int]) -> Trial:
    kind, name, seed, index = job
    fault = _named(kind, name)
    remedy = fault.remedies[index]
    recovered = fault.criterion is not None and fault.criterion.holds(trained(fault, seed, remedy.settings))
    return Trial(name, fault.cause or HEALTHY, seed, remedy.text, changed(remedy.settings), remedy.fix, bool(recovered))


def _named(kind: str, name: str) -> Fault:
    # Jobs go to other processes by name: a fault may hold what cannot be pickled.
    return next(fault for fault in faults(kind) if fault.name == name)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _done(work: Any, jobs: list[Any], what: str) -> list[Any]:
    """The work done on all jobs, by several processes, with its progress on standard error."""
    os.environ["OMP_NUM_THREADS"] = "1"
    began = time.perf_counter()
    results = []
    with multiprocessing.get_context("spawn").Pool(PROCESSES, initializer=_one_thread) as pool:
        for i, result in enumerate(pool.imap_unordered(work, jobs), 1):
            results.append(result)
            click.echo(
                f"\r{what}: {i} of {len(jobs)}, {time.perf_counter() - began:.0f} s", nl=i == len(jobs), err=True
            )
    return results


def found(diagnosis: Diagnosis, truth: str) -> str:
    """The answer as one word: the first cause that is more than a note, healthy, or that nothing can be told.

    Where there are notes alone, the truth is the answer if it is among them.
    """
    if diagnosis.status != "findings":
        noted = diagnosis.status == "healthy" and any(finding.name == truth for finding in diagnosis.findings)
        return truth if noted else HEALTHY if diagnosis.status == "healthy" else CANNOT_TELL
    return next(finding.name for finding in diagnosis.findings if finding.severity != "note")


@dataclass(frozen=True)
class Score:
    """How a half of a kind's runs was judged."""

    right: int
    faulty: int
    false_alarms: int
    healthy: int
    confusion: Counter[tuple[str, str]]


def judged(runs: Iterable[Run]) -> Score:
    """Diagnose runs and count."""
    confusion: Counter[tuple[str, str]] = Counter()
    false_alarms = 0
    for run in runs:
        diagnosis = run.diagnosis()
        confusion[run.truth, found(diagnosis, run.truth)] += 1
        false_alarms += run.fault.cause is None and diagnosis.worst == "error"
    right = sum(count for (truth, answer), count in confusion.items() if truth == answer and truth != HEALTHY)
    healthy = sum(count for (truth, _), count in confusion.items() if truth == HEALTHY)
    return Score(right, confusion.total() - healthy, false_alarms, healthy, confusion)


def trials(kind: str) -> list[Trial]:
    """The stored trials of one kind of training; see `untried` for what is missing among them."""
    path = RUNS / f"{kind}_fixes.json"
    return [Trial(**trial) for trial in json.loads(path.read_text(encoding="utf-8"))] if path.exists() else []


def untried(kind: str) -> set[tuple[str, str, str, str | None]]:
    """The remedies without a stored trial and the trials without their remedy: fault, remedy, what it changes, fix."""
    remedies = {(f.name, r.text, changed(r.settings), r.fix) for f in faults(kind) for r in f.remedies}
    return remedies ^ {(trial.fault, trial.remedy, trial.changed, trial.fix) for trial in trials(kind)}


CALLED = {
    "vae": "Variational autoencoders",
    "policy": "Policies",
    "distillation": "Distillation",
    "gan": "Generative adversarial networks",
}

HEAD = """# How often the doctor is right

Every run below is an example of this repository with one fault injected, or none; the doctor sees its log alone. Even
seeds were used to set the doctor's thresholds (tuning), odd seeds were not (held-out). "Right" means that the first
finding above a note is the fault's cause, or that a cause which is worth a note only is noted and nothing else found; a
false alarm is a healthy run with a finding at error level.
`python -m scripts.make_doctor_runs` remakes the runs and this page.
"""


def page() -> str:
    """The page: how often the answer is right, what was taken for what, and which fixes recover a run."""
    parts = [HEAD, *_overview()]
    for kind in KINDS:
        runs = stored(kind)
        if runs:
            parts += [
                f"\n## {CALLED[kind]}\n",
                *_injected(kind, runs),
                *_confusion(runs),
                *_recoveries(kind, trials(kind)),
            ]
    return "\n".join(parts).rstrip() + "\n"


def _overview() -> Iterator[str]:
    yield "| training | half | right | of faulty runs | false alarms | of healthy runs |\n|:--|:--|--:|--:|--:|--:|"
    for kind in KINDS:
        runs = stored(kind)
        for half in HALVES if runs else ():
            score = judged(run for run in runs if run.half == half)
            yield (
                f"| {CALLED[kind]} | {half} | {score.right} ({_percent(score.right, score.faulty)}) | {score.faulty} | "
                f"{score.false_alarms} | {score.healthy} |"
            )


def _injected(kind: str, runs: list[Run]) -> Iterator[str]:
    yield "### What was injected\n\n| fault | changed | cause | seeds |\n|:--|:--|:--|--:|"
    seeds = Counter(run.fault.name for run in runs)
    for fault in faults(kind):
        shown = f"`{changed(fault.settings)}`" if changed(fault.settings) else "nothing"
        yield f"| {fault.name} | {shown} | {fault.cause or HEALTHY} | {seeds[fault.name]} |"


def _confusion(runs: list[Run]) -> Iterator[str]:
    for half in HALVES:
        counts = judged(run for run in runs if run.half == half).confusion
        truths = list(dict.fromkeys(run.truth for run in runs))
        answers = [*truths, *sorted({answer for _, answer in counts} - set(truths))]
        yield f"\n### What was taken for what, {half}\n"
        yield "A row is the fault, a column the answer, by the number of its row.\n"
        yield "| | fault | " + " | ".join(str(i) for i, _ in enumerate(answers, 1)) + " |"
        yield "|--:|:--|" + "--:|" * len(answers)
        for i, truth in enumerate(truths, 1):
            cells = (str(counts[truth, answer] or "") for answer in answers)
            yield f"| {i} | {truth} | " + " | ".join(cells) + " |"
        for i, answer in enumerate(answers[len(truths) :], len(truths) + 1):
            yield f"\n{i}: {answer}."


def _recoveries(kind: str, tried: list[Trial]) -> Iterator[str]:
    if not tried:
        return
    yield "\n### Which fixes recover a run\n"
    yield "A fix is named by its first words; each was tried on the first seeds of its fault.\n"
    yield "| cause | fault | tried | as the fix | recovered | of seeds |\n|:--|:--|:--|:--|--:|--:|"
    together: dict[tuple[str, str, str, str | None], list[Trial]] = defaultdict(list)
    for trial in tried:
        together[trial.cause, trial.fault, trial.remedy, trial.fix].append(trial)
    for (cause, fault, remedy, fix), some in together.items():
        recovered = sum(trial.recovered for trial in some)
        named = f"{fix.rstrip(',.:')} …" if fix else "not recommended"
        yield f"| {cause} | {fault} | {remedy} | {named} | {recovered} | {len(some)} |"
    yield ""
    names = {trial.fault for trial in tried}
    causes: dict[str, dict[str, None]] = defaultdict(dict)
    for treated in faults(kind):
        if treated.criterion is not None and treated.name in names:
            causes[treated.criterion.text][treated.cause or HEALTHY] = None
    yield "What counts as recovered:\n"
    for text, of in causes.items():
        yield f"- {', '.join(of)}: {text}"


def _percent(some: int, of: int) -> str:
    return f"{100 * some / of:.0f} %" if of else "–"


def _chosen(kinds: tuple[str, ...], pattern: str) -> Iterator[tuple[str, list[Fault]]]:
    for kind in kinds or KINDS:
        chosen = [fault for fault in faults(kind) if fnmatch(fault.name, pattern)]
        if chosen:
            yield kind, chosen


_kind = click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Of training; all if not given.")
_fault = click.option("--fault", "pattern", default="*", help="Which faults, as a pattern such as 'collapse*'.")


@click.group(help=__doc__)
def main() -> None:
    """The labelled runs by which the doctor is judged."""


@main.command()
@_kind
@_fault
def make(kinds: tuple[str, ...], pattern: str) -> None:
    """Train and store runs; what is stored of other faults stays."""
    RUNS.mkdir(parents=True, exist_ok=True)
    for kind, chosen in _chosen(kinds, pattern):
        path = RUNS / f"{kind}.parquet"
        names = {fault.name for fault in chosen}
        others = {fault.name: fault for fault in faults(kind) if fault.name not in names}
        kept = list(_read(pq.read_table(path), others)) if path.exists() else []
        jobs = [(kind, fault.name, seed) for fault in chosen for seed in fault.seeds]
        made = [Run(_named(kind, name), seed, columns) for name, seed, columns in _done(_make, jobs, kind)]
        store(path, [*kept, *made])
        click.echo(f"{path}: {len(kept) + len(made)} runs, {path.stat().st_size / 1e6:.2f} MB", err=True)


@main.command()
@_kind
@_fault
def fix(kinds: tuple[str, ...], pattern: str) -> None:
    """Try the remedies; what is stored of other faults stays."""
    for kind, chosen in _chosen(kinds, pattern):
        path = RUNS / f"{kind}_fixes.json"
        jobs = [(kind, f.name, seed, i) for f in chosen for i in range(len(f.remedies)) for seed in f.seeds[:TRIED]]
        if not jobs:
            continue
        names = [fault.name for fault in faults(kind)]
        remade = {fault.name for fault in chosen}
        tried = [trial for trial in trials(kind) if trial.fault in names and trial.fault not in remade]
        tried += _done(_try, jobs, f"{kind}, fixes")
        tried.sort(key=lambda trial: (names.index(trial.fault), not trial.recommended, trial.remedy, trial.seed))
        lines = ",\n".join(json.dumps(vars(trial), ensure_ascii=False) for trial in tried)
        path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
        for line in _recoveries(kind, tried):
            click.echo(line)


@main.command()
@_kind
@_fault
@click.option("--held-out", is_flag=True, help="Look at the held-out half: once, at the end.")
@click.option("--all", "everything", is_flag=True, help="List the runs that were answered right, too.")
def judge(kinds: tuple[str, ...], pattern: str, held_out: bool, everything: bool) -> None:
    """Diagnose stored runs, and list what was mistaken."""
    half = HALVES[held_out]
    for kind in kinds or KINDS:
        runs = [run for run in stored(kind) if run.half == half and fnmatch(run.fault.name, pattern)]
        if not runs:
            continue
        for run in runs:
            diagnosis = run.diagnosis()
            if everything or found(diagnosis, run.truth) != run.truth:
                said = "; ".join(f"{x.severity} {x.name} ({x.confidence:.2f})" for x in diagnosis.findings)
                click.echo(f"{run.fault.name}, seed {run.seed}: {run.truth} → {said or diagnosis.status}")
        score = judged(runs)
        click.echo(
            f"{kind}, {half}: {score.right} of {score.faulty} faults right "
            f"({_percent(score.right, score.faulty)}); {score.false_alarms} of {score.healthy} healthy runs with an "
            "error"
        )


@main.command("page")
def print_page() -> None:
    """Print the page of the documentation."""
    click.echo(page(), nl=False)


@main.command("causes")
def print_causes() -> None:
    """Print the documentation's list of causes."""
    click.echo(doctor_causes.page(CALLED), nl=False)


if __name__ == "__main__":
    main()
