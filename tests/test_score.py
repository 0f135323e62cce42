"""Error rates against jiwer and by hand, the interval by simulation, and files paired by id."""

import json

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import score as scoring
from asr.config import TextConfig
from asr.errors import UserError
from asr.score import (
    Counts,
    Pair,
    bootstrap_interval,
    expanded_tail,
    pair_files,
    score,
    student_quantile,
    wer,
)

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
    assert wer(references, hypotheses) == found.wer


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
        ("", "", Counts(0, 0, 0, 0)),
        ("", "one two", Counts(0, 0, 0, 2)),
        ("one two", "", Counts(0, 0, 2, 0)),
        ("one two", "one two", Counts(2, 0, 0, 0)),
        ("one two three", "one four three five", Counts(2, 1, 0, 1)),
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


def test_where_nothing_is_said_every_word_is_wrong():
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


# ---- the interval --------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 20)), min_size=1, max_size=30),
)
def test_the_interval_contains_the_rate(groups):
    errors, words = zip(*groups, strict=True)
    low, high = bootstrap_interval(errors, words, [str(i) for i in range(len(groups))])
    rate = sum(errors) / sum(words)
    assert low <= rate + 1e-12
    assert rate - 1e-12 <= high


def test_a_95_interval_covers_the_true_rate_in_95_of_100_test_sets():
    rate = 0.1
    draw = np.random.default_rng(7)
    covered = 0
    for _ in range(1000):
        words = draw.integers(4, 16, size=100)
        # Utterances differ in difficulty: their errors are not independent words.
        errors = draw.binomial(words, draw.beta(2, 2 / rate - 2, size=100))
        low, high = bootstrap_interval(errors, words, np.arange(100))
        covered += low <= rate <= high
    assert 0.93 <= covered / 1000 <= 0.97


@pytest.mark.parametrize("speakers", [10, 20])
def test_it_covers_it_with_few_speakers_too(speakers):
    """Speakers differ; plain percentiles cover the rate of all speakers in 87% with ten of them."""
    rate, of_each = 0.1, 10
    draw = np.random.default_rng(7)
    groups = np.arange(speakers).repeat(of_each)
    covered = 0
    for _ in range(400):
        words = draw.integers(4, 16, size=len(groups))
        errors = draw.binomial(words, draw.beta(4, 36, size=speakers).repeat(of_each))
        low, high = bootstrap_interval(errors, words, groups)
        covered += low <= rate <= high
    assert 0.92 <= covered / 400 <= 0.98


@pytest.mark.parametrize(
    ("freedom", "quantile"),  # as printed in tables
    [(2, 4.303), (3, 3.182), (5, 2.571), (9, 2.262), (19, 2.093), (29, 2.045), (10**6, 1.960)],
)
def test_quantiles_of_students_t(freedom, quantile):
    assert student_quantile(0.975, freedom) == pytest.approx(
        quantile, rel=0.016 / freedom, abs=6e-4
    )


def test_expansion_is_nothing_with_many_groups_and_wide_with_few():
    tails = [expanded_tail(0.025, groups) for groups in (10**6, 100, 10, 5, 2)]
    assert tails[0] == pytest.approx(0.025, rel=1e-4)
    assert tails == sorted(tails, reverse=True)
    assert tails[2] == pytest.approx(0.00855, rel=1e-3)  # of z = 2.262 * sqrt(10 / 9)


def test_the_interval_is_the_same_each_time():
    made = pairs(*[("one two", "one"), ("a", "a"), ("b c", "c d")] * 5)
    assert score(made) == score(made)


