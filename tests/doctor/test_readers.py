"""The readers against the libraries that write the logs, and against files that are damaged, foreign or empty."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from dkl.doctor import UnreadableLogError
from dkl.doctor.readers import csv as csv_reader
from dkl.doctor.readers import gathering
from dkl.doctor.readers.columns import read_columns
from dkl.doctor.readers.gathering import Clock, Gathering, Log
from dkl.doctor.readers.opening import read, read_stream, runs

LOGS = Path(__file__).parent / "peer_logs"


def everything(path: Path) -> Log:
    (log,) = read(path, lambda name: True)
    return log


def text(path: Path, content: str, name: str = "log.txt") -> Log:
    (path / name).write_text(content, encoding="utf-8")
    return everything(path / name)


def entries(log: Log, name: str) -> list[tuple[float, float]]:
    series = log.series[name]
    return list(zip(series.steps.tolist(), series.values.tolist(), strict=True))


# TensorBoard


def written(folder: Path, steps: range, purge: int | None = None, suffix: str = "") -> Path:
    writer = SummaryWriter(str(folder), purge_step=purge, filename_suffix=suffix)
    for step in steps:
        writer.add_scalar("train/kl", 0.1 * step, step)
        writer.add_scalar("new style", -1.5 * step, step, new_style=True)
        writer.add_scalar("double", 1 / (step + 1), step, new_style=True, double_precision=True)
        if step % 3 == 0:
            writer.add_histogram("weights", np.arange(5.0), step)
            writer.add_text("note", "nothing", step)
    writer.close()
    return max(folder.glob("*tfevents*"))


def test_events_against_tensorboard(tmp_path: Path) -> None:
    written(tmp_path, range(50))
    writer = SummaryWriter(str(tmp_path / "odd"))
    for step, value in [(0, np.nan), (1, np.inf), (2, -np.inf), (2**40, 3.0), (5, 1e-45)]:
        writer.add_scalar("κλ", value, step)
    writer.close()
    for folder in (tmp_path / "odd", tmp_path):
        theirs = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
        (log,) = [log for log in read(folder, lambda name: True) if log.source == str(folder)]
        for name in theirs.Tags()["scalars"]:
            events = theirs.Scalars(name)
            if folder == tmp_path:
                assert entries(log, name) == [(e.step, e.value) for e in events]
            else:
                # Of a step that goes back, what was logged from there on is replaced.
                assert log.series[name].restarts == (5.0,)
                np.testing.assert_array_equal(log.series[name].values, [np.nan, np.inf, -np.inf, np.float32(1e-45)])
        for name in ("new style", "double") if folder == tmp_path else ():
            tensors = theirs.Tensors(name)
            values = [np.frombuffer(e.tensor_proto.tensor_content or b"", np.float64) for e in tensors]
            assert [step for step, _ in entries(log, name)] == [e.step for e in tensors]
            assert len(values) == 50
        assert log.notes == []
    (log,) = [log for log in read(tmp_path, lambda name: True) if log.source == str(tmp_path)]
    assert [v for _, v in entries(log, "double")] == [1 / (k + 1) for k in range(50)]
    assert [v for _, v in entries(log, "new style")] == [-1.5 * k for k in range(50)]
    assert set(log.series) == {"train/kl", "new style", "double"}


def test_events_of_a_restarted_run(tmp_path: Path) -> None:
    first = written(tmp_path, range(10))
    first.rename(tmp_path / "events.out.tfevents.1.a")
    written(tmp_path, range(6, 12)).rename(tmp_path / "events.out.tfevents.2.a")
    (tmp_path / "events.out.tfevents.3.a").touch()
    log = everything(tmp_path)
    assert log.series["train/kl"].steps.tolist() == list(range(12))
    assert log.series["train/kl"].restarts == (6.0,)
    assert log.notes == [f"{tmp_path}/events.out.tfevents.3.a: is empty"]


def test_truncated_events(tmp_path: Path) -> None:
    path = written(tmp_path, range(20))
    data = path.read_bytes()
    path.write_bytes(data[:-7])
    log = everything(path)
    assert len(log.series["train/kl"]) == 20
    assert len(log.series["double"]) == 19
    assert log.notes == [
        f"{path}: the last record is cut short: {log.notes[0].split('short: ')[1].split(' ')[0]} bytes from byte "
        f"{log.notes[0].split('from byte ')[1].split(' ')[0]} on were not read"
    ]


def test_every_truncation_is_read_without_an_error(tmp_path: Path) -> None:
    path = written(tmp_path, range(3))
    data = path.read_bytes()
    whole = len(everything(path).series["train/kl"])
    for length in range(12, len(data), 17):
        path.write_bytes(data[:length])
        if length < 16 + struct.unpack("<Q", data[:8])[0]:
            with pytest.raises(UnreadableLogError, match="no record of this event file is whole"):
                everything(path)
        else:
            assert sum(map(len, everything(path).series.values())) < 3 * whole


def test_damaged_events(tmp_path: Path) -> None:
    path = written(tmp_path, range(20))
    data = bytearray(path.read_bytes())
    # The third record: its data, then its length.
    at = 0
    for _ in range(2):
        at += 16 + struct.unpack("<Q", data[at : at + 8])[0]
    flipped = bytearray(data)
    flipped[at + 15] ^= 0xFF
    path.write_bytes(flipped)
    log = everything(path)
    assert log.notes == [f"{path}: 1 record with a wrong checksum left out"]
    assert sum(map(len, log.series.values())) == 59
    flipped = bytearray(data)
    flipped[at] ^= 0xFF
    path.write_bytes(flipped)
    assert everything(path).notes == [
        f"{path}: damaged at byte {at:,}: the {len(data) - at:,} bytes from there on were not read"
    ]


def record(data: bytes) -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc32c(length)) + data + struct.pack("<I", masked_crc32c(data))


def test_records_of_any_bytes_are_read_without_an_error(tmp_path: Path) -> None:
    """Their checksums are right and their content is not: no read may leave a record."""
    from tensorboard.compat.proto.event_pb2 import Event
    from torch.utils.tensorboard.summary import scalar

    rng = np.random.default_rng(4)
    whole = [
        Event(step=3, summary=scalar("kl", 0.5, new_style=new, double_precision=new)).SerializeToString()
        for new in (False, True)
    ]
    records = []
    for k in range(3000):
        data = bytearray(whole[k % 2])
        for _ in range(rng.integers(1, 6)):
            data[rng.integers(len(data))] = rng.integers(256)
        records.append(record(bytes(data)[: rng.integers(1, len(data) + 1)]))
    path = tmp_path / "events"
    path.write_bytes(b"".join([*records, record(whole[0])]))
    log = everything(path)
    assert log.notes == []
    assert log.series["kl"].values[log.series["kl"].steps == 3].tolist() == [0.5]


def test_tensors_that_are_no_scalar_are_left_out(tmp_path: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto

    def value(tag: str, **tensor: Any) -> bytes:
        summary = Summary(value=[Summary.Value(tag=tag, tensor=TensorProto(**tensor))])
        return record(Event(step=1, summary=summary).SerializeToString())

    path = tmp_path / "events"
    path.write_bytes(
        value("float", dtype=1, float_val=[0.5])
        + value("double", dtype=2, double_val=[0.1])
        + value("whole", dtype=9, tensor_content=struct.pack("<q", -7))
        + value("small", dtype=3, tensor_content=struct.pack("<i", -7))
        + value("bytes", dtype=1, tensor_content=struct.pack("<f", 0.25))
        + value("two", dtype=1, float_val=[0.5, 0.6])
        + value("two in bytes", dtype=1, tensor_content=struct.pack("<2f", 1, 2))
        + value("cut", dtype=1, tensor_content=b"abc")
        + value("text", dtype=7, string_val=[b"0.5"])
    )
    log = everything(path)
    assert {name: series.values.tolist() for name, series in log.series.items()} == {
        "float": [0.5], "double": [0.1], "whole": [-7], "small": [-7], "bytes": [0.25]
    }  # fmt: skip


def test_events_in_many_names_and_rounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The room for values runs out and is given again."""
    from dkl.doctor.readers import tensorboard

    path = written(tmp_path, range(50))
    whole = everything(path)
    monkeypatch.setattr(tensorboard, "_ROOM", 7)
    again = everything(path)
    assert {name: entries(again, name) for name in again.series} == {
        name: entries(whole, name) for name in whole.series
    }
    monkeypatch.setattr(tensorboard, "_NAMES", 2)
    with pytest.raises(UnreadableLogError, match="more than 2 names of scalars"):
        everything(path)


