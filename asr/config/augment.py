"""Settings of augmentation: of waveforms, of voices (on features), and SpecAugment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from asr.config.section import Section, above, one_of, refuse, require_order, without

LOG_MEL = one_of("features.kind", "log_mel")

# The values of the policies of `augment.strength`. "strong" is for few training speakers; it was
# measured on FSDD (recipes/fsdd/README.md), with another tempo. "light" is for many speakers.
POLICIES: dict[str, dict[str, Any]] = {
    "none": {
        "speed": [],
        "pad_silence_s": 0.0,
        "tempo": [1.0, 1.0],
        **dict.fromkeys(["tempo_variation", "pitch", "vtlp", "equalizer_db", "tilt_db"], 0.0),
        **dict.fromkeys(["noise_floor_p", "gain_db"], 0.0),
        **dict.fromkeys(["noise_p", "reverb_p", "telephone_p", "codec_p"], 0.0),
    },
    "light": {
        "pad_silence_s": 0.2,
        "pad_silence_p": 0.5,
        "tempo": [0.85, 1.2],
        "vtlp": 0.1,
        "equalizer_db": 3.0,
        "noise_floor_p": 0.3,
    },
    "strong": {
        "pad_silence_s": 0.2,
        "pad_silence_p": 0.5,
        "tempo": [0.5, 1.3],
        "tempo_variation": 0.3,
        "vtlp": 0.25,
        "equalizer_db": 6.0,
        "tilt_db": 13.0,
        "noise_floor_p": 0.7,
    },
}


def apply_policy(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The section `augment` with the values of its policy, and with `strength` null.

    It becomes null so that the policy is not applied again to the resolved configuration.
    """
    name = values.get("strength")
    policy = POLICIES.get(name) if isinstance(name, str) else None
    return values if policy is None else {**policy, **values, "strength": None}


class SpecAugmentConfig(Section):
    """Masks on features (Park et al. 2019); time masks depend on the length (Park et al. 2020)."""

    freq_masks: int = Field(2, ge=0, description="The number of frequency masks.")
    freq_share: Annotated[float, above("freq_masks")] = Field(
        0.25,
        ge=0,
        le=1,
        description="The maximum width of a frequency mask, as a share of the bins.",
    )
    time_masks: int = Field(5, ge=0, description="The number of time masks.")
    time_share: Annotated[float, above("time_masks")] = Field(
        0.05,
        ge=0,
        le=1,
        description="The maximum width of a time mask, as a share of the frames of the utterance.",
    )


class AugmentConfig(Section):
    """Augmentation of waveforms and voices; a setting named _p is the probability per utterance."""

    strength: Literal["none", "light", "strong"] | None = Field(
        None,
        description="A policy with values for the settings of this section that are not given: "
        "none turns everything off; light and strong set tempo, vtlp, equalizer_db, noise_floor_p "
        "and pad_silence, strong also tempo_variation and tilt_db; null: no policy. The resolved "
        "configuration has only the values.",
    )
    speed: list[float] = Field(
        [],
        description="Speed factors, 0.5 to 2; one is drawn for each utterance, and changes tempo "
        "and pitch. [0.9, 1.0, 1.1] is usual, [] changes nothing.",
    )
    pad_silence_s: float = Field(
        0.3,
        ge=0,
        le=5,
        description="Near-silence of up to this many seconds is added before and after each "
        "utterance.",
    )
    pad_silence_p: Annotated[float, above("pad_silence_s")] = Field(
        1.0,
        ge=0,
        le=1,
        description="The probability of added silence at each of the two edges; with 0.5, the "
        "model also learns utterances without silence at an edge.",
    )
    tempo: tuple[float, float] = Field(
        (1.0, 1.0),
        description="The range [min, max] of the tempo, with 0.25 <= min <= 1 <= max <= 2; pitch "
        "does not change. Tempo 2 turns 100 frames into 50.",
    )
    tempo_variation: float = Field(
        0.0,
        ge=0,
        le=1,
        description="The maximum change of the tempo within an utterance, up or down, as a share; "
        "its length does not change.",
    )
    pitch: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="The maximum change of the pitch, up or down, as a share; formants and tempo "
        "do not change.",
    )
    vtlp: Annotated[float, LOG_MEL] = Field(
        0.0,
        ge=0,
        lt=1,
        description="The maximum warping of the frequency axis, up or down, as a share (vocal "
        "tract length perturbation).",
    )
    equalizer_db: Annotated[float, LOG_MEL] = Field(
        0.0,
        ge=0,
        description="The standard deviation in dB of a random gain curve over the mel bins "
        "(FilterAugment).",
    )
    tilt_db: Annotated[float, LOG_MEL] = Field(
        0.0,
        ge=0,
        description="The maximum difference in dB that a random tilt makes between the gains of "
        "the lowest and the highest mel bin.",
    )
    noise_floor_p: Annotated[float, LOG_MEL] = Field(
        0.0, ge=0, le=1, description="The probability of a stationary noise floor in the features."
    )
    noise_floor_db: Annotated[tuple[float, float], above("noise_floor_p")] = Field(
        (15.0, 60.0),
        description="The range [min, max] in dB of the level of the noise floor below that of the "
        "loudest bin.",
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
        description="A folder of recorded noise; null: synthetic stationary noise.",
    )
    reverb_p: float = Field(0.0, ge=0, le=1, description="The probability of reverberation.")
    reverb_s: Annotated[tuple[float, float], above("reverb_p"), without("reverb_folder")] = Field(
        (0.1, 0.6),
        description="The range [min, max] in seconds of the reverberation time (decay by 60 dB) "
        "of simulated rooms.",
    )
    reverb_folder: Annotated[str | None, above("reverb_p")] = Field(
        None,
        description="A folder of recorded room impulse responses; null: simulated rooms.",
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

    @model_validator(mode="before")
    @classmethod
    def _fill_from_policy(cls, values: Any) -> Any:
        return apply_policy(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _ranges(self) -> AugmentConfig:
        if any(not 0.5 <= factor <= 2 for factor in self.speed):
            raise refuse("speed", f"factors must lie in 0.5 to 2, not {self.speed}")
        if not 0.25 <= self.tempo[0] <= 1 <= self.tempo[1] <= 2:
            raise refuse(
                "tempo",
                f"must be [min, max] with 0.25 <= min <= 1 <= max <= 2, not {[*self.tempo]}",
            )
        require_order(self, ["noise_snr_db", "reverb_s", "noise_floor_db"])
        if self.reverb_s[0] <= 0:
            raise refuse("reverb_s", f"{list(self.reverb_s)} must lie above 0 seconds")
        return self

    @property
    def pace(self) -> tuple[float, float]:
        """The lowest and the highest factor by which speed and tempo together speed up speech."""
        speeds, (slow, fast) = self.speed or [1.0], self.tempo
        return min(speeds) * slow, max(speeds) * fast
