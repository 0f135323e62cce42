"""Prefix beam search: exhaustive sums, the plain reference, streaming, threads, and odd input."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.decoder import prefixes, search
from asr.decoder.beam import BeamDecoder
from asr.decoder.greedy import GreedyDecoder
from asr.decoder.reference import Rules, decode_reference, fused
from asr.decoder.words import complete_words
from asr.errors import UserError
from asr.lm.automaton import Automaton
from asr.lm.ngram import NGram
from asr.text.tokenizer import BLANK, WORD_START, decode

CHARACTERS = ["<blank>", "▁", "a", "b", "c"]
SUBWORDS = ["<blank>", "▁a", "b", "▁ba", "c", "▁"]
FRAME_S = 0.04
LINES = ["a ab ba", "ab ba c", "ba ba", "a c ab", "bab a", "ab", "ca ab ba a", "a b"]
WORD_LM = NGram.estimate(LINES, order=3)


class Pieces:
    """The part of a tokenizer that is needed to estimate a model on tokens."""

    def __init__(self, pieces):
        self.pieces = pieces

    def encode(self, text):
        return [self.pieces.index(c) for c in text.replace(" ", WORD_START) if c in self.pieces]


TOKEN_LM = NGram.estimate(LINES, order=2, tokenizer=Pieces(CHARACTERS))
FUSIONS = {
    "nothing": {},
    "bonus": {"word_bonus": 0.7},
    "word lm": {"lm": WORD_LM, "lm_weight": 0.8, "word_bonus": 0.5, "unknown_score": -5.0},
    "token lm": {"lm": TOKEN_LM, "lm_weight": 0.6, "word_bonus": -0.3},
    "hotwords": {"hotwords": {"ab": 1.5, "a b": 2.0, "b c": -1.0, "b": 0.3, "c a b": 3.0}},
    "lexicon": {"lexicon": frozenset(["a", "ab", "ba", "cab"])},
    "all": {
        "lm": WORD_LM,
        "lm_weight": 0.5,
        "unknown_score": -4.0,
        "hotwords": {"ba ba": 1.0, "ab": 0.5},
        "lexicon": frozenset(["a", "ab", "ba", "cc"]),
    },
}
WIDE = {"beam": 5000, "token_min_logp": -math.inf, "beam_margin": math.inf}


def emissions(rng, frames, tokens, sharpness=1.0):
    """(T, V) float32 log-probs that sum to 1 in every frame."""
    logits = rng.normal(size=(frames, tokens)) * sharpness
    return (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)).astype(np.float32)


def run(rules, log_probs):
    """Decode, and return all prefixes that are left in the beam."""
    return BeamDecoder(**vars(rules), n_best=rules.beam).decode(log_probs, FRAME_S)


def exhaustive(rules, log_probs):
    """Every token sequence with its score, by enumerating all V^T paths."""
    sums: dict[tuple[int, ...], float] = {}
    frames, tokens = log_probs.shape
    for path in itertools.product(range(tokens), repeat=frames):
        merged = tuple(token for token, _ in itertools.groupby(path) if token != BLANK)
        score = float(sum(float(log_probs[t, token]) for t, token in enumerate(path)))
        sums[merged] = np.logaddexp(sums.get(merged, -math.inf), score)
    return {tokens: p + fused(rules, tokens, finished=True) for tokens, p in sums.items()}


@pytest.mark.parametrize(
    "name, pieces, frames",
    [(name, CHARACTERS, 5) for name in FUSIONS]
    + [(name, SUBWORDS, 4) for name in FUSIONS if name != "token lm"],  # it is on characters
)
def test_a_wide_beam_is_exhaustive_search(name, pieces, frames):
    rules = Rules(pieces, **WIDE, **FUSIONS[name])
    for seed in range(3):
        log_probs = emissions(np.random.default_rng(seed), frames, len(pieces), 1.5)
        best: dict[str, float] = {}
        for tokens, score in exhaustive(rules, log_probs).items():
            if score > -math.inf:
                text = decode(tokens, pieces)
                best[text] = max(score, best.get(text, -math.inf))
        found = run(rules, log_probs)
        assert {h.text: pytest.approx(h.score, abs=1e-5) for h in found} == best


def test_a_wide_beam_is_exhaustive_search_on_eight_frames():
    rules = Rules(CHARACTERS[:4], **WIDE, **FUSIONS["word lm"])
    log_probs = emissions(np.random.default_rng(7), 8, 4)
    best = max(exhaustive(rules, log_probs).items(), key=lambda one: one[1])
    (first, *_) = run(rules, log_probs)
    assert (first.tokens, first.score) == (best[0], pytest.approx(best[1], abs=1e-5))


def test_times_are_those_of_the_likeliest_path():
    for seed in range(20):
        log_probs = emissions(np.random.default_rng(seed), 6, 4, 1.5)
        pieces = ["<blank>", "▁a", "▁b", "▁c"]  # each token is a word, so that its times show
        (first, *_) = run(Rules(pieces, **WIDE), log_probs)
        best, best_path = -math.inf, ()
        for path in itertools.product(range(4), repeat=6):
            if tuple(k for k, _ in itertools.groupby(path) if k != BLANK) == first.tokens:
                score = sum(float(log_probs[t, k]) for t, k in enumerate(path))
                best, best_path = max((best, best_path), (score, path))
        at, spans = 0, []
        for token, group in itertools.groupby(best_path):
            start, at = at, at + len(list(group))
            if token != BLANK:
                peak = float(np.exp(log_probs[start:at, token].max()))
                spans.append((start * FRAME_S, at * FRAME_S, pytest.approx(peak, abs=1e-6)))
        assert [(w.start_s, w.end_s, w.confidence) for w in first.words] == spans


def assert_equals_reference(rules, log_probs):
    expected = decode_reference(rules, log_probs)
    found = run(rules, log_probs)
    if not expected:
        assert [h.score for h in found] == [-math.inf]
        return
    assert [h.tokens for h in found] == [tokens for tokens, _, _ in expected]
    assert [h.score for h in found] == pytest.approx([s for _, s, _ in expected], abs=1e-5)
    for hypothesis, (_, _, spans) in zip(found, expected, strict=True):
        for word in hypothesis.words:
            assert any(word.start_s == start * FRAME_S for start, _, _ in spans)
            assert any(word.end_s == end * FRAME_S for _, end, _ in spans)


@settings(derandomize=True, deadline=None, max_examples=2000)
@given(
    seed=st.integers(0, 2**32),
    frames=st.integers(0, 14),
    pieces=st.sampled_from([CHARACTERS, SUBWORDS]),
    fusion=st.sampled_from(sorted(FUSIONS)),
    sharpness=st.sampled_from([0.3, 1.0, 3.0, 8.0]),
    beam=st.sampled_from([1, 2, 3, 8, 30]),
    token_min_logp=st.sampled_from([-1.0, -2.5, -5.0, -math.inf]),
    tokens_per_frame=st.sampled_from([1, 2, 40]),
    beam_margin=st.sampled_from([1.0, 4.0, math.inf]),
)
def test_compiled_search_equals_the_reference(seed, frames, pieces, fusion, sharpness, **limits):
    if fusion == "token lm":
        pieces = CHARACTERS
    log_probs = emissions(np.random.default_rng(seed), frames, len(pieces), sharpness)
    assert_equals_reference(Rules(pieces, **limits, **FUSIONS[fusion]), log_probs)


def test_times_and_peaks_equal_the_references():
    words = ["<blank>", "▁a", "▁b", "▁c"]
    for seed in range(200):
        rng = np.random.default_rng(seed)
        log_probs = emissions(rng, 12, 4, rng.uniform(0.5, 4))
        rules = Rules(words, beam=int(rng.integers(1, 9)), token_min_logp=-4.0)
        for found, (_, _, spans) in zip(
            run(rules, log_probs), decode_reference(rules, log_probs), strict=True
        ):
            times = [(w.start_s, w.end_s, w.confidence) for w in found.words]
            assert times == [
                (start * FRAME_S, end * FRAME_S, pytest.approx(math.exp(peak), abs=1e-6))
                for start, end, peak in spans
            ]


@pytest.mark.parametrize("name", FUSIONS)
def test_fed_in_pieces_equals_fed_at_once(name):
    rules = Rules(CHARACTERS, beam=12, **FUSIONS[name])
    decoder = BeamDecoder(**vars(rules), n_best=5)
    rng = np.random.default_rng(1)
    for sharpness in (0.5, 2.0, 6.0):
        log_probs = emissions(rng, 80, len(CHARACTERS), sharpness)
        at_once = decoder.decode(log_probs, FRAME_S)
        for largest in (1, 7, 200):
            stream, at = decoder.stream(FRAME_S), 0
            while at < len(log_probs):
                size = int(rng.integers(0, largest + 1))
                stream.feed(log_probs[at : at + size])
                stream.best()
                at += size
            assert stream.finish() == at_once


def test_the_best_text_of_a_stream_grows_to_the_result():
    log_probs = np.log(np.full((6, 5), 0.01, np.float32))
    for t, token in enumerate([2, 0, 3, 1, 4, 0]):  # a b ▁ c
        log_probs[t, token] = np.log(0.96)
    stream = BeamDecoder(CHARACTERS).stream(FRAME_S)
    texts = []
    for t in range(6):
        stream.feed(log_probs[t : t + 1])
        texts.append(stream.best().text)
    assert texts == ["a", "a", "ab", "ab", "ab c", "ab c"]
    assert stream.finish()[0].text == "ab c"


def test_memory_is_reused_and_reuse_changes_nothing(monkeypatch):
    log_probs = emissions(np.random.default_rng(3), 3000, len(CHARACTERS), 1.5)
    decoder = BeamDecoder(CHARACTERS, beam=30, n_best=10, **FUSIONS["word lm"])
    expected = decoder.decode(log_probs, FRAME_S)
    monkeypatch.setattr("asr.decoder.beam.FIRST_ROOM", 64)
    stream = decoder.stream(FRAME_S)
    stream.feed(log_probs)
    assert stream.finish() == expected
    assert len(stream._arrays.nodes) < 4 * len(expected[0].tokens)


def test_threads_equal_one_thread():
    rng = np.random.default_rng(5)
    batch = [emissions(rng, int(rng.integers(0, 200)), len(CHARACTERS), 2.0) for _ in range(40)]
    decoder = BeamDecoder(CHARACTERS, n_best=3, **FUSIONS["all"])
    alone = [decoder.decode(log_probs, FRAME_S) for log_probs in batch]
    assert decoder.decode_batch(batch, FRAME_S) == alone
    assert decoder.decode_batch(batch, FRAME_S, threads=3) == alone


def test_n_best_is_sorted_and_distinct():
    for seed in range(20):
        log_probs = emissions(np.random.default_rng(seed), 30, len(SUBWORDS), 2.0)
        found = BeamDecoder(SUBWORDS, n_best=8).decode(log_probs, FRAME_S)
        scores = [h.score for h in found]
        assert scores == sorted(scores, reverse=True)
        assert len({h.text for h in found}) == len(found) == 8


@pytest.mark.parametrize(
    "idle",
    [
        {"hotwords": {"ab": 0.0, "c a": 0.0}},
        {"hotwords": {}},
        {"lm": WORD_LM, "lm_weight": 0.0},
        {"lm": TOKEN_LM, "lm_weight": 0.0},
        {"word_bonus": 0.0},
    ],
)
def test_weight_zero_changes_nothing(idle):
    for seed in range(10):
        log_probs = emissions(np.random.default_rng(seed), 60, len(CHARACTERS), 2.0)
        plain = BeamDecoder(CHARACTERS, n_best=5).decode(log_probs, FRAME_S)
        assert BeamDecoder(CHARACTERS, n_best=5, **idle).decode(log_probs, FRAME_S) == plain


def test_confident_emissions_give_the_greedy_result():
    for seed in range(20):
        log_probs = emissions(np.random.default_rng(seed), 50, len(CHARACTERS), 60.0)
        (greedy,) = GreedyDecoder(CHARACTERS).decode(log_probs, FRAME_S)
        (beam,) = BeamDecoder(CHARACTERS).decode(log_probs, FRAME_S)
        assert (beam.tokens, beam.words) == (greedy.tokens, greedy.words)


def test_no_frames_give_no_text():
    (nothing,) = BeamDecoder(CHARACTERS).decode(np.zeros((0, 5), np.float32), FRAME_S)
    assert (nothing.tokens, nothing.text, nothing.score, nothing.words) == ((), "", 0.0, ())
    rules = Rules(CHARACTERS, **FUSIONS["word lm"])
    (nothing,) = run(rules, np.zeros((0, 5), np.float32))
    assert nothing.score == pytest.approx(fused(rules, (), finished=True))


def test_impossible_tokens_and_frames():
    with np.errstate(divide="ignore"):
        one_hot = np.log(np.eye(5, dtype=np.float32)[[2, 2, 0, 2, 3]])  # a a - a b
    (found,) = BeamDecoder(CHARACTERS).decode(one_hot, FRAME_S)
    assert (found.text, found.score) == ("aab", 0.0)
    assert [(w.start_s, w.end_s) for w in found.words] == [(0.0, 5 * FRAME_S)]
    for frame in (0, 2, 4):
        dead = one_hot.copy()
        dead[frame] = -np.inf
        (found,) = BeamDecoder(CHARACTERS).decode(dead, FRAME_S)
        assert (found.text, found.score) == ("", -math.inf)
        assert decode_reference(Rules(CHARACTERS), dead) == []


def test_an_unfinished_lexicon_word_is_left_out():
    log_probs = np.log(np.full((4, 5), 0.001, np.float32))
    for t, token in enumerate([2, 1, 4, 2]):  # a ▁ c a
        log_probs[t, token] = np.log(0.996)
    decoder = BeamDecoder(CHARACTERS, beam=1, lexicon=["a", "cab"])
    (found,) = decoder.decode(log_probs, FRAME_S)
    assert (found.text, [w.text for w in found.words]) == ("a", ["a"])


@pytest.mark.parametrize(
    "options, says",
    [
        ({"beam": 0}, "beam: 0"),
        ({"tokens_per_frame": 0}, "tokens_per_frame: 0"),
        ({"beam_margin": -1.0}, "beam_margin: -1.0"),
        ({"n_best": 60}, "n_best: 60"),
        ({"lm_weight": -1.0}, "lm_weight: -1.0"),
        ({"word_bonus": math.nan}, "word_bonus: nan"),
        ({"unknown_score": 1.0}, "unknown_score: 1.0"),
        ({"lexicon": []}, "lexicon"),
        ({"lexicon": ["xyz"]}, "xyz"),
        ({"hotwords": {"xa": 1.0}}, "xa"),
        ({"hotwords": {" ": 1.0}}, "hotword"),
        ({"hotwords": {"a": math.inf}}, "inf"),
    ],
)
def test_invalid_options_are_refused(options, says):
    with pytest.raises(UserError, match=says) as refused:
        BeamDecoder(CHARACTERS, **options)
    assert "\n" not in str(refused.value)


def test_emissions_of_another_shape_or_nan_are_refused():
    decoder = BeamDecoder(CHARACTERS)
    with pytest.raises(ValueError, match=r"\(3, 4\)"):
        decoder.decode(np.zeros((3, 4)), FRAME_S)
    with pytest.raises(ValueError, match="NaN"):
        decoder.decode(np.full((3, 5), np.nan), FRAME_S)


def test_the_loops_are_compiled_for_one_kind_of_arguments(tmp_path):
    """Otherwise the first use of a language model, mapped or not, would compile again."""
    mapped = {}
    for field in fields(Automaton):
        value = getattr(WORD_LM.automaton, field.name)
        if isinstance(value, np.ndarray):
            value.tofile(tmp_path / field.name)
            value = np.memmap(tmp_path / field.name, value.dtype, "r")
        mapped[field.name] = value
    from_file = NGram(Automaton(**mapped), WORD_LM.words, WORD_LM.order, WORD_LM.unit)
    log_probs = emissions(np.random.default_rng(0), 30, len(CHARACTERS))
    expected = BeamDecoder(CHARACTERS, lm=WORD_LM).decode(log_probs, FRAME_S)
    assert BeamDecoder(CHARACTERS, lm=from_file).decode(log_probs, FRAME_S) == expected
    for fusion in FUSIONS.values():
        decoder = BeamDecoder(CHARACTERS, **fusion)
        for same in (log_probs, log_probs.astype(float), np.asfortranarray(log_probs)):
            decoder.decode(same, FRAME_S)
    for loop in (prefixes.start, search.advance, search.final_scores, prefixes.trace):
        assert len(loop.signatures) == 1


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[1] / "docs" / "decoding.md"
    example = page.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    pieces = ["<blank>", WORD_START, *"abcdefghijklmnopqrstuvwxyz"]
    log_probs = emissions(np.random.default_rng(0), 20, len(pieces))
    monkeypatch.chdir(tmp_path)
    WORD_LM.save("lm.npz")
    names = {
        "pieces": pieces,
        "log_probs": log_probs,
        "many_log_probs": [log_probs],
        "blocks": np.split(log_probs, [3, 4, 12]),
    }
    exec(compile(example, str(page), "exec"), names)
    assert names["batch"] == [names["hypotheses"]]
    assert len(capsys.readouterr().out.splitlines()) == 4


@pytest.mark.slow  # compiles everything
def test_only_the_first_use_compiles_and_announces_it(tmp_path):
    program = (
        "import time, asr.decoder.beam as beam; begin = time.perf_counter();"
        "beam.BeamDecoder(['<blank>', 'a']); print(time.perf_counter() - begin)"
    )
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        for _ in range(2)
    )
    assert first.stderr == "compiling the decoder, once after installation (at most 30 s)\n"
    assert second.stderr == ""
    assert float(second.stdout) < float(first.stdout) / 5


# ---- while audio comes in ------------------------------------------------------------------------


@pytest.mark.parametrize("fusion", [*FUSIONS, "greedy"])
@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=30),
    flatness=st.sampled_from([0.5, 1.5, 4.0]),
)
def test_settled_tokens_stay_and_pieces_change_nothing(fusion, seed, sizes, flatness):
    log_probs = emissions(np.random.default_rng(seed), sum(sizes), len(SUBWORDS), flatness)
    if fusion == "token lm":
        pieces, log_probs = CHARACTERS, log_probs[:, : len(CHARACTERS)]
    else:
        pieces = SUBWORDS
    decoder = (
        GreedyDecoder(pieces)
        if fusion == "greedy"
        else BeamDecoder(pieces, beam=8, **FUSIONS[fusion])
    )
    stream, at, settled = decoder.stream(FRAME_S), 0, ()
    for size in sizes:
        stream.feed(log_probs[at : at + size])
        at += size
        best = stream.best()
        assert best.tokens[: len(settled)] == settled
        settled = best.tokens[: stream.settled()]
        complete = complete_words(settled, pieces)
        assert [word.text for word in best.words[:complete]] == best.text.split()[:complete]
    (found,) = stream.finish()
    (expected,) = decoder.decode(log_probs, FRAME_S)
    assert (found.tokens, found.words) == (expected.tokens, expected.words)
    assert found.score == pytest.approx(expected.score, abs=1e-4)
    complete = complete_words(settled, pieces)
    assert found.text.split()[:complete] == decode(settled, pieces).split()[:complete]


def test_a_beam_that_agrees_settles():
    """With certain tokens one prefix is left; where nothing is pruned, none is ever certain."""
    tokens = [2, 0, 1, 0, 3]
    assert settled_of(BeamDecoder(CHARACTERS), tokens) == [1, 1, 2, 2, 3]
    assert settled_of(GreedyDecoder(CHARACTERS), tokens) == [1, 1, 2, 2, 3]
    wide = BeamDecoder(CHARACTERS, token_min_logp=-math.inf, beam_margin=math.inf, beam=100)
    assert settled_of(wide, tokens) == [0] * 5


def settled_of(decoder, tokens) -> list[int]:
    stream, found = decoder.stream(FRAME_S), []
    for token in tokens:
        row = np.full((1, len(CHARACTERS)), -60.0, np.float32)
        row[0, token] = 0.0
        stream.feed(row)
        found.append(stream.settled())
    return found


@pytest.mark.parametrize(
    ("tokens", "complete"),
    [([], 0), ([1], 0), ([1, 2], 0), ([1, 3], 1), ([1, 2, 5], 1), ([5, 1], 0), ([2, 4, 3, 1], 2)],
)
def test_a_word_is_complete_when_another_begins(tokens, complete):
    assert complete_words(tokens, SUBWORDS) == complete


def test_the_cost_of_an_end_is_what_the_language_model_asks_for():
    decoder = BeamDecoder(CHARACTERS, **FUSIONS["word lm"])
    row = np.log(np.full((1, len(CHARACTERS)), 1e-9, np.float32))
    costs = []
    for text in ("a", "a b a"):  # "a b" ends a line that the model knows, "a b a" none
        stream = decoder.stream(FRAME_S)
        for piece in text.replace(" ", "▁"):
            sure = row.copy()
            sure[0, CHARACTERS.index(piece)] = 0.0
            stream.feed(sure)
        costs.append(stream.end_cost())
        assert costs[-1] == pytest.approx(stream.best().score - stream.finish()[0].score)
    assert 0 < costs[0] < costs[1]
    assert BeamDecoder(CHARACTERS).stream(FRAME_S).end_cost() == 0
    assert GreedyDecoder(CHARACTERS).stream(FRAME_S).end_cost() == 0


def test_an_end_within_a_word_of_a_lexicon_costs_infinitely_much():
    decoder = BeamDecoder(CHARACTERS, beam_margin=1.0, lexicon=["ab"])
    stream = decoder.stream(FRAME_S)
    row = np.full((1, len(CHARACTERS)), -60.0, np.float32)
    row[0, CHARACTERS.index("a")] = 0.0
    stream.feed(row)
    assert stream.end_cost() == math.inf