# CSV


def test_csv_of_lightning() -> None:
    log = everything(LOGS / "lightning" / "version_0" / "metrics.csv")
    assert log.format == "CSV"
    assert entries(log, "train_kl_loss")[:2] == [(4, 0.7390056252479553), (9, 0.48740625381469727)]
    assert log.series["val_loss"].steps.tolist() == [19, 39, 59, 79, 99]
    assert len(log.series["train_loss"]) == 20
    assert log.notes == []


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_csv(tmp_path: Path, separator: str) -> None:
    rows = ["step,kl, loss ,name", "0,1.5,nan,a", "10,,inf,b", "20,-2e-3,-Infinity,c", "20,x,1,d", ",5,1,e", "30,1"]
    log = text(tmp_path, "\ufeff" + "\r\n".join(rows).replace(",", separator) + "\r\n", "metrics.csv")
    assert entries(log, "kl") == [(0, 1.5), (20, -2e-3)]
    np.testing.assert_array_equal(log.series["loss"].values, [np.nan, np.inf, 1])
    assert log.series["loss"].duplicates == 1
    path = tmp_path / "metrics.csv"
    assert log.notes == [
        f"{path}: left out 1 line; the first is a row of 2 cells instead of 4",
        f"{path}: 6 cells hold no number and were left out",
        f"{path}: 2 values without a step were left out",
    ]


