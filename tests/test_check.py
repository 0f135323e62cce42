"""A corpus with one of each problem; statistics by hand; CTC feasibility by brute force."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr.config import Config, parse
from asr.data import check as checking
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.decoder.greedy import GreedyDecoder
from asr.model.acoustic import AcousticModel
from asr.model.ctc import ctc_frames, frames_needed
from asr.model.features import Features
from asr.text import tokenizer
from asr.text.normalize import normalize
from asr.text.tokenizer import CharacterTokenizer

RATE_HZ = 16000
ALPHABET = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz'")


def check(utterances, config, *tokenizer, **options):
    return checking.check(utterances, config, ctc_frames(config), *tokenizer, **options)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> dict[str, Utterance]:
    """A corpus whose utterances are named after their problems."""
    folder = tmp_path_factory.mktemp("corpus")

    def wav(name: str, duration_s: float, rate_hz: int = RATE_HZ) -> str:
        samples = np.random.default_rng(0).uniform(-0.1, 0.1, round(duration_s * rate_hz))
        soundfile.write(folder / name, samples, rate_hz)
        return str(folder / name)

    long = wav("long.wav", 10.0)
    (folder / "text.wav").write_text("hello\n" * 99)
    (folder / "empty.wav").touch()
    truncated = Path(wav("truncated.wav", 2.0))
    truncated.write_bytes(truncated.read_bytes()[:20000])
    rows = [
        Utterance("good", wav("good.wav", 2.0), 0.0, 2.0, "One, two!", "anna"),
        Utterance("good 8k", wav("good8k.wav", 3.0, 8000), text="three", speaker="ben"),
        Utterance("good stretch", long, 4.0, 2.5, "four five", "anna"),
        Utterance("good again", long, 4.0, 2.5, "four five", "anna"),
        Utterance("good to the end", long, 9.0, None, "six"),
        Utterance("missing", str(folder / "none.wav"), text="a"),
        Utterance("no audio", str(folder / "text.wav"), text="a"),
        Utterance("empty file", str(folder / "empty.wav"), text="a"),
        Utterance("truncated", str(truncated), text="a"),
        Utterance("starts late", long, 11.0, 1.0, "a"),
        Utterance("lasts too long", long, 9.0, 3.0, "a"),
        Utterance("no text", long, 0.0, 1.0, None),
        Utterance("only signs", long, 0.0, 1.0, "?!..."),
        Utterance("foreign", long, 0.0, 1.0, "naïve 你"),
        Utterance("infeasible", long, 0.0, 0.2, "hello there"),
        Utterance("very short", long, 0.0, 0.01, "a"),
        Utterance("very long", wav("very long.wav", 31.0), text="a"),
    ]
    return {row.id: row for row in rows}


def test_every_problem_is_named_once_with_its_kind(corpus):
    report = check(corpus.values(), Config(name="a"), ALPHABET, training=True)
    assert {problem.utterance: problem.kind for problem in report.problems} == {
        "missing": "audio",
        "no audio": "audio",
        "empty file": "audio",
        "truncated": "audio",
        "starts late": "duration",
        "lasts too long": "duration",
        "no text": "text",
        "only signs": "text",
        "foreign": "alphabet",
        "infeasible": "ctc",
        "very short": "limits",
        "very long": "limits",
    }
    assert len(report.problems) == 12
    assert report.errors == report.problems
    assert [u.id for u in report.usable] == [id for id in corpus if id.startswith("good")]
    detail = {problem.utterance: problem.detail for problem in report.problems}
    assert "none.wav: no such file" in detail["missing"]
    assert "0.62 s of the 2.00 s" in detail["truncated"]
    assert "starts at 11.00 s" in detail["starts late"]
    assert "long.wav ends at 10.00 s" in detail["starts late"]
    assert "3.00 s in the manifest, 1.00 s in" in detail["lasts too long"]
    assert "'?!...'" in detail["only signs"]
    assert "'ï' (U+00EF), '你' (U+4F60)" in detail["foreign"]
    # 0.2 s: 3200 // 160 + 1 = 21 feature frames, a quarter of them rounded up: 6
    assert "0.20 s give 6 frames" in detail["infeasible"]
    assert "11 tokens and 1 repeats need 12" in detail["infeasible"]
    assert "lower model.subsampling" in detail["infeasible"]
    assert (
        "31.00 s, outside data.min_duration_s 0.05 to data.max_duration_s 30"
        in (detail["very long"])
    )
    assert not any("\n" in text for text in detail.values())


def test_decoding_finds_damage_that_headers_do_not_show(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.1, 0.1, 5 * RATE_HZ)
    cut = tmp_path / "cut.flac"
    soundfile.write(cut, samples, RATE_HZ)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    samples[4 * RATE_HZ] = np.nan
    soundfile.write(tmp_path / "nan.wav", samples, RATE_HZ, subtype="FLOAT")
    asked = [
        Utterance("cut", str(cut), text="a"),
        Utterance("cut, before the damage", str(cut), 0.5, 1.0, "a"),
        Utterance("nan", str(tmp_path / "nan.wav"), text="a"),
        Utterance("nan, elsewhere", str(tmp_path / "nan.wav"), 0.0, 3.5, "a"),
    ]
    config = Config(name="a")
    assert check(asked, config, ALPHABET, training=True).problems == []
    found = check(asked, config, ALPHABET, decode=True).problems
    assert [(problem.utterance, problem.kind) for problem in found] == [
        ("cut", "audio"),
        ("nan", "audio"),
    ]
    assert "cut.flac: damaged" in found[0].detail
    assert "nan.wav: holds samples that are not finite" in found[1].detail


def test_decoding_changes_nothing_for_undamaged_files(corpus):
    config = Config(name="a")
    headers = check(corpus.values(), config, ALPHABET, training=True)
    assert check(corpus.values(), config, ALPHABET, training=True, decode=True) == headers


def test_limits_apply_only_to_training(corpus):
    long = check([corpus["very long"]], Config(name="a"), ALPHABET)
    assert long.problems == []
    assert long.usable[0].duration_s == 31.0


def test_without_a_tokenizer_any_character_is_accepted(corpus):
    assert check([corpus["foreign"]], Config(name="a")).problems == []
    (problem,) = check([corpus["infeasible"]], Config(name="a")).problems
    assert problem.kind == "ctc"


def test_statistics_are_of_the_usable_utterances(corpus):
    found = check(corpus.values(), Config(name="a"), ALPHABET, training=True).statistics
    assert found.utterances == 5
    assert found.hours == pytest.approx((2.0 + 3.0 + 2.5 + 2.5 + 1.0) / 3600)
    assert found.speakers == 2
    assert found.duration_s == pytest.approx((1.0, 2.5, 3.0))
    assert (found.words, found.vocabulary) == (8, 6)
    assert found.words_a_second == pytest.approx(8 / 11)
    assert found.characters == Counter("onetwothreefourfivefourfivesix")
    assert found.duplicate_texts == 2
    assert found.duplicate_audio == 2
    assert found.rates_hz[8000] == 1


def test_a_corpus_without_one_usable_utterance_still_has_statistics(corpus):
    report = check([corpus["missing"]], Config(name="a"), ALPHABET)
    assert report.usable == []
    assert report.statistics.utterances == 0


def test_durations_are_measured(corpus):
    report = check([corpus["good 8k"], corpus["good to the end"]], Config(name="a"), ALPHABET)
    assert [u.duration_s for u in report.usable] == pytest.approx([3.0, 1.0])


@pytest.mark.parametrize("augment", [{"speed": [0.9, 1.0, 2.0]}, {"tempo": [0.9, 2.0]}], ids=str)
def test_faster_speech_in_training_needs_more(corpus, augment):
    """At twice the speed or tempo, an utterance has half the frames."""
    asked = Utterance("x", corpus["good"].audio, 0.0, 0.4, "abcdefghi")  # 41 -> 11 frames
    plain = parse({"name": "a"}, "test")
    fast = parse({"name": "a", "augment": augment}, "test")
    assert check([asked], plain, ALPHABET, training=True).problems == []
    assert check([asked], fast, ALPHABET).problems == []
    (problem,) = check([asked], fast, ALPHABET, training=True).problems
    assert "0.40 s give 6 frames at speed 2" in problem.detail


def test_progress_is_called_for_each(corpus):
    calls = []
    check(corpus.values(), Config(name="a"), progress=lambda: calls.append(1))
    assert len(calls) == len(corpus)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5])
def test_frames_needed_by_trying_every_path(frames):
    """A path of T frames exists exactly for the texts that need at most T frames."""
    decoder = GreedyDecoder(["<blank>", "a", "b"])
    spelt = set()
    for path in itertools.product(range(3), repeat=frames):
        log_probs = np.full((frames, 3), -9.0, np.float32)
        log_probs[range(frames), path] = 0.0
        spelt.add(decoder.decode(log_probs, 0.04)[0].tokens)
    texts = (t for n in range(frames + 2) for t in itertools.product((1, 2), repeat=n))
    assert spelt == {text for text in texts if frames_needed(text) <= frames}


@pytest.mark.parametrize("subsampling", [2, 4, 8])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_frames_are_those_that_the_model_gives(subsampling, bidirectional):
    settings = {"subsampling": subsampling, "bidirectional": bidirectional, "layers": 1}
    model = {**settings, "hidden": 4, "channels": 2, "preset": "tiny"}
    config = parse({"name": "a", "model": model, "features": {"cmvn": "none"}}, "test")
    features = Features(config.features).eval()
    model = AcousticModel(config.model, features.size, 5).eval()
    frames = ctc_frames(config)
    for samples in (1, 159, 160, 161, 639, 640, 641, 5000, 16000):
        with torch.inference_mode():
            emissions, lengths = model(*features(torch.zeros(1, samples), torch.tensor([samples])))
        assert emissions.shape[1] == lengths.item() == frames([], samples / RATE_HZ)[1]


@pytest.mark.parametrize("name", ["yesno_he", "asterisk_ru", "fsdd"])
def test_real_corpora_are_sound(corpora, name):
    path = corpora / name / "manifest.tsv"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    config = Config(name="a")
    utterances = manifest.read(path)[::7]
    texts = [normalize(u.text, config.text) for u in utterances]
    tokens = tokenizer.train(texts, "characters", 0)
    report = check(utterances, config, tokens, training=True)
    problems = {problem.kind for problem in report.problems}
    assert problems <= {"ctc", "text", "limits"}  # short prompts, and those that say nothing
    assert len(report.usable) >= 0.9 * len(utterances)
    assert report.statistics.hours > 0
