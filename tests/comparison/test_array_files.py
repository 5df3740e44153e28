"""Arrays in files: every format and layout block by block, damage, change, and memory."""

import json
import os
import subprocess
import sys
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

import dkl
from dkl.comparison import DataError, array_files, arrays, compare


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(arrays, "_BLOCK_ENTRIES", 50)
    monkeypatch.setattr(array_files, "_TILE_BYTES", 2000)


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(13, 7, 9))
    return x, x + rng.normal(scale=0.1, size=x.shape)


def _npy(path, array):
    np.save(path.with_suffix(".npy"), array)
    return path.with_suffix(".npy")


def _npy_2(path, array):
    with open(path.with_suffix(".npy"), "wb") as file:
        np.lib.format.write_array(file, array, version=(2, 0))
    return path.with_suffix(".npy")


def _npz(path, array):
    np.savez(path.with_suffix(".npz"), x=array)
    return path.with_suffix(".npz")


def _compressed(path, array):
    np.savez_compressed(path.with_suffix(".npz"), x=array)
    return path.with_suffix(".npz")


def _safetensors(path, array):
    save_file({"x": np.ascontiguousarray(array)}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


FORMATS = [_npy, _npy_2, _npz, _compressed, _safetensors]
LAYOUTS = {
    "C": np.ascontiguousarray,
    "Fortran": np.asfortranarray,
    "rows and columns": lambda x: x.reshape(-1, x.shape[-1]),
    "rows and columns in Fortran order": lambda x: np.asfortranarray(x.reshape(-1, x.shape[-1])),
    "one row": lambda x: x[0, 0],
    "four axes in Fortran order": lambda x: np.asfortranarray(x[:, None]),
}


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_format_in_every_layout(pair, tmp_path, write, layout):
    x, y = layout(pair[0]), layout(pair[1])
    expected = compare(dkl.Logits(x), dkl.Logits(y))["array"]
    files = write(tmp_path / "a", x), write(tmp_path / "b", y)
    name = "array" if files[0].suffix == ".npy" else "x"
    assert _only(compare(*files, as_="logits")[name]) == _only(expected)


def _only(array):
    return array.shape, array.measured, array.top_1


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8, np.uint16, np.int32, np.int64, bool])
def test_every_type_of_number(tmp_path, write, dtype):
    counts = np.random.default_rng(3).integers(0, 2 if dtype is bool else 90, size=(2, 40, 6)).astype(dtype)
    counts[..., 0] = 1
    expected = compare(dkl.Counts(counts[0]), dkl.Counts(counts[1]), resamples=100)
    files = write(tmp_path / "a", counts[0]), write(tmp_path / "b", counts[1])
    found = compare(*files, as_="counts", resamples=100)
    assert _only(found.arrays[0]) == _only(expected.arrays[0])
    assert [column.js.value for column in found.columns] == [column.js.value for column in expected.columns]
    assert len(found.columns) == 40


@pytest.mark.parametrize("write", [_npy, _compressed])
@pytest.mark.parametrize("dtype", [">f4", ">i2", ">f2"])
def test_the_other_byte_order(tmp_path, write, dtype):
    counts = np.arange(60).reshape(10, 6) % 7 + 1
    x, y = counts.astype(dtype), counts[::-1].astype(dtype)
    found = compare(write(tmp_path / "a", x), write(tmp_path / "b", y), as_="counts", resamples=100)
    assert found.arrays[0].kl_reference_current.mean == pytest.approx(
        np.mean(dkl.kl(dkl.Counts(counts), dkl.Counts(counts[::-1]))), rel=1e-5
    )


@pytest.mark.parametrize("as_", ["samples", "logits"])
def test_bfloat16_needs_no_other_package(tmp_path, monkeypatch, as_):
    x = np.random.default_rng(0).normal(size=(40, 12)).astype(ml_dtypes.bfloat16)
    x[0, :4] = -0.0, 1e-40, 3e38, -3e38
    _safetensors(tmp_path / "a", x)
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    found = compare(tmp_path / "a.safetensors", x.astype(np.float32), as_=as_)
    values = [one.js.maximum for one in found.arrays] + [column.js.value for column in found.columns]
    assert values == ([0.0] if as_ == "logits" else [0.0] * 12)
    assert compare(tmp_path / "a.safetensors", np.roll(x, 1).astype(np.float32), as_="logits")["x"].js.maximum > 0.1


def test_half_precision_probabilities_may_miss_1_by_their_rounding(tmp_path):
    x = np.full((3, 1000), 1e-3, np.float16)
    assert abs(x[0].astype(float).sum() - 1) > 4e-4  # too much for float32
    assert compare(_npy(tmp_path / "a", x), x)["array"].tv.maximum == 0.0
    with pytest.raises(DataError, match=r"b\.npy: row \[0\] sums to 1\.0004"):
        compare(x, _npy(tmp_path / "b", x.astype(np.float32)))


