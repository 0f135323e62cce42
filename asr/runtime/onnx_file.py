"""The metadata of an ONNX file, read and replaced without the `onnx` package.

An ONNX file is one protocol buffer (`ModelProto` of onnx.proto3), a sequence of fields. A field is
a key, number * 8 + type, and a value; only numbers and values that state their length occur.
Field 14 repeats for each entry of the metadata; its value has the entry's key as field 1 and its
text as field 2.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from asr.files import replacing

SUFFIX = ".onnx"
PREFIX = "asr."  # of the keys of the metadata that this package writes
SETTINGS = f"{PREFIX}config"  # the key of the configuration
# The names of inputs and outputs that carry a stream from one piece to the next.
STATE, NEXT_STATE = "state.", "next."
_METADATA = 14
_VARINT, _BYTES = 0, 2


def is_exported(path: str | Path) -> bool:
    """Whether a path names an exported model."""
    return Path(path).suffix == SUFFIX


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a model; the rest is skipped. Raises ValueError if it is not an ONNX file."""
    with open(path, "rb") as file:
        entries = {}
        for number, _, start, end in _fields(file, os.path.getsize(path)):
            if number == _METADATA:
                file.seek(start)
                key, value = _entry(file.read(end - start))
                entries[key] = value
                file.seek(end)
        return entries


def write_metadata(source: str | Path, target: str | Path, metadata: Mapping[str, str]) -> None:
    """Copy a model with other metadata; `target` may be `source`."""
    with replacing(target) as beside, open(source, "rb") as file, open(beside, "wb") as new:
        for number, first, _, end in _fields(file, os.path.getsize(source)):
            if number != _METADATA:
                file.seek(first)
                _copy(file, new, end - first)
            file.seek(end)
        for key, value in metadata.items():
            entry = _field(1, key.encode()) + _field(2, value.encode())
            new.write(_field(_METADATA, entry))


def _copy(file: BinaryIO, new: BinaryIO, count: int) -> None:
    part = 1 << 20
    for done in range(0, count, part):
        new.write(file.read(min(part, count - done)))


def _fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int, int, int]]:
    """(number, offset of its key, offset of its value, offset after it) of each field.

    The caller may move in the file.
    """
    end = 0
    while end < size:
        file.seek(end)
        first = end
        key = _varint(file)
        start = file.tell()
        if key & 7 == _BYTES:
            length = _varint(file)
            start = file.tell()
            end = start + length
        elif key & 7 == _VARINT:
            _varint(file)
            end = file.tell()
        else:
            raise ValueError(f"a field of type {key & 7}")
        if end > size:
            raise ValueError("truncated")
        yield key >> 3, first, start, end


def _varint(file: BinaryIO) -> int:
    """An integer in groups of 7 bits, the lowest first; the last byte is below 128."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("truncated")
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    raise ValueError("a number of more than 10 bytes")


def _entry(data: bytes) -> tuple[str, str]:
    found = {}
    for number, _, start, end in _fields(io.BytesIO(data), len(data)):
        found[number] = data[start:end].decode()
    return found.get(1, ""), found.get(2, "")


def _field(number: int, value: bytes) -> bytes:
    return _number(number << 3 | _BYTES) + _number(len(value)) + value


def _number(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
