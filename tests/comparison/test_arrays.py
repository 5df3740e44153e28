"""Arrays of distributions: every row exactly, from memory and from every file."""

import json
import math

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file
from scipy import special, stats

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


def _independently(p, q):
    """Return each divergence of each row by SciPy's functions, straight from the definitions."""
    middle = (p + q) / 2
    return {
        "kl_reference_current": special.rel_entr(p, q).sum(-1),
        "kl_current_reference": special.rel_entr(q, p).sum(-1),
        "js": (special.rel_entr(p, middle).sum(-1) + special.rel_entr(q, middle).sum(-1)) / 2,
        "tv": np.abs(p - q).sum(-1) / 2,
    }


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_every_figure_against_scipy(tmp_path, monkeypatch, dtype):
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 1000)
    rng = np.random.default_rng(4)
    x = rng.normal(0, 2, size=(3, 701, 40)).astype(dtype)
    y = (x + rng.normal(0, rng.gamma(1.0, size=(3, 701, 1)), size=x.shape)).astype(dtype)
    np.save(tmp_path / "a.npy", x)
    np.save(tmp_path / "b.npy", y)
    found = compare(tmp_path / "a.npy", tmp_path / "b.npy", as_="logits")["array"]
    close = {"rel": 1e-10 if dtype is np.float64 else 1e-4}
    expected = _independently(*(special.softmax(z.astype(float), axis=-1) for z in (x, y)))
    for one in found.measured:
        rows = expected[one.key].ravel()
        assert one.mean == one.finite_mean == pytest.approx(rows.mean(), **close)
        assert one.stderr == one.finite_stderr == pytest.approx(stats.sem(rows), **close)
        shares = {"median": 0.5, "percentile_90": 0.9, "percentile_95": 0.95, "percentile_99": 0.99}
        for name, share in (shares | {"percentile_99_9": 0.999}).items():
            assert getattr(one, name) == pytest.approx(np.quantile(rows, share, method="inverted_cdf"), **close)
        assert one.maximum == pytest.approx(rows.max(), **close)
        assert one.infinite == 0
        largest = np.argsort(-rows)[:5]
        assert [row for row, _ in one.worst] == [tuple(map(int, np.unravel_index(r, (3, 701)))) for r in largest]
        assert [value for _, value in one.worst] == pytest.approx(list(rows[largest]), **close)
    same = (x.argmax(-1) == y.argmax(-1)).ravel()
    top = found.top_1
    assert (top.rows, top.share) == (same.sum(), pytest.approx(same.mean()))
    assert top.stderr == pytest.approx(stats.sem(same))
    tied = ((np.sort(x)[..., -1] == np.sort(x)[..., -2]) | (np.sort(y)[..., -1] == np.sort(y)[..., -2])).sum()
    assert top.tied == tied
    assert 0 < top.rows < 3 * 701
    assert (tied > 0) == (dtype is np.float16)


def test_ties_go_to_the_first():
    x = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.5, 0.3, 0.2]])
    y = np.array([[0.5, 0.3, 0.2], [0.3, 0.5, 0.2], [0.2, 0.4, 0.4], [0.5, 0.2, 0.3]])
    top = compare(x, y)["array"].top_1
    assert (top.rows, top.share, top.tied) == (3, 0.75, 3)
    assert top.stderr == pytest.approx(0.25)
    assert str(top) == "top-1 agreement: 75.00% ± 25.00% of the rows, 3 with a tie"


@pytest.mark.parametrize("as_", ["probs", "log-probs", "counts"])
def test_the_most_likely_outcome_is_that_of_the_numbers(as_):
    x, y = np.array([[0.2, 0.8], [0.7, 0.3]]), np.array([[0.6, 0.4], [0.6, 0.4]])
    x, y = {"probs": (x, y), "log-probs": (np.log(x), np.log(y)), "counts": (10 * x, 10 * y)}[as_]
    assert compare(x, y, as_=as_)["array"].top_1.rows == 1


