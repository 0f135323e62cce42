"""Grammars: templates, lists, rules, numbers, weights, meanings and error messages."""

from __future__ import annotations

import itertools
import re

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import TextConfig
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.lm.network import GrammarTooLarge
from asr.text.numbers import speller
from asr.text.tokenizer import CharacterTokenizer
from asr.text.tokenizer import train as train_tokenizer

LETTERS = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz")


def meaning(grammar: Grammar, text: str):
    return grammar.compile(LETTERS, TextConfig()).meaning(LETTERS.encode(text))


def test_optional_words_alternatives_and_parts_of_words():
    grammar = Grammar(["turn(s|ed) [the] (light|fan)[s] on"])
    expected = {
        " ".join(f"turn{end} {the} {thing}{s} on".split())
        for end, the, thing, s in itertools.product(
            ("s", "ed"), ("", "the"), ("light", "fan"), ("", "s")
        )
    }
    assert set(grammar.sentences()) == expected
    assert grammar.sentence_count == len(expected) == 16
    compiled = grammar.compile(LETTERS, TextConfig())
    for sentence in expected:
        assert compiled.meaning(LETTERS.encode(sentence)) == (None, {})
    for other in ("turn the light on", "turns the light", "turns light fan on", "turns the"):
        assert compiled.meaning(LETTERS.encode(other)) is None


def test_any_order():
    grammar = Grammar(["(red;big;now) light"])
    orders = itertools.permutations(("red", "big", "now"))
    assert sorted(grammar.sentences()) == sorted(f"{' '.join(order)} light" for order in orders)


def test_intents_and_slots_with_types():
    grammar = Grammar(
        {
            "intents": {
                "Light": {
                    "data": [
                        {
                            "sentences": ["set [the] {room} [light] to {level}[ percent]"],
                            "slots": {"domain": "light"},
                        }
                    ]
                },
                "Dial": ["dial {0..9:digit} {0..9:digit} {0..9:digit}"],
                "Heat": ["heat {room} to {tenths}"],
            },
            "lists": {
                "room": [
                    "kitchen",
                    {"in": "(living|sitting) room", "out": "lounge"},
                    {"in": "hall", "out": 7},
                ],
                "level": "0..100",
                "tenths": {"range": {"from": 10, "to": 300, "step": 10, "multiplier": 0.1}},
            },
        }
    )
    assert grammar.intents == ("Light", "Dial", "Heat")
    lounge = meaning(grammar, "set the sitting room to forty two")
    assert lounge == ("Light", {"domain": "light", "room": "lounge", "level": 42})
    hall = meaning(grammar, "set hall light to one hundred percent")
    assert hall == ("Light", {"domain": "light", "room": 7, "level": 100})
    assert meaning(grammar, "dial three zero nine") == ("Dial", {"digit": [3, 0, 9]})
    _, slots = meaning(grammar, "heat kitchen to two hundred and ten")
    assert slots == {"room": "kitchen", "tenths": pytest.approx(21.0)}
    assert meaning(grammar, "heat kitchen to two hundred eleven") is None


def test_rules_and_skipped_words():
    grammar = Grammar(
        {
            "sentences": ["open <door>"],
            "expansion_rules": {"door": "[the] (<colored>|door)", "colored": "(red|blue) door"},
            "skip_words": ["please"],
        }
    )
    compiled = grammar.compile(LETTERS, TextConfig())
    for text in ("open the red door", "please open door", "open blue door please"):
        assert compiled.meaning(LETTERS.encode(text)) == (None, {})
    assert compiled.meaning(LETTERS.encode("open please the door")) is None


@settings(max_examples=15)
@given(
    start=st.integers(-20, 3000),
    length=st.integers(0, 400),
    step=st.integers(1, 60),
    language=st.sampled_from(("en", "de", "fr", "es", "ru")),
)
def test_a_range_speaks_each_of_its_numbers_and_no_other(start, length, step, language):
    values = range(start, start + length + 1, step)
    name = f"{values[0]}..{start + length},{step}"
    grammar = Grammar({"language": language, "sentences": ["{n}"], "lists": {"n": name}})
    spell = speller(language)
    texts = {v: spell(str(v) if v >= 0 else f"−{-v}").replace("-", " ") for v in values}
    letters = sorted(set("".join(texts.values())) - {" "} | set("anda"))
    tokenizer = CharacterTokenizer(letters)
    compiled = grammar.compile(tokenizer, TextConfig())
    for value, text in texts.items():
        assert compiled.meaning(tokenizer.encode(text)) == (None, {"n": value})
    beside = [v for v in (start - 1, start + length + 1, start + 1) if v >= 0 and v not in values]
    for value in beside:
        try:
            tokens = tokenizer.encode(spell(str(value)).replace("-", " "))
        except ValueError:  # has a letter that no number of the range has
            continue
        assert compiled.meaning(tokens) is None