def test_csv_written_by_pandas(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"kl": [1.0, np.nan, 3.0], "loss": [0.1, 0.2, 0.30000000000000004]})
    frame.to_csv(tmp_path / "log.csv")
    log = everything(tmp_path / "log.csv")
    assert entries(log, "kl") == [(0, 1.0), (2, 3.0)]
    assert entries(log, "loss")[-1] == (2, 0.30000000000000004)


def test_csv_in_several_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=2000)
    content = "step,kl\n" + "".join(f"{k},{float(v)!r}\n" for k, v in enumerate(values))
    monkeypatch.setattr(csv_reader, "_BLOCK", 512)
    assert text(tmp_path, content, "a.csv").series["kl"].values.tolist() == values.tolist()
    no_step = "kl,loss\n" + "".join(f"{float(v)!r},{k}\n" for k, v in enumerate(values))
    assert text(tmp_path, no_step, "b.csv").series["kl"].steps.tolist() == list(range(2000))


def test_csv_with_a_name_twice(tmp_path: Path) -> None:
    with pytest.raises(UnreadableLogError, match="two columns are named 'kl': rename one of them"):
        text(tmp_path, "kl,step,kl\n1,2,3\n", "a.csv")


def test_csv_with_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b"step,kl,who\n0,1.0,J\xfcrgen\n1,\xff,x\n2,3.0,x\n")
    assert entries(everything(path), "kl") == [(0, 1.0), (2, 3.0)]


def test_a_long_series_is_thinned_evenly() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=80_000)
    values[[77, 52_345]] = 50, -50
    values[65_000:65_010] = np.nan
    column = gathering.Column(longest=4000, together=1024)
    for start in range(0, values.size, 130):
        part = np.arange(start, min(start + 130, values.size))
        column.add(part.astype(float), values[part])
    steps, kept = column.entries()
    assert 1000 < len(kept) <= 4000
    np.testing.assert_array_equal(kept, values[steps.astype(int)])
    assert (np.nanmax(kept), np.nanmin(kept)) == (50, -50)
    assert steps[np.isnan(kept)].min() == 65_000
    assert steps[-1] == 79_999
    quarters = np.histogram(steps, bins=4, range=(0, 80_000))[0]
    assert quarters.max() < 1.5 * quarters.min()