def test_a_masked_outcome_is_infinite_in_one_direction_only():
    x = np.array([[1.0, 2.0, -np.inf], [1.0, 2.0, 0.0], [0.0, 0.0, 0.0]])
    y = np.array([[1.0, 2.0, -np.inf], [1.0, 2.5, -np.inf], [0.0, 0.0, -np.inf]])
    found = compare(x, y, as_="logits")["array"]
    kl = found.kl_reference_current
    assert (kl.mean, kl.stderr, kl.infinite, kl.finite_mean, kl.finite_stderr) == (math.inf, None, 2, 0.0, None)
    assert [row for row, _ in kl.worst] == [(1,), (2,), (0,)]
    assert found.kl_current_reference.infinite == 0
    assert "KL(reference || current): mean ∞, median ∞" in str(found)


def test_the_dictionary_has_every_figure(pair):
    whole = compare(*pair).to_dict()
    dumped = json.loads(json.dumps(whole, allow_nan=False))
    assert dumped == whole
    assert (dumped["schema_version"], dumped["units"]["top_1"]) == (1, "share of rows")
    (array,) = dumped["arrays"]
    found = compare(*pair)["array"]
    assert array["top_1"] == {
        "label": "top-1 agreement",
        "unit": "share of rows",
        "rows": found.top_1.rows,
        "share": found.top_1.share,
        "stderr": found.top_1.stderr,
        "tied_rows": 0,
    }
    assert list(array["measured"]) == ["js", "kl_reference_current", "kl_current_reference", "tv"]
    for one in found.measured:
        entry = array["measured"][one.key]
        for name in (
            *("mean", "stderr", "median", "percentile_90", "percentile_95", "percentile_99", "percentile_99_9"),
            *("maximum", "finite_mean", "finite_stderr"),
        ):
            assert entry[name] == getattr(one, name) > 0
        assert [(tuple(row["row"]), row["value"]) for row in entry["worst_rows"]] == list(one.worst)
        assert len(one.worst) == 5
    unmeasured = compare({"a": pair[0], "b": pair[0]}, {"a": pair[0], "c": pair[0]}).to_dict()["arrays"][1]
    assert (unmeasured["name"], unmeasured["top_1"]) == ("b", None)


def test_progress_goes_through_the_rows_of_every_array(pair, monkeypatch):
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 12)
    seen = []
    sides = [{"a": dkl.Probs(one), "b": dkl.Probs(one[:, :3])} for one in pair]
    compare(*sides, progress=lambda done, total: seen.append((done, total)))
    steps = [6 * 2 * block for block in range(1, 17)]  # 20 and 12 rows of 6 outcomes, two at a time
    assert seen == [(done, 6 * 32) for done in steps]


def test_shapes_are_checked_before_the_work(pair):
    seen = []
    left = {"a": pair[0], "b": pair[0]}
    with pytest.raises(DataError, match=r"array 'b': .* shape \(4, 5, 6\) and .* \(4, 4, 6\)"):
        compare(left, {"a": pair[0], "b": pair[0][:, 1:]}, progress=lambda *step: seen.append(step))
    assert seen == []


def test_blocks_do_not_change_the_answer(pair, monkeypatch):
    p, q = pair
    whole = compare(p, q).to_dict()
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 13)
    assert compare(p, q).to_dict() == whole


@pytest.mark.parametrize(
    "view",
    [
        lambda x: np.asfortranarray(x),
        lambda x: np.ascontiguousarray(x.T).T,
        lambda x: np.repeat(x, 2, axis=1)[:, ::2],
        lambda x: x.astype(">f8"),
        lambda x: x[::-1, ::-1].copy()[::-1, ::-1],
    ],
    ids=["fortran", "transposed", "strided", "big endian", "reversed"],
)
def test_any_layout_in_memory(pair, monkeypatch, view):
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 13)
    expected = compare(*pair)["array"]
    assert compare(view(pair[0]), view(pair[1]))["array"] == expected
    assert compare(view(pair[0])[0], view(pair[1])[0])["array"] == compare(pair[0][0], pair[1][0])["array"]


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
    memory = compare(dkl.Logits(logits.astype(ml_dtypes.bfloat16)), dkl.Logits(logits))
    assert memory.arrays[0].measured == found.arrays[0].measured


