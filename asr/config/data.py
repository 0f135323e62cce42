"""Settings of the data: manifests, texts, tokens, and augmentation of waveforms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from asr.config.section import (
    Section,
    above,
    one_of,
    refuse,
    require_order,
    require_range,
    shards,
    without,
)


class DataConfig(Section):
    """The corpus: its manifests, and which training utterances are used."""

    folder: str | None = Field(
        None,
        description="The folder that prepare.py writes and that holds the manifests; data/NAME "
        "when it is null.",
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
        {}, description="The options of the recipe's prepare.py, by their names."
    )
    min_duration_s: float = Field(
        0.05,
        ge=0,
        description="Training utterances that are shorter, in seconds, are left out and listed.",
    )
    max_duration_s: float = Field(
        30.0,
        gt=0,
        description="Training utterances that are longer, in seconds, are left out and listed: "
        "the longest utterance decides how much memory its batch takes.",
    )
    shuffle_shards: Annotated[int, shards("train")] = Field(
        16, ge=1, description="How many shards are shuffled together in an epoch."
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


class TokenizerConfig(Section):
    """The units that the model writes."""

    kind: Literal["characters", "bpe", "unigram"] = Field(
        "characters",
        description="The units: characters, or pieces of words that BPE or a unigram language "
        "model has learned from the training texts.",
    )
    vocab_size: Annotated[int, one_of("kind", "bpe", "unigram")] = Field(
        500,
        ge=4,
        description="The number of pieces; lowered when the training texts do not have as many.",
    )


class AugmentConfig(Section):
    """Augmentation of waveforms; a setting named _p is the probability for each utterance."""

    speed: list[float] = Field(
        [],
        description="The speed factors, 0.5 to 2, of which one is drawn for each utterance; "
        "[0.9, 1.0, 1.1] is usual, [] changes nothing.",
    )
    pad_silence_s: float = Field(
        0.3,
        ge=0,
        le=5,
        description="Near-silence of up to this many seconds is added before and after each "
        "utterance.",
    )
    gain_db: float = Field(
        0.0, ge=0, description="The level is changed by up to this many dB, up or down."
    )
    noise_p: float = Field(0.0, ge=0, le=1, description="The probability of added noise.")
    noise_snr_db: Annotated[tuple[float, float], above("noise_p")] = Field(
        (5.0, 30.0), description="The range [min, max] of the signal-to-noise ratio in dB."
    )
    noise_folder: Annotated[str | None, above("noise_p")] = Field(
        None,
        description="A folder of recorded noise; synthetic stationary noise is used when it is "
        "null.",
    )
    reverb_p: float = Field(0.0, ge=0, le=1, description="The probability of reverberation.")
    reverb_s: Annotated[tuple[float, float], above("reverb_p"), without("reverb_folder")] = Field(
        (0.1, 0.6),
        description="The range [min, max] in seconds of the reverberation time (decay by 60 dB) "
        "of simulated rooms.",
    )
    reverb_folder: Annotated[str | None, above("reverb_p")] = Field(
        None,
        description="A folder of recorded room impulse responses, which replace simulated rooms.",
    )
    telephone_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The probability of a telephone line: 8 kHz, about 300 to 3400 Hz, 8-bit "
        "mu-law.",
    )
    codec_p: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The probability of lossy coding: Ogg Vorbis, Ogg Opus or MP3 at a low "
        "quality.",
    )

    @model_validator(mode="after")
    def _ranges(self) -> AugmentConfig:
        if any(not 0.5 <= factor <= 2 for factor in self.speed):
            raise refuse("speed", f"factors must lie in 0.5 to 2, not {self.speed}")
        require_order(self, ["noise_snr_db", "reverb_s"])
        if self.reverb_s[0] <= 0:
            raise refuse("reverb_s", f"{list(self.reverb_s)} must lie above 0 seconds")
        return self
