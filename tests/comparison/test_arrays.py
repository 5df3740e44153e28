"""Arrays of distributions: every row exactly, from memory and from every file."""

import json
import math

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import dkl
from dkl.comparison import DataError, arrays, compare


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return rng.dirichlet(np.ones(6), size=(4, 5)), rng.dirichlet(np.ones(6), size=(4, 5))


def test_rows_are_summarised(pair):
    p, q = pair
    found = compare(p, q).arrays[0]
    rows = np.asarray(dkl.js(p, q)).ravel()
    assert (found.shape, found.reference_representation) == ((4, 5, 6), "probs")
    assert found.js.mean == pytest.approx(rows.mean())
    assert found.js.maximum == rows.max()
    assert found.js.worst[0] == (tuple(int(i) for i in np.unravel_index(rows.argmax(), (4, 5))), rows.max())
    assert found.kl_current_reference.mean == pytest.approx(np.asarray(dkl.kl(q, p)).mean())
    assert rows.min() <= found.js.median <= found.js.percentile_95 <= found.js.maximum


def test_blocks_do_not_change_the_answer(pair, monkeypatch):
    p, q = pair
    whole = compare(p, q).to_dict()
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 13)
    assert compare(p, q).to_dict() == whole


def test_infinite_rows_are_counted(pair):
    found = compare(np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.5, 0.5], [0.0, 1.0]]))
    summary = found["array"].kl_reference_current
    assert (summary.infinite, summary.mean, summary.finite_mean, summary.maximum) == (1, math.inf, 0.0, math.inf)
    dumped = json.loads(json.dumps(found.to_dict(), allow_nan=False))["arrays"][0]["measured"]["kl_reference_current"]
    assert (dumped["mean"], dumped["status"], dumped["infinite_rows"]) == (None, "infinite", 1)
    assert dumped["worst_rows"][0] == {"row": [1], "value": None, "status": "infinite"}
    assert found.exceeding(1.0, "kl_reference_current") == ("array",)
    assert "1 infinite rows" in str(found)


@pytest.mark.parametrize("as_", ["probs", "log-probs", "logits", "counts"])
def test_representations_and_files_agree(pair, tmp_path, as_):
    p, q = pair
    made = {
        "probs": lambda x: x,
        "log-probs": np.log,
        "logits": lambda x: np.log(x) + 3.0,
        "counts": lambda x: np.round(x * 1000),
    }[as_]
    wrap = {"probs": dkl.Probs, "log-probs": dkl.LogProbs, "logits": dkl.Logits, "counts": dkl.Counts}[as_]
    x, y = made(p), made(q)
    expected = compare(wrap(x), wrap(y)).arrays[0].js
    assert compare(x, y, as_=as_).arrays[0].js == expected
    for name, array in (("a", x), ("b", y)):
        np.save(tmp_path / f"{name}.npy", array)
        np.savez_compressed(tmp_path / f"{name}.npz", one=array)
        save_file({"one": np.ascontiguousarray(array)}, tmp_path / f"{name}.safetensors")
    for suffix in ("npy", "npz", "safetensors"):
        found = compare(tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}", as_=as_)
        assert found.arrays[0].js == expected
        assert found.arrays[0].current_representation == as_


def test_named_arrays_are_matched_by_name(pair, tmp_path):
    p, q = pair
    np.savez(tmp_path / "a.npz", both=p, left=p)
    found = compare(tmp_path / "a.npz", {"both": dkl.Probs(q), "right": q})
    assert {array.name: array.status for array in found.arrays} == {
        "both": "measured",
        "left": "only_in_reference",
        "right": "only_in_current",
    }
    with pytest.raises(DataError, match="no array in common"):
        compare(tmp_path / "a.npz", {"other": q, "right": q})


def test_bfloat16_weights(tmp_path):
    logits = np.array([[1.0, 2.0, 3.0]])
    save_file({"w": logits.astype(ml_dtypes.bfloat16)}, tmp_path / "a.safetensors")
    found = compare(tmp_path / "a.safetensors", dkl.Logits(logits), as_="logits")
    assert found.arrays[0].js.maximum == 0.0