def test_numbers_are_shared_and_the_size_is_no_product():
    names = [f"{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"]
    lists = {"name": names, "amount": "0..1500"}
    both = Grammar({"sentences": ["{name} {amount}"], "lists": lists})
    alone = Grammar({"sentences": ["{amount}"], "lists": lists})
    assert both.sentence_count > 400 * 1501
    states = [len(g.compile(LETTERS, TextConfig()).arrays.final_weight) for g in (both, alone)]
    assert states[0] < states[1] + 60
    assert states[1] < 200
    assert meaning(both, "ab one thousand three hundred and seven")[1] == {
        "name": "ab",
        "amount": 1307,
    }


def test_a_large_range_is_refused_only_if_its_numbers_must_be_listed():
    million = {"sentences": ["{n}"], "lists": {"n": "0..1000000"}}
    grammar = Grammar(million)
    assert meaning(grammar, "nine hundred ninety nine thousand five")[1] == {"n": 999_005}
    with pytest.raises(UserError, match="single words"):
        Grammar(million | {"language": "de"})


def test_digits_and_percent_signs_in_templates_are_spoken():
    grammar = Grammar(["channel 5", "dim to {0..9:level}[[ ]%| percent]"])
    assert meaning(grammar, "channel five") == (None, {})
    for said in ("dim to nine", "dim to nine percent"):
        assert meaning(grammar, said) == (None, {"level": 9})


def test_weights_make_sentences_likelier():
    grammar = Grammar(
        {
            "intents": {
                "Often": {"data": [{"sentences": ["ab"], "weight": 4}]},
                "Seldom": ["ac", "ab"],
            }
        }
    )
    compiled = grammar.compile(LETTERS, TextConfig())
    arrays, tokens = compiled.arrays, LETTERS.encode("ab")
    weight, state = 1.0, 0
    for token in tokens:
        arcs = range(arrays.arc_start[state], arrays.arc_start[state + 1])
        (arc,) = [arc for arc in arcs if arrays.arc_token[arc] == token]
        weight, state = weight * arrays.arc_weight[arc], arrays.arc_next[arc]
    assert weight * arrays.final_weight[state] == pytest.approx(1)
    assert compiled.meaning(tokens) == ("Often", {})
    ends = arrays.final_weight[arrays.final_weight > 0]
    assert min(arrays.arc_weight.min(), ends.min()) == pytest.approx(0.25)


def test_a_sample_is_distinct_and_belongs_to_the_grammar():
    grammar = Grammar(["volume {0..100:n} [now]"])
    sample = grammar.sample(50, seed=1)
    assert len(sample) == len(set(sample)) == 50
    assert sample == grammar.sample(50, seed=1) != grammar.sample(50, seed=2)
    assert set(sample) <= set(grammar.sentences())
    assert len(Grammar(["a (b|c)"]).sample(10)) == 2


def test_the_yaml_text_defines_the_same_grammar(tmp_path):
    path = tmp_path / "home.yaml"
    path.write_text("sentences: [light (on|off)]")
    from_file, from_list = Grammar(path), Grammar(["light (on|off)"])
    for grammar in (from_file, from_list):
        again = Grammar.parse(grammar.text)
        assert list(again.sentences()) == ["light on", "light off"]


def test_pieces_of_a_trained_tokenizer():
    grammar = Grammar(["turn (on|off) the lamp"])
    tokenizer = train_tokenizer(grammar.sentences(), "bpe", 24)
    compiled = grammar.compile(tokenizer, TextConfig())
    assert compiled.meaning(tokenizer.encode("turn off the lamp")) == (None, {})
    assert compiled.meaning(tokenizer.encode("turn off lamp")) is None


