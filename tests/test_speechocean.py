"""recipes/speechocean: the splits of both layouts, the download, and the real corpus."""

import importlib.util
import subprocess
import sys
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import soundfile
from conftest import noise

from asr.data import manifest
from asr.errors import UserError

SCRIPT = Path(__file__).parents[1] / "recipes/speechocean/prepare.py"
SPLITS = ("train", "dev", "test", "test_adults", "test_children")
# Two training speakers of each age and gender, and a boy and a woman to test on.
SPEAKERS = {
    "train": {
        f"00{i}{'a' if age < 18 else 'b'}": (age, gender)
        for i, (age, gender) in enumerate((age, g) for age in (6, 15, 19, 43) for g in "fm")
    },
    "test": {"0101": (11, "m"), "0102": (20, "f")},
}
TEXTS = {"train": ("WE CALL IT BEAR", "DON'T GO"), "test": ("We call it bear.", "ZERO GO")}


def write_original(folder: Path) -> Path:
    """Write a small corpus in the layout of the published one."""
    for split, speakers in SPEAKERS.items():
        tables = {name: [] for name in ("wav.scp", "text", "utt2spk", "spk2age", "spk2gender")}
        for speaker, (age, gender) in speakers.items():
            tables["spk2age"].append(f"{speaker}\t{age}")
            tables["spk2gender"].append(f"{speaker}\t{gender}")
            for i, text in enumerate(TEXTS[split]):
                name = f"{speaker}{i}"
                path = Path("WAVE") / f"SPEAKER{speaker}" / f"{name}.WAV"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                samples = noise(2.0 + 0.1 * i, seed=i)
                soundfile.write(folder / path, samples, 16000, format="WAV")
                tables["wav.scp"].append(f"{name}\t{path}")
                tables["text"].append(f"{name}\t{text}")
                tables["utt2spk"].append(f"{name}\t{speaker}")
        (folder / split).mkdir()
        for name, rows in tables.items():
            (folder / split / name).write_text("\n".join(rows) + "\n")
    return folder