def test_counts_are_also_tested_row_by_row():
    found = compare(dkl.Counts([[500, 500], [300, 700]]), dkl.Counts([[510, 490], [700, 300]]))
    assert [column.name for column in found.columns] == ["array[0]", "array[1]"]
    assert [column.verdict.word for column in found.columns] == ["no_difference_found", "different"]
    many = np.full((arrays.MOST_TESTED_ROWS + 5, 2), 10)
    found = compare(dkl.Counts(many), dkl.Counts(many), resamples=100)
    assert len(found.columns) == arrays.MOST_TESTED_ROWS
    assert any("the first" in note for note in found.notes)
    assert compare(dkl.Counts([1.5, 2.5]), dkl.Counts([1.0, 2.0])).columns == ()  # weights are no rows


def test_one_distribution():
    found = compare(dkl.Probs([0.5, 0.5]), dkl.Probs([0.9, 0.1]))["array"]
    assert found.js.worst == (((), found.js.maximum),)


def test_samples_are_a_table(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 2)), rng.normal(0.5, size=(1000, 2))
    found = compare(dkl.Samples(x), dkl.Samples(y))
    assert [column.name for column in found.columns] == ["0", "1"]
    assert [column.name for column in compare(dkl.Samples(x[:, 0]), dkl.Samples(y[:, 0])).columns] == ["0"]
    np.save(tmp_path / "x.npy", x)
    mapped = compare(tmp_path / "x.npy", dkl.Samples(y), as_="samples")
    assert mapped["1"].js == found["1"].js
    plain = compare({"0": x[:, 0], "1": x[:, 1]}, {"0": y[:, 0], "1": y[:, 1]})
    assert plain["0"].js == found["0"].js
    np.savez(tmp_path / "x.npz", a=x, b=x[:, 0])
    assert [column.name for column in compare(tmp_path / "x.npz", tmp_path / "x.npz", as_="samples").columns] == [
        "a.0",
        "a.1",
        "b",
    ]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda x: dkl.Counts(-x), "negative"),
        (lambda x: dkl.Logits(np.where(x > 0.9, np.nan, x)), "not a number"),
        (lambda x: x * 2, "Samples"),
        (lambda x: dkl.Probs(x[:, :-1]), "shape"),
        (lambda x: dkl.Probs(np.zeros((0, 3))), "shape"),
    ],
    ids=["counts", "logits", "probs", "shape", "empty"],
)
def test_bad_arrays_name_argument_index_and_value(make, says, tmp_path):
    x = np.full((3, 4), 0.25)
    x[2, 1] = 0.95
    good = np.full((3, 4), 0.25)
    with pytest.raises(DataError, match=says) as error:
        compare(make(x), good)
    message = str(error.value)
    assert "\n" not in message
    assert "reference" in message


def test_bad_files_name_file_and_index(tmp_path):
    x = np.zeros((3, 2))
    x[2, 1] = np.nan
    np.save(tmp_path / "bad.npy", x)
    with pytest.raises(DataError, match=r"bad\.npy.*\[2, 1\]"):
        compare(tmp_path / "bad.npy", tmp_path / "bad.npy", as_="logits")
    counts = np.array([[3, -1]])
    np.save(tmp_path / "neg.npy", counts)
    with pytest.raises(DataError, match=r"neg\.npy.*-1"):
        compare(tmp_path / "neg.npy", tmp_path / "neg.npy", as_="counts")


def test_rows_far_into_a_file_keep_their_number(monkeypatch):
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 8)
    x = np.full((10, 4), 0.25)
    x[7, 2] = -1.0
    with pytest.raises(DataError, match=r"\[7, 2\]"):
        compare(x, np.full((10, 4), 0.25))


def test_array_rank_is_checked():
    with pytest.raises(DataError, match="samples have shape"):
        compare(dkl.Samples(np.zeros((2, 2, 2))), dkl.Samples(np.zeros(2)))
