"""A comparison in a pipe: one line a column, and every line that is about a column begins with its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from dkl.cli.words import KL_NAMES, ROW_FIGURES, ROW_NAMES, TOP_CELLS, Words, clean, js_of, probability
from dkl.comparison import ArrayComparison, ColumnComparison


def lines(words: Words) -> Iterator[str]:
    """Yield the report's lines."""
    comparison = words.comparison
    yield f"reference: {clean(comparison.reference.description)} ({comparison.reference.rows:,} rows)"
    yield f"current: {clean(comparison.current.description)} ({comparison.current.rows:,} rows)"
    yield f"summary: {words.summary()}"
    if words.shown:
        head = [
            "column",
            "kind",
            f"JS[{words.unit}]",
            "low",
            "high",
            "chance",
            *KL_NAMES.values(),
            "TV",
            "W1",
            "p",
            "verdict",
        ]
        yield ""
        yield from _aligned([head, *(_figures(words, column) for column in words.shown)])
    for array in words.arrays:
        yield ""
        yield f"{clean(array.name)}: {words.array_sentence(array)}"
        head = ["column", "figure", "mean", "stderr", *(name.replace(" ", "") for name in ROW_FIGURES), "infinite"]
        yield from _aligned([head, *_rows(words, array)])
        yield from (f"{clean(array.name)}: {title}: {finding}" for title, finding in words.row_findings(array))
    details = [*_details(words)]
    yield from ["", *details] if details else []
    remarks = [f"{name}: {sentence}" for name, sentence in words.infinities()]
    remarks += [f"{name or 'note'}: {sentence}" for name, sentence in words.notes()]
    yield from ["", *remarks] if remarks else []
    yield ""
    yield from (f"{name}: {meaning}" for name, meaning in words.legend(chance=True, plain=True))


def _figures(words: Words, column: ColumnComparison) -> list[str]:
    js = js_of(column)
    return [
        clean(column.name),
        column.kind or "",
        words.value(js),
        *(("", "") if js.interval is None else (words.number(js, end) for end in js.interval)),
        "" if js.bias is None else words.number(js, js.bias),
        words.value(column.kl_reference_current),
        words.value(column.kl_current_reference),
        words.value(column.tv),
        words.distance(column) or "-",
        probability(column.test),
        column.verdict.word,
    ]


def _rows(words: Words, array: ArrayComparison) -> Iterator[list[str]]:
    for one in array.measured:
        figures = [words.row_figure(one, getattr(one, attribute)) for attribute in ROW_FIGURES.values()]
        error = words.row_figure(one, one.stderr) or "-"
        name = clean(array.name), f"{ROW_NAMES[one.key]}{f'[{words.unit}]' if one.unit == 'nats' else ''}"
        yield [*name, words.row_figure(one, one.mean), error, *figures, str(one.infinite)]


def _details(words: Words) -> Iterator[str]:
    for column in words.differing:
        js = js_of(column).value
        for cell in column.top(TOP_CELLS):
            yield (
                f"{clean(column.name)}: {clean(cell.label)}: {cell.reference_share:.2%} -> {cell.current_share:.2%}, "
                f"{cell.contribution * words.factor:+.3g} {words.unit} of JS ({abs(cell.contribution) / js:.0%})"
            )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield rows with their fields padded to columns two spaces apart, text to the left and figures to the right."""
    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        fields = []
        for place, (text, width) in enumerate(zip(row, widths, strict=True)):
            space = " " * (width - cell_len(text))
            fields.append(text + space if place < 2 or place == len(row) - 1 else space + text)
        yield "  ".join(fields).rstrip()
