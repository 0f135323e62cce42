"""Findings of `asr check`: corpora with one thing wrong, and corpora with nothing wrong."""

from collections import Counter

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from asr import audio
from asr.audio.level import Level
from asr.config import Config, TextConfig, parse
from asr.data.check import check
from asr.data.findings import findings
from asr.data.manifest import Utterance
from asr.data.observations import EXAMPLES, Observations
from asr.model.ctc import ctc_frames
from asr.text.scripts import script_of, scripts_of

RATE_HZ = 16000
WORDS = "the quick brown fox jumps over a lazy dog and runs far away".split()


def found(rows, config=None, open_audio=False, **options) -> dict[str, str]:
    """Sentences by kind, those of a kind in one text; nothing may be a problem."""
    config = config or Config(name="a")
    seen = Observations(config.text)
    report = check(
        rows,
        config,
        ctc_frames(config),
        decode=open_audio,
        open_audio=open_audio,
        observations=seen,
        **options,
    )
    assert report.errors == []
    kinds: dict[str, str] = {}
    for finding in findings(seen, report.statistics.characters, config):
        kinds[finding.kind] = kinds.get(finding.kind, "") + f"{finding}\n"
    return kinds


def corpus(count=100, seed=0, rate=12.0) -> list[Utterance]:
    """Sentences spoken at about `rate` characters a second."""
    draw = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        text = " ".join(draw.choice(WORDS, 12))
        duration_s = len(text) / (rate * draw.uniform(0.9, 1.1))
        rows.append(Utterance(f"u{number}", "none.wav", 0.0, round(duration_s, 3), text))
    return rows


def changed(rows, number, **values):
    rows = list(rows)
    rows[number] = Utterance(**(vars(rows[number]) | values))
    return rows


def test_a_clean_corpus_gets_advice_alone():
    assert set(found(corpus())) == {"advice"}


def test_what_normalization_changes_is_counted_by_step_with_examples():
    rows = corpus(30)
    for number in range(8):
        rows = changed(rows, number, text=f"Well, {rows[number].text}")
    text = found(rows)["text"]
    assert "text.lowercase changed the text of 8 utterances: 'Well," in text
    assert "text.punctuation changed the text of 8 utterances" in text
    assert text.splitlines()[0].count("->") == EXAMPLES
    config = parse({"name": "a", "text": {"language": "en", "numbers": "spell"}}, "test")
    text = found(changed(corpus(30), 3, text="he has 21 dogs and a big fox"), config)["text"]
    assert "text.numbers changed the text of 1 utterance: 'has 21 dogs" in text
    assert "digits" not in text


def test_digits_that_are_left_are_named_with_the_setting():
    text = found(changed(corpus(), 7, text="he has 21 dogs and a big brown fox"))["text"]
    assert "digits (12, first in u7)" in text and "text.numbers to spell" in text


def test_rare_characters_of_another_kind_are_named():
    text = found(changed(corpus(), 5, text="the qu\u00efck brown fox jumps over a lazy dog"))[
        "text"
    ]
    assert "1 rare character may be a mistake" in text
    assert "'ï' (latin small letter i with diaeresis), 1 time, first in u5" in text


def test_rare_letters_of_the_alphabet_and_chinese_characters_are_expected():
    assert "text" not in found(changed(corpus(), 5, text="the zebra quiz and the lazy dog"))
    draw = np.random.default_rng(0)
    hanzi = [chr(c) for c in range(0x4E00, 0x5200)]
    rows = [
        Utterance(f"u{i}", "none.wav", 0.0, 4.0, "".join(draw.choice(hanzi, 12))) for i in range(50)
    ]
    assert set(found(rows)) == {"advice"}


def test_a_word_of_two_scripts_is_named():
    text = found(changed(corpus(), 5, text="the br\u043ewn fox runs over a lazy dog"))["text"]
    assert "mixed in 1 word" in text and "in u5 (Cyrillic and Latin)" in text
    assert "mixed" not in found(changed(corpus(), 5, text="привет the brown fox xy-мир"))["text"]


def test_speaking_rates_are_judged_by_those_of_the_corpus():
    rows = corpus()
    rows = changed(rows, 3, duration_s=rows[3].duration_s * 4)
    rows = changed(rows, 9, duration_s=rows[9].duration_s / 2.2)
    fast, slow = found(rows)["speech"].splitlines()
    assert fast.startswith("1 utterance has more than") and ": u9 (" in fast
    assert slow.startswith("1 utterance has fewer than") and ": u3 (" in slow
    assert "speech" not in found(rows[:15])  # too few have no typical rate


@given(st.floats(3, 40), st.integers(0, 5))
def test_a_corpus_of_any_rate_is_its_own_measure(rate, seed):
    seen = Observations(TextConfig())
    for row in corpus(40, seed, rate):
        seen.add_text(row, row.text, 100)
    assert not [f for f in findings(seen, Counter(), Config(name="a")) if f.kind == "speech"]


def wav(path, samples, rate_hz=RATE_HZ) -> str:
    soundfile.write(path, samples, rate_hz)
    return str(path)


