"""What normalization keeps, drops and joins, in several scripts."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.config import TextConfig
from asr.text.normalize import normalize

CONFIGS = [
    TextConfig(unicode=form, lowercase=lowercase, punctuation=punctuation)
    for form in ("NFC", "NFKC")
    for lowercase in (True, False)
    for punctuation in ("keep", "remove")
]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, World!", "hello world"),
        ("  tabs\tand\nlines  ", "tabs and lines"),
        ("wait...what", "wait what"),
        ("Don’t, don't", "don't don't"),
        ("'quoted' words'", "quoted words"),
        ("rock 'n' roll", "rock n roll"),
        ("well-known - and -well", "well-known and well"),
        ("a--b", "a b"),
        ("co\u00adoperate", "cooperate"),  # soft hyphen
        ("\ufeffstart", "start"),
        ("5 €", "5"),
        ("", ""),
        ("?!", ""),
        ("cafe\u0301", "café"),
        ("Groß, GROẞ", "groß groß"),
        ("L’État, c’est moi.", "l'état c'est moi"),
        ("¿Qué? ¡Sí!", "qué sí"),
        ("Привет, «мир»!", "привет мир"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("שָׁלוֹם, עולם!", unicodedata.normalize("NFC", "שָׁלוֹם עולם")),
        ("بيت-لحم، نعم؟", "بيت-لحم نعم"),
        ("नमस्ते, दुनिया।", "नमस्ते दुनिया"),  # vowel signs and viramas are marks
        ("माता-पिता", "माता-पिता"),
        ("สวัสดี ครับ", "สวัสดี ครับ"),
        ("สวัสดี\u200bครับ", "สวัสดี ครับ"),
        ("你好，世界！", "你好 世界"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("ශ්\u200dරී", "ශ්\u200dරී"),
        ("\u200fימין\u200e", "ימין"),
        ("ok 👍🏽 ❤️ 1️⃣ 👩‍👩‍👧 go", "ok 1\ufe0f\u20e3 go"),
    ],
)
def test_examples(text, expected):
    assert normalize(text, TextConfig()) == expected


def test_punctuation_and_case_can_be_kept():
    config = TextConfig(lowercase=False, punctuation="keep")
    assert normalize("  Don’t,  STOP! ", config) == "Don’t, STOP!"


def test_nfkc_folds_what_only_looks_different():
    assert normalize("ﬁne １２", TextConfig(unicode="NFKC")) == "fine 12"
    assert normalize("ﬁne １２", TextConfig()) == "ﬁne １２"


@given(st.text(), st.sampled_from(CONFIGS))
@example("e\u00ad\u0301", TextConfig())
@example("a\u200d\u200da", TextConfig())
@example("İI", TextConfig())
@settings(max_examples=1000)
def test_normalizing_twice_changes_nothing(text, config):
    once = normalize(text, config)
    assert normalize(once, config) == once


@given(st.text(), st.sampled_from(CONFIGS))
def test_words_are_joined_by_one_space(text, config):
    assert normalize(text, config) == " ".join(normalize(text, config).split())


@given(
    st.text(st.characters(max_codepoint=127)) | st.text("aZ9'-_ .\x1c\n"), st.sampled_from(CONFIGS)
)
@example("a--b -a' 'b c'-d", TextConfig())
@settings(max_examples=1000)
def test_ascii_takes_a_shorter_way_to_the_same_text(text, config):
    """A word of another alphabet after it makes it take the long one."""
    assert normalize(f"{text} é", config) == f"{normalize(text, config)} é".lstrip()


@given(st.text())
def test_only_letters_marks_numbers_and_joints_are_left(text):
    for character in normalize(text, TextConfig()):
        assert unicodedata.category(character)[0] in "LMN" or character in " '-\u200c\u200d"
