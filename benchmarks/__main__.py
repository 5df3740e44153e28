"""``python -m benchmarks``: dkl beside its peers, in one process, on the same arrays; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import machine, read_limit, startup
from .contest import answers, contest
from .libraries import on_equal_terms
from .peers import PEERS
from .report import Report, markdown, show, write_json
from .timing import Budget, settled
from .truth import truths
from .work import GIVEN, QUICK_SHAPES, SHAPES, Pair, Work, by_pair, everything, glance, main_lines, near

_QUICK_BUDGET = Budget(rounds=3, least=3, seconds=2.0, block=0.002)
_NEAR_SHAPE, _QUICK_NEAR_SHAPE = (8, 131_072), (8, 16_384)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller and fewer shapes, fewer rounds: under a minute")
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        type=re.compile,
        help="a regular expression: do the work whose name it is found in, such as 'kl/logits/.*/float32' or 'near'",
    )
    parser.add_argument("--json", metavar="FILE", help="also write everything there, every timing included")
    parser.add_argument("--markdown", action="store_true", help="print the README's short table, and do its work alone")
    parser.add_argument("--list", action="store_true", help="name the work, and do none")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 1 if dkl itself gave a wrong answer, and 0 otherwise, whatever the times."""
    options = _options(arguments)
    shapes = QUICK_SHAPES if options.quick else SHAPES
    lines = main_lines(shapes)

    def asked_for(name: str) -> bool:
        return options.only is None or options.only.search(name) is not None

    plan = lines.values() if options.markdown else glance(shapes) if options.quick else everything(shapes)
    works = [work for work in plan if asked_for(work.name)]
    nears = [given for given in GIVEN if not options.markdown and asked_for(f"near/{given}")]
    starts = asked_for("import")
    if options.list:
        print(*(work.name for work in works), *(f"near/{given}" for given in nears), *["import"] * starts, sep="\n")
        return 0
    if not (works or nears or starts):
        print(f"--only {options.only.pattern}: matches no work; --list names it", file=sys.stderr)
        return 2
    if options.json and not Path(options.json).resolve().parent.is_dir():
        print(f"--json {options.json}: there is no such folder", file=sys.stderr)
        return 2
    report = _run(works, nears, starts, options.quick)
    if options.markdown:
        print(markdown(report, lines))
    else:
        show(report, Console())
    if options.json:
        write_json(options.json, report)
    return int(report.ours_is_wrong)


def _run(works: Sequence[Work], nears: Sequence[str], starts: bool, quick: bool) -> Report:
    """Do all that was asked for, with a bar on standard error."""
    for peer in PEERS:
        if peer.installed:
            peer.formulas()  # imports what it needs
    if read_limit.installed():
        read_limit.kernel()
    report = Report(machine.describe(), quick)
    budget = _QUICK_BUDGET if quick else Budget()
    aside = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        on_equal_terms(),
        settled(),
        Progress(*columns, console=aside, disable=not aside.is_terminal, refresh_per_second=1) as progress,
    ):
        task = progress.add_task("", total=len(works) + len(nears) + starts)
        if starts:
            progress.update(task, description="import")
            names = startup.programs(quick, {peer.name.split()[0].split(".")[0] for peer in PEERS if peer.installed})
            report.startup = startup.start(names, 3 if quick else 7)
            progress.advance(task)
        for given in nears:
            progress.update(task, description=f"near/{given}")
            for pair in near(given, _QUICK_NEAR_SHAPE if quick else _NEAR_SHAPE):
                _add_near(report, pair)
            progress.advance(task)
        for pair, same in by_pair(list(works)).items():
            x, y = pair.arrays()
            right = truths(pair, x, y, dict.fromkeys(work.member for work in same))
            for work in same:
                progress.update(task, description=work.name)
                report.results.append(contest(work, x, y, right[work.member], budget))
                progress.advance(task)
    return report


def _add_near(report: Report, pair: Pair) -> None:
    x, y = pair.arrays()
    truth = truths(pair, x, y, ["kl"])["kl"]
    report.near.append((pair, float(truth.value.mean()), answers(pair, x, y, truth)))


if __name__ == "__main__":
    machine.let_threads_sleep()
    raise SystemExit(main())
