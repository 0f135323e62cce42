"""Forced alignment, compared with a plain reference, torchaudio and exhaustive search."""

import itertools
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio.functional
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoder.align import STAR, align, align_words, encode
from asr.decoder.viterbi import best_path, best_path_reference
from asr.model.ctc import frames_needed
from asr.text.tokenizer import BLANK, WORD_START, CharacterTokenizer, SentencePieceTokenizer

ROOT = Path(__file__).parents[1]
make_emissions = runpy.run_path(str(ROOT / "tools/bench_align.py"))["make_emissions"]

# Multiples of 1/4 add up without rounding in float32 and float64: scores can be compared exactly.
QUARTERS = st.integers(-80, 0).map(lambda n: n / 4)


@st.composite
def cases(draw, max_frames=12, max_vocabulary=5):
    """Emissions (T, V), and tokens that fit into them."""
    frames = draw(st.integers(1, max_frames))
    vocabulary = draw(st.integers(2, max_vocabulary))
    tokens = draw(st.lists(st.integers(1, vocabulary - 1), max_size=frames))
    while frames_needed(tokens) > frames:
        tokens.pop()
    values = draw(st.lists(QUARTERS, min_size=frames * vocabulary, max_size=frames * vocabulary))
    return np.array(values, np.float32).reshape(frames, vocabulary), tokens


def collapse(path):
    """The tokens that a path of labels spells."""
    return [label for label, _ in itertools.groupby(path) if label != BLANK]


def labels(alignment, frames):
    """The label of each frame."""
    path = np.zeros(frames, np.int64)
    for token, start, end in zip(alignment.tokens, alignment.starts, alignment.ends, strict=True):
        path[start:end] = token
    return path


def brute_force(log_probs, tokens):
    """The highest score of all V^T paths that spell `tokens`."""
    frames, vocabulary = log_probs.shape
    return max(
        sum(float(log_probs[t, label]) for t, label in enumerate(path))
        for path in itertools.product(range(vocabulary), repeat=frames)
        if collapse(path) == tokens
    )


@settings(derandomize=True, deadline=None, max_examples=60)
@given(cases(max_frames=6, max_vocabulary=4))
def test_no_path_is_better(case):
    log_probs, tokens = case
    alignment = align(log_probs, tokens)
    assert alignment.score == brute_force(log_probs, tokens)
    path = labels(alignment, len(log_probs))
    assert collapse(path.tolist()) == tokens
    np.testing.assert_array_equal(
        alignment.frame_scores, log_probs[np.arange(len(log_probs)), path]
    )


@settings(derandomize=True, deadline=None, max_examples=300)
@given(cases(max_frames=30), st.data())
def test_blocks_of_any_size_give_the_path_of_the_whole_trellis(case, data):
    log_probs, tokens = case
    gaps = data.draw(st.sets(st.integers(0, len(tokens))))
    wild = np.array(data.draw(st.lists(QUARTERS, min_size=len(log_probs), max_size=len(log_probs))))
    block_frames = data.draw(st.none() | st.integers(1, len(log_probs) + 1))
    arguments = np.array(tokens, int), np.array(sorted(gaps), int), wild.astype(np.float32)
    np.testing.assert_array_equal(
        best_path(log_probs, *arguments, block_frames), best_path_reference(log_probs, *arguments)
    )


@settings(derandomize=True, deadline=None, max_examples=300)
@given(cases(max_frames=40, max_vocabulary=8).filter(lambda case: case[1]), st.integers(0, 2**32))
def test_torchaudio_finds_the_same_path(case, seed):
    # Not the case's own values: where two predecessors tie, torchaudio may follow the third, worse.
    log_probs = np.random.default_rng(seed).normal(-5, 3, case[0].shape).astype(np.float32)
    path, scores = torchaudio.functional.forced_align(
        torch.from_numpy(log_probs)[None].double(), torch.tensor([case[1]])
    )
    alignment = align(log_probs, case[1])
    np.testing.assert_array_equal(labels(alignment, len(log_probs)), path[0].numpy())
    assert alignment.score == pytest.approx(scores.sum().item(), rel=1e-12)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(cases(max_frames=40, max_vocabulary=8).filter(lambda case: case[1]))