def test_a_log_says_what_it_thinned() -> None:
    into = Gathering("it", "", lambda name: True)
    n = gathering.LONGEST + 1
    into.column("kl", np.arange(float(n)), np.zeros(n))
    into.column("loss", np.arange(10.0), np.zeros(10))
    log = into.log()
    assert log.notes == ["it: longer than 1,048,576 entries and thinned, extremes kept: kl"]
    assert len(log.series["kl"]) <= gathering.LONGEST / 2 + 8
    assert len(log.series["loss"]) == 10


# JSON


def test_json_lines_with_words_and_damage(tmp_path: Path) -> None:
    lines = [
        '{"step": 0, "kl": 0.5, "on": true, "info": {"learner": {"kl": 1}}, "kl_per_dim": [0.2, 0.3]}',
        "",
        '{"step": 5, "kl": "nan", "loss": "-inf", "name": "x"}',
        '{"step": 10, "kl": NaN, "loss": 1e999}',
        "[1]",
        '{"step": 15, "kl": 0.7, "lo',
    ]
    log = text(tmp_path, "\n".join(lines), "m.jsonl")
    assert log.format == "JSON lines"
    assert entries(log, "kl")[0] == (0, 0.5)
    assert log.series["kl"].first_broken == 5
    assert entries(log, "loss") == [(5, -np.inf), (10, np.inf)]
    assert entries(log, "info/learner/kl") == [(0, 1)]
    assert entries(log, "kl_per_dim/1") == [(0, 0.3)]
    assert log.notes == [f"{tmp_path}/m.jsonl: left out 2 lines that are no JSON objects; the first is line 5"]


@pytest.mark.parametrize("indent", [None, 2])
def test_trainer_state(tmp_path: Path, indent: int | None) -> None:
    history = [
        {"epoch": 0.1, "step": 10, "loss": 0.5, "kl": 0.01, "learning_rate": 1e-5},
        {"epoch": 0.2, "step": 20, "loss": 0.4, "kl": 0.02, "learning_rate": 1e-5},
        {"epoch": 0.2, "step": 20, "eval_loss": 0.6},
    ]
    state = {"best_metric": None, "global_step": 20, "log_history": history}
    for number in (10, 20, 30):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        shown = {**state, "log_history": history[: 1 if number < 30 else None]}
        (folder / "trainer_state.json").write_text(json.dumps(shown, indent=indent))
    log = everything(tmp_path)
    assert log.format == "Hugging Face trainer_state.json"
    assert entries(log, "kl") == [(10, 0.01), (20, 0.02)]
    assert entries(log, "eval_loss") == [(20, 0.6)]


def test_other_json_documents(tmp_path: Path) -> None:
    assert entries(text(tmp_path, '{"kl": [1, 2], "loss": [3]}', "a.json"), "kl") == [(0, 1), (1, 2)]
    assert entries(text(tmp_path, '[{"step": 3, "kl": 1}, {"step": 4, "kl": 2}]', "b.json"), "kl") == [(3, 1), (4, 2)]
    with pytest.raises(UnreadableLogError, match="this JSON holds no rows"):
        text(tmp_path, '{"learning_rate": 0.1}', "c.json")
    with pytest.raises(UnreadableLogError, match=r"is no whole JSON document: .* line 1 column"):
        text(tmp_path, '[{"step": 3, "kl": 1}, {"st', "d.json")


# Text


def test_stable_baselines_in_its_four_forms() -> None:
    whole = everything(LOGS / "sb3-healthy" / "progress.csv")
    for name in ("events.out.tfevents.0", "progress.json", "log.txt"):
        log = everything(LOGS / "sb3-healthy" / name)
        for series in ("train/approx_kl", "train/entropy_loss", "rollout/ep_rew_mean"):
            assert log.series[series].steps.tolist() == whole.series[series].steps.tolist(), (name, series)
            # The table has three digits.
            np.testing.assert_allclose(log.series[series].values, whole.series[series].values, rtol=5e-3)
    assert len(whole.series["train/approx_kl"]) == 9
    assert everything(LOGS / "sb3-healthy" / "log.txt").format == "Stable-Baselines3's printed table"


