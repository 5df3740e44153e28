"""The benchmark of the fused last layers, on a few tokens."""

from __future__ import annotations

import pytest

from benchmarks import fused_linear

SMALL = ["--tokens", "20", "--words", "50", "--hidden", "4", "--repeats", "1", "--processes", "1"]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_both_contestants_give_the_same_loss(dtype: str) -> None:
    ours, plain = (
        fused_linear.measure(who, tokens=20, words=50, hidden=4, dtype=dtype, repeats=1)
        for who in (fused_linear.OURS, fused_linear.PLAIN)
    )
    assert ours["loss"] == pytest.approx(plain["loss"], rel=1e-12 if dtype == "float64" else 1e-2)
    assert ours["seconds"] > 0
    assert ours["bytes"] >= 0


def test_what_is_printed(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {
        fused_linear.OURS: {"loss": 0.5, "bytes": 2.0**20, "seconds": 1.0},
        fused_linear.PLAIN: {"loss": 0.5, "bytes": 8 * 2.0**20, "seconds": 2.0},
    }
    monkeypatch.setattr(fused_linear, "in_a_process", lambda who, options: runs[who])
    assert fused_linear.main(SMALL) == 0
    assert "dkl/torch: time 0.50, memory 0.125" in capfd.readouterr().out
    runs[fused_linear.OURS]["loss"] = 0.6
    assert fused_linear.main(SMALL) == 1
