"""n-gram models: saved and loaded, agreeing with KenLM, on words and on tokens."""

import gzip
import math
import os
from pathlib import Path

import numpy as np
import pytest

from asr.data.texts import lines_of
from asr.errors import UserError
from asr.lm import npz
from asr.lm.ngram import KENLM_MAGIC, NGram
from asr.text.tokenizer import CharacterTokenizer, SentencePieceTokenizer

TEXT = [
    "the sun rises over the quiet sea",
    "the boats go out when the wind is fair",
    "the wind is fair and the sea is quiet",
    "come home said the sea come home",
    "the quiet boats come home over the sea",
]
UNSEEN = ["the sea is fair", "come out", "a storm over the quiet wind", "", "home " * 30]


@pytest.fixture(scope="module")
def model() -> NGram:
    return NGram.estimate(TEXT, 3)


@pytest.mark.parametrize("name", ["lm.npz", "lm.arpa", "lm.arpa.gz"])
def test_a_saved_model_scores_the_same(model, name, tmp_path, monkeypatch):
    model.save(tmp_path / name)
    for map_bytes in (0, npz.MAP_BYTES):
        monkeypatch.setattr(npz, "MAP_BYTES", map_bytes)
        loaded = NGram.load(tmp_path / name)
        assert (loaded.order, loaded.unit, sorted(loaded.words)) == (
            model.order,
            model.unit,
            sorted(model.words),
        )
        for line in TEXT + UNSEEN:
            assert loaded.score(line) == pytest.approx(model.score(line), abs=1e-4)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_equal_models_are_equal_files(model, tmp_path):
    for name in ("lm.npz", "lm.arpa.gz"):
        model.save(tmp_path / name)
        first = (tmp_path / name).read_bytes()
        NGram.estimate(reversed(TEXT), 3).save(tmp_path / name)
        assert (tmp_path / name).read_bytes() == first


def test_scores_add_up(model):
    score = model.score_lines(TEXT + UNSEEN)
    assert score.log_prob == pytest.approx(sum(map(model.score, TEXT + UNSEEN)))
    assert (score.words, score.sentences, score.unknown) == (82, 10, 2)
    assert model.perplexity(TEXT + UNSEEN) == score.perplexity
    assert score.perplexity == pytest.approx(math.exp(-score.log_prob / 92))
    assert model.perplexity(TEXT) < model.perplexity(["sea the is", "wind the over"])
    assert model.score(["the", "sea"]) == model.score("the sea")


def test_labels(model):
    labels = model.labels(["the", "storm", "sea"])
    assert labels.dtype == np.int32
    assert [model.words[labels[0]], labels[1], model.words[labels[2]]] == ["the", -1, "sea"]
    assert model.unknown_score == pytest.approx(model.automaton.step(0, model.unknown_label)[0])


@pytest.mark.parametrize("order", [2, 3, 5])
def test_kenlm_reads_the_same_scores(order, tmp_path):
    kenlm = pytest.importorskip("kenlm", reason="pip install 'asr[bench]'")
    model = NGram.estimate(TEXT, order, max_words=12)
    model.save(tmp_path / "lm.arpa")
    ours = NGram.load(tmp_path / "lm.arpa")
    theirs = kenlm.Model(str(tmp_path / "lm.arpa"))
    for line in TEXT + UNSEEN:
        expected = theirs.score(line) * math.log(10)
        assert model.score(line) == pytest.approx(expected, abs=1e-4)
        assert ours.score(line) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif("ASR_TEXT" not in os.environ, reason="ASR_TEXT names no large text file")