def test_torchaudio_finds_nothing_better_among_ties(case):
    log_probs, tokens = case
    _, scores = torchaudio.functional.forced_align(
        torch.from_numpy(log_probs)[None], torch.tensor([tokens])
    )
    assert align(log_probs, tokens).score >= scores.double().sum().item()


@pytest.mark.parametrize("vocabulary", [5, 40])
def test_torchaudio_agrees_on_longer_emissions(vocabulary):
    log_probs, tokens, _ = make_emissions(600, 250, vocabulary)
    path, _ = torchaudio.functional.forced_align(
        torch.from_numpy(log_probs)[None], torch.from_numpy(tokens)[None]
    )
    np.testing.assert_array_equal(labels(align(log_probs, tokens), 600), path[0].numpy())


def test_a_minute_of_peaks_is_found():
    log_probs, tokens, places = make_emissions(1500, 830, 32, seed=3)
    alignment = align(log_probs, tokens)
    assert np.all((alignment.starts <= places) & (places < alignment.ends))
    assert np.all(alignment.ends[:-1] <= alignment.starts[1:])
    assert alignment.starts[0] >= 0 and alignment.ends[-1] <= 1500


@pytest.mark.slow
def test_an_hour_takes_less_than_a_minute_and_a_gigabyte():
    bench = [sys.executable, ROOT / "tools/bench_align.py", "--vocabulary", "500"]
    row = subprocess.run(bench, check=True, capture_output=True, text=True).stdout.split("|")
    frames, tokens, _, seconds, peak_mib, _, in_place = (cell.strip() for cell in row[1:-1])
    assert (frames, tokens, in_place) == ("90,000", "50,000", "100.00%")
    assert float(seconds) < 60 and float(peak_mib) * 2**20 < 1e9


def test_the_score_of_a_token_is_its_mean():
    log_probs = np.log(np.array([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]], np.float32))
    alignment = align(log_probs, [1])
    assert (alignment.starts[0], alignment.ends[0]) == (0, 2)
    assert alignment.scores[0] == pytest.approx(np.log(0.5 * 0.8) / 2)
    assert alignment.score == pytest.approx(np.log(0.5 * 0.8 * 0.9))


def test_no_tokens_are_all_blank():
    alignment = align(np.log(np.full((4, 2), 0.5, np.float32)), [])
    assert alignment.score == pytest.approx(4 * np.log(0.5)) and len(alignment.tokens) == 0
    assert align(np.zeros((0, 2), np.float32), []).score == 0


# -- wildcards


@settings(derandomize=True, deadline=None, max_examples=60)
@given(cases(max_frames=5, max_vocabulary=4), st.data())
def test_a_wildcard_matches_anything_with_its_penalty(case, data):
    """Compared with exhaustive search: a frame in a starred gap has any label or is wild."""
    log_probs, spoken = case
    stars = data.draw(st.lists(st.integers(0, len(spoken)), min_size=1, max_size=3))
    tokens = list(spoken)
    for gap in sorted(stars, reverse=True):
        tokens.insert(gap, STAR)
    best = -np.inf
    for path in itertools.product([*range(log_probs.shape[1]), STAR], repeat=len(log_probs)):
        runs = collapse(path)
        at = {sum(r != STAR for r in runs[:i]) for i, r in enumerate(runs) if r == STAR}
        spelt = collapse([BLANK if label == STAR else label for label in path])
        if spelt == spoken and at <= set(stars):
            score = sum(
                float(log_probs[t].max() - 1.0 if label == STAR else log_probs[t, label])
                for t, label in enumerate(path)
            )
            best = max(best, score)
    assert align(log_probs, tokens, star_penalty=1.0).score == best


def test_a_wildcard_matches_speech_without_text():
    tokens = [1, 2, 3, 4, 5, 6, 1, 2]
    log_probs = np.full((8, 8), -12.0, np.float32)
    log_probs[np.arange(8), tokens] = -0.01
    alignment = align(log_probs, [1, 2, STAR, 1, 2])
    assert alignment.starts.tolist() == [0, 1, 2, 6, 7]
    assert alignment.ends.tolist() == [1, 2, 6, 7, 8]
    assert alignment.scores[2] == pytest.approx(-1.01)


