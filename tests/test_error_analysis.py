"""Error analysis: columns and their ranges, confusions, unknown words, noise."""

import math

import numpy as np
import pytest
import soundfile
from conftest import RATE_HZ, noise

from asr import audio
from asr.audio.snr import snr_db
from asr.data import manifest
from asr.errors import UserError
from asr.scoring.error_analysis import by_column, confusions, vocabulary
from asr.scoring.wer import Pair, score


def pairs(*texts):
    return [Pair(str(i), reference, heard) for i, (reference, heard) in enumerate(texts)]


MADE = pairs(
    ("the cat sat", "the bat sat"),
    ("the cat", "a bat"),
    ("the dog", "the dog barks"),
    ("dog", ""),
    ("a b", "a b barks so"),
)


def test_the_commonest_errors_come_first():
    found = confusions(MADE, 2)
    assert found.substitutions == [(("cat", "bat"), 2), (("the", "a"), 1)]
    assert found.deletions == [("dog", 1)]
    assert found.insertions == [("barks", 2), ("so", 1)]
    assert found.to_dict()["substitutions"][0] == ["cat", "bat", 2]
    assert confusions(MADE, 1).insertions == [("barks", 2)]


def test_confusions_are_all_the_errors():
    found = confusions(MADE, 100)
    kinds = (found.substitutions, found.deletions, found.insertions)
    words = score(MADE).words
    assert [sum(count for _, count in kind) for kind in kinds] == [
        words.substitutions,
        words.deletions,
        words.insertions,
    ]


def test_unknown_words_and_their_errors():
    found = vocabulary(MADE, {"the", "sat", "a", "b", "barks"})
    assert (found.words, found.unknown, found.unknown_errors, found.errors) == (10, 4, 3, 1)
    assert found.share == 0.4
    assert found.examples == ("cat", "dog")
    assert str(found) == (
        "40.00% of 10 reference words are out of vocabulary (cat, dog): 75.00% of them wrong, "
        "16.67% of the others"
    )
    assert str(vocabulary(MADE, {w for p in MADE for w in p.reference.split()})) == (
        "0.00% of 10 reference words are out of vocabulary"
    )
    assert vocabulary(pairs(("", "x")), set()).share == 0.0


# ---- columns -------------------------------------------------------------------------------------


def groups(values, name="age"):
    columns = [{} if value is None else {name: value} for value in values]
    return {label: len(places) for label, places in by_column(columns, name).items()}


def test_groups_have_the_indices_of_their_utterances():
    found = by_column([{"sex": sex} for sex in "fmmff"], "sex")
    assert list(found.items()) == [("f", [0, 3, 4]), ("m", [1, 2])]


def test_few_numbers_are_groups_in_their_order_and_what_is_unknown_comes_last():
    assert groups([10, 9, 10, None, "8"]) == {"8": 1, "9": 1, "10": 2, "(none)": 1}
    assert list(groups([10, 9, 10, None, "8"])) == ["8", "9", "10", "(none)"]
    assert list(groups(["b", "a", None])) == ["a", "b", "(none)"]


def test_many_numbers_are_ranges_of_alike_numbers_of_utterances():
    found = groups(list(range(100)))
    assert list(found.values()) == [20] * 5
    assert [*found][::4] == ["below 19.8", "79.2 and more"]


def test_speakers_are_not_grouped_into_ranges():
    assert len(groups([f"{i:04}" for i in range(30)], "speaker")) == 30


def test_durations_have_fixed_ranges():
    found = groups([0.5, 1.0, 1.9, 2.0, 31, None], "duration")
    assert found == {"below 1 s": 1, "1 to 2 s": 2, "2 to 5 s": 1, "30 s and more": 1, "(none)": 1}
    assert list(by_column([{"duration_s": 7.0}], "duration")) == ["5 to 10 s"]


def test_duration_and_noise_are_measured_where_there_is_audio(tmp_path):
    """The audio is a second of noise, a second of a tone 20 dB above it, and noise again."""
    hiss = np.random.default_rng(0).standard_normal(3 * RATE_HZ) * 0.01
    at = np.arange(RATE_HZ, 2 * RATE_HZ)
    hiss[at] += 0.1 * math.sqrt(2 * 3) * np.sin(2 * math.pi * 440 * at / RATE_HZ)
    soundfile.write(tmp_path / "a.wav", hiss, RATE_HZ)
    columns = [
        {"audio": str(tmp_path / "a.wav")},
        {"audio": str(tmp_path / "a.wav"), "start_s": 2.5},
        {"audio": str(tmp_path / "a.wav"), "start_s": 2.9},  # too short for its noise
        {"audio": str(tmp_path / "none.wav")},
    ]
    assert list(by_column(columns, "duration")) == ["below 1 s", "2 to 5 s", "(none)"]
    found = by_column(columns, "snr")
    assert found == {"below 0 dB": [1], "20 to 30 dB": [0], "(none)": [2, 3]}


def test_a_missing_column_is_an_error():
    with pytest.raises(
        UserError, match="no utterance has a column 'accent'; the columns are: age, sex;"
    ):
        by_column([{"age": 3}, {"sex": "f"}], "accent")
    with pytest.raises(UserError, match="no utterance has a column 'snr'; the columns are: none;"):
        by_column([{}], "snr")


# ---- the signal-to-noise ratio -------------------------------------------------------------------


@pytest.mark.parametrize("added_db", [0, 5, 10, 15, 20])
@pytest.mark.parametrize("corpus", ["ljspeech_part", "rhasspy_kathleen", "speechocean762"])
def test_noise_added_to_real_speech_is_estimated(corpora, corpus, added_db):
    draw = np.random.default_rng(0)
    found = []
    for utterance in manifest.read(corpora / corpus / "manifest.tsv")[::10][:30]:
        speech = audio.read(utterance.audio, RATE_HZ)
        level = np.sqrt(np.mean(speech**2) / 10 ** (added_db / 10))
        noisy = speech + level * draw.standard_normal(len(speech))
        found.append(snr_db(noisy, RATE_HZ))
    assert abs(np.mean(found) - added_db) < 1.0
    assert np.std(found) < 1.0


def test_silence_of_zeros_and_pure_noise_are_the_ends_of_the_scale():
    speech = noise(2.0)
    silent = np.concatenate([np.zeros(RATE_HZ), speech])
    assert snr_db(silent, RATE_HZ) == 60.0
    assert snr_db(np.zeros(RATE_HZ), RATE_HZ) == -10.0
    assert snr_db(np.random.default_rng(0).standard_normal(RATE_HZ), RATE_HZ) < 0
    assert math.isnan(snr_db(speech[: RATE_HZ // 10], RATE_HZ))


def test_the_estimate_does_not_depend_on_the_level():
    samples = noise(2.0)
    assert snr_db(0.01 * samples, RATE_HZ) == pytest.approx(snr_db(samples, RATE_HZ), abs=1e-4)
