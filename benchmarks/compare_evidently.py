"""Time and peak memory of ``dkl compare`` beside evidently's JS preset, on the same Parquet pair.

``python benchmarks/compare_evidently.py [--rows N]`` writes two tables of N rows (default 1,000,000) with 15 float and
5 string columns into a temporary folder, then runs each tool in a process of its own, in turn, three times, and prints
the medians and their ratio. evidently does not go with pandas 3: name an interpreter that has it with
``--evidently PYTHON`` (``pip install "pandas<3" evidently pyarrow``).
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DKL = "import dkl, sys; c = dkl.compare(sys.argv[1], sys.argv[2]); print(len(c.columns), 'columns')"
EVIDENTLY = """
import sys
import pandas as pd
from evidently import Dataset, DataDefinition, Report
from evidently.presets import DataDriftPreset
reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
definition = DataDefinition(
    numerical_columns=[c for c in reference if c.startswith("x")],
    categorical_columns=[c for c in reference if c.startswith("s")],
)
report = Report([DataDriftPreset(method="jensenshannon")])
run = report.run(Dataset.from_pandas(current, definition), Dataset.from_pandas(reference, definition))
print(len(run.dict()["metrics"]), "metrics")
"""


def write_pair(folder: Path, rows: int) -> tuple[Path, Path]:
    """Two tables that differ a little in every other column."""
    rng = np.random.default_rng(0)
    paths = (folder / "reference.parquet", folder / "current.parquet")
    for side, path in enumerate(paths):
        columns: dict[str, object] = {}
        for i in range(15):
            columns[f"x{i}"] = rng.standard_normal(rows) * (1 + 0.1 * side * (i % 2)) + 0.05 * side * (i % 2)
        for i in range(5):
            weights = rng.dirichlet(np.full(20 * (i + 1), 5.0)) if side == 0 or i % 2 else None
            names = np.array([f"value {k}" for k in range(20 * (i + 1))])
            columns[f"s{i}"] = pa.array(names[rng.choice(names.size, rows, p=weights)])
        pq.write_table(pa.table(columns), path)
    return paths


def run(python: str, code: str, paths: tuple[Path, Path]) -> tuple[float, float]:
    """Wall seconds and peak resident memory in MB of one process."""
    start = time.perf_counter()
    process = subprocess.Popen([python, "-W", "ignore", "-c", code, *map(str, paths)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{python} failed")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def main() -> None:
    """Run both in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--evidently", default=sys.executable, help="a Python that has evidently")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pair(Path(folder), options.rows)
        runs: dict[str, list[tuple[float, float]]] = {"dkl": [], "evidently": []}
        for _ in range(options.repeats):
            runs["dkl"].append(run(sys.executable, DKL, paths))
            runs["evidently"].append(run(options.evidently, EVIDENTLY, paths))
    medians = {name: [statistics.median(figure) for figure in zip(*rows, strict=True)] for name, rows in runs.items()}
    print(f"2 × {options.rows:,} rows × 20 columns, median of {options.repeats}, whole process with reading")
    for name, (seconds, megabytes) in medians.items():
        print(f"{name:<10} {seconds:8.2f} s {megabytes:9.0f} MB")
    seconds, megabytes = (e / d for d, e in zip(medians["dkl"], medians["evidently"], strict=True))
    print(f"evidently/dkl: time {seconds:.1f} ×, memory {megabytes:.1f} ×")


if __name__ == "__main__":
    main()
