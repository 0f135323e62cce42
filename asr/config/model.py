"""Settings of the model: features and the acoustic model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from asr.config.section import Needs, Section, given, one_of, refuse, without


class FeatureConfig(Section):
    """The features of the audio: kind, resolution and normalization."""

    rate_hz: int = Field(
        16000,
        ge=4000,
        le=96000,
        description="The sampling rate in Hz to which all audio is converted.",
    )
    kind: Literal["spectrogram", "log_mel", "mfcc"] = Field(
        "log_mel",
        description="The features: log power spectrogram, log-mel spectrogram, or MFCC.",
    )
    window_ms: float = Field(
        25.0, gt=0, description="The length in milliseconds of the window of a frame."
    )
    hop_ms: float = Field(
        10.0, gt=0, description="The time in milliseconds from one frame to the next."
    )
    n_mels: Annotated[int, one_of("kind", "log_mel", "mfcc")] = Field(
        80, ge=1, description="The number of mel filters."
    )
    n_mfcc: Annotated[int, one_of("kind", "mfcc")] = Field(
        40, ge=1, description="The number of cepstral coefficients."
    )
    low_hz: Annotated[float, one_of("kind", "log_mel", "mfcc")] = Field(
        20.0, ge=0, description="The lower edge in Hz of the lowest mel filter."
    )
    high_hz: Annotated[float | None, one_of("kind", "log_mel", "mfcc")] = Field(
        None,
        description="The upper edge in Hz of the highest mel filter; half the rate when it is "
        "null.",
    )
    cmvn: Literal["utterance", "loud", "scalar", "level", "global", "running", "none"] = Field(
        "loud",
        description="Where the mean and variance for normalization are measured. Of each bin: "
        "over the frames of the utterance, over its frames within 40 dB of the loudest (loud, so "
        "that silence around the speech changes nothing; measured in docs/benchmarks.md), or over "
        "the training set (global). One mean and variance for all bins together, which keeps the "
        "shape of the spectrum: over the frames of the utterance (scalar) or over those within "
        "40 dB of the loudest (level). A causal model takes global, running (over the loud frames "
        "so far, beginning with the statistics of the training set) or none.",
    )
    floor_db: float | None = Field(
        None,
        gt=0,
        le=120,
        description="A floor this many dB below the loudest bin of the utterance is added to the "
        "power of each bin, so that pauses are alike in all recordings; null: a fixed floor, the "
        "power of 16-bit rounding noise.",
    )
    dither: float = Field(
        1e-5,
        ge=0,
        description="The amplitude of white noise added in training; 1.0 is full scale.",
    )

    @model_validator(mode="after")
    def _ranges(self) -> FeatureConfig:
        if self.hop_ms > self.window_ms:
            raise refuse(
                "hop_ms",
                f"{self.hop_ms:g} leaves gaps between windows of {self.window_ms:g} ms; "
                "give hop_ms <= window_ms",
            )
        if self.kind != "spectrogram":
            self._check_filters()
        return self

    def _check_filters(self) -> None:
        half_hz = self.rate_hz / 2
        if self.high_hz is not None and not self.low_hz < self.high_hz <= half_hz:
            raise refuse(
                "high_hz",
                f"{self.high_hz:g} must lie above low_hz {self.low_hz:g} and not above "
                f"half the rate, {half_hz:g} Hz",
            )
        if self.low_hz >= half_hz:
            raise refuse("low_hz", f"{self.low_hz:g} must lie below half the rate, {half_hz:g} Hz")
        if self.kind == "mfcc" and self.n_mfcc > self.n_mels:
            raise refuse("n_mfcc", f"{self.n_mfcc} is more than n_mels {self.n_mels}")


# name: layers, units a direction, dropout; parameters when bidirectional on 80 mels
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"layers": 2, "hidden": 128, "dropout": 0.1},  # 1.0 M
    "small": {"layers": 3, "hidden": 256, "dropout": 0.1},  # 5.1 M
    "base": {"layers": 4, "hidden": 384, "dropout": 0.15},  # 14.7 M
    "large": {"layers": 6, "hidden": 640, "dropout": 0.2},  # 60 M
    # another design, for comparison (asr/model/deepspeech2.py): 86.6 M on 161 spectrogram bins
    "deepspeech2": {"layers": 5, "hidden": 1024, "dropout": 0.0, "subsampling": 2},
}
# Only for classification (asr/model/classifier.py): more convolutions and no recurrent layers;
# 0.3 M parameters on 40 mels
CLASSIFIER_PRESET = "cnn"
CNN: dict[str, Any] = {"layers": 0, "hidden": 64, "dropout": 0.2, "subsampling": 8}


BIDIRECTIONAL = Needs("bidirectional", bool, "bidirectional=true")
NO_MFCC = one_of("features.kind", "log_mel", "spectrogram")

# What `streaming: true` sets where it is not given. With one direction of twice the units, the
# layers are as wide as with both directions.
STREAMING = {"bidirectional": False, "lookahead_ms": 160.0}
STREAMING_CMVN = "global"  # at any time of a stream the same as at its beginning
CAUSAL_CMVN = ("running", "global", "none")  # need no frame to come


def make_room_for_streaming(values: dict[str, Any]) -> None:
    """Drop what an override of `model.streaming` replaces: of the model, what that setting and the
    preset fill in; when it is true, the edge and the features that need the whole utterance.
    """
    model, features = values["model"], values.get("features")
    preset = PRESETS.get(str(model.get("preset", "small")), {})
    for name in STREAMING:
        model.pop(name, None)
    if model.get("hidden") in (preset.get("hidden"), 2 * preset.get("hidden", 0)):
        model.pop("hidden", None)
    streaming = model["streaming"] is True
    if streaming:
        model.pop("edge", None)
    if isinstance(features, dict):
        cmvn = features.get("cmvn")
        if (streaming and cmvn not in CAUSAL_CMVN) or (not streaming and cmvn == STREAMING_CMVN):
            features.pop("cmvn", None)
        if streaming:
            features.pop("floor_db", None)


class ModelConfig(Section):
    """The acoustic model: convolutions, recurrent layers, CTC head."""

    preset: Literal["tiny", "small", "base", "large", "deepspeech2", "cnn"] = Field(
        "small",
        description="The design; it sets layers, hidden and dropout unless they are given.",
    )
    subsampling: Literal[2, 4, 8] = Field(
        4, description="The number of feature frames for each frame of the model."
    )
    channels: int = Field(32, ge=1, description="The number of channels of the convolutions.")
    rnn: Literal["lstm", "gru"] = Field("lstm", description="The kind of the recurrent layers.")
    layers: int | None = Field(
        None, ge=0, description="The number of recurrent layers; the preset's when it is null."
    )
    hidden: int | None = Field(
        None,
        ge=1,
        description="The units of a recurrent layer in each direction; the preset's when it is "
        "null.",
    )
    dropout: float | None = Field(
        None, ge=0, lt=1, description="The dropout after each layer; the preset's when it is null."
    )
    bidirectional: bool = Field(
        True,
        description="Whether layers read in both directions; false makes the model causal: an "
        "output depends on no audio after the windows of its own frames.",
    )
    edge: Annotated[int, BIDIRECTIONAL, NO_MFCC] = Field(
        0,
        ge=0,
        description="The number of model frames of quiet that the layers hear before and after "
        "each utterance; nothing is written there. It helps with words that are cut tight.",
    )
    blank_bias: float = Field(
        0.0,
        ge=0,
        le=10,
        description="The value added to the bias of the blank before training. With 3, a model of "
        "few tokens begins with blanks, as all models soon do; otherwise some random weights begin "
        "with one word in every frame, which costs hundreds of steps.",
    )
    lookahead_ms: Annotated[float, without("bidirectional")] = Field(
        0.0,
        ge=0,
        le=5000,
        description="The milliseconds of audio that a convolution after the recurrent layers of a "
        "causal model reads ahead (Wang et al. 2016), rounded to frames of the model; 0 leaves it "
        "out.",
    )
    streaming: bool = Field(
        False,
        description="Whether the model is to transcribe audio while it comes in: true sets, where "
        "they are not given, bidirectional to false, lookahead_ms to 160, hidden to twice that of "
        "the preset and features.cmvn to global.",
    )
    inter_ctc: list[int] = Field(
        [],
        description="The layers, counted from 1, whose outputs get a CTC loss (by the head) too.",
    )
    self_conditioned: Annotated[bool, given("inter_ctc")] = Field(
        False,
        description="Whether the output of the head at the layers of inter_ctc is added to the "
        "input of the layer above.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        name = values.get("preset", "small")
        presets = PRESETS | {CLASSIFIER_PRESET: CNN}
        preset = presets.get(name, {}) if isinstance(name, str) else {}
        if values.get("streaming") is True and preset and not values.get("bidirectional"):
            preset = {**preset, "hidden": 2 * preset["hidden"], **STREAMING}
        return {**values, **{k: v for k, v in preset.items() if values.get(k) is None}}

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if self.inter_ctc and not self.layers:
            raise refuse("inter_ctc", "names recurrent layers, and there are none")
        if not all(1 <= layer < (self.layers or 0) for layer in self.inter_ctc):
            raise refuse(
                "inter_ctc",
                f"{self.inter_ctc} must name layers below the last, "
                + (f"1 to {self.layers - 1}" if self.layers > 1 else "and there is only one layer"),
            )
        if self.streaming and self.bidirectional:
            raise refuse("streaming", "true needs bidirectional=false; leave bidirectional out")
        if self.preset == "deepspeech2":
            only = {"subsampling": 2, "dropout": 0, "bidirectional": True}
            only |= {"edge": 0, "blank_bias": 0, "inter_ctc": []}
            for key, value in only.items():
                if (found := getattr(self, key)) != value:
                    raise refuse(key, f"of preset deepspeech2 is {value}, not {found}")
        return self
