"""Convert rows (lists of utterances or dicts, a data frame, a manifest) to utterances."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from asr.audio import source_of
from asr.audio.source import is_array
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError


class Frame(Protocol):
    """A pandas data frame, or any object with this interface; pandas is not a dependency."""

    @property
    def columns(self) -> Any: ...

    def to_dict(self, orient: Any, /) -> Any: ...


Rows: TypeAlias = str | os.PathLike[str] | Iterable[Utterance | Mapping[str, Any]] | Frame


def utterances_of(rows: Rows, name: str) -> list[Utterance]:
    """The utterances that `rows` describes.

    rows: utterances, dicts or the rows of a pandas data frame with the columns of a manifest
    (`audio`, `text`, ...; paths are relative to the working directory), or the path of a manifest.
    Missing values (None, NaN) are left out. Instead of a path, `audio` may be bytes, a file object,
    or an array if there is a column `rate_hz`. name: the name of `rows` in messages.

    Raises `UserError`, which names the row, if a row has no audio or an invalid value, if an id is
    used twice, or if there are no rows.
    """
    if isinstance(rows, (str, os.PathLike)):
        return manifest.read(os.fspath(rows))
    given: Any = rows.to_dict("records") if hasattr(rows, "to_dict") else rows
    utterances: list[Utterance] = []
    numbers: dict[str, int] = {}
    for number, row in enumerate(given, start=1):
        utterance = row if isinstance(row, Utterance) else _utterance(row, name, number)
        if utterance.id in numbers:
            raise UserError(
                f"{name}:{number}: the id {utterance.id!r} is also that of row "
                f"{numbers[utterance.id]}; give each row its own"
            )
        numbers[utterance.id] = number
        utterances.append(utterance)
    if not utterances:
        raise UserError(f"{name}: there are no rows")
    return utterances


def _utterance(row: Any, name: str, number: int) -> Utterance:
    if not isinstance(row, Mapping):
        kind = type(row).__name__
        raise UserError(f"{name}:{number}: a row must be an Utterance or a dict, not {kind}")
    values = {key: _plain(value) for key, value in row.items() if not _is_missing(value)}
    audio = values.get("audio")
    if isinstance(audio, os.PathLike):
        values["audio"] = os.fspath(audio)
    if audio is None or isinstance(audio, (str, os.PathLike)):
        return manifest.to_utterance(values, Path(name), number)
    rate_hz = values.pop("rate_hz", None)
    if is_array(audio) and rate_hz is None:
        raise UserError(f"{name}:{number}: audio is an array; give its rate in a column rate_hz")
    try:
        source = source_of(audio, rate_hz, 0)
    except UserError as error:
        raise UserError(f"{name}:{number}: {error}") from None
    values |= {"audio": name, "id": values.get("id", str(number))}
    return replace(manifest.to_utterance(values, Path(name), number), audio=source)


def _is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, or pandas's NA or NaT, which cannot be compared."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def _plain(value: Any) -> Any:
    """Convert a NumPy scalar to a Python scalar, which can be written as JSON."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
