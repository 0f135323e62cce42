"""Error rates compared with jiwer, with its test cases and with values computed by hand."""

import json

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UserError
from asr.scoring import wer as scoring
from asr.scoring.wer import EditCounts, Pair, aligned, score, wer

texts = st.lists(st.sampled_from(["one", "two", "three", "à", "你"]), max_size=8).map(" ".join)
pairs_of_texts = st.lists(st.tuples(texts, texts), min_size=1, max_size=6)


def pairs(*texts, speakers=None):
    return [
        Pair(str(i), reference, hypothesis, speakers[i] if speakers else None)
        for i, (reference, hypothesis) in enumerate(texts)
    ]


def edit_distance(reference: list, hypothesis: list) -> int:
    if not reference or not hypothesis:
        return len(reference) + len(hypothesis)
    if reference[0] == hypothesis[0]:
        return edit_distance(reference[1:], hypothesis[1:])
    return 1 + min(
        edit_distance(reference[1:], hypothesis),
        edit_distance(reference, hypothesis[1:]),
        edit_distance(reference[1:], hypothesis[1:]),
    )


@given(pairs_of_texts.filter(lambda pairs: any(reference for reference, _ in pairs)))
def test_rates_are_those_of_jiwer(made):
    references, hypotheses = map(list, zip(*made, strict=True))
    found = score(pairs(*made))
    assert found.wer == pytest.approx(jiwer.wer(references, hypotheses), abs=1e-12)
    assert found.cer == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)
    assert found.words.match_error_rate == pytest.approx(jiwer.mer(references, hypotheses))
    assert found.words.information_lost == pytest.approx(jiwer.wil(references, hypotheses))
    assert wer(references, hypotheses) == found.wer


def test_a_thousand_random_pairs_agree_with_jiwer():
    draw = np.random.default_rng(0)
    words = np.array(["a", "b", "ab", "the", "né", "你", "don't", "twenty-one"])
    for _ in range(1000):
        said, heard = (" ".join(draw.choice(words, draw.integers(1, 30))) for _ in range(2))
        found = score(pairs((said, heard)))
        judged = jiwer.process_words(said, heard)
        assert found.wer == pytest.approx(judged.wer, abs=1e-12)
        assert found.words.match_error_rate == pytest.approx(judged.mer, abs=1e-12)
        assert found.words.information_lost == pytest.approx(judged.wil, abs=1e-12)
        assert found.cer == pytest.approx(jiwer.cer(said, heard), abs=1e-12)


# The cases of jiwer's tests (test_measures.py, test_cer.py, test_empty_ref.py), those with the
# values that Morris, Maier and Green 2004 print among them. Where nothing is said jiwer gives the
# count of insertions for a rate: there is none, and infinity says so.
@pytest.mark.parametrize(
    ("references", "hypotheses", "rates"),  # WER, MER, WIL
    [
        (["This is a test"], ["This is a test"], (0, 0, 0)),
        (["This is a test"], [""], (1, 1, 1)),
        (["This is a test"], ["This test"], (0.5, 0.5, 0.5)),
        (
            ["i am a short ground truth"],
            ["i am a considerably longer and very much incorrect hypothesis"],
            (7 / 6, 0.7, 0.85),
        ),
        (["X"], ["X"], (0, 0, 0)),
        (["X"], ["X X Y Y"], (3, 0.75, 0.75)),
        (["X Y X"], ["X Z"], (2 / 3, 2 / 3, 5 / 6)),
        (["X"], ["Y"], (1, 1, 1)),
        (["X"], ["Y Z"], (2, 1, 1)),
        ([""], [""], (0, 0, 0)),
        ([""], ["hello"], (np.inf, 1, 1)),
        ([""], ["0 1 2"], (np.inf, 1, 1)),
        (["hello"], [""], (1, 1, 1)),
        (["hello world", ""], ["hello world", "done"], (1 / 2, 1 / 3, 1 / 3)),
        (["hello world", ""], ["hello world", ""], (0, 0, 0)),
        (["", ""], ["", ""], (0, 0, 0)),
    ],
)
def test_the_cases_of_jiwer(references, hypotheses, rates):
    found = score(pairs(*zip(references, hypotheses, strict=True)))
    words = found.words
    measured = (found.wer, words.match_error_rate, words.information_lost)
    assert measured == pytest.approx(rates, abs=1e-15)


@pytest.mark.parametrize(
    ("references", "hypotheses", "rate"),
    [
        (["This is a test"], ["This is a test"], 0),
        (["This is a test"], [""], 1),
        (["This is a test"], ["This test"], 5 / 14),
        (["X"], ["X"], 0),
        (["X"], ["X X Y Y"], 6),
        (["X Y X"], ["X Z"], 3 / 5),
        (["X"], ["Y"], 1),
        (["X"], ["Y Z"], 3),
        (["i", "am i good"], ["i am", "i good"], 0.6),
        (["am i good", "i"], ["i good", "i am"], 0.6),
        (["i", "am i good"], ["i am", "y good"], 0.7),
        ([""], [""], 0),
        ([""], ["abd"], np.inf),
        (["abc"], [""], 1),
    ],
)
def test_the_character_cases_of_jiwer(references, hypotheses, rate):
    assert score(pairs(*zip(references, hypotheses, strict=True))).cer == pytest.approx(rate)