BAD = {
    "sentences: [turn (on|off": "not YAML",
    "- a list": "is a mapping",
    "sentence: [a]": "unknown key 'sentence'",
    "lists: {}": "has no sentence",
    "sentences: ['turn (on']": r"'turn \(on'",
    "sentences: [on]": "put it in quotes",
    "sentences: ['{room}']": r"{room}: no such list",
    "sentences: ['{0..9}']": r"{0..9:number}",
    "sentences: ['<room>']": r"<room>: no such rule",
    "{sentences: [<a>], expansion_rules: {a: b <a>}}": "contains itself",
    "{sentences: ['{n}'], lists: {n: 5..1}}": "has no number",
    "{sentences: ['{n}'], lists: {n: {range: {from: a, to: 3}}}}": "whole numbers",
    "{sentences: ['{n}'], lists: {n: []}}": "give a list of values",
    "{sentences: ['{n}'], lists: {n: [{out: x}]}}": "has no `in`",
    "{sentences: ['{n}'], lists: {n: {wildcard: true}}}": "wildcard",
    "intents: {A: {data: [{sentences: [x], weight: 0}]}}": "above 0",
    "intents: {A: {data: [{sentences: [x], colour: 1}]}}": "unknown key 'colour'",
    "sentences: ['(a;b;c;d;e;f;g;h;i)']": "at most 8",
}


@pytest.mark.parametrize("text", BAD)
def test_each_error_is_one_line_that_names_the_place(text, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=BAD[text]) as error:
        Grammar(path)
    assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "sentence, reason",
    [("[a]", "may be empty"), ("naïve", "cannot write 'ï'"), ("a +", "no letter")],
)
def test_errors_of_compilation(sentence, reason):
    with pytest.raises(UserError, match=re.escape(reason)):
        Grammar([sentence]).compile(LETTERS, TextConfig())


def test_a_file_of_home_assistant_is_read():
    text = yaml.safe_load(
        """
        language: en
        intents:
          HassTurnOn:
            data:
              - sentences: ["(turn|switch) on [the] {name}", "{name} on"]
                requires_context: {domain: light}
                metadata: {slot_combination: name_only}
        lists:
          name: {values: [{in: "lamp[s]", out: lamp, context: {domain: light}}]}
          item: {wildcard: true}
        settings: {ignore_whitespace: false}
        """
    )
    assert meaning(Grammar(text), "switch on lamps") == ("HassTurnOn", {"name": "lamp"})


# ---- size ------------------------------------------------------------------------------------


def test_a_grammar_beyond_its_arcs_is_refused_on_one_line():
    templates = [f"room {a} to {{0..999999:level}}" for a in "abcdefghij"]
    with pytest.raises(
        GrammarTooLarge, match=r"^grammar: it needs more than 20000 arcs"
    ) as refused:
        Grammar(templates, 20_000)  # while it is built
    assert "\n" not in str(refused.value)
    many_ways = Grammar(["say" + "[ a|b|c|d]" * 60], 20_000)
    with pytest.raises(GrammarTooLarge, match="more than 20000 arcs"):
        many_ways.compile(CharacterTokenizer("aybcds"), TextConfig())


def test_the_arcs_of_a_compilation_do_not_depend_on_earlier_ones():
    grammar = Grammar(["set {0..100:level} percent"])
    letters = "abcdefghijklmnopqrstuvwxyz"
    grammar.compile(CharacterTokenizer(letters), TextConfig())
    spent = grammar._network.budget.spent
    limited = Grammar(["set {0..100:level} percent"], spent)
    limited.compile(CharacterTokenizer(letters), TextConfig())
    other = limited.compile(CharacterTokenizer(letters + "'"), TextConfig())
    assert limited.compile(CharacterTokenizer(letters + "'"), TextConfig()) is other


@pytest.mark.parametrize(
    "given, complaint",
    [
        ("{0..1000000000000:n}", "larger than 999999999999"),
        ("{0..%s:n}" % ("9" * 5000), "a range needs whole numbers"),
        ("{5..2:n}", "has no number"),
        ("{0..5,0:n}", "has no number"),
    ],
)
def test_ranges_in_templates_are_checked(given, complaint):
    with pytest.raises(UserError, match=complaint):
        Grammar([f"a {given}"])


def test_ranges_in_templates_may_be_negative():
    assert "minus two" in Grammar(["{-3..2:n}"]).sentences()
