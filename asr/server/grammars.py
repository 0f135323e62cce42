"""Grammars that clients send: templates of sentences, or phrases as Vosk's clients list them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from asr.errors import UserError
from asr.lm.grammar import Grammar

MAX_CHARACTERS = 10_000  # of a grammar; larger ones belong into a file of the server
MAX_IN_TURN = 8  # phrases of a list that may follow one another in an utterance
MAX_WORDS = 200  # of all these phrases together; with more words, fewer phrases may follow
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

    At most `MAX_IN_TURN` phrases follow one another, and fewer if the list is long.
    """
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


def grammar_of(templates: Sequence[str]) -> Grammar:
    """The grammar of these templates. Raises `UserError` for one that is wrong."""
    try:
        return Grammar(list(templates))
    except RecursionError:
        raise UserError("grammar: a template is nested too deep; make it simpler") from None