def write_tables(folder: Path) -> Path:
    """Write the same corpus as FLAC with two tables; an additional row is in neither split."""
    (folder / "audio").mkdir(parents=True)
    rows = ["id\taudio\tduration_s\tspeaker\ttext"]
    splits = ["id\tsplit\tspeaker\tage\tgender"]
    for split, speakers in (*SPEAKERS.items(), ("none", {"9600": (28, "f")})):
        for speaker, (age, gender) in speakers.items():
            for i, text in enumerate(TEXTS.get(split, ("NOBODY",))):
                name = f"{speaker}{i}"
                soundfile.write(
                    folder / f"audio/{name}.flac", noise(2.0 + 0.1 * i, seed=i), 16000, "PCM_16"
                )
                rows.append(f"{name}\taudio/{name}.flac\t{2.0 + 0.1 * i}\t{speaker}\t{text}")
                splits.append(f"{name}\t{split}\t{speaker}\t{age}\t{gender}")
    (folder / "manifest.tsv").write_text("\n".join(rows) + "\n")
    (folder / "split.tsv").write_text("\n".join(splits) + "\n")
    return folder


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("speechocean_prepare", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sets(folder: Path) -> dict[str, list[manifest.Utterance]]:
    return {split: manifest.read(folder / f"{split}.jsonl") for split in SPLITS}


@pytest.mark.parametrize("layout", [write_original, write_tables])
def test_splits_and_columns(script, tmp_path, layout, capsys):
    script.prepare(tmp_path / "out", layout(tmp_path / "corpus"))
    found = sets(tmp_path / "out")
    assert {split: len(utterances) for split, utterances in found.items()} == {
        "train": 8, "dev": 8, "test": 4, "test_adults": 2, "test_children": 2,
    }  # fmt: skip
    dev = {u.speaker: (u.extra["age"] < 18, u.extra["gender"]) for u in found["dev"]}
    assert len(set(dev.values())) == 4  # one of two girls, boys, women, men
    assert not set(dev) & {u.speaker for u in found["train"]}
    assert found["test_adults"] + found["test_children"] == found["test"][2:] + found["test"][:2]
    for u in chain(*found.values()):
        age, gender = (SPEAKERS["train"] | SPEAKERS["test"])[u.speaker]
        assert u.extra == {"age": age, "gender": gender} and u.language == "en"
        index = int(u.id.removeprefix(u.speaker))
        assert u.text == TEXTS["test" if u.speaker in SPEAKERS["test"] else "train"][index]
        assert u.duration_s == soundfile.info(u.audio).duration == 2.0 + 0.1 * index
        samples, rate_hz = soundfile.read(u.audio, dtype="float32")
        assert rate_hz == 16000 and Path(u.audio).suffix.lower() == ".wav"
        assert abs(samples - noise(2.0 + 0.1 * index, seed=index)).max() <= 2**-15
    # "we call it bear" is in train however it is written, and "zero" is not: 1 of 6 words
    assert "not in train: 50.0% of the texts, 16.7% of the words" in capsys.readouterr().out


def test_both_layouts_give_the_same_splits_again_and_again(script, tmp_path):
    layouts = (write_original(tmp_path / "a"), write_tables(tmp_path / "b"))
    for out, corpus in zip("xyz", (*layouts, layouts[0]), strict=True):
        script.prepare(tmp_path / out, corpus)
    ids = [{k: [u.id for u in v] for k, v in sets(tmp_path / out).items()} for out in "xyz"]
    assert ids[0] == ids[1] == ids[2]


def test_what_is_wrong_is_named(script, tmp_path):
    corpus, out = write_original(tmp_path / "corpus"), tmp_path / "out"

    def said() -> str:
        with pytest.raises(UserError) as raised:
            script.prepare(out, corpus)
        assert not list(out.glob("*.jsonl")) and "\n" not in str(raised.value)
        return str(raised.value)

    first = corpus / "WAVE/SPEAKER000a/000a0.WAV"
    whole = first.read_bytes()
    first.unlink()
    assert "000a0.WAV" in said()
    first.write_bytes(whole)
    ages = (corpus / "train/spk2age").read_text()
    (corpus / "train/spk2age").write_text(ages.replace("000a\t6", "000a\tsix"))
    assert "000a0: its speaker's age and gender are 'six' and 'f'" in said()
    (corpus / "train/spk2age").write_text(ages)
    speakers = (corpus / "test/utt2spk").read_text()
    (corpus / "test/utt2spk").write_text(speakers.replace("\t0101", "\t000a"))
    (corpus / "test/spk2age").write_text(ages + "0102\t20\n")
    (corpus / "test/spk2gender").write_text((corpus / "train/spk2gender").read_text() + "0102\tf\n")
    assert "speaker 000a is in train and in test" in said()
    (corpus / "test/wav.scp").unlink()
    done = subprocess.run(
        [sys.executable, SCRIPT, out, "--audio", corpus], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "has neither train/wav.scp and test/wav.scp nor manifest.tsv" in done.stderr


def test_a_table_without_its_columns_or_rows_is_named(script, tmp_path):
    corpus = write_tables(tmp_path / "corpus")
    table = (corpus / "split.tsv").read_text()
    (corpus / "split.tsv").write_text(table.replace("gender", "sex"))
    with pytest.raises(UserError, match=r"split\.tsv: no column 'gender'"):
        script.prepare(tmp_path / "out", corpus)
    (corpus / "split.tsv").write_text(table.replace("000a0\ttrain", "000x0\ttrain"))
    with pytest.raises(UserError, match=r"split\.tsv: no row for 000a0"):
        script.prepare(tmp_path / "out", corpus)


def test_the_real_corpus_is_split_as_the_readme_says(script, corpora):
    splits = script.read_corpus(corpora / "speechocean762")
    assert {split: len(utterances) for split, utterances in splits.items()} == {
        "train": 2500, "test": 2500,
    }  # fmt: skip
    test = splits["test"]
    train, dev = script.take_dev(splits["train"])
    assert (len(train), len(dev)) == (2200, 300)
    traits = {u.speaker: (u.extra["age"] < 18, u.extra["gender"]) for u in dev}
    assert Counter(child for child, _ in traits.values()) == {True: 7, False: 8}
    page = (SCRIPT.parent / "README.md").read_text()
    adults = [u for u in test if u.extra["age"] >= 18]
    children = [u for u in test if u.extra["age"] < 18]
    for name, part in (
        ("dev", dev), ("test", test), ("test_adults", adults), ("test_children", children),
    ):  # fmt: skip
        shared, unknown = script.overlap(train, part)
        speakers = len({u.speaker for u in part})
        hours = sum(u.duration_s for u in part) / 3600
        row = (
            f"| {name} | {len(part)} | {speakers} | {hours:.2f} | {1 - shared:.1%} | {unknown:.1%}"
        )
        assert row in page
    assert f"only {round(script.overlap(train, test)[0] * 2500)} of the 2500 test" in page
