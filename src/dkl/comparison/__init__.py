"""Comparing two tables or two sets of distributions, from files of any size or from memory.

Both sides are read into integer counts on shared cells (`dkl.methods.tables`); every number in the resulting
`Comparison` is computed from those counts.
"""

try:
    import pyarrow as _pyarrow  # noqa: F401
except ImportError as error:
    raise ImportError(
        'dkl.compare reads tables with pyarrow, which is not installed: pip install "dkl[cli]"'
    ) from error

from dkl.comparison.api import compare, save_reference
from dkl.comparison.array_result import Agreement, ArrayComparison, RowSummary
from dkl.comparison.errors import ColumnError, DataError
from dkl.comparison.reference import read_reference
from dkl.comparison.result import (
    Cell,
    ColumnComparison,
    Comparison,
    Measured,
    Settings,
    Side,
    Test,
    Verdict,
)
from dkl.comparison.scan import ReferenceState

__all__ = [
    "Agreement",
    "ArrayComparison",
    "Cell",
    "ColumnComparison",
    "ColumnError",
    "Comparison",
    "DataError",
    "Measured",
    "ReferenceState",
    "RowSummary",
    "Settings",
    "Side",
    "Test",
    "Verdict",
    "compare",
    "read_reference",
    "save_reference",
]
