"""Arrays in an npz file: numpy reads it, and large files are mapped into memory."""

import os

import numpy as np
import pytest

from asr.errors import UserError
from asr.lm import npz

ARRAYS = {
    "numbers": np.arange(1000, dtype=np.int32),
    "scores": np.linspace(0, 1, 77, dtype=np.float32).reshape(7, 11),
    "none": np.zeros((0, 3), np.int64),
    "one": np.array(5),
}


@pytest.fixture(params=["read", "mapped"])
def path(request, tmp_path, monkeypatch):
    if request.param == "mapped":
        monkeypatch.setattr(npz, "MAP_BYTES", 0)
    npz.save_npz(tmp_path / "model.npz", ARRAYS)
    return tmp_path / "model.npz"


def test_what_was_saved_is_loaded(path):
    loaded = npz.load_npz(path)
    assert list(loaded) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].shape == array.shape
        np.testing.assert_array_equal(loaded[name], array)
        # One kind of array for numba, so that nothing is compiled twice.
        assert type(loaded[name]) is np.ndarray
        assert loaded[name].flags.aligned and loaded[name].flags.writeable


def test_numpy_reads_it_and_it_is_written_atomically(path):
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["scores"], ARRAYS["scores"])
    assert os.listdir(path.parent) == ["model.npz"]


def test_a_file_of_numpy_is_read(path):
    np.savez(path, **ARRAYS)
    np.testing.assert_array_equal(npz.load_npz(path)["scores"], ARRAYS["scores"])


def test_an_open_file_is_read(path):
    with open(path, "rb") as file:
        np.testing.assert_array_equal(npz.load_npz(file)["numbers"], ARRAYS["numbers"])


def test_changing_a_map_does_not_change_the_file(path):
    npz.load_npz(path)["numbers"][0] = 7
    assert npz.load_npz(path)["numbers"][0] == 0


def test_no_code_in_data(path):
    np.savez(path, words=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match=r"model\.npz: not a readable npz file"):
        npz.load_npz(path)


@pytest.mark.parametrize("content", [b"", b"\\data\\\nngram 1=5\n", b"PK\x03\x04 not a zip at all"])
def test_files_that_are_no_archive(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"model\.npz: not a readable npz file"):
        npz.load_npz(path)
    path.unlink()
    with pytest.raises(UserError, match=r"model\.npz: no such file"):
        npz.load_npz(path)
