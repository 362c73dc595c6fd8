"""A pickle of data is read as numpy wrote it; one that names code, or would take all memory, is refused unread."""

from __future__ import annotations

import pickle
import struct

import numpy as np
import pytest

from bob.core.errors import DataError
from bob.data.restricted_pickle import PickledArray, read_pickle


def test_a_harmless_looking_global_is_refused_too(tmp_path):
    for dumped in (
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"cbuiltins\ngetattr\n.",
        b"(S'x'\nios\nsystem\n.",
        b"cnumpy\nndarray\n((K\x02tI3\ntR.",
        b"c_codecs\nencode\n(S'x'\nS'rot13'\ntR.",
        b"Vx\nP0\n.",
    ):
        (tmp_path / "one.pkl").write_bytes(dumped)
        with pytest.raises(DataError, match="is no pickle of plain data"):
            read_pickle(tmp_path / "one.pkl")


def test_a_stand_in_cannot_be_changed_by_a_pickle(tmp_path):
    swap = b"cnumpy\ndtype\n}S'_call'\nS'x'\nsb."  # BUILD with a dict
    (tmp_path / "one.pkl").write_bytes(swap)
    with pytest.raises(DataError):
        read_pickle(tmp_path / "one.pkl")
    (tmp_path / "one.pkl").write_bytes(pickle.dumps(np.arange(3), protocol=2))
    assert read_pickle(tmp_path / "one.pkl").values.tolist() == [0, 1, 2]


ARRAYS = [
    np.array([3, 1, 2]),
    np.array([], dtype=np.int64),
    np.array([[1.5, -2.0], [0.0, 4.0], [5.0, 6.0]]),
    np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.arange(4, dtype=">i2"),
    np.array([True, False]),
    np.array(["all_souls", "é"]),
    np.array(7, dtype=np.uint8),
]


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("old_name", [False, True])
def test_arrays_and_scalars_are_what_numpy_pickled(tmp_path, protocol, old_name):
    said = {"arrays": ARRAYS, "scalars": [np.int64(-3), np.float32(0.5), np.bool_(True)], "set": {1, 2}, "text": "é"}
    dumped = pickle.dumps(said, protocol=protocol)
    if old_name and protocol < 4:  # numpy before 2.0 had another name for its inner package
        dumped = dumped.replace(b"numpy._core", b"numpy.core")
    (tmp_path / "one.pkl").write_bytes(dumped)
    read = read_pickle(tmp_path / "one.pkl")
    assert read["scalars"] == [-3, 0.5, True] and read["set"] == {1, 2} and read["text"] == "é"
    for mine, numpys in zip(read["arrays"], ARRAYS, strict=True):
        assert isinstance(mine, PickledArray) and mine.values.dtype == numpys.dtype
        assert mine.values.shape == numpys.shape and np.array_equal(mine.values, numpys)


def test_a_pickle_of_python_2_is_read(tmp_path):
    """There, text and an array's content are both byte strings (opcode SHORT_BINSTRING)."""
    raw = struct.pack("<2q", 4, 5)
    dumped = (
        b"\x80\x02}U\x04easyc" + b"numpy.core.multiarray\n_reconstruct\n" + b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x02\x85cnumpy\ndtype\nU\x02i8K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U" + bytes([len(raw)]) + raw + b"tbs."
    )
    (tmp_path / "one.pkl").write_bytes(dumped)
    assert read_pickle(tmp_path / "one.pkl")["easy"].values.tolist() == [4, 5]


@pytest.mark.parametrize("end", [0, 1, 40, -1])
def test_a_pickle_that_is_cut_off_is_damaged(tmp_path, end):
    (tmp_path / "one.pkl").write_bytes(pickle.dumps({"arrays": ARRAYS})[:end])
    with pytest.raises(DataError, match=r"one\.pkl is no pickle of plain data: it is damaged"):
        read_pickle(tmp_path / "one.pkl")


@pytest.mark.parametrize(
    "greedy",
    [
        b"Nr\xff\xff\xff\x7f.",  # LONG_BINPUT: the unpickler would make room for 2**31 places
        b"Np99999999999\n.",
        b"\x96" + struct.pack("<Q", 1 << 40) + b"ab.",  # BYTEARRAY8 of a terabyte
    ],
)
def test_a_pickle_that_would_take_all_memory_is_refused(tmp_path, greedy):
    (tmp_path / "one.pkl").write_bytes(greedy)
    with pytest.raises(DataError, match=r"one\.pkl is no pickle of plain data"):
        read_pickle(tmp_path / "one.pkl")


def test_a_pickle_of_many_megabytes_is_not_read(tmp_path):
    with (tmp_path / "one.pkl").open("wb") as file:
        file.truncate((64 << 20) + 1)
    with pytest.raises(DataError, match="at most 67108864 are read"):
        read_pickle(tmp_path / "one.pkl")