def test_a_table_with_names_outside_of_groups(tmp_path: Path) -> None:
    rows = ["----", "| a/   |  |", "|    kl | 1 |", "|    very_lo... | 2 |", "| kl  | 3 |", "| env | Pole |", "----"]
    log = text(tmp_path, "\n".join(rows))
    assert {name: entries(log, name) for name in log.series} == {"a/kl": [(0, 1)], "kl": [(0, 3)]}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("kl=0.5 loss = 1e-3, beta:4", {"kl": 0.5, "loss": 1e-3, "beta": 4}),
        ("{'loss': 0.5, 'kl': -1.0, 'epoch': 0.25}", {"loss": 0.5, "kl": -1}),
        ("KL: nan | loss: -inf | x=Infinity", {"KL": np.nan, "loss": -np.inf, "x": np.inf}),
        ("2024-01-01 12:00:01,123 - INFO:root: kl=0.5", {"kl": 0.5}),
        ("[12:00:01] T12:00:01Z time: 12:00:01 kl: 0.5", {"kl": 0.5}),
        ("eta: 0:01:02, lr=3e-4", {"lr": 3e-4}),
        ("The kl: 0.5. Then version=1.2.3 and at 10.0.0.1:80", {"kl": 0.5}),
        ("shape=3,4 size: 1x2 n=12abc kl=1_000", {"kl": 1000}),
        ("train/kl: 0.1 kl_dim/3=0.2 kl-loss=3 z[2]=1", {"train/kl": 0.1, "kl_dim/3": 0.2, "kl-loss": 3, "z[2]": 1}),
        ("938/938 [====] - 3s 3ms/step - loss: 0.5 - kl_loss: 3.1", {"loss": 0.5, "kl_loss": 3.1}),
        ("\x1b[32mkl=\x1b[0m0.25", {"kl": 0.25}),
        ("loss: tensor(0.5, grad_fn=<AddBackward0>) kl: np.float64(2.5)", {"loss": 0.5, "kl": 2.5}),
        ("Loss_D: 1.2 D(x): 0.5 D(G(z)): 0.1", {"Loss_D": 1.2, "D(x)": 0.5, "D(G(z))": 0.1}),
        ("kl=.5 x=-.5e2", {"kl": 0.5, "x": -50}),
    ],
)  # fmt: skip
def test_pairs_of_a_line(tmp_path: Path, line: str, expected: dict[str, float]) -> None:
    log = text(tmp_path, line + "\n")
    found = {name: series.values[-1] for name, series in log.series.items()}
    assert found.keys() == expected.keys()
    np.testing.assert_array_equal(list(found.values()), [expected[name] for name in found])


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        (["step 10: kl=1", "step 20: kl=2"], [10, 20]),
        (["Epoch [1/5], Step [100/600], kl: 1", "Epoch [1/5], Step [200/600], kl: 2"], [100, 200]),
        (["Iter 5 kl: 1", "Iteration 7 kl: 2"], [5, 7]),
        (["global_step=3 kl=1", "global_step=6 kl=2"], [3, 6]),
        (["Epoch 1/3", "kl: 1", "Epoch 2/3", "kl: 2"], [1, 2]),
        (["Epoch 1", "kl: 1", "kl: 2", "Epoch 2", "kl: 3"], [0, 1, 2]),
        (["kl=1", "kl=2", "kl=3"], [0, 1, 2]),
        (["step at 12:30:00 kl=1", "step 12:31:00 kl=2", "epoch 1.2.3 kl=3"], [0, 1, 2]),
        (["n_steps=2048 warmup_steps=100", "kl=1", "kl=2"], [1, 2]),
        (["  1%| | 10/100 [00:01<00:09, 9it/s, kl=1]", "  2%| | 20/100 [00:02<00:09, 9it/s, kl=2]"], [10, 20]),
        (["Epoch 0: 10%| | 1/10 [00:01<00:09, kl=1]\rEpoch 1: 10%| | 1/10 [00:01<00:09, kl=2]"], [1, 11]),
        (["epoch 0 step 1 kl=1", "epoch 0 step 2 kl=2", "epoch 1 step 1 kl=3"], [1, 2, 4]),
        (["{'kl': 1.0, 'epoch': 0.5}", " 20%| | 2/10 [00:01<00:09]", "{'kl': 2.0, 'epoch': 1.0}"], [0.5, 1]),
    ],
)  # fmt: skip
def test_steps_of_lines(tmp_path: Path, lines: list[str], steps: list[float]) -> None:
    log = text(tmp_path, "\n".join(lines) + "\n")
    assert log.series["kl"].steps.tolist() == steps


