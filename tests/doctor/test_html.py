"""The page: whole, asking for nothing, and with nothing in it that the log could have put there as markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from dkl.doctor import Check, Diagnosis, Evidence, Finding, Fix, Series
from dkl.doctor.html import drawing, page

from .diagnoses import DRIFT, EXPLODING, HEALTHY, KL, UNTOLD

_VOID = {"meta", "rect", "line", "polyline"}
_EVIL = "<script>alert(1)</script>\"'&"


class _Reader(HTMLParser):
    """Collects tags, attributes and text, and holds every tag to be closed in its order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_everything_that_is_to_be_said_is_there() -> None:
    read = _Reader(page([("runs/vae", EXPLODING)]))
    for part in (
        "Error: explosion by mean drift (almost certain).",
        "runs/vae",
        "The means have left the prior. Their squares are the KL.",
        "The KL rises from 1 to 3,835 nats.",
        "Take smaller steps.",
        "scheduler = None",
        "To make sureSee how far the means are from 0.print(mu.abs().max())Look at each dimension.",
        "Lowering β treats the symptom",
        "ICLR (2014), equation 10",
        "kl is 'train/<kl> $x$'.",
        "loss: NaN or infinite at 9 of 100 steps",
        "posterior collapse, a decoder that ignores z: log mu_squared (the mean over the batch of Σ μ²)",
        "another: log beta",
        "novel",
        "dashed: a KL that one sees, 30",
        "red marks: NaN or infinite",
    ):
        assert part in read.text, part
    assert read.tags.count("svg") == 2
    assert read.tags.count("article") == 2
    assert read.tags.count("h2") == 1
    # A cause with nothing to make sure of has no such heading.
    assert read.text.count("To make sure") == 1


def test_it_asks_for_nothing_and_forbids_it() -> None:
    text = page([("a", EXPLODING), ("b", HEALTHY)])
    read = _Reader(text)
    assert not {"script", "link", "img", "iframe", "object", "style src"} & set(read.tags)
    assert not {"src", "href", "srcset", "onload", "data"} & {name for name, _ in read.attributes}
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?://", text)
    policy = dict(read.attributes)["content"]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in read.attributes, policy
    assert "prefers-color-scheme: dark" in text


def test_nothing_of_the_log_is_markup() -> None:
    series = Series(_EVIL, KL.steps, KL.values)
    finding = Finding(
        replace(
            DRIFT,
            name=_EVIL,
            because=_EVIL,
            fixes=(Fix(_EVIL, _EVIL),),
            not_helping=(_EVIL,),
            reference=_EVIL,
            checks=(Check(_EVIL, _EVIL),),
        ),
        "error",
        0.9,
        (Evidence(_EVIL, (series,), (0.0, 10.0), (_EVIL, 3.0)),),
    )
    everything = Diagnosis("vae", [finding], "findings", [_EVIL], {_EVIL: [_EVIL]}, {"kl": series}, [_EVIL])
    text = page([(_EVIL, everything)])
    read = _Reader(text)
    assert "script" not in read.tags
    assert "<script" not in text.lower()
    # The heading, the source, the title, and whatever else holds it: told as it is.
    assert read.text.count(_EVIL) >= 16
    assert ("aria-label", f"{_EVIL} by step") in read.attributes
    other = _Reader(page([(_EVIL, _EVIL)]))
    assert "script" not in other.tags
    assert f"Could not be read{_EVIL}{_EVIL}" in other.text


def test_half_a_letter_can_be_written() -> None:
    broken = replace(HEALTHY, statements=["\ud800 is half a letter"])
    assert "\\ud800 is half a letter" in page([("x", broken)]).encode("utf-8").decode()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HEALTHY, "Healthy"),
        (UNTOLD, "Cannot tell: What is trained cannot be told from x; say kind=."),
        ("it is empty", "Could not be read"),
    ],
)
def test_every_answer_is_an_answer(answer: Any, said: str) -> None:
    assert said in _Reader(page([("x", answer)])).text


def _points(svg: str) -> np.ndarray[Any, Any]:
    (found,) = re.findall(r'points="([^"]*)"', svg)
    return np.array([[float(x) for x in pair.split(",")] for pair in found.split()])


def test_a_drawing_is_what_was_logged() -> None:
    steps = np.array([0.0, 50.0, 100.0])
    points = _points(drawing(Series("x", steps, np.array([1.0, 3.0, 2.0]))))
    x, y = points.T
    assert (x[1] - x[0]) == pytest.approx(x[2] - x[1])
    assert (y[0] - y[1]) == pytest.approx(2 * (y[2] - y[1]))  # SVG's y points down
    logarithmic = drawing(Series("x", steps, np.array([1.0, 100.0, 10.0])))
    _, y = _points(logarithmic).T
    assert (y[0] - y[1]) == pytest.approx(2 * (y[2] - y[1]))
    assert "logarithmic" in logarithmic
    level = drawing(Series("x", steps, np.array([1.0, 3.0, 2.0])), Evidence("", (), (50.0, 100.0), ("top", 5.0)))
    assert 'class="level" x1="64" y1="10.0"' in level
    assert 'class="span" x="346.0"' in level


def test_peaks_of_a_long_series_are_drawn() -> None:
    values = np.ones(100_000)
    values[77_777] = 2.0
    points = _points(drawing(Series("x", np.arange(100_000.0), values)))
    assert len(points) < 1000
    assert points[:, 1].min() == 10.0
    assert points[points[:, 1].argmin(), 0] == pytest.approx(64 + 564 * 0.77777, abs=0.1)


@pytest.mark.parametrize(
    "values",
    [[1.0, 1.0], [-1.7e308, 1.7e308], [1e-320, 1e300], [0.0, np.nan, 5.0, np.inf], [5e-324, 5e-324, 1e-300]],
)
def test_a_drawing_of_any_numbers_has_only_numbers(values: list[float]) -> None:
    text = drawing(Series("x", np.arange(float(len(values))), np.array(values)))
    assert np.isfinite(_points(text)).all()
    assert not re.search(r'="-?(nan|inf)', text)
