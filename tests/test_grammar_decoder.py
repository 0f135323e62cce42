"""The decoder of a grammar against brute force over all sentences; streams, refusals, models."""

from __future__ import annotations

import json
import math
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import TextConfig
from asr.decoder import grammar as grammar_decoder
from asr.decoder.grammar import GrammarDecoder
from asr.decoder.greedy import GreedyDecoder
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.recognition.recognizer import Recognizer, load
from asr.text.tokenizer import CharacterTokenizer

ABC = CharacterTokenizer("abc")
FRAME_S = 0.04

words = st.text("abc", min_size=1, max_size=3)
several = st.lists(words, min_size=1, max_size=3, unique=True).map("|".join)
templates = st.lists(
    st.one_of(words, several.map("({})".format), several.map("[{}]".format)),
    min_size=1,
    max_size=3,
).map(" ".join)


def ctc_score(log_probs: np.ndarray, tokens: list[int]) -> float:
    """ln of the sum over all alignments, by torch."""
    return -float(
        torch.nn.functional.ctc_loss(
            torch.tensor(log_probs, dtype=torch.float64)[:, None],
            torch.tensor([tokens]),
            torch.tensor([len(log_probs)]),
            torch.tensor([len(tokens)]),
            reduction="sum",
        )
    )


def emissions(frames: int, seed: int, sharpness: float) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(frames, len(ABC.pieces))) * sharpness
    return (values - np.log(np.exp(values).sum(1, keepdims=True))).astype(np.float32)


def decoder_of(grammar: Grammar, **settings) -> GrammarDecoder:
    compiled = grammar.compile(ABC, TextConfig())
    return GrammarDecoder(ABC.pieces, compiled.arrays, compiled.meaning, **settings)


@settings(max_examples=120)
@given(
    st.lists(st.tuples(templates, st.sampled_from((0.25, 1.0, 2.0))), min_size=1, max_size=3),
    st.integers(1, 10),
    st.integers(0, 2**32 - 1),
    st.floats(0.3, 20),
    st.sampled_from((0.1, 1.0, 4.0, grammar_decoder.FIRST_MARGIN)),
    st.sampled_from((1, 4)),
)
def test_the_n_best_are_those_of_the_sum_over_all_alignments(
    given_, frames, seed, sharpness, margin, n_best
):
    """Also where the first margin is so narrow that the search loses them at first."""
    blocks = {
        f"intent{i}": {"data": [{"sentences": [template], "weight": weight}]}
        for i, (template, weight) in enumerate(given_)
    }
    weights: dict[str, float] = {}
    for template, weight in given_:
        for sentence in Grammar([template]).sentences():
            weights[sentence] = max(weights.get(sentence, 0.0), weight)
    grammar = Grammar({"intents": blocks})
    if "" in weights:
        with pytest.raises(UserError, match="may be empty"):
            decoder_of(grammar)
        return
    log_probs = emissions(frames, seed, sharpness)
    heaviest = max(weight for _, weight in given_)
    scores = {
        sentence: math.log(weight / heaviest) + ctc_score(log_probs, ABC.encode(sentence))
        for sentence, weight in weights.items()
    }
    best = sorted((s for s in scores.values() if s > -1e30), reverse=True)[:n_best]
    with mock.patch.object(grammar_decoder, "FIRST_MARGIN", margin):
        found = decoder_of(grammar, n_best=n_best).decode(log_probs, FRAME_S)
    if not best:
        assert not found[0].command.accepted and found[0].text == ""
        return
    assert [one.score for one in found] == pytest.approx(best, abs=1e-4)
    assert all(one.score == pytest.approx(scores[one.text], abs=1e-4) for one in found)
    assert found[0].command.accepted and found[0].command.text == found[0].text


@settings(max_examples=50)
@given(
    st.lists(templates, min_size=1, max_size=3),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(0, 12), max_size=3),
)
def test_pieces_of_any_size_give_the_same_result(sentences, frames, seed, cuts):
    try:
        decoder = decoder_of(Grammar(sentences), n_best=3)
    except UserError:  # a sentence that may be empty
        return
    log_probs = emissions(frames, seed, 2.0)
    stream = decoder.stream(FRAME_S)
    for piece in np.split(log_probs, sorted(cuts)):
        stream.feed(piece)
        stream.best(), stream.end_cost()
    assert stream.finish() == decoder.decode(log_probs, FRAME_S)


def spoken(text: str, frames_each: int = 3, silence: int = 3, sure: float = 0.99) -> np.ndarray:
    """Emissions in which each letter lasts `frames_each` frames, with a blank frame between."""
    path = [0] * silence
    for token in ABC.encode(text):
        path += [token] * frames_each + [0]
    path += [0] * silence
    rest = (1 - sure) / (len(ABC.pieces) - 1)
    probs = np.full((len(path), len(ABC.pieces)), rest)
    probs[np.arange(len(path)), path] = sure
    return np.log(probs).astype(np.float32)


def test_a_sentence_far_below_its_own_beginnings_is_found():
    """In silence each letter costs so much that the first margin drops all whole sentences."""
    log_probs = spoken("", silence=20, sure=1 - 1e-7)
    sentences = ("abc", "cabb", "ac")
    scores = {s: ctc_score(log_probs, ABC.encode(s)) for s in sentences}
    assert max(scores.values()) < -25
    found = decoder_of(Grammar(sentences), n_best=3).decode(log_probs, FRAME_S)
    assert {one.text: pytest.approx(one.score, abs=1e-3) for one in found} == scores