def test_steps_that_begin_anew_in_each_epoch() -> None:
    """Row by row, and block by block, against the count of all rows."""
    steps, epochs = np.tile(np.arange(5.0), 4), np.repeat(np.arange(4.0), 5)
    for blocks in (1, 2, 3, 7, 20):
        clock = Clock()
        parts = [
            clock.steps(s, e)
            for s, e in zip(np.array_split(steps, blocks), np.array_split(epochs, blocks), strict=True)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), np.arange(20))
        assert clock.counts_anew
    clock = Clock()
    assert [clock.step(s, e) for s, e in zip(steps, epochs, strict=True)] == list(range(20))
    # A restart takes the epoch back too, and its steps are left as they are.
    rows = [(0, 0), (9, 1), (4, 1), (5, 1), (2, 0)]
    row_by_row, at_once = Clock(), Clock()
    assert [row_by_row.step(s, e) for s, e in rows] == [0, 9, 4, 5, 2]
    assert at_once.steps(*np.array(rows, dtype=float).T).tolist() == [0, 9, 4, 5, 2]
    assert not row_by_row.counts_anew
    assert not at_once.counts_anew


def test_one_step_for_everything(tmp_path: Path) -> None:
    log = text(tmp_path, '{"step": 0, "kl": 1}\n{"step": 0, "kl": 2}\n{"step": 0, "kl": 3}\n')
    assert entries(log, "kl") == [(0, 1), (1, 2), (2, 3)]
    assert log.notes == [f"{tmp_path}/log.txt: logged at one step only, so the order counts: kl"]