def test_a_type_that_is_no_number_of_numpy_s(tmp_path):
    x = np.zeros((2, 2), ml_dtypes.float8_e4m3fn)
    save_file({"x": x}, tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=r"a\.safetensors, array 'x': holds F8_E4M3; store it as F32"):
        compare(tmp_path / "a.safetensors", tmp_path / "a.safetensors")


def test_numbers_at_an_odd_place(tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 8))
    header = {"x": {"dtype": "F64", "shape": [30, 8], "data_offsets": [0, x.nbytes]}}
    text = json.dumps(header).encode()
    text += b" " * (1 - len(text) % 2)
    (tmp_path / "a.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + x.tobytes())
    assert compare(tmp_path / "a.safetensors", dkl.Logits(x), as_="logits")["x"].js.maximum == 0.0


@pytest.mark.parametrize("write", FORMATS)
def test_samples_are_read_whole(tmp_path, write):
    x = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    found = compare(write(tmp_path / "a", x), write(tmp_path / "b", np.asfortranarray(x)), as_="samples")
    assert [(column.name, column.js.value) for column in found.columns] == [("0", 0.0), ("1", 0.0), ("2", 0.0)]


@pytest.mark.parametrize("write", FORMATS)
def test_an_array_without_entries(tmp_path, write):
    path = write(tmp_path / "a", np.zeros((0, 3)))
    with pytest.raises(DataError, match=r"shape \(0, 3\) holds no distribution"):
        compare(path, path)
    with pytest.raises(DataError, match="no rows"):
        compare(path, path, as_="samples")


# Errors


@pytest.mark.parametrize("write", FORMATS)
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray], ids=["C", "Fortran"])
def test_a_bad_value_far_into_a_file(pair, tmp_path, write, layout):
    bad = pair[1].copy()
    bad[11, 3, 5] = np.nan
    path, worse = write(tmp_path / "good", layout(pair[0])), write(tmp_path / "bad", layout(bad))
    named = worse.name if worse.suffix == ".npy" else f"{worse.name}, array 'x'"
    for sides in ((path, worse), (worse, path)):
        with pytest.raises(DataError) as error:
            compare(*sides, as_="logits")
        assert f"{named}: entry [11, 3, 5] = nan is not a number, so it is no logit" in str(error.value)


