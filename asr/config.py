"""Typed configuration: a YAML file, `section.key=value` overrides, nothing unknown let through.

Every default here is a choice that can be read; a recipe states only what differs.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, ValidationError, model_validator

from asr.errors import UserError


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataConfig(Section):
    folder: str | None = None  # where prepare.py writes; data/NAME when not given
    # Manifests, relative to the folder: .jsonl, .tsv or .csv; train may be a folder of shards
    train: str = "train.jsonl"
    dev: str = "dev.jsonl"
    test: list[str] = ["test.jsonl"]  # scored at the end, each under its file's name
    prepare: dict[str, str | int | float | bool] = {}  # options of the recipe's prepare.py
    min_duration_s: float = Field(0.05, ge=0)  # of training utterances; the rest is listed
    max_duration_s: float = Field(30.0, gt=0)  # one long clip decides the memory of its batch
    shuffle_shards: int = Field(16, ge=1)  # mixed with one another, where train names a folder


class TextConfig(Section):
    unicode: Literal["NFC", "NFKC"] = "NFC"
    lowercase: bool = True
    punctuation: Literal["keep", "remove"] = "remove"  # apostrophes and hyphens inside words stay


class FeatureConfig(Section):
    rate_hz: int = Field(16000, ge=4000, le=96000)
    kind: Literal["spectrogram", "log_mel", "mfcc"] = "log_mel"
    window_ms: float = Field(25.0, gt=0)
    hop_ms: float = Field(10.0, gt=0)
    n_mels: int = Field(80, ge=1)
    n_mfcc: int = Field(40, ge=1)  # used by mfcc only
    low_hz: float = Field(20.0, ge=0)
    high_hz: float | None = None  # half the rate when not given
    # loud: as utterance, measured on frames within 40 dB of the loudest, so that quiet around the
    # speech changes nothing
    cmvn: Literal["utterance", "loud", "global", "none"] = "loud"
    dither: float = Field(1e-5, ge=0)  # amplitude of white noise in training; 1.0 is full scale

    @model_validator(mode="after")
    def _fits(self) -> FeatureConfig:
        if self.hop_ms > self.window_ms:
            raise ValueError(
                f"hop_ms {self.hop_ms} leaves gaps between windows of {self.window_ms} ms"
            )
        if self.high_hz is not None and not self.low_hz < self.high_hz <= self.rate_hz / 2:
            raise ValueError(f"high_hz must lie between low_hz and {self.rate_hz / 2:g} Hz")
        if self.kind == "mfcc" and self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc {self.n_mfcc} is more than n_mels {self.n_mels}")
        return self


class TokenizerConfig(Section):
    kind: Literal["characters", "bpe", "unigram"] = "characters"
    vocab_size: int = Field(500, ge=4)  # used by bpe and unigram; lowered when the text is small


class AugmentConfig(Section):
    """Waveform augmentation: each value named _p is the share of utterances that get it."""

    speed: list[float] = []  # factors, one drawn for each utterance; [0.9, 1.0, 1.1] is usual
    pad_silence_s: float = Field(0.3, ge=0, le=5)  # up to so much near-silence before and after
    gain_db: float = Field(0.0, ge=0)  # level changed by up to so many dB, up or down
    noise_p: float = Field(0.0, ge=0, le=1)
    noise_snr_db: tuple[float, float] = (5.0, 30.0)
    noise_folder: str | None = None  # of recorded noise; stationary noise is made when not given
    reverb_p: float = Field(0.0, ge=0, le=1)
    reverb_s: tuple[float, float] = (0.1, 0.6)  # time to fall by 60 dB, of simulated rooms
    reverb_folder: str | None = None  # of recorded impulse responses, used instead
    telephone_p: float = Field(0.0, ge=0, le=1)  # 8 kHz, about 300 to 3400 Hz, 8-bit mu-law
    codec_p: float = Field(0.0, ge=0, le=1)  # Ogg Vorbis, Ogg Opus or MP3 at a low quality

    @model_validator(mode="after")
    def _speeds(self) -> AugmentConfig:
        if any(not 0.5 <= factor <= 2 for factor in self.speed):
            raise ValueError(f"speed factors must lie in 0.5 to 2, not {self.speed}")
        return self

    @model_validator(mode="after")
    def _folders(self) -> AugmentConfig:
        for kind in ("noise", "reverb"):
            if getattr(self, f"{kind}_folder") and not getattr(self, f"{kind}_p"):
                raise ValueError(
                    f"{kind}_folder does nothing while {kind}_p is 0; give {kind}_p=0.5, say"
                )
        return self


class SpecAugmentConfig(Section):
    """Park et al. 2019, with time masks as a share of the length (Park et al. 2020)."""

    freq_masks: int = Field(2, ge=0)
    freq_share: float = Field(0.25, ge=0, le=1)  # widest frequency mask, share of the bins
    time_masks: int = Field(5, ge=0)
    time_share: float = Field(0.05, ge=0, le=1)  # widest time mask, share of the frames


# name: layers, units a direction, dropout; parameters when bidirectional on 80 mels
PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {"layers": 2, "hidden": 128, "dropout": 0.1},  # 1.0 M
    "small": {"layers": 3, "hidden": 256, "dropout": 0.1},  # 5.1 M
    "base": {"layers": 4, "hidden": 384, "dropout": 0.15},  # 14.7 M
    "large": {"layers": 6, "hidden": 640, "dropout": 0.2},  # 60 M
    # another design, to compare with (asr/deepspeech2.py): 86.6 M on a spectrogram of 161 bins
    "deepspeech2": {"layers": 5, "hidden": 1024, "dropout": 0.0, "subsampling": 2},
}


class ModelConfig(Section):
    preset: Literal["tiny", "small", "base", "large", "deepspeech2"] = "small"
    subsampling: Literal[2, 4, 8] = 4  # feature frames a model frame
    channels: int = Field(32, ge=1)  # of the convolutions
    rnn: Literal["lstm", "gru"] = "lstm"
    layers: int | None = Field(None, ge=1)  # what is not given comes from the preset
    hidden: int | None = Field(None, ge=1)
    dropout: float | None = Field(None, ge=0, lt=1)
    bidirectional: bool = True  # false: causal, each output depends on the past alone
    inter_ctc: list[int] = []  # layers, counted from 1, after which the head reads too
    self_conditioned: bool = False  # what it read there goes on to the layers above

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        preset = PRESETS.get(values.get("preset", "small"), {})
        return {**values, **{k: v for k, v in preset.items() if values.get(k) is None}}

    @model_validator(mode="after")
    def _fits(self) -> ModelConfig:
        if not all(1 <= layer < self.layers for layer in self.inter_ctc):
            raise ValueError(
                f"inter_ctc {self.inter_ctc}: of {self.layers} layers, those between are 1 to "
                f"{self.layers - 1}"
            )
        if self.self_conditioned and not self.inter_ctc:
            raise ValueError("self_conditioned needs layers to read: set inter_ctc")
        if self.preset == "deepspeech2":
            only = {"subsampling": 2, "dropout": 0, "bidirectional": True, "inter_ctc": []}
            for key, value in only.items():
                if (given := getattr(self, key)) != value:
                    raise ValueError(f"{key} of deepspeech2 is {value}, not {given}")
        return self


class TrainConfig(Section):
    init_from: str | None = None  # a model file: begin with its weights instead of random ones
    freeze_steps: int = Field(0, ge=0)  # steps in which only the head and what is new learns
    layer_decay: float = Field(1.0, gt=0, le=1)  # of the rate, a layer down from the head
    epochs: int = Field(30, ge=1)
    # Seconds of audio a step, over all processes, padding counted; auto: what fits in memory and
    # still leaves 100 steps an epoch
    batch_s: PositiveFloat | Literal["auto"] = 160.0
    learning_rate: float = Field(1e-3, gt=0)  # the peak
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = Field(0.9, ge=0, lt=1)  # of sgd (Nesterov's)
    weight_decay: float = Field(1e-2, ge=0)
    warmup: float = Field(0.1, ge=0, le=1)  # share of all steps
    schedule: Literal["cosine", "plateau", "noam", "exponential"] = "cosine"
    patience: int = Field(2, ge=1)  # plateau: validations without gain before the rate is halved
    anneal: float = Field(1.1, ge=1)  # exponential: what the rate is divided by after each epoch
    early_stopping: int | None = Field(
        None, ge=1
    )  # validations without gain that end the run early
    # Ends the run after its step at that time, wherever its schedule is; what was validated counts
    max_minutes: float | None = Field(None, gt=0)
    clip_norm: float = Field(5.0, gt=0)
    accumulate: int = Field(1, ge=1)  # passes that make up a step, where its batch is too large
    inter_ctc_weight: float = Field(0.3, ge=0, lt=1)  # share of the loss, with model.inter_ctc
    cr_ctc_weight: float = Field(0.0, ge=0)  # of two masked views (CR-CTC); 0.2 is usual, 0 is off
    entropy_weight: float = Field(0.0, ge=0)  # of the emissions, rewarded: softer outputs
    ema: float = Field(0.0, ge=0, lt=1)  # decay a step of averaged weights; 0.999 is usual
    average_best: int = Field(1, ge=1)  # validations whose weights are averaged at the end
    keep_checkpoints: int = Field(2, ge=1)
    deterministic: bool = False  # on a GPU: slower kernels that add in one order
    precision: Literal["no", "bf16", "fp16"] = "no"
    workers: int = Field(1, ge=0)  # processes that read and augment audio
    threads: int | None = Field(None, ge=1)  # of torch on a CPU; what workers leave when not given
    checkpoint_minutes: float = Field(5.0, gt=0)  # besides one at each epoch's end
    validate_every: int = Field(1, ge=1)  # epochs
    log_every: int = Field(10, ge=1)  # steps; what is logged is their mean
    wandb: str | None = None  # a project of Weights & Biases to log to as well
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"

    @model_validator(mode="after")
    def _fine_tuning(self) -> TrainConfig:
        if self.init_from is None and (self.freeze_steps or self.layer_decay != 1):
            raise ValueError("freeze_steps and layer_decay are for fine-tuning: give init_from")
        return self


class DecoderConfig(Section):
    """How emissions become text; `asr tune` chooses the values and writes them to a model file."""

    beam: int = Field(1, ge=1)  # prefixes kept after each frame; 1 is greedy: the best path
    lm_weight: float = Field(0.5, ge=0)  # of the language model's ln P, where there is one
    word_bonus: float = 0.0  # for each word, against a language model's taste for short texts
    unknown_score: float = Field(-15.0, le=0)  # ln P of a word that the language model lacks
    n_best: int = Field(1, ge=1)  # texts returned
    # A word's confidence c becomes sigmoid(scale * logit(c) + shift): CTC is too sure of itself.
    confidence_scale: float = Field(1.0, gt=0)
    confidence_shift: float = 0.0

    @model_validator(mode="after")
    def _fits(self) -> DecoderConfig:
        if self.n_best > self.beam:
            raise ValueError(f"n_best {self.n_best} is more than the beam, {self.beam}")
        return self


class LanguageModelConfig(Section):
    """The n-gram that `asr run` estimates after training and tunes on dev, for `tuned.asr`."""

    texts: list[str] = []  # manifests of data.folder, or text files and manifests by path; [] none
    order: int = Field(3, ge=1, le=6)


class Config(Section):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")  # of the run folder runs/NAME
    seed: int = Field(0, ge=0)
    data: DataConfig = DataConfig()
    text: TextConfig = TextConfig()
    features: FeatureConfig = FeatureConfig()
    tokenizer: TokenizerConfig = TokenizerConfig()
    augment: AugmentConfig = AugmentConfig()
    spec_augment: SpecAugmentConfig = SpecAugmentConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    decoder: DecoderConfig = DecoderConfig()
    lm: LanguageModelConfig = LanguageModelConfig()

    @model_validator(mode="after")
    def _fits(self) -> Config:
        slowest, longest_s = min(self.augment.speed, default=1.0), self.data.max_duration_s
        if self.train.batch_s != "auto" and self.train.batch_s < longest_s / slowest - 1e-6:
            at = f" at speed {slowest:g}" if slowest != 1 else ""
            raise ValueError(
                f"train.batch_s {self.train.batch_s:g} is less than data.max_duration_s "
                f"{longest_s:g}{at}: one utterance must fit a batch"
            )
        return self

    @property
    def data_folder(self) -> Path:
        return Path(self.data.folder or f"data/{self.name}")


def to_yaml(config: BaseModel) -> str:
    """The resolved configuration: every key, presets spelled out."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets the last of equal keys win in silence: a second `train:` would undo the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                line = key.start_mark.line + 1
                raise yaml.YAMLError(f"the key {key.value!r} stands twice, again in line {line}")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load(path: str | Path, overrides: Iterable[str] = ()) -> Config:
    """Read a YAML file, then apply `section.key=value` overrides, later ones winning.

    Raises `UserError` that names the file (or the override), the key, and the nearest valid key.
    """
    path = Path(path)
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)
    except FileNotFoundError:
        raise UserError(f"{path}: no such configuration file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    return parse(values if values is not None else {}, str(path), overrides)


def parse(values: Any, source: str, overrides: Iterable[str] = ()) -> Config:
    """`load` for values at hand; `source` names them in errors."""
    if not isinstance(values, dict):
        raise UserError(f"{source}: expected `key: value` lines, found {type(values).__name__}")
    values = copy.deepcopy(values)
    overridden: dict[str, str] = {}
    # Another preset comes first, and clears what the old one has filled in.
    for override in sorted(overrides, key=lambda text: not text.startswith("model.preset=")):
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise UserError(f"override {override!r}: write it as section.key=value")
        try:
            _put(values, key.split("."), yaml.safe_load(text))
        except yaml.YAMLError:
            raise UserError(f"override {override!r}: the value is not valid YAML") from None
        overridden[key] = override
        if key == "model.preset" and isinstance(values["model"], dict):
            for filled in PRESETS["small"]:
                values["model"].pop(filled, None)
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, source, overridden)) from None