# What is no log


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (gzip.compress(b"kl=1"), "is compressed by gzip: decompress it first"),
        ("step,kl\n0,1\n".encode("utf-16"), "is in UTF-16, as PowerShell's > writes it: convert it"),
        ("kl=1".encode("utf-16-be"), "holds binary data that is no event file"),
        (bytes(range(256)) * 20, "holds binary data that is no event file"),
        (b"PAR1xxxx", "is Parquet: in Python, give diagnose the data frame"),
        (b"Nothing happened today, as usual.\nNor now.\n", "no line has a name and a number, such as kl=0.01"),
        (b"\xfe\xed\xfa\xce\x99", "no line has a name and a number"),
        (b'{"a": ' * 100_000, "is no whole JSON document|no line has a name and a number"),
    ],
)
def test_unreadable(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "log"
    path.write_bytes(content)
    with pytest.raises(UnreadableLogError, match=message) as caught:
        everything(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_random_bytes_never_break_a_reader(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    alphabet = np.frombuffer(b"{}[]\":,=|-\n\r 0123456789.eE+klsteponaif\\\xff'", np.uint8)
    path = tmp_path / "log"
    for _ in range(300):
        path.write_bytes(rng.choice(alphabet, size=rng.integers(1, 200)).tobytes())
        with contextlib.suppress(UnreadableLogError):
            everything(path)


@pytest.mark.parametrize("piece", ["| ", "a-", "a=", "a(", "1:", "'", "step ", "x=1", '{"', "[", "\x1b["])
def test_one_long_line_is_quick(tmp_path: Path, piece: str) -> None:
    """A pattern that looks back again and again would take hours."""
    path = tmp_path / "log"
    path.write_text(piece * (200_000 // len(piece)))
    with contextlib.suppress(UnreadableLogError):
        everything(path)


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        everything(tmp_path / "missing")
    with pytest.raises(UnreadableLogError, match=r"no event file and none of trainer_state\.json, progress\.csv"):
        everything(tmp_path)


def test_the_runs_of_a_folder() -> None:
    assert [folder.name for folder in runs(LOGS)][:4] == ["version_0", "sb3-fast", "sb3-healthy", "trl-grpo"]
    formats = ["CSV", *["TensorBoard events"] * 2, *["Hugging Face trainer_state.json"] * 4]
    assert [log.format for log in read(LOGS, lambda name: True)] == formats


def test_a_stream() -> None:
    log = read_stream(io.BytesIO(b"step=1 kl=2\n"), lambda name: True)
    assert (log.source, entries(log, "kl")) == ("standard input", [(1, 2)])
    with pytest.raises(UnreadableLogError, match="standard input: is empty"):
        read_stream(io.BytesIO(b""), lambda name: True)


def test_only_what_is_wanted_is_read() -> None:
    (log,) = read(LOGS / "sb3-healthy" / "progress.csv", lambda name: name == "train/approx_kl")
    assert set(log.series) == {"train/approx_kl"}
    assert "train/entropy_loss" in log.others
    assert "time/total_timesteps" not in log.others


# Data in memory


def columns() -> dict[str, list[Any]]:
    return {
        "step": [0, 10, 20, 30],
        "kl": [1.0, None, 3.0, 4.0],
        "loss": [1.0, 2.0, 3.0, 4.0],
        "name": ["a", "b", "c", "d"],
    }


def test_columns_of_every_library() -> None:
    import pandas as pd
    import polars as pl
    import pyarrow as pa

    frames = [
        columns(),
        pd.DataFrame(columns()),
        pd.DataFrame(columns()).convert_dtypes(),
        pd.DataFrame(columns()).convert_dtypes(dtype_backend="pyarrow"),
        pl.DataFrame(columns()),
        pa.table(columns()),
    ]
    for frame in frames:
        log = read_columns(frame, lambda name: True)
        assert entries(log, "kl") == [(0, 1), (20, 3), (30, 4)], type(frame)
        assert entries(log, "loss") == [(0, 1), (10, 2), (20, 3), (30, 4)], type(frame)
        assert log.notes == ["the data given: column 'name' holds no numbers and was left out"]


def test_nan_in_pandas_is_an_empty_cell_unless_the_run_broke() -> None:
    import pandas as pd

    gaps = pd.DataFrame({"kl": [1.0, np.nan, 2.0, np.nan, 3.0, np.nan], "loss": [1.0, 2, 3, np.nan, np.nan, np.nan]})
    log = read_columns(gaps, lambda name: True)
    assert entries(log, "kl") == [(0, 1), (2, 2), (4, 3)]
    assert log.series["loss"].first_broken == 3
    wide = pd.DataFrame({"kl": [1.0, np.nan, np.nan, 2.0, np.nan, np.nan, np.nan, np.nan]})
    assert entries(read_columns(wide, lambda name: True), "kl") == [(0, 1), (3, 2)]
    assert log.notes == ["loss: NaN in its last 3 rows is taken for logged, as no gap before is so long"]
    plain = read_columns({"kl": np.array([1.0, np.nan, 2.0])}, lambda name: True)
    assert plain.series["kl"].first_broken == 1


def test_columns_that_are_none() -> None:
    with pytest.raises(TypeError, match="cannot read a int: give a path, a dict of columns"):
        read_columns(3, lambda name: True)
    with pytest.raises(UnreadableLogError, match="column 'loss' has 1 entries and 'kl' 2; they must be of one length"):
        read_columns({"kl": [1, 2], "loss": [1]}, lambda name: True)
