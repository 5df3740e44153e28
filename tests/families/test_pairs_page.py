"""The page that says which pair has which method is what the registry says today."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make_pairs_table.py"], capture_output=True, text=True, check=True
    )
    assert made.stdout == (ROOT / "docs" / "pairs.md").read_text(encoding="utf-8")
