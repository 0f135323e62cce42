"""Arrays in one .npz file that numpy can read and that can be mapped into memory.

`numpy.savez` stores members uncompressed but unaligned. For an unaligned map, numba would compile a
second, slower version of every loop. Members are therefore aligned to `ALIGNMENT` bytes, as
zipalign does. One file was chosen over a folder of .npy files because it can be copied, replaced
atomically and put inside a model file.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from asr.errors import UserError
from asr.files import replacing

ALIGNMENT = 64  # bytes; numpy itself pads its headers to this
MAP_BYTES = 64 << 20  # smaller files are read, so that they can be replaced while in use
_LOCAL_HEADER = 30  # bytes before the name in a zip member's local header (APPNOTE 4.3.7)
_ZIP64_EXTRA = 20  # bytes that zipfile adds to the extra field for 64-bit sizes
_PADDING_ID = 0xD935  # extra-field id that Android's zipalign pads with


def save_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` atomically; `numpy.load(path)` reads them, `load_npz` maps them."""
    with replacing(path) as beside:
        write_npz(beside, arrays)


def write_npz(file: str | Path | BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to an open file, or to a path without the atomic replacement of `save_npz`."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")
            begin = archive.fp.tell() + _LOCAL_HEADER + len(member.filename) + _ZIP64_EXTRA + 4
            padding = -begin % ALIGNMENT
            member.extra = (
                _PADDING_ID.to_bytes(2, "little") + padding.to_bytes(2, "little") + bytes(padding)
            )
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)


def load_npz(file: str | Path | BinaryIO) -> dict[str, np.ndarray]:
    """The arrays of a file by name. A file of at least `MAP_BYTES` is mapped into memory.

    Maps are copy-on-write, because numba would compile every loop again for read-only arrays.
    Raises `UserError` if the file is not an npz file of uncompressed arrays.
    """
    try:
        if isinstance(file, (str, Path)) and os.path.getsize(file) >= MAP_BYTES:
            return _map(Path(file))
        with np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise UserError(f"{file}: no such file") from None
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError, KeyError) as error:
        raise UserError(f"{file}: not a readable npz file ({error}); make it again") from error


def _map(path: Path) -> dict[str, np.ndarray]:
    arrays = {}
    with zipfile.ZipFile(path) as archive, open(path, "rb") as raw:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError(f"{member.filename} is compressed")
            raw.seek(member.header_offset + _LOCAL_HEADER - 4)
            name_bytes = int.from_bytes(raw.read(2), "little")
            extra_bytes = int.from_bytes(raw.read(2), "little")
            raw.seek(name_bytes + extra_bytes, os.SEEK_CUR)
            version = np.lib.format.read_magic(raw)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(raw)
            if dtype.hasobject:
                raise ValueError(f"{member.filename} holds Python objects")
            name = member.filename.removesuffix(".npy")
            if 0 in shape:  # an empty range cannot be mapped
                arrays[name] = np.empty(shape, dtype)
                continue
            mapped = np.memmap(path, dtype, "c", raw.tell(), shape)
            arrays[name] = mapped.view(np.ndarray)
    return arrays
