"""The documentation's list of causes: it is the registry's, whole and up to date."""

from __future__ import annotations

from pathlib import Path

import pytest

from dkl.doctor import Cause
from dkl.doctor.case import CAUSES
from dkl.doctor.causes import load
from scripts.doctor_causes import page
from scripts.make_doctor_runs import CALLED

load()
PAGE = Path(__file__).parents[2] / "docs" / "doctor-causes.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(CALLED)


@pytest.mark.parametrize("known", [known for known, _ in CAUSES], ids=lambda known: f"{known.kind}, {known.name}")
def test_the_page_holds_all_that_is_known_of_a_cause(known: Cause) -> None:
    section = page({known.kind: "It"}).split(f"\n### {known.name}\n")[1].split("\n### ")[0]
    for told in (known.because, known.reference, *known.not_helping):
        assert told in section
    for advice in (*known.fixes, *known.checks):
        assert advice.text in section
        assert all(line in section for line in advice.code.split("\n"))
    assert all(f"`{role}`" in section for role in known.needs)
