"""How emissions become text: the decoder of a model's settings, with its grammar or n-gram."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from asr.config import Config
from asr.decoder.greedy import GreedyDecoder
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.lm.ngram import NGram
from asr.text.normalize import normalize
from asr.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from asr.decoder.beam import BeamDecoder
    from asr.decoder.grammar import GrammarDecoder

DEFAULT_BEAM = 50  # with a language model or hotwords, unless the beam is set
# Natural log: each occurrence of a hotword makes a text e^5, about 150, times as likely.
DEFAULT_HOTWORD_WEIGHT = 5.0

Hotwords = Mapping[str, float] | Iterable[str]


class DecoderParts(Protocol):
    """What a decoder is built of: a model, or a recognizer."""

    config: Config
    tokenizer: Tokenizer
    ngram: NGram | None
    grammar: Grammar | None


def build_decoder(
    model: DecoderParts, hotwords: Hotwords | None = None
) -> GreedyDecoder | BeamDecoder | GrammarDecoder:
    """The decoder of a model's settings, for its grammar if it has one.

    hotwords: phrases, or {phrase: weight}; see `hotword_weights`.
    """
    if model.grammar is None:
        return build_free_decoder(model, hotwords)
    from asr.decoder.grammar import GrammarDecoder  # loads numba, as the beam does

    c = model.config.decoder
    compiled = model.grammar.compile(model.tokenizer, model.config.text)
    return GrammarDecoder(
        model.tokenizer.pieces,
        compiled.arrays,
        compiled.meaning,
        threshold=c.min_fit,
        n_best=c.n_best,
        free=build_free_decoder(model, hotwords) if c.outside_grammar == "free" else None,
    )


def build_free_decoder(
    model: DecoderParts, hotwords: Hotwords | None = None
) -> GreedyDecoder | BeamDecoder:
    """The decoder for any text: greedy for beam 1, otherwise a beam with the model's n-gram."""
    c = model.config.decoder
    if c.beam == 1:
        return GreedyDecoder(model.tokenizer.pieces)
    from asr.decoder.beam import BeamDecoder  # a greedy decoder starts without numba
    from asr.decoder.lexicon import lexicon_words

    return BeamDecoder(
        model.tokenizer.pieces,
        beam=c.beam,
        lm=model.ngram,
        lm_weight=c.lm_weight,
        word_bonus=c.word_bonus,
        unknown_score=c.unknown_score,
        hotwords=hotword_weights(hotwords, model),
        lexicon=lexicon_words(c.lexicon, model.config.text),
        prior_weight=c.prior_weight,
        log_prior=c.log_prior,
        n_best=c.n_best,
        token_min_logp=c.token_min_logp,
        tokens_per_frame=c.tokens_per_frame,
        beam_margin=c.beam_margin,
    )


def hotword_weights(hotwords: Hotwords | None, model: DecoderParts) -> dict[str, float]:
    """Phrases, normalized like the texts that the model was trained on, and their weights.

    hotwords: {phrase: weight} with weights in natural logs, or phrases alone, which get
    `DEFAULT_HOTWORD_WEIGHT`. Raises `UserError` for a phrase without a letter and a weight that is
    not a finite number.
    """
    if isinstance(hotwords, str):
        raise UserError(f"hotwords: give a list, [{hotwords!r}], or a dict of weights")
    if not isinstance(hotwords, Mapping):
        hotwords = dict.fromkeys(hotwords or (), DEFAULT_HOTWORD_WEIGHT)
    found: dict[str, float] = {}
    for phrase, weight in hotwords.items():
        text = normalize(phrase, model.config.text)
        if not text or not math.isfinite(weight):
            raise UserError(f"hotword {phrase!r}: {weight}; give a phrase and a finite weight")
        found[text] = weight
    return found


def spelled(phrases: Iterable[str], model: DecoderParts) -> list[str]:
    """Those of the phrases that can be hotwords: the model has all their letters."""
    from asr.decoder.hotwords import build_hotwords
    from asr.decoder.lexicon import Spelling

    spelling = Spelling.of(model.tokenizer.pieces)

    def can_spell(phrase: str) -> bool:
        try:
            build_hotwords(hotword_weights([phrase], model), spelling)
        except UserError:
            return False
        return True

    return [phrase for phrase in phrases if can_spell(phrase)]


def decoder_name(model: DecoderParts, hotwords: Mapping[str, float]) -> str:
    beam = model.config.decoder.beam
    if model.grammar is not None:
        return f"grammar of {model.grammar.template_count} templates"
    if beam == 1:
        return "greedy decoder"
    name = f"beam {beam}"
    if model.ngram is not None:
        name += f" with a {model.ngram.order}-gram on {model.ngram.unit}"
    if count := len(hotwords):
        name += f" and {count} hotword{'s' if count > 1 else ''}"
    return name