def test_perplexity_of_a_large_text_is_kenlms(tmp_path):
    kenlm = pytest.importorskip("kenlm", reason="pip install 'asr[bench]'")
    lines = [line.lower() for line in lines_of(Path(os.environ["ASR_TEXT"]))]
    NGram.estimate(lines[::2], 3).save(tmp_path / "lm.arpa")
    ours, theirs = NGram.load(tmp_path / "lm.arpa"), kenlm.Model(str(tmp_path / "lm.arpa"))
    total = 0.0
    for line in lines[1::2]:
        # KenLM sums a sentence in float32, which a long one shows.
        score = math.fsum(word[0] for word in theirs.full_scores(line)) * math.log(10)
        assert ours.score(line) == pytest.approx(score, abs=1e-4)
        total += score
    found = ours.score_lines(lines[1::2])
    assert found.words > 500_000
    expected = math.exp(-total / (found.words + found.sentences))
    assert found.perplexity == pytest.approx(expected, abs=1e-4)


def test_models_on_tokens_know_every_token():
    for tokenizer in (
        CharacterTokenizer.train([*TEXT, "xyz"]),
        SentencePieceTokenizer.train(TEXT * 4, "bpe", 40),
    ):
        model = NGram.estimate(TEXT, 4, tokenizer=tokenizer)
        assert model.unit == "tokens"
        assert (model.labels(tokenizer.pieces[1:]) >= 0).all()
        spelled = [tokenizer.pieces[token] for token in tokenizer.encode(TEXT[0])]
        assert model.score(spelled) > model.score(spelled[::-1])
        assert model.score_lines([spelled]).unknown == 0


def test_the_unit_is_kept(tmp_path):
    tokenizer = CharacterTokenizer.train(TEXT)
    model = NGram.estimate(TEXT, 2, tokenizer=tokenizer)
    for name in ("lm.npz", "lm.arpa"):
        model.save(tmp_path / name)
        assert NGram.load(tmp_path / name).unit == "tokens"


def test_lines_that_cannot_be_spelled_are_counted(caplog):
    tokenizer = CharacterTokenizer.train(TEXT)
    NGram.estimate([*TEXT, "ñandú", "été"], 2, tokenizer=tokenizer)
    assert (
        "left out 2 lines that the tokenizer cannot spell, such as 'ñandú': characters outside"
        in (caplog.text)
    )


def test_lines_of_text_files(tmp_path):
    path = tmp_path / "text"
    for content in (b"\xef\xbb\xbfa b\nc\xe2\x80\xa8d", gzip.compress(b"a b\nc\xe2\x80\xa8d")):
        path.write_bytes(content)
        assert list(lines_of(path)) == ["a b\n", "c\u2028d"]
    path.write_bytes(b"a\nb\xff\n")
    with pytest.raises(UserError, match="text:2: not UTF-8"):
        list(lines_of(path))
    path.write_bytes(gzip.compress(b"a b\nc")[:-3])
    with pytest.raises(UserError, match="text: damaged gzip file"):
        list(lines_of(path))
    path.unlink()
    with pytest.raises(UserError, match="text: cannot be read: No such file"):
        list(lines_of(path))


def test_files_that_are_no_model(model, tmp_path):
    path = tmp_path / "lm.npz"
    with pytest.raises(UserError, match=r"lm\.npz: cannot be read: No such file"):
        NGram.load(path)
    path.write_bytes(KENLM_MAGIC + b" format version 5\n\0")
    with pytest.raises(UserError, match=r"a KenLM binary, .*; give the ARPA file"):
        NGram.load(path)
    path.write_bytes(b"\x00" * 100)
    with pytest.raises(UserError, match="not an ARPA file"):
        NGram.load(path)
    np.savez(path, weights=np.zeros(3))
    with pytest.raises(UserError, match="not a language model: it has no array arc_label"):
        NGram.load(path)
    model.save(path)
    for field, value in [
        ("numbers", np.array([2, 3, 0, 1, 2])),
        ("words", np.zeros(3, np.uint8)),
        ("arc_next", np.zeros(3, np.int32)),
        ("arc_next", np.full(len(model.automaton.arc_next), 1 << 30, np.int32)),
    ]:
        np.savez(path, **{**model._arrays(), field: value})
        with pytest.raises(UserError, match=r"lm\.npz: .*make it again"):
            NGram.load(path)
    with pytest.raises(UserError, match=r"lm\.bin: the name of a language model must end in"):
        model.save(tmp_path / "lm.bin")