def test_speakers_are_drawn_whole_where_there_are_enough():
    """One speaker in ten is never understood: that is one stroke of luck, not twenty."""
    made = [(f"w{i}", "x" if i // 20 == 0 else f"w{i}") for i in range(200)]
    speakers = [f"s{i // 20}" for i in range(200)]
    by_speaker = score(pairs(*made, speakers=speakers))
    by_utterance = score(pairs(*made))
    assert by_speaker.resampled == "speakers"
    assert by_utterance.resampled == "utterances"
    assert by_speaker.wer == by_utterance.wer
    width = [s.interval[1] - s.interval[0] for s in (by_speaker, by_utterance)]
    assert width[0] > 3 * width[1]


def test_too_few_or_unknown_speakers_are_not_drawn():
    made = [("one", "one")] * 18
    few = score(pairs(*made, speakers=list("abcd") * 5))
    unknown = score(pairs(*made, speakers=[*"abcdefghijklmnopq", None]))
    assert few.resampled == unknown.resampled == "utterances"


# ---- files of texts ------------------------------------------------------------------------------


def written(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_files_are_paired_by_id_whatever_their_format_and_order(tmp_path):
    manifest = '{"id": "u1", "audio": "a", "text": "One, two!"}\n{"id": "u2", "audio": "b"}\n'
    reference = written(tmp_path, "r.jsonl", manifest)
    hypothesis = written(tmp_path, "h.txt", "u2\t\nu1\tone TWO\n")
    assert pair_files(reference, hypothesis, TextConfig()) == [
        Pair("u1", "one two", "one two"),
        Pair("u2", "", ""),
    ]


def test_lines_without_ids_are_paired_by_number(tmp_path):
    reference = written(tmp_path, "r.txt", "one\n\nthree\u2028four\n")
    hypothesis = written(tmp_path, "h.txt", "one\r\ntwo\r\nthree four\r\n")
    found = pair_files(reference, hypothesis, TextConfig())
    assert found == [
        Pair("1", "one", "one"),
        Pair("2", "", "two"),
        Pair("3", "three four", "three four"),
    ]


def test_speakers_of_the_reference_count(tmp_path):
    reference = written(tmp_path, "r.tsv", "id\taudio\ttext\tspeaker\nu\ta.wav\tone\tanna\n")
    hypothesis = written(tmp_path, "h.txt", "u\tone\n")
    assert pair_files(reference, hypothesis, TextConfig())[0].speaker == "anna"


def test_an_utterance_that_one_file_lacks_is_named(tmp_path):
    full = written(tmp_path, "full.txt", "".join(f"u{i}\tx\n" for i in range(9)))
    part = written(tmp_path, "part.txt", "u0\tx\nu1\tx\n")
    with pytest.raises(UserError, match=r"part\.txt: lacks 7 of the 9.*u2, u3, u4, u5, u6, \.\.\."):
        pair_files(full, part, TextConfig())
    with pytest.raises(UserError, match=r"part\.txt: lacks 7 of the 9"):
        pair_files(part, full, TextConfig())


def test_an_id_that_stands_twice_is_named(tmp_path):
    doubled = written(tmp_path, "d.txt", "u1\tone\nu2\ttwo\nu1\tthree\n")
    with pytest.raises(UserError, match=r"d\.txt:3: id 'u1' was used in line 1 already"):
        pair_files(doubled, doubled, TextConfig())


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    good = written(tmp_path, "good.txt", "one\n")
    with pytest.raises(UserError, match=r"none\.txt: no such file"):
        pair_files(good, tmp_path / "none.txt", TextConfig())
    (tmp_path / "latin.txt").write_bytes("é\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"latin\.txt: cannot be read"):
        pair_files(tmp_path / "latin.txt", good, TextConfig())


def test_results_are_written_for_machines(tmp_path):
    made = pairs(("one two", "one"), ("né", "né"))
    scoring.write_results(tmp_path / "new", made, score(made))
    figures = json.loads((tmp_path / "new/score.json").read_text())
    assert figures["wer"] == pytest.approx(1 / 3)
    assert figures["words"]["deletions"] == 1
    assert figures["words"]["reference"] == 3
    rows = (tmp_path / "new/hypotheses.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Pair(**json.loads(row)) for row in rows] == made
