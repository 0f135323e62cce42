"""Training starts from every format that `prepare` reads: import, split, one step, a model."""

import io
import json
import re
from pathlib import Path

import layouts
import pytest
from layouts import record, write
from rich.console import Console

from asr.config import Config
from asr.data import manifest
from asr.data.importers import IMPORTERS
from asr.data.prepare import prepare
from asr.data.split import SplitSettings
from asr.pipeline.rows import train_rows

ROOT = Path(__file__).parents[1]
TEXTGRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
3
<exists>
1
"IntervalTier"
"words"
0
3
2
0
1.5
"a cat"
1.5
3
"a dog"
"""
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds"/>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="0"/>
<TIME_SLOT TIME_SLOT_ID="t2" TIME_VALUE="1500"/></TIME_ORDER>
<TIER TIER_ID="Ann"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a" TIME_SLOT_REF1="t1"
 TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>a cat</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>
</TIER></ANNOTATION_DOCUMENT>
"""
BESIDE = {
    "txt": (".txt", "a cat\n"),
    "lab": (".lab", "a cat\n"),
    "trn": (".trn", "a cat (talk)\n"),
    "textgrid": (".TextGrid", TEXTGRID),
    "elan": (".eaf", EAF),
    "srt": (".srt", "1\n00:00:00,000 --> 00:00:01,500\na cat\n"),
    "vtt": (".vtt", "WEBVTT\n\n00:00.000 --> 00:01.500\na cat\n"),
    "audacity": (".txt", "0.0\t1.5\ta cat\n"),
    "stm": (".stm", "talk 1 ann 0.00 1.50 <o> a cat\n"),
    "ctm": (".ctm", "talk 1 0.10 0.30 a\ntalk 1 0.45 0.50 cat\n"),
}


def beside(name):
    def make(at):
        suffix, text = BESIDE[name]
        record(at / "talk.wav", 3)
        write(at / f"talk{suffix}", text)
        return at

    return make


def lhotse(at):
    path = record(at / "audio/a.wav", 3)
    source = {"type": "file", "channels": [0], "source": str(path)}
    recording = {"id": "r", "sources": [source], "sampling_rate": 16000, "num_samples": 48000,
                 "duration": 3.0, "channel_ids": [0]}  # fmt: skip
    said = {"id": "u", "recording_id": "r", "start": 0.5, "duration": 2.0, "channel": 0,
            "text": "a cat"}  # fmt: skip
    write(at / "recordings.jsonl", json.dumps(recording) + "\n")
    write(at / "supervisions.jsonl", json.dumps(said) + "\n")
    return at


def shar(at):
    pytest.importorskip("lhotse", reason="only lhotse writes Shar")
    from lhotse import CutSet, Recording, SupervisionSegment
    from lhotse.shar import SharWriter

    cut = Recording.from_file(record(at / "made/a.wav", 3), recording_id="r").to_cut()
    cut.supervisions = [SupervisionSegment("u", "r", 0.0, 3.0, text="a cat")]
    (at / "shar").mkdir()
    with SharWriter(at / "shar", fields={"recording": "flac"}, shard_size=10) as writer:
        for each in CutSet.from_cuts([cut]):
            writer.write(each)
    return at / "shar"


def parquet(at):
    pytest.importorskip("pyarrow", reason="Parquet is read by pyarrow")
    return layouts.parquet(at)


MAKE = {
    "librispeech": layouts.librispeech,
    "tedlium": layouts.tedlium,
    "ljspeech": layouts.ljspeech,
    "common-voice": layouts.common_voice,
    "sphinx": layouts.an4,
    "voxforge": layouts.voxforge,
    "kaldi": layouts.kaldi,
    "lhotse": lhotse,
    "shar": shar,
    "webdataset": layouts.webdataset,
    "parquet": parquet,
    "table": layouts.nemo,
    "yesno": layouts.yesno,
    "fsdd": layouts.fsdd,
    "speech-commands": layouts.speech_commands,
    **{name: beside(name) for name in BESIDE},
}
SMALL = Config(
    name="small",
    features={"n_mels": 8},
    model={"preset": "tiny", "layers": 1, "hidden": 4, "channels": 1, "subsampling": 2},
    train={"epochs": 1, "workers": 0, "threads": 1, "device": "cpu"},
)


@pytest.mark.parametrize("name", IMPORTERS)
def test_training_starts_from(tmp_path, name):
    source = MAKE[name](tmp_path / "made")
    prepared = prepare(source, tmp_path / "out", split=SplitSettings(0, 0))
    assert prepared.format == IMPORTERS[name].title
    rows = manifest.read(tmp_path / "out/train.jsonl")[:2]
    model = train_rows(SMALL, rows, rows, tmp_path / "run", Console(file=io.StringIO()))
    assert (tmp_path / "run/model.asr").is_file()
    letters = {character for character in rows[0].text.lower() if character.isalpha()}
    assert letters and letters <= set("".join(model.tokenizer.pieces))


def test_the_page_lists_what_is_tried_with_each_format():
    page = (ROOT / "docs/corpora.md").read_text("utf-8")
    section = page.partition("## What is tried with each format")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    formats = [name for row in rows for name in re.findall(r"`([\w-]+)`", row[0])]
    assert sorted(formats) == sorted(IMPORTERS)
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    named = [name for row in rows for name in re.findall(r"`(test_\w+)`", row[-1])]
    assert len(named) >= len(rows)
    assert [name for name in named if f"def {name}(" not in tests] == []