def test_a_wildcard_without_anything_to_match_is_absent():
    log_probs, tokens, _ = make_emissions(40, 20, 6)
    plain = align(log_probs, tokens)
    starred = align(log_probs, [STAR, *tokens[:9], STAR, STAR, *tokens[9:], STAR])
    assert starred.score == plain.score
    real = starred.tokens != STAR
    np.testing.assert_array_equal(starred.starts[real], plain.starts)
    np.testing.assert_array_equal(starred.starts[~real], starred.ends[~real])
    assert np.all(np.diff(starred.starts) >= 0)


# -- words

LETTERS = CharacterTokenizer(list("abc"))


def emissions_of(spoken, tokenizer):
    """Emissions with one frame of 0.1 s per piece, each after a blank frame."""
    frames = [frame for piece in spoken for frame in (BLANK, tokenizer.pieces.index(piece))]
    log_probs = np.full((len(frames), len(tokenizer.pieces)), -9.0, np.float32)
    log_probs[np.arange(len(frames)), frames] = -0.125
    return log_probs


def test_words_have_seconds_and_confidences():
    log_probs = emissions_of(["a", "b", WORD_START, "c"], LETTERS)
    words = align_words(log_probs, "ab  c", LETTERS, frame_s=0.1)
    assert [word.text for word in words] == ["ab", "c"]
    assert [word.start_s for word in words] == pytest.approx([0.1, 0.7])
    assert [word.end_s for word in words] == pytest.approx([0.4, 0.8])
    assert [word.confidence for word in words] == pytest.approx([np.exp(-0.125)] * 2)


def test_a_star_in_the_text_is_a_word_if_it_matches_speech():
    log_probs = emissions_of(["a", WORD_START, "b", "b", WORD_START, "c"], LETTERS)
    words = align_words(log_probs, "* a * c *", LETTERS, frame_s=0.1)
    assert [word.text for word in words] == ["a", "*", "c"]
    assert words[1].start_s >= words[0].end_s and words[2].start_s >= words[1].end_s


def test_words_of_subword_units():
    texts = ["the cat sat", "the cats sit there", "that hat"] * 3
    units = SentencePieceTokenizer.train(texts, "bpe", vocab_size=24)
    text = "the cats sat"
    pieces = [units.pieces[token] for token in units.encode(text)]
    words = align_words(emissions_of(pieces, units), text, units, frame_s=0.1)
    assert " ".join(word.text for word in words) == text


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(["a", "ab", "ccc", "*"]), max_size=6), st.integers(0, 2**32 - 1))
def test_times_are_in_order_and_inside(text, seed):
    tokens = encode(" ".join(text), LETTERS)
    frames = frames_needed([token for token in tokens if token != STAR]) + seed % 20
    log_probs = np.random.default_rng(seed).uniform(-9, 0, (frames, 5)).astype(np.float32)
    words = align_words(log_probs, " ".join(text), LETTERS, frame_s=0.04)
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times) and all(0 <= time <= frames * 0.04 for time in times)
    assert [w.text for w in words if w.text != "*"] == [w for w in text if w != "*"]
    assert all(0 <= word.confidence <= 1 for word in words)


# -- mistakes


@pytest.mark.parametrize(
    ("log_probs", "tokens", "message"),
    [
        (np.zeros((3, 3)), [1, 1, 2], "3 tokens need at least 4 frames, the emissions have 3"),
        (np.zeros((3, 3)), [1, STAR, 1, 2], "3 tokens need at least 4 frames"),
        (np.zeros((0, 3)), [1], "need at least 1 frames, the emissions have 0"),
        (np.zeros((3, 3)), [3], "token 3 is not among 1 to 2"),
        (np.zeros((3, 3)), [1, BLANK], "token 0 is not among 1 to 2"),
        (np.zeros(3), [1], r"must have the shape \(T, V\), not \(3,\)"),
        (np.array([[0, 0], [0, np.nan]]), [1], "NaN, first in frame 1"),
        (np.array([[0, -np.inf]]), [1], "probability 0"),
    ],
)
def test_texts_that_cannot_be_aligned_are_errors(log_probs, tokens, message):
    with pytest.raises(ValueError, match=message):
        align(log_probs, tokens)


def test_letters_outside_the_alphabet_are_named():
    with pytest.raises(ValueError, match=r"outside the alphabet: 'x' \(U\+0078\)"):
        align_words(np.zeros((9, 5), np.float32), "ab x", LETTERS, frame_s=0.04)