@pytest.mark.parametrize("write", FORMATS)
def test_a_file_cut_anywhere_is_an_error(pair, tmp_path, write):
    good = write(tmp_path / "good", pair[0])
    whole = good.read_bytes()
    cut = tmp_path / f"cut{good.suffix}"
    for length in [*range(1, len(whole), len(whole) // 60), len(whole) - 1]:
        cut.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.\w+.*(damaged|is no array)"):
            compare(good, cut, as_="logits")


@pytest.mark.parametrize("write", [_npz, _compressed])
@pytest.mark.parametrize("layout", [np.ascontiguousarray, np.asfortranarray], ids=["C", "Fortran"])
def test_a_flipped_bit_in_an_archive_is_an_error(pair, tmp_path, write, layout):
    good = write(tmp_path / "good", layout(pair[0]))
    content = bytearray(good.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"bad\.npz, array 'x': is damaged"):
        compare(good, tmp_path / "bad.npz", as_="logits")


def _grown(path):
    with open(path, "ab") as file:
        file.write(b"more")


def _shrunk(path):
    os.truncate(path, path.stat().st_size - 1000)


def _touched(path):
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def _replaced(path):
    path.with_suffix(".new").write_bytes(path.read_bytes())
    os.replace(path.with_suffix(".new"), path)


@pytest.mark.parametrize("change", [_grown, _shrunk, _touched])
@pytest.mark.parametrize(
    ("write", "layout"), [*((write, np.ascontiguousarray) for write in FORMATS), (_npy, np.asfortranarray)]
)
def test_a_file_that_changes_while_it_is_read(pair, tmp_path, write, layout, change):
    path = write(tmp_path / "a", layout(np.tile(pair[0], (9, 1, 1))))

    def progress(done, total):
        assert done < total
        change(path)

    with pytest.raises(DataError, match=r"a\.\w+.*: (has changed while it was read|is damaged, cut short)"):
        compare(path, path, as_="logits", progress=progress)


@pytest.mark.parametrize("write", [_npz, _compressed])
def test_an_archive_in_fortran_order_is_copied_before_it_can_change(pair, tmp_path, write):
    path = write(tmp_path / "a", np.asfortranarray(pair[0]))
    expected = compare(path, dkl.Logits(pair[1]), as_="logits").to_dict()
    assert compare(path, dkl.Logits(pair[1]), as_="logits", progress=lambda *_: _grown(path)).to_dict() == expected


def test_a_file_that_is_replaced_is_read_to_its_end(pair, tmp_path):
    path = _npy(tmp_path / "a", pair[0])
    expected = compare(path, dkl.Logits(pair[1]), as_="logits").to_dict()
    assert compare(path, dkl.Logits(pair[1]), as_="logits", progress=lambda *_: _replaced(path)).to_dict() == expected


def test_a_file_that_is_replaced_after_it_was_found(pair, tmp_path):
    path = _npy(tmp_path / "a", pair[0])
    (find,) = array_files.open_arrays(path, "a.npy", "npy").values()
    array = find()
    _replaced(path)
    with pytest.raises(DataError, match=r"a\.npy: has changed"):
        next(array.blocks(5))


def test_several_arrays_in_one_npy_file(pair, tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        np.save(file, pair[0])
        np.save(file, pair[1])
    with pytest.raises(DataError, match=r"a\.npy: goes on after its array; save several arrays in one file as \.npz"):
        compare(tmp_path / "a.npy", tmp_path / "a.npy", as_="logits")


def test_a_member_that_goes_on_after_its_array(pair, tmp_path):
    content = _npy(tmp_path / "a", pair[0]).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content + b"more")
    with pytest.raises(DataError, match=r"a\.npz, array 'x': goes on after its array"):
        compare(tmp_path / "a.npz", tmp_path / "a.npz", as_="logits")


def test_two_members_of_one_name(pair, tmp_path):
    content = _npy(tmp_path / "a", pair[0]).read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
        archive.writestr("x", content)
    with pytest.raises(DataError, match=r"a\.npz: array 'x' appears more than once"):
        compare(tmp_path / "a.npz", tmp_path / "a.npz", as_="logits")


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ({"descr": "<f8", "fortran_order": False, "shape": (10**30, 2)}, "16 of 16,.* bytes are there"),
        ({"descr": "<f8", "fortran_order": False, "shape": (-1, 2)}, r"shape \(-1, 2\) is none"),
        ({"descr": "<c16", "fortran_order": False, "shape": (1,)}, "holds complex128; real numbers are needed"),
        ({"descr": "<U1", "fortran_order": False, "shape": (1,)}, "real numbers are needed"),
        ({"descr": [("a", "<f8")], "fortran_order": False, "shape": (2,)}, "is a structured array"),
        ({"descr": "|O", "fortran_order": False, "shape": (2,)}, "nothing is ever unpickled"),
    ],
    ids=["huge", "negative", "complex", "text", "structured", "objects"],
)
def test_a_header_that_lies(tmp_path, header, says):
    with open(tmp_path / "a.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(16))
    with pytest.raises(DataError, match=rf"a\.npy: .*{says}"):
        compare(tmp_path / "a.npy", tmp_path / "a.npy")


def test_an_unknown_version_of_the_format(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x09\x00" + bytes(100))
    with pytest.raises(DataError, match=r"a\.npy: is damaged.*version \(9, 0\) of the format is unknown"):
        compare(tmp_path / "a.npy", tmp_path / "a.npy")


# Memory

_GROWTH = """
import json, re, resource, sys
import numpy as np
import dkl

def peak():
    try:
        status = open("/proc/self/status").read()
    except FileNotFoundError:  # macOS, which has no /proc, and counts in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])

reference, current = sys.argv[1:]
small = np.ones((64, 1024), np.float32)
dkl.compare(small, small, as_="logits")  # loads and compiles what the files will need
before = peak()
found = dkl.compare(reference, current, as_="logits").arrays[0]
print(json.dumps([peak() - before, found.shape, found.kl_reference_current.mean]))
"""
_BOUND = 64 * 2**20


def _mapped(path, array, rows):
    tiled = np.lib.format.open_memmap(path, "w+", array.dtype, (rows, array.shape[1]))
    for start in range(0, rows, len(array)):
        tiled[start : start + len(array)] = array
    return path.stat().st_size


def _zipped(path, array, rows):
    np.savez_compressed(path, x=np.tile(array, (rows // len(array), 1)))
    return rows * array.shape[1] * array.itemsize


def _brain(path, array, rows):
    save_file({"x": np.tile(array.astype(ml_dtypes.bfloat16), (rows // len(array), 1))}, path)
    return rows * array.shape[1] * 4  # as float32


@pytest.mark.parametrize(
    ("write", "suffix", "rows", "least"),
    [(_mapped, "npy", 1024, 128), (_zipped, "npz", 320, 40), (_brain, "safetensors", 320, 40)],
    ids=["npy", "npz", "safetensors"],
)
def test_memory_does_not_grow_with_the_files(tmp_path, write, suffix, rows, least):
    rng = np.random.default_rng(0)
    one = rng.normal(size=(4, 32768)).astype(np.float32)
    other = one + rng.normal(scale=0.1, size=one.shape).astype(np.float32)
    files = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    sizes = [write(path, side, rows) for path, side in zip(files, (one, other), strict=True)]
    assert min(sizes) >= least * 2**20
    assert sum(sizes) > 1.2 * _BOUND  # so that loading both would not go unseen
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH, *map(str, files)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    growth, shape, mean = json.loads(done.stdout)
    assert shape == [rows, 32768]
    assert mean == pytest.approx(0.005, rel=0.05)
    assert growth < _BOUND