def _put(values: dict, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    values[keys[-1]] = value


def _explain(error: ValidationError, source: str, overridden: Mapping[str, str]) -> str:
    """One line for the first thing that is wrong."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    # An override may be wrong in a part of its value, or give a part to what has none.
    related = [o for k, o in overridden.items() if f"{k}.".startswith(f"{key}.") and key]
    related += [o for k, o in overridden.items() if f"{key}.".startswith(f"{k}.")]
    where = f"override {related[-1]!r}" if related else source
    if first["type"] == "extra_forbidden":
        near = _nearest(key)
        return f"{where}: unknown key {key!r}" + (f"; did you mean {near!r}?" if near else "")
    if first["type"] == "missing":
        return f"{where}: key {key!r} is missing"
    what = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":  # ours: it names its values
        return f"{where}: {key + ': ' if key else ''}{what}"
    return f"{where}: {key}: {what}, not {first['input']!r}"


def _nearest(key: str) -> str | None:
    """The valid dotted key that `key` was probably meant to be."""
    valid = []
    for name, field in Config.model_fields.items():
        valid.append(name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            valid += [f"{name}.{sub}" for sub in field.annotation.model_fields]
    section, _, last = key.rpartition(".")
    siblings = {v.rpartition(".")[2]: v for v in valid if v.rpartition(".")[0] == section}
    near = difflib.get_close_matches(last, siblings, n=1, cutoff=0.5)
    if near:
        return siblings[near[0]]
    near = difflib.get_close_matches(last, {v.rpartition(".")[2]: v for v in valid}, n=1)
    by_last = {v.rpartition(".")[2]: v for v in valid}
    return by_last[near[0]] if near else None