def test_counts_are_also_tested_row_by_row():
    found = compare(dkl.Counts([[500, 500], [300, 700]]), dkl.Counts([[510, 490], [700, 300]]))
    assert [column.name for column in found.columns] == ["array[0]", "array[1]"]
    assert [column.verdict.word for column in found.columns] == ["no_difference_found", "different"]
    many = np.full((arrays.MOST_TESTED_ROWS + 5, 2), 10)
    found = compare(dkl.Counts(many), dkl.Counts(many), resamples=100)
    assert len(found.columns) == arrays.MOST_TESTED_ROWS
    assert any("the first" in note for note in found.notes)
    assert compare(dkl.Counts([1.5, 2.5]), dkl.Counts([1.0, 2.0])).columns == ()  # weights are no rows


def test_counts_are_tested_by_block_as_at_once(monkeypatch):
    rng = np.random.default_rng(2)
    x, y = rng.poisson(30, size=(2, 7, 20, 4))
    whole = compare(dkl.Counts(x), dkl.Counts(y), resamples=100)
    assert len(whole.columns) == arrays.MOST_TESTED_ROWS
    assert whole.columns[-1].name == "array[4, 19]"
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 12)
    assert compare(dkl.Counts(x), dkl.Counts(y), resamples=100).columns == whole.columns
    weights = x.astype(float)
    weights[4, 19, 0] = 0.5
    assert compare(dkl.Counts(weights), dkl.Counts(y), resamples=100).columns == ()
    weights[4, 19, 0] = 1.0
    weights[5, 0, 0] = 0.5  # beyond the rows that are tested
    assert len(compare(dkl.Counts(weights), dkl.Counts(y), resamples=100).columns) == arrays.MOST_TESTED_ROWS


def test_one_distribution():
    found = compare(dkl.Probs([0.5, 0.5]), dkl.Probs([0.9, 0.1]))["array"]
    assert found.js.worst == (((), found.js.maximum),)
    assert (found.js.stderr, found.top_1.stderr, found.top_1.share) == (None, None, 1.0)
    with pytest.raises(DataError, match=r"current \(Probs\): row \[\] sums to 1\.1"):
        compare(dkl.Probs([0.5, 0.5]), dkl.Probs([0.9, 0.2]))


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


def test_the_side_at_fault_is_named():
    good, bad = np.full((3, 2), 0.5), np.array([[0.5, 0.5], [0.5, 0.5], [0.7, 0.5]])
    with pytest.raises(DataError, match=r"^current \(NumPy array\): row \[2\] sums to 1\.2"):
        compare(good, bad)
    with pytest.raises(DataError, match=r"^reference \(dict of arrays\), array 'b': row \[2\] sums to 1\.2"):
        compare({"a": good, "b": bad}, {"a": good, "b": bad})
    with pytest.raises(DataError, match=r"^current \(Logits\): every logit of row \[1\] is -inf"):
        compare(good[:2], dkl.Logits([[0.0, 0.0], [-np.inf, -np.inf]]))


def test_what_a_dict_may_not_hold():
    masked = np.ma.MaskedArray([[0.5, 0.5]], mask=[[False, True]])
    with pytest.raises(DataError, match=r"reference\['a'\]: is a masked array"):
        compare({"a": dkl.Probs(masked)}, {"a": dkl.Probs(masked)})
    with pytest.raises(DataError, match=r"reference\['a'\]: are Samples"):
        compare({"a": dkl.Samples([1.0, 2.0])}, {"a": dkl.Samples([1.0, 2.0])})


def test_rows_far_into_a_file_keep_their_number(monkeypatch):
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 8)
    x = np.full((10, 4), 0.25)
    x[7, 2] = -1.0
    with pytest.raises(DataError, match=r"\[7, 2\]"):
        compare(x, np.full((10, 4), 0.25))


def test_array_rank_is_checked():
    with pytest.raises(DataError, match="samples have shape"):
        compare(dkl.Samples(np.zeros((2, 2, 2))), dkl.Samples(np.zeros(2)))


def test_some_arrays_of_several_can_be_chosen():
    side = {"a": dkl.Probs(np.full((2, 4), 0.25)), "b": dkl.Probs(np.full((3, 2), 0.5))}
    assert [array.name for array in dkl.compare(side, side, columns="b").arrays] == ["b"]
    assert [array.name for array in dkl.compare(side, side, columns=["b", "a"]).arrays] == ["a", "b"]
    with pytest.raises(dkl.comparison.ColumnError, match="array 'c' is on neither side; there are: a, b"):
        dkl.compare(side, side, columns="c")
