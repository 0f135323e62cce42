"""Settings of the decoder and of the language model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from asr.config.section import Section, above, given, refuse


class DecoderConfig(Section):
    """How emissions become text; tuning on a dev set chooses the values for a model file."""

    beam: int = Field(
        1,
        ge=1,
        description="The number of prefixes kept after each frame; 1 is greedy (best-path) "
        "decoding.",
    )
    lm_weight: Annotated[float, above("beam", 1)] = Field(
        0.5, ge=0, description="The weight of ln P(text) of the language model, if there is one."
    )
    word_bonus: Annotated[float, above("beam", 1)] = Field(
        0.0,
        description="The score added for each word, because a language model prefers short texts.",
    )
    unknown_score: Annotated[float, above("beam", 1)] = Field(
        -15.0, le=0, description="The ln P of a word that the language model does not know."
    )
    prior_weight: Annotated[float, above("beam", 1)] = Field(
        0.0,
        ge=0,
        description="The power of the prior by which the probability of each token is divided; 0 "
        "turns it off.",
    )
    log_prior: Annotated[tuple[float, ...] | None, above("beam", 1)] = Field(
        None,
        description="The ln P of each token, the blank first, over all frames of a dev set; tuning "
        "writes it. prior_weight needs it.",
    )
    n_best: Annotated[int, above("beam", 1)] = Field(
        1, ge=1, description="The number of alternative texts returned."
    )
    lexicon: Annotated[tuple[str, ...] | str | None, above("beam", 1)] = Field(
        None,
        description="The only words that transcripts may contain: a list, or a text file of words "
        "separated by white space, which is copied into a model file; null allows any word.",
    )
    token_min_logp: Annotated[float, above("beam", 1)] = Field(
        -7.0,
        le=0,
        allow_inf_nan=True,
        description="Tokens with a lower ln P are not tried in a frame, except the blank and the "
        "likeliest token.",
    )
    tokens_per_frame: Annotated[int, above("beam", 1)] = Field(
        40, ge=1, description="The maximum number of tokens, likeliest first, tried in a frame."
    )
    beam_margin: Annotated[float, above("beam", 1)] = Field(
        15.0,
        ge=0,
        allow_inf_nan=True,
        description="Prefixes with a score below the best score minus beam_margin are dropped.",
    )
    min_fit: float = Field(
        -3.0,
        le=0,
        allow_inf_nan=True,
        description="With a grammar: an utterance is refused if ln P of its best sentence, divided "
        "by the number of tokens, is below this; -inf refuses nothing.",
    )
    outside_grammar: Literal["refuse", "free"] = Field(
        "refuse",
        description="With a grammar: an utterance that it refuses has no words (refuse), or the "
        "words that the decoder finds without the grammar (free).",
    )
    confidence_scale: float = Field(
        1.0,
        gt=0,
        description="A word's confidence c becomes sigmoid(confidence_scale * logit(c) + "
        "confidence_shift), because CTC is overconfident.",
    )
    confidence_shift: float = Field(
        0.0, description="The shift of a word's confidence; see confidence_scale."
    )

    @field_validator("lexicon", mode="before")
    @classmethod
    def _words(cls, value: Any) -> Any:
        """YAML reads `yes`, `no` and numbers as other types than words."""
        if isinstance(value, (list, tuple)) and not all(isinstance(one, str) for one in value):
            odd = next(one for one in value if not isinstance(one, str))
            raise ValueError(f"{odd!r} is not a word; put it in quotes")
        return value

    @model_validator(mode="after")
    def _fits(self) -> DecoderConfig:
        if self.n_best > self.beam:
            raise refuse("n_best", f"{self.n_best} is more than the beam, {self.beam}")
        if self.prior_weight and self.log_prior is None:
            raise refuse("prior_weight", "needs log_prior; `asr tune` finds both")
        if isinstance(self.lexicon, tuple) and any(len(w.split()) != 1 for w in self.lexicon):
            odd = next(w for w in self.lexicon if len(w.split()) != 1)
            raise refuse("lexicon", f"has {odd!r}, which is not one word; list single words")
        if self.lexicon is not None and not self.lexicon:
            raise refuse("lexicon", "has no words; leave it out to allow any word")
        return self


class LanguageModelConfig(Section):
    """The n-gram that is estimated after training and tuned on dev, for tuned.asr."""

    texts: list[str] = Field(
        [],
        description="The texts from which the n-gram is estimated: manifests in data.folder, or "
        "paths of text files and manifests; [] estimates none.",
    )
    order: Annotated[int, given("texts")] = Field(
        3, ge=1, le=6, description="The order of the n-gram: 3 is a trigram."
    )
