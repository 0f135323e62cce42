"""Settings of the data: manifests, texts and tokens."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from asr.config.section import Section, given, one_of, refuse, require_range, shards

LABELS = "labels"  # the kind of tokenizer of a model that classifies


class DataConfig(Section):
    """The corpus: its manifests, and which training utterances are used."""

    folder: str | None = Field(
        None,
        description="The folder to which prepare.py writes, with the manifests; null: data/NAME.",
    )
    train: str = Field(
        "train.jsonl",
        description="The training manifest, relative to the folder: .jsonl, .tsv or .csv, or a "
        "folder of shards.",
    )
    dev: str = Field(
        "dev.jsonl",
        description="The manifest, relative to the folder, that validations during training score.",
    )
    test: list[str] = Field(
        ["test.jsonl"],
        description="The manifests, relative to the folder, that are scored after training, each "
        "under its file's name.",
    )
    prepare: dict[str, str | int | float | bool] = Field(
        {}, description="Options of the recipe's prepare.py: {name: value}."
    )
    min_duration_s: float = Field(
        0.05,
        ge=0,
        description="Training utterances shorter than this many seconds are left out and listed.",
    )
    max_duration_s: float = Field(
        30.0,
        gt=0,
        description="Training utterances longer than this many seconds are left out and listed; "
        "the longest utterance determines the memory that its batch needs.",
    )
    shuffle_shards: Annotated[int, shards("train")] = Field(
        16, ge=1, description="The number of shards whose utterances are shuffled together."
    )

    @model_validator(mode="after")
    def _ranges(self) -> DataConfig:
        require_range(self, "min_duration_s", "max_duration_s")
        return self


class TextConfig(Section):
    """Normalization of transcripts, before training and before scoring."""

    unicode: Literal["NFC", "NFKC"] = Field(
        "NFC", description="The Unicode normalization form of all texts."
    )
    lowercase: bool = Field(True, description="Whether texts are lowercased.")
    punctuation: Literal["keep", "remove"] = Field(
        "remove",
        description="Whether punctuation is removed; apostrophes and hyphens inside words stay.",
    )
    language: str | None = Field(
        None,
        description="The language of the texts, a code such as de or pt_PT: its rules of case "
        "(dotless i in tr and az, final sigma in el), its numbers and abbreviations.",
    )
    numbers: Annotated[Literal["keep", "spell"], given("language")] = Field(
        "keep",
        description="Whether numbers, percentages and amounts of money are spelled out in the "
        "language.",
    )
    abbreviations: Annotated[Literal["keep", "expand"], given("language")] = Field(
        "keep",
        description="Whether abbreviations that can be read in one way only are written out, in "
        "en, de, fr or es.",
    )
    apostrophes: Annotated[Literal["keep", "space", "join"], one_of("punctuation", "remove")] = (
        Field("keep", description="What becomes of an apostrophe inside a word.")
    )
    hyphens: Annotated[Literal["keep", "space", "join"], one_of("punctuation", "remove")] = Field(
        "keep", description="What becomes of a hyphen inside a word."
    )
    marks: Literal["keep", "remove"] = Field(
        "keep",
        description="Whether the vowel marks of Hebrew and Arabic, and tatweel, are removed.",
    )
    ideographs: Literal["keep", "split"] = Field(
        "keep", description="Whether each Chinese character and kana becomes a separate word."
    )

    @model_validator(mode="after")
    def _language_is_a_code(self) -> TextConfig:
        code = self.language
        if code is not None and not re.fullmatch(r"[a-z]{2,3}(_[A-Z][A-Za-z]+)?", code):
            raise refuse("language", f"{code!r} is not a code; give one such as de or pt_PT")
        return self


class TokenizerConfig(Section):
    """The units that the model outputs."""

    kind: Literal["characters", "bpe", "unigram", "labels"] = Field(
        "characters",
        description="The units: characters, or pieces of words that BPE or a unigram language "
        "model has learned from the training texts. With task=classify it is labels, the classes "
        "of the training set.",
    )
    vocab_size: Annotated[int, one_of("kind", "bpe", "unigram")] = Field(
        500,
        ge=4,
        description="The number of pieces; it is lowered if the training texts yield fewer.",
    )