@given(texts, texts)
def test_an_alignment_spells_both_texts_and_has_as_many_errors_as_are_counted(said, heard):
    steps = aligned(said, heard)
    assert [word for word, _ in steps if word is not None] == said.split()
    assert [word for _, word in steps if word is not None] == heard.split()
    counts = scoring.word_counts(said, heard)
    assert sum(a != b for a, b in steps) == counts.errors
    assert sum(a is None for a, _ in steps) == counts.insertions
    assert sum(b is None for _, b in steps) == counts.deletions


@given(st.lists(st.sampled_from("ab"), max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
@settings(max_examples=200)
def test_counts_are_the_cheapest_edits(reference, hypothesis):
    counts = scoring.word_counts(" ".join(reference), " ".join(hypothesis))
    assert counts.errors == edit_distance(reference, hypothesis)
    assert counts.reference == len(reference)
    assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis)
    letters = scoring.character_counts("".join(reference), "".join(hypothesis))
    assert letters == counts


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("", "", EditCounts(0, 0, 0, 0)),
        ("", "one two", EditCounts(0, 0, 0, 2)),
        ("one two", "", EditCounts(0, 0, 2, 0)),
        ("one two", "one two", EditCounts(2, 0, 0, 0)),
        ("one two three", "one four three five", EditCounts(2, 1, 0, 1)),
    ],
)
def test_counts_by_hand(reference, hypothesis, expected):
    assert scoring.word_counts(reference, hypothesis) == expected


def test_all_errors_over_all_words_is_not_the_mean_of_rates():
    found = score(pairs(("one", "two"), ("a b c d e f g h i", "a b c d e f g h i")))
    assert found.wer == 0.1
    assert (found.utterances, found.wrong) == (2, 1)
    assert "WER 10.00%" in str(found)
    assert "1 errors in 10 words: 1 substituted, 0 deleted, 0 inserted" in str(found)


def test_with_an_empty_reference_every_word_is_wrong():
    assert score(pairs(("", ""))).wer == 0.0
    found = score(pairs(("", "one"), ("", "")))
    assert found.wer == float("inf")
    assert found.interval == (float("inf"), float("inf"))
    strict = json.dumps(found.to_dict(), allow_nan=False)  # others' parsers know no Infinity
    assert json.loads(strict)["wer"] is None


def test_wer_takes_texts_or_lists_of_one_length():
    assert wer("one two three four", "one too three") == 0.5
    assert wer(["one", "two"], ["one", "three"]) == 0.5
    with pytest.raises(ValueError, match="2 references, 1 hypotheses"):
        wer(["one", "two"], ["one"])
    with pytest.raises(ValueError, match="both"):
        wer("one", ["one"])


def test_nothing_to_score_is_a_users_mistake():
    with pytest.raises(UserError, match="nothing to score"):
        score([])


# ---- what the interval is of ---------------------------------------------------------------------


def test_the_interval_is_the_same_each_time():
    made = pairs(*[("one two", "one"), ("a", "a"), ("b c", "c d")] * 5)
    assert score(made) == score(made)


def test_speakers_are_resampled_if_there_are_enough():
    """One of ten speakers is always misrecognized: one random event, not twenty."""
    made = [(f"w{i}", "x" if i // 20 == 0 else f"w{i}") for i in range(200)]
    speakers = [f"s{i // 20}" for i in range(200)]
    by_speaker = score(pairs(*made, speakers=speakers))
    by_utterance = score(pairs(*made))
    assert by_speaker.resampled == "speakers"
    assert by_utterance.resampled == "utterances"
    assert by_speaker.wer == by_utterance.wer
    width = [s.interval[1] - s.interval[0] for s in (by_speaker, by_utterance)]
    assert width[0] > 3 * width[1]


def test_too_few_or_unknown_speakers_are_not_resampled():
    made = [("one", "one")] * 18
    few = score(pairs(*made, speakers=list("abcd") * 5))
    unknown = score(pairs(*made, speakers=[*"abcdefghijklmnopq", None]))
    assert few.resampled == unknown.resampled == "utterances"


def test_results_are_written_for_machines(tmp_path):
    made = pairs(("one two", "one"), ("né", "né"))
    scoring.write_results(tmp_path / "new", made, score(made), {"normalization": "none"})
    figures = json.loads((tmp_path / "new/score.json").read_text())
    assert figures["wer"] == pytest.approx(1 / 3)
    assert figures["normalization"] == "none"
    assert figures["mer"] == pytest.approx(1 / 3)
    assert figures["wil"] == pytest.approx(1 - (2 / 3) * (2 / 2))
    assert figures["words"]["deletions"] == 1
    assert figures["words"]["reference"] == 3
    rows = (tmp_path / "new/hypotheses.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Pair(**json.loads(row)) for row in rows] == made
