"""Texts in any script round-trip through tokens; characters that cannot be spelled are named."""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.errors import UserError
from asr.text import tokenizer
from asr.text.tokenizer import BLANK, WORD_START, CharacterTokenizer, decode, unknown_characters

SCRIPTS = {
    "latin": "el niño comió jamón à côté de la forêt où vivent les œuvres žluťoučký kůň",
    "cyrillic": "съешь же ещё этих мягких французских булок да выпей чаю",
    "hebrew": "שָׁלוֹם עולם מה שלומך היום אני לומד עברית",
    "arabic": "مرحبا بالعالم كيف حالك اليوم أَنا أتعلّم العربية",
    "devanagari": "नमस्ते दुनिया आप कैसे हैं मैं हिन्दी सीख रहा हूँ",
    "chinese": "你好世界 今天天气很好 我们去公园散步 你好今天",
    "thai": "สวัสดีชาวโลก วันนี้อากาศดี เราไปเดินเล่นที่สวนสาธารณะ",
    "emoji": "ok 👍🏽 👩‍👩‍👧 go 🇫🇷 go",
}
KINDS = ["characters", "bpe", "unigram"]


def learn(text: str, kind: str, extra: int = 10):
    """A tokenizer with `extra` more units than the text has characters."""
    return tokenizer.train([text, *text.split()], kind, len(set(text)) + 2 + extra)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", KINDS)
def test_texts_round_trip(kind, script):
    text = SCRIPTS[script]
    learned = learn(text, kind)
    tokens = learned.encode(text)
    assert BLANK not in tokens
    assert decode(tokens, learned.pieces) == text
    for word in text.split():
        assert decode(learned.encode(word), learned.pieces) == word
    if kind != "characters":
        assert len(tokens) < len(text)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_file_holds_the_whole_tokenizer(kind, script):
    text = SCRIPTS[script]
    learned = learn(text, kind)
    again = tokenizer.from_bytes(learned.to_bytes(), kind)
    assert again.pieces == learned.pieces
    assert again.encode(text) == learned.encode(text)
    assert again.to_bytes() == learned.to_bytes()
    assert again.kind == kind


@given(st.text())
@settings(max_examples=300)
def test_characters_round_trip_any_text(text):
    plain = " ".join(text.replace(WORD_START, " ").split())
    if not plain:
        with pytest.raises(UserError, match="no text"):
            CharacterTokenizer.train([plain])
        return
    learned = CharacterTokenizer.train([plain])
    assert decode(learned.encode(plain), learned.pieces) == plain
    assert len(learned.pieces) == len(set(plain) - {" "}) + 2
    assert CharacterTokenizer(learned.pieces[2:]).pieces == learned.pieces


@given(st.lists(st.text("abcdeé שж你", min_size=1), min_size=1, max_size=8))
@settings(max_examples=40)
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_subwords_round_trip_whatever_the_size(kind, texts):
    texts = [" ".join(text.split()) for text in texts]
    characters = set("".join(texts)) - {" "}
    if not characters:
        return
    for size in (len(characters) + 2, len(characters) + 5, 500):
        learned = tokenizer.train(texts, kind, size)
        assert len(learned.pieces) <= size
        assert learned.alphabet == characters
        for text in texts:
            assert decode(learned.encode(text), learned.pieces) == text


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_too_large_a_vocabulary_is_lowered_with_a_warning(kind, caplog):
    with caplog.at_level(logging.WARNING, logger="asr"):
        learned = tokenizer.train(["one two three one two"], kind, 500)
    (record,) = caplog.records
    assert f"tokenizer.vocab_size lowered from 500 to {len(learned.pieces)}" in record.getMessage()
    assert decode(learned.encode("one three"), learned.pieces) == "one three"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_vocabulary_smaller_than_the_alphabet_names_the_least(kind):
    text = SCRIPTS["latin"]
    least = len(set(text) - {" "}) + 2
    with pytest.raises(UserError, match=f"{least - 1} is too small.*at least {least}"):
        tokenizer.train([text], kind, least - 1)
    assert len(tokenizer.train([text], kind, least).pieces) == least


@pytest.mark.parametrize("kind", KINDS)
def test_no_text_is_a_users_mistake(kind):
    for texts in ([], ["", "  "]):
        with pytest.raises(UserError, match="no text"):
            tokenizer.train(texts, kind, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_characters_outside_the_alphabet_are_named(kind):
    learned = tokenizer.train(["one two three"], kind, 20)
    with pytest.raises(ValueError, match=r"'é' \(U\+00E9\), 'x' \(U\+0078\)$"):
        learned.encode("oné twoxé")
    assert unknown_characters("oné twoxé", learned.alphabet) == "éx"


@pytest.mark.parametrize("kind", KINDS)
def test_the_word_mark_itself_is_no_character_of_a_text(kind):
    learned = tokenizer.train([f"one {WORD_START}two three"], kind, 20)
    assert decode(learned.encode("one two"), learned.pieces) == "one two"
    with pytest.raises(ValueError, match=r"U\+2581"):
        learned.encode(f"one{WORD_START}two")


@pytest.mark.parametrize("kind", KINDS)
def test_any_white_space_is_one_space(kind):
    learned = learn("one two three", kind, 0)
    assert learned.encode("  one \t two\n") == learned.encode("one two")
    assert learned.encode("") == []


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_words_that_look_like_marks_are_words(kind):
    texts = ["<unk> <s> </s> <blank> <pad> unk"] * 3
    learned = tokenizer.train(texts, kind, 40)
    assert BLANK not in learned.encode(texts[0])
    assert decode(learned.encode(texts[0]), learned.pieces) == texts[0]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_texts_give_the_same_tokenizer(kind):
    made = [learn(SCRIPTS["latin"], kind).to_bytes() for _ in range(2)]
    assert made[0] == made[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "data", [b"", b"garbage", b"[]", b"{}", b'{"characters": 5}', b"\x80\x04."]
)
def test_damaged_files_are_refused(kind, data):
    with pytest.raises(ValueError, match="not a tokenizer"):
        tokenizer.from_bytes(data, kind)
