"""The prepare.py of recipes that train on a corpus of the table: see `asr/data/corpora.yaml`."""

from __future__ import annotations

from pathlib import Path

from asr.data import corpora
from asr.data.prepare import prepare
from asr.pipeline.prepare_cli import main


def corpus_main(name: str, about: str) -> None:
    """The command line of a prepare.py that writes the manifests of the corpus `name`.

    It downloads the corpus into the output folder, or takes an archive or an unpacked copy that is
    on disk already. about: the docstring of the script.
    """

    def write_manifests(out: Path, audio: Path | None, archive: Path | None) -> None:
        corpus = corpora.find(name)
        if audio is None:
            given = [] if archive is None else [archive]
            prepared, notes = corpora.get(name, out, given)
        else:
            prepared = prepare(audio, out, language=corpus.language)
            notes = corpora.differences(corpus, prepared)
        for part in prepared.sets:
            print(f"{part.path}: {part.utterances} utterances, {part.hours:.2f} hours")
        for line in [*prepared.log.notes, *prepared.log.lines(), *notes]:
            print(line)

    options = {
        "audio": {"type": Path, "help": "folder of the unpacked corpus (no download)"},
        "archive": {"type": Path, "help": "archive of the corpus that is on disk already"},
    }
    main(write_manifests, about, options)
