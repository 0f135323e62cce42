"""lhotse's recordings and supervisions. https://lhotse.readthedocs.io/en/latest/corpus.html"""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from asr import files
from asr.audio import AudioInfo
from asr.data.exporters.base import Exported, Exporter, in_files, plain
from asr.data.manifest import Utterance

NAMES = ("recordings.jsonl.gz", "supervisions.jsonl.gz")


def write_lhotse(
    utterances: Iterable[Utterance], folder: Path, progress: Callable[[], None]
) -> Exported:
    """Write recordings.jsonl.gz and supervisions.jsonl.gz; the other columns become `custom`."""
    exported, known = Exported(), {}
    with ExitStack() as stack:
        recordings, supervisions = (_open(stack, folder / name) for name in NAMES)
        for u, info in in_files(utterances, folder, exported, progress):
            id = known.get(u.audio)
            if id is None:
                id = known[u.audio] = f"{Path(u.audio).stem}-{len(known)}"
                _put(recordings, _recording(id, u.audio, info))
            _put(supervisions, _supervision(u, id, info))
    exported.files += [folder / name for name in NAMES]
    return exported


def _open(stack: ExitStack, path: Path) -> io.TextIOWrapper:
    beside = stack.enter_context(files.replacing(path))
    raw = stack.enter_context(beside.open("wb"))
    # Without a name and a time in the header, the same rows give the same bytes.
    packed = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=0))
    return stack.enter_context(io.TextIOWrapper(packed, encoding="utf-8"))


def _put(file: io.TextIOWrapper, row: dict) -> None:
    file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _recording(id: str, path: str, info: AudioInfo) -> dict:
    channels = list(range(info.channels))
    count = round(info.duration_s * info.rate_hz)
    return {
        "id": id,
        "sources": [{"type": "file", "channels": channels, "source": path}],
        "sampling_rate": info.rate_hz,
        "num_samples": count,
        "duration": count / info.rate_hz,
        "channel_ids": channels,
    }


def _supervision(u: Utterance, recording: str, info: AudioInfo) -> dict:
    channel = 0 if info.channels == 1 else list(range(info.channels))
    row = {
        "id": u.id,
        "recording_id": recording,
        "start": round(u.start_s, 6),
        "duration": round(u.duration_s, 6),
        "channel": channel,
        "text": plain(u.text),
    }
    extra = dict(u.extra)
    known = {"language": u.language, "speaker": u.speaker, "gender": extra.pop("gender", None)}
    row |= {key: value for key, value in known.items() if value is not None}
    return row | ({"custom": extra} if extra else {})


LHOTSE = Exporter("lhotse", "lhotse's recordings and supervisions", write_lhotse)