def test_words_have_their_times_and_a_confidence():
    (found,) = decoder_of(Grammar(["ab (c|cc) [a]"])).decode(spoken("ab c"), FRAME_S)
    assert found.text == "ab c"
    assert [
        (w.text, round(w.start_s / FRAME_S), round(w.end_s / FRAME_S)) for w in found.words
    ] == [
        ("ab", 3, 10),
        ("c", 15, 18),
    ]
    assert all(word.confidence == pytest.approx(0.99) for word in found.words)


def test_what_is_outside_is_refused_or_free():
    grammar = Grammar({"intents": {"Go": ["ab", "abc"]}})
    inside, outside, silence = spoken("ab"), spoken("ccacbc"), spoken("", silence=10)
    decoder = decoder_of(grammar, threshold=-2.0)
    accepted = decoder.decode(inside, FRAME_S)[0]
    assert accepted.text == "ab" and accepted.command.accepted and accepted.command.intent == "Go"
    for log_probs in (outside, silence):
        best, guess = decoder.decode(log_probs, FRAME_S)
        assert not best.words and not best.command.accepted and best.command.fit < -2
        assert best.command.text == guess.text in ("ab", "abc")
    free = decoder_of(grammar, threshold=-2.0, free=GreedyDecoder(ABC.pieces))
    best = free.decode(outside, FRAME_S)[0]
    assert best.text == "ccacbc" and not best.command.accepted


def test_the_end_costs_nothing_after_a_sentence_and_much_within_one():
    stream = decoder_of(Grammar(["ab c"])).stream(FRAME_S)
    stream.feed(spoken("ab"))
    assert stream.end_cost() > 5 and stream.best().text == "ab"
    stream.feed(spoken(" c")[3:])
    assert stream.end_cost() < 0.1
    longer = decoder_of(Grammar(["ab [c]"])).stream(FRAME_S)
    longer.feed(spoken("ab"))
    assert 3 <= longer.end_cost() < 3.1  # it may go on
    longer.feed(spoken(" c")[3:])
    assert longer.end_cost() < 0.1


def test_a_long_utterance_makes_room_for_its_history():
    decoder = decoder_of(Grammar(["a [b]"]))
    log_probs = np.concatenate([spoken("", silence=700), spoken("a b"), spoken("", silence=3000)])
    assert decoder.decode(log_probs, FRAME_S)[0].text == "a b"


def test_many_bad_fits_end_the_search():
    """Emissions that say nothing fit each of a million sentences equally."""
    names = " ".join("({})".format("|".join("abc")) for _ in range(12))
    flat = np.full((60, len(ABC.pieces)), -math.log(len(ABC.pieces)), np.float32)
    best = decoder_of(Grammar([names])).decode(flat, FRAME_S)
    assert len(best[0].text.split()) == 12


@pytest.mark.parametrize("settings_", [{"n_best": 0}, {"threshold": math.nan}])
def test_invalid_settings_are_refused(settings_):
    with pytest.raises(UserError, match="grammar decoder"):
        decoder_of(Grammar(["a"]), **settings_)


GRAMMAR = {
    "intents": {"Say": ["(a|bad|cage) [{letter}]"]},
    "lists": {"letter": ["d", "e", {"in": "f", "out": 6}]},
}


def test_a_recognizer_with_a_grammar(tiny_model, recordings, tmp_path):
    path = recordings / "r2.wav"
    recognizer = Recognizer(tiny_model, "cpu")
    grammar = Grammar(GRAMMAR)
    heard = recognizer.with_decoder(grammar=grammar, min_fit=-math.inf)
    transcript = heard.transcribe(path)
    sentences = set(grammar.sentences())
    assert {segment.text for segment in transcript.segments} <= sentences
    assert transcript.command.intent == "Say" and transcript.command.accepted
    saved = json.loads(json.dumps(transcript.to_dict()))
    assert saved["segments"][0]["command"]["intent"] == "Say"
    heard.save(tmp_path / "commands.asr")
    again = load(tmp_path / "commands.asr", "cpu")
    assert again.transcribe(path) == transcript
    assert "grammar of 1 templates" in repr(again)
    assert recognizer.transcribe(path).command is None
    strict = recognizer.with_decoder(min_fit=0.0).transcribe(path, grammar=GRAMMAR)
    assert strict.text == "" and not strict.command.accepted
    free = recognizer.with_decoder(min_fit=0.0, outside_grammar="free")
    assert not free.transcribe(path, grammar=grammar).command.accepted
    assert free.transcribe(path, grammar=grammar).text


def test_transcribe_with_a_grammar(run, model_file, recordings, tmp_path):
    file = tmp_path / "grammar.yaml"
    file.write_text(Grammar(GRAMMAR).text)
    status, out, _ = run(
        "transcribe", model_file, recordings / "r2.wav", "--grammar", file, "--format", "json",
        "--decoder", "min_fit=-100",
    )  # fmt: skip
    command = json.loads(out)["segments"][0]["command"]
    assert status == 0 and command["accepted"] and set(command["slots"]) <= {"letter"}
    status, out, _ = run(
        "transcribe", model_file, recordings / "r2.wav", "--grammar", file, "--format", "json",
        "--decoder", "min_fit=0",
    )  # fmt: skip
    assert status == 0 and json.loads(out)["segments"][0]["command"]["accepted"] is False
    file.write_text("sentences: ['{x}']")
    status, _, err = run("transcribe", model_file, recordings / "r2.wav", "--grammar", file)
    assert status == 2 and "no such list" in err[-1]