def test_clipping_silence_pauses_rates_and_channels(tmp_path):
    draw = np.random.default_rng(0)
    noise = draw.uniform(-0.1, 0.1, 4 * RATE_HZ)
    paused = np.concatenate([noise[:8000], 1e-4 * noise])
    sounds = {
        **{f"good{i}": (noise, RATE_HZ) for i in range(12)},
        "clipped": (np.clip(12 * noise, -1, 1), RATE_HZ),
        "silent": (noise * 1e-3, RATE_HZ),
        "paused": (paused, RATE_HZ),
        "low": (noise[::2], 8000),
        "high": (np.repeat(noise, 3), 48000),
        "two": (np.stack([noise, noise], 1), RATE_HZ),
    }
    rows = [
        Utterance(name, wav(tmp_path / f"{name}.wav", *sound), text="the brown fox jumps over it")
        for name, sound in sounds.items()
    ]
    lines = found(rows, open_audio=True)["audio"].splitlines()
    starts = [
        "1 utterance is silent: leave",
        "1 utterance is clipped",
        "1 utterance is mostly pauses",
        "1 utterance has 8000 Hz, below features.rate_hz 16000: set it to 8000",
        "1 utterance has 48000 Hz, unlike most",
        "1 utterance has 2 channels, of which the mean is used",
    ]
    ends = ["silent (loudest", "clipped (", "paused (", ": low", ": high", ": two"]
    assert len(lines) == len(starts)
    for line, start, end in zip(lines, starts, ends, strict=True):
        assert line.startswith(start) and end in line, line


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=8))
def test_a_level_is_the_same_in_any_blocks_of_whole_frames(sizes):
    samples = np.random.default_rng(0).uniform(-1, 1, 320 * 40).astype(np.float32)
    whole, parts = Level(RATE_HZ), Level(RATE_HZ)
    whole.add(samples)
    at = 0
    for size in sizes:
        parts.add(samples[at : at + 320 * size])
        at += 320 * size
    parts.add(samples[at:])
    assert (whole.samples, whole.clipped) == (parts.samples, parts.clipped)
    assert (whole.frames == parts.frames).all()


def test_a_level_by_hand(tmp_path):
    sine = np.sin(2 * np.pi * 100 * np.arange(RATE_HZ) / RATE_HZ)
    info, level = audio.measure(wav(tmp_path / "a.wav", np.concatenate([sine * 0.5, 0 * sine])))
    assert info.duration_s == 2.0
    assert level.loudest_db == round(20 * np.log10(0.5 / np.sqrt(2)))
    assert level.pause_share == 0.5 and level.clipped_share == 0
    assert audio.measure(tmp_path / "a.wav", 1.0)[1].loudest_db == -120


def test_a_limit_is_advised_where_few_are_far_longer():
    rows = changed(corpus(300), 5, duration_s=25.0)
    advice = found(rows)["advice"]
    assert "the longest 25.0 s: set data.max_duration_s to" in advice
    assert "leaves out 1 utterance (0.01 hours)" in advice
    assert "max_duration_s" not in found(corpus(300))["advice"]
    assert (
        "exceed data.max_duration_s 30" in found(changed(corpus(20), 5, duration_s=50.0))["advice"]
    )


def test_little_audio_is_advice_to_start_from_a_model():
    few = "few for training from random weights: set train.init_from"
    assert few in found(corpus(50))["advice"]
    tuned = parse({"name": "a", "train": {"init_from": "english"}}, "test")
    assert few not in found(corpus(50), tuned)["advice"]
    hours = [u.lasting(u.duration_s * 60) for u in corpus(100)]
    assert few not in found(hours)["advice"]


def test_units_are_advised_by_the_text_and_the_frames_for_it():
    assert "tokenizer.kind characters suits this corpus" in found(corpus(50))["advice"]
    long = [u.lasting(u.duration_s * 10) for u in corpus(3_000)]
    long = [changed([u], 0, text=" ".join([u.text] * 10))[0] for u in long]
    many = found(long)["advice"]  # about 1.4 million characters
    assert "tokenizer.kind bpe with tokenizer.vocab_size 128" in many
    tight = found(corpus(50, rate=19.0))["advice"]
    assert "CTC has little room" in tight
    assert "set model.subsampling to 2, or tokenizer.kind to bpe" in tight
    pieces = parse({"name": "a", "tokenizer": {"kind": "bpe", "vocab_size": 500}}, "test")
    assert "set tokenizer.kind to characters" in found(corpus(50), pieces)["advice"]


def test_without_audio_a_duration_must_be_known():
    config = Config(name="a")
    rows = [Utterance("known", "none.wav", 0.0, 2.0, "a b"), Utterance("not", "none.wav", text="a")]
    report = check(rows, config, ctc_frames(config), open_audio=False)
    assert [u.id for u in report.usable] == ["known"]
    assert [(p.utterance, p.kind) for p in report.problems] == [("not", "audio")]


@pytest.mark.parametrize(
    ("word", "scripts"),
    [
        ("plain", {"Latin"}),
        ("пpивет", {"Cyrillic", "Latin"}),
        ("漢字かなカナ", {"Chinese or Japanese"}),
        ("שָׁלוֹם", {"Hebrew"}),
        ("x²ª1'", {"Latin"}),
        ("ｆｕｌｌ", {"Latin"}),
        ("", set()),
    ],
)
def test_scripts(word, scripts):
    assert scripts_of(word) == scripts


@given(st.characters())
def test_any_character_has_one_script_or_none(character):
    assert script_of(character) is None or script_of(character)[0].isupper()
