"""NeMo's manifests. https://docs.nvidia.com/nemo-framework/user-guide/latest/nemotoolkit/asr/datasets.html"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

from asr import files
from asr.data.exporters.base import Exported, Exporter, in_files, plain
from asr.data.manifest import Utterance


def write_nemo(
    utterances: Iterable[Utterance], folder: Path, progress: Callable[[], None]
) -> Exported:
    """Write FOLDER/manifest.json: a JSON object on each line, with absolute paths."""
    exported, path = Exported(), folder / "manifest.json"
    with files.replacing(path) as beside, beside.open("w", encoding="utf-8") as file:
        for u, _ in in_files(utterances, folder, exported, progress):
            row = {"audio_filepath": u.audio, "duration": round(u.duration_s, 4)}
            if u.start_s:
                row["offset"] = round(u.start_s, 4)
            row |= {"text": plain(u.text), "id": u.id}
            if u.speaker is not None:
                row["speaker"] = u.speaker
            if u.language is not None:
                row["lang"] = u.language
            extra = {key: value for key, value in u.extra.items() if key not in row}
            file.write(json.dumps(row | extra, ensure_ascii=False) + "\n")
    exported.files.append(path)
    return exported


NEMO = Exporter("nemo", "a NeMo manifest", write_nemo)
