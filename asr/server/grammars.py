"""Grammars that clients send: templates of sentences, or phrases as Vosk's clients list them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from asr.errors import UserError
from asr.lm.grammar import Grammar

MAX_CHARACTERS = 10_000  # of a grammar; larger ones belong into a file of the server
MAX_LIST_CHARACTERS = 100_000  # of a list of phrases, which has no ranges or options
MAX_IN_TURN = 8  # phrases of a list that may follow one another in an utterance
MAX_WORDS = 200  # of all these phrases together; with more words, fewer phrases may follow
NESTED_TOO_DEEP = "grammar: a template is nested too deep; make it simpler"
_TEMPLATE_SIGNS = re.compile(r"[\[\](){}<>|;:\\]")


def templates_of(text: str, name: str) -> tuple[str, ...]:
    """The templates of a text, one on each line; none for a text without a letter.

    Raises `UserError` for a text that is too long; name: what the message calls it.
    """
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"{name}: {len(text)} characters; at most {MAX_CHARACTERS} are accepted; give the "
            "server the grammar as a file"
        )
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def templates_for(phrases: Sequence[str]) -> tuple[str, ...]:
    """The template of a list of phrases of which one or more are said in turn.

    At most `MAX_IN_TURN` phrases follow one another, and fewer if the list is long. Raises
    `UserError` for a list that is too long.
    """
    characters = sum(map(len, phrases))
    if characters > MAX_LIST_CHARACTERS:
        raise UserError(
            f"the phrases have {characters} characters; at most {MAX_LIST_CHARACTERS} are accepted"
        )
    spoken = [" ".join(_TEMPLATE_SIGNS.sub(" ", phrase).split()) for phrase in phrases]
    spoken = [phrase for phrase in dict.fromkeys(spoken) if phrase]
    if not spoken:
        return ()
    words = sum(len(phrase.split()) for phrase in spoken)
    choice = f"({'|'.join(spoken)})" if len(spoken) > 1 else spoken[0]
    template = choice
    for _ in range(min(MAX_IN_TURN, MAX_WORDS // words) - 1):
        template = f"{choice} [{template}]"
    return (template,)


def grammar_of(templates: Sequence[str], most_arcs: int | None = None) -> Grammar:
    """The grammar of these templates.

    most_arcs: how many arcs it may need to compile. Raises `UserError` for a template that is
    wrong, and `GrammarTooLarge`.
    """
    try:
        return Grammar(list(templates), most_arcs)
    except RecursionError:
        raise UserError(NESTED_TOO_DEEP) from None
