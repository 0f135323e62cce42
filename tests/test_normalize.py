"""Normalization of texts in several scripts."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.config import TextConfig, parse, to_yaml
from asr.errors import UserError
from asr.model import model_file
from asr.model.model_file import Model
from asr.text.normalize import describe, normalize, steps_of
from asr.text.tokenizer import CharacterTokenizer

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
def test_the_fast_path_for_ascii_gives_the_same_text(text, config):
    """A word of another alphabet after it makes it take the long one."""
    assert normalize(f"{text} é", config) == f"{normalize(text, config)} é".lstrip()


@given(st.text())
def test_only_letters_marks_numbers_and_joints_are_left(text):
    for character in normalize(text, TextConfig()):
        assert unicodedata.category(character)[0] in "LMN" or character in " '-\u200c\u200d"


ENGLISH = {"language": "en", "numbers": "spell", "abbreviations": "expand"}
GERMAN = ENGLISH | {"language": "de"}
FRENCH = ENGLISH | {"language": "fr"}
SPANISH = ENGLISH | {"language": "es"}
SPELLED = {"numbers": "spell"}


@pytest.mark.parametrize(
    ("settings", "text", "expected"),
    [
        # case
        ({"language": "tr"}, "DIŞ İŞLER, I\u0307K\u0130", "dış işler iki"),
        ({"language": "az"}, "QIZIL İrəvan", "qızıl irəvan"),
        ({"language": "tr", "lowercase": False}, "DIŞ", "DIŞ"),
        ({"language": "de"}, "GROẞE Straße", "große straße"),
        ({"language": "el"}, "ΟΔΥΣΣΕΥΣ, οδυσσευσ ΣΑΣ.Α", "οδυσσευς οδυσσευς σας α"),
        ({}, "DIŞ IŞIK", "diş işik"),  # without a language, i is the small I
        # numbers
        (ENGLISH, "21 of 1,250", "twenty-one of one thousand two hundred fifty"),
        (
            ENGLISH,
            "at 3.14, 5% and 007",
            "at three point one four five percent and zero zero seven",
        ),
        (
            ENGLISH,
            "1st 2nd 3rd 11th 22nd 1,000th 21th",
            "first second third eleventh twenty-second one thousandth 21th",
        ),
        (
            ENGLISH,
            "10:30 covid-19 mp3 1980s 90's A4",
            "ten thirty covid nineteen mp3 1980s 90's a4",
        ),
        (ENGLISH, "1,000km and 1.5mm", "one thousand km and one point five mm"),
        (
            ENGLISH,
            "at 10:30pm, 2,000th, 1,001th",
            "at ten thirty pm two thousandth one thousand one th",
        ),
        (GERMAN, "1.000km, 1,5h", "eintausend km eins komma fünf h"),
        (FRENCH, "1 000km et 12 345m", "mille km et douze mille trois cent quarante-cinq m"),
        (
            ENGLISH,
            "$5.50, €1, £2,000, 3 €",
            "five dollars fifty one euro two thousand pounds three euros",
        ),
        (ENGLISH, "$5.05 and $2 million", "five point zero five and two million"),
        (ENGLISH, "−5 or −0.5", "minus five or minus zero point five"),
        (ENGLISH, "1.2.3", "one two three"),
        (
            ENGLISH,
            "1234567890123456",
            "one two three four five six seven eight nine zero one two three four five six",
        ),
        (ENGLISH | {"hyphens": "space"}, "21 well-known", "twenty one well known"),
        (ENGLISH | {"hyphens": "join"}, "21 well-known", "twentyone wellknown"),
        (
            ENGLISH | {"lowercase": False, "punctuation": "keep"},
            "(5) cats, 3.",
            "(five) cats, three.",
        ),
        (GERMAN, "1.250,50 € und 1 €", "eintausendzweihundertfünfzig euro fünfzig und ein euro"),
        (GERMAN, "3,14 % von 101", "drei komma eins vier prozent von einhunderteins"),
        (
            FRENCH,
            "12 345 et 12\u202f345",
            "douze mille trois cent quarante-cinq et douze mille trois cent quarante-cinq",
        ),
        (FRENCH, "3,14 ; 21 €", "trois virgule quatorze vingt-et-un euros"),
        (SPANISH, "21 € y 3,05", "veintiún euros y tres coma cero cinco"),
        (SPELLED | {"language": "ru"}, "1 000 и 21", "одна тысяча и двадцать один"),
        (SPELLED | {"language": "uk"}, "900", "дев'ятсот"),
        (SPELLED | {"language": "he"}, "יש 21", "יש עשרים ואחת"),
        (SPELLED | {"language": "ar"}, "٢١ كتابا", "واحد وعشرون كتابا"),
        (SPELLED | {"language": "th"}, "21", "ยี่ สิบ เอ็ด"),
        (SPELLED | {"language": "pt_PT"}, "16", "dezasseis"),
        # abbreviations
        (ENGLISH, "Mr. Smith & Dr Jones vs. AT&T", "mister smith and doctor jones versus at t"),
        (ENGLISH, "a dr-x, St. John, etc.", "a dr-x st john et cetera"),
        (
            GERMAN,
            "z. B. Dr. Müller, d.h. usw.",
            "zum beispiel doktor müller das heißt und so weiter",
        ),
        (FRENCH, "Mme Curie & Mlle Sand", "madame curie et mademoiselle sand"),
        (SPANISH, "la Sra. López y Ud.", "la señora lópez y usted"),
        # joints, marks, scripts
        ({"apostrophes": "space", "hyphens": "space"}, "l'état-major d’Ici", "l état major d ici"),
        ({"apostrophes": "join", "hyphens": "join"}, "don’t e-mail", "dont email"),
        ({"marks": "remove"}, "שָׁלוֹם עוֹלָם, בְּרֵאשִׁ֖ית", "שלום עולם בראשית"),
        ({"marks": "remove"}, "سَلَـــامٌ، آمَنُوا رؤية شيء", "سلام آمنوا رؤية شيء"),
        ({"marks": "remove"}, "नमस्ते café й", "नमस्ते café й"),  # not of these scripts
        ({"ideographs": "split"}, "你好，world三ガー々", "你 好 world 三 ガー 々"),
        ({}, "你好，世界", "你好 世界"),
    ],
)
def test_steps_of_a_language(settings, text, expected):
    config = TextConfig(**settings)
    assert normalize(text, config) == expected
    assert normalize(expected, config) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SPELLED | {"language": "zh"}, "text.numbers: spell is not for text.language zh"),
        (SPELLED | {"language": "xx"}, "text.numbers: spell does not know text.language xx"),
        ({"abbreviations": "expand", "language": "ru"}, "known are en, de, fr, es; leave text.abb"),
    ],
)
def test_a_step_that_does_not_know_the_language_says_so(settings, message):
    with pytest.raises(UserError, match=message):
        normalize("words", TextConfig(**settings))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ({"numbers": "spell"}, "text.numbers spell has no effect with language=null"),
        ({"hyphens": "join", "punctuation": "keep"}, "text.hyphens join has no effect"),
        ({"language": "German"}, "text.language 'German' is not a code; give one such as de"),
    ],
)
def test_settings_that_do_not_fit_are_refused(text, message):
    with pytest.raises(UserError, match=message):
        parse({"name": "a", "text": text}, "recipe.yaml")


MANY = [
    TextConfig(**settings)
    for settings in (
        *(ENGLISH | {"language": language} for language in ("en", "de", "fr", "es")),
        *(SPELLED | {"language": language} for language in ("ru", "tr", "he", "th", "it", "sv")),
        ENGLISH | {"apostrophes": "join", "hyphens": "space", "marks": "remove"},
        ENGLISH | {"unicode": "NFKC", "ideographs": "split", "hyphens": "join"},
        ENGLISH | {"lowercase": False, "punctuation": "keep"},
        {"language": "el"},
        {"marks": "remove", "ideographs": "split"},
    )
]
# Texts that steps act on, and any other character.
TEXTS = st.text() | st.text(
    st.sampled_from("0123456789.,:%$€£-−'’ \u00a0drmSzb&IİıΣσςשָׁـَ三3ガstndth\u00ad\u200d\u0301²")
)


@given(TEXTS, st.sampled_from(MANY))
@example("d\u00adr 10:30 1,000km", MANY[0])
@settings(max_examples=1500, deadline=None)
def test_every_step_leaves_a_normalized_text_alone(text, config):
    once = normalize(text, config)
    assert normalize(once, config) == once


@given(TEXTS, st.sampled_from(MANY))
@settings(max_examples=1000, deadline=None)
def test_steps_invent_no_other_characters(text, config):
    """Beyond the characters of its input, a step writes those that docs/text.md allows it."""
    for step in steps_of(config):
        after = step.apply(text)
        new = set(after) - set(text)
        if step.name == "unicode":
            known = unicodedata.normalize("NFKD", text) + unicodedata.normalize("NFKC", text)
            assert new <= set(known + unicodedata.normalize("NFC", text))
        elif step.name == "lowercase":
            assert new <= set(text.lower()) | set("iıςσ")
        elif step.name in ("numbers", "abbreviations"):
            assert all(unicodedata.category(c)[0] in "LM" or c in " '-" for c in new)
        else:
            assert new <= set(" '" if step.name == "punctuation" else " ")
        text = after


def test_a_model_file_keeps_the_steps(tmp_path):
    config = parse(
        {
            "name": "a",
            "text": GERMAN | {"hyphens": "space", "marks": "remove"},
            "model": {"preset": "tiny", "layers": 1, "hidden": 4, "channels": 2},
        },
        "test",
    )
    model_file.save_model(tmp_path / "a.asr", Model.build(config, CharacterTokenizer("abc")))
    loaded = model_file.load_model(tmp_path / "a.asr").config
    assert loaded.text == config.text
    assert to_yaml(loaded) == to_yaml(config)
    assert normalize("Dr. X-Y 21", loaded.text) == "doktor x y einundzwanzig"


def test_a_model_file_from_before_these_steps_keeps_its_texts():
    old = {"unicode": "NFC", "lowercase": True, "punctuation": "remove"}
    assert parse({"name": "a", "text": old}, "test").text == TextConfig()


def test_the_steps_are_described():
    assert describe(TextConfig()) == "lower case, punctuation removed, NFC"
    assert describe(TextConfig(language="de", numbers="spell")).endswith(
        "NFC, language: de, numbers: spell"
    )
