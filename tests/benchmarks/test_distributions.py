"""The benchmark of closed forms: every contestant gives the same answer, and is named in what is printed."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import distributions


def test_it_prints_every_contestant_of_every_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.distributions", "--seconds", "0", "--rounds", "1"])
    distributions.main()
    printed = capsys.readouterr().out
    for title, work in distributions.works().items():
        assert title in printed
        assert all(name in printed for name in work)


def test_a_contestant_with_another_answer_is_no_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmarks.distributions", "--seconds", "0"])
    wrong = {"dkl": lambda: np.ones(2), "another": lambda: np.array([1.0, 1.1])}
    monkeypatch.setattr(distributions, "works", lambda: {"a work": wrong})
    with pytest.raises(AssertionError, match="a work: another"):
        distributions.main()
