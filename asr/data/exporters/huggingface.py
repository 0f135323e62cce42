"""Hugging Face's AudioFolder: metadata.jsonl beside the audio.

https://huggingface.co/docs/datasets/audio_dataset. `load_dataset("audiofolder", data_dir=FOLDER)`
reads it; a folder for each of train, validation and test makes a data set with these splits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from asr import files
from asr.data.exporters.base import Exported, Exporter, plain
from asr.data.importers.audio_store import AudioStore
from asr.data.manifest import Utterance
from asr.data.shard_writer import pack
from asr.errors import UserError


def write_huggingface(
    utterances: Iterable[Utterance], folder: Path, progress: Callable[[], None]
) -> Exported:
    """Write FOLDER/metadata.jsonl, and the audio to FOLDER/audio, as the format requires.

    A file that is one utterance is copied; a segment of a longer one becomes a FLAC file.
    """
    exported, path, store = Exported(), folder / "metadata.jsonl", AudioStore(folder / "audio")
    with files.replacing(path) as beside, beside.open("w", encoding="utf-8") as file:
        for u in utterances:
            progress()
            try:
                sample = pack(u)
            except UserError as error:
                exported.left_out.append(f"{u.id}: {error}")
                continue
            audio = Path(store.put(u.id + sample.suffix, sample.data))
            row = {"file_name": audio.relative_to(folder).as_posix(), "text": plain(u.text)}
            row |= {"id": u.id, "duration": round(sample.duration_s, 4)}
            known = {"speaker": u.speaker, "language": u.language}
            row |= {key: value for key, value in known.items() if value is not None}
            extra = {key: value for key, value in u.extra.items() if key not in row}
            file.write(json.dumps(row | extra, ensure_ascii=False) + "\n")
            exported.utterances += 1
    exported.files.append(path)
    return exported


HUGGINGFACE = Exporter("huggingface", "a Hugging Face AudioFolder", write_huggingface)
