"""The acoustic model: lengths, causality, and contract 1 for every preset."""

from typing import get_args

import numpy as np
import pytest
import torch

from asr.config import PRESETS, Config, FeatureConfig, ModelConfig, parse
from asr.model.acoustic import STRIDES, AcousticModel
from asr.model.deepspeech2 import DeepSpeech2
from asr.model.features import MEASURED, length_mask
from asr.model.model_file import Model
from asr.recognition.recognizer import Recognizer
from asr.text.tokenizer import CharacterTokenizer

DEVICES = ["cpu"] + ["cuda"] * torch.cuda.is_available()

# Millions of parameters, about.
SIZES_M = {"tiny": 1, "small": 5, "base": 15, "large": 60, "deepspeech2": 86.6}


def make(**options):
    torch.manual_seed(0)
    if options.get("preset") == "deepspeech2":
        return DeepSpeech2(ModelConfig(**options), 161, 30).eval()
    return AcousticModel(ModelConfig(**options), 80, 30).eval()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_documented_size(preset):
    assert make(preset=preset).parameter_count() / 1e6 == pytest.approx(SIZES_M[preset], rel=0.05)


def batch_error(config: Config, device: str) -> float:
    """The largest change of the emissions of an utterance in a batch with 15 longer ones."""
    torch.manual_seed(0)
    built = Model.build(config, CharacterTokenizer("abcdefghij"))
    if config.features.cmvn in MEASURED:
        built.features.measure([(0.1 * torch.randn(2, 16000), torch.tensor([16000, 9000]))])
    recognizer = Recognizer(built, device)
    short, long = 16000 * 9 // 10 + 123, 16000 * 5
    lengths = torch.tensor([short] + [long - 1000 * i for i in range(15)])
    waveforms = [0.1 * torch.randn(length) for length in lengths]
    together = recognizer.emissions(waveforms)
    alone = recognizer.emissions(waveforms[:1])
    frames = alone.lengths[0]
    assert together.lengths[0] == frames == alone.log_probs.shape[1]
    return float(np.abs(alone.log_probs[0] - together.log_probs[0, :frames]).max())


BATCHED = [
    *(({"preset": preset}, {"cmvn": "loud"}) for preset in PRESETS),
    *(
        ({"preset": preset, "edge": 4}, {"cmvn": "level", "floor_db": 80})
        for preset in PRESETS
        if preset != "deepspeech2"
    ),
    *(
        (
            {"preset": preset, "bidirectional": False, "lookahead_ms": 120.0},
            {"cmvn": "running"},
        )
        for preset in PRESETS
        if preset != "deepspeech2"
    ),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("model", "features"), BATCHED, ids=str)
def test_emissions_do_not_depend_on_the_batch(model, features, device):
    # The law does not depend on the size, and this one takes half a minute at its full one.
    less = {"channels": 8, "hidden": 128} if model["preset"] == "deepspeech2" else {}
    config = Config(
        name="t", model=ModelConfig(**model, **less), features=FeatureConfig(**features)
    )
    assert batch_error(config, device) < 1e-4


@pytest.mark.parametrize("floor_db", [None, 80])
@pytest.mark.parametrize("cmvn", get_args(FeatureConfig.model_fields["cmvn"].annotation))
@pytest.mark.parametrize(
    ("kind", "edge"), [("log_mel", 0), ("log_mel", 3), ("spectrogram", 3), ("mfcc", 0)]
)
def test_emissions_of_all_features_do_not_depend_on_the_batch(kind, cmvn, floor_db, edge):
    features = FeatureConfig(kind=kind, cmvn=cmvn, floor_db=floor_db)
    model = ModelConfig(preset="tiny", layers=1, hidden=32, channels=4, edge=edge)
    assert batch_error(Config(name="t", model=model, features=features), "cpu") < 1e-4


@pytest.mark.parametrize("subsampling", [2, 4, 8])
def test_an_edge_of_quiet_is_heard_and_nothing_is_written_there(subsampling):
    """The outputs equal those of the utterance with quiet frames around it, cut to its frames."""
    model = make(preset="tiny", subsampling=subsampling, edge=3, inter_ctc=[1])
    plain = make(preset="tiny", subsampling=subsampling, inter_ctc=[1])
    plain.load_state_dict(model.state_dict())
    lengths = torch.tensor([67, 40, 1])
    features = torch.randn(3, 67, 80) * length_mask(lengths, 67)[:, :, None]
    together, frames = model.outputs(features, lengths)
    expected, count = plain.outputs(features, lengths)
    assert [y.shape for y in together] == [y.shape for y in expected]
    assert torch.equal(frames, count) and frames.tolist() == model.frames(lengths).tolist()
    assert (together[-1] - expected[-1]).abs().max() > 1e-3
    for i, length in enumerate(lengths.tolist()):
        own = features[i : i + 1, :length]
        quiet = own.min().expand(1, 3 * subsampling, 80)
        wide = torch.cat([quiet, own, quiet], 1)
        heard, _ = plain.outputs(wide, torch.tensor([wide.shape[1]]))
        for layer, whole in zip(together, heard, strict=True):
            torch.testing.assert_close(layer[i, : frames[i]], whole[0, 3:-3], atol=1e-5, rtol=0)


@pytest.mark.parametrize("rnn", ["lstm", "gru"])
@pytest.mark.parametrize("subsampling", [2, 4, 8])
@pytest.mark.parametrize("frames", [1, 7, 8, 9, 64])
def test_frames_and_distributions(rnn, subsampling, frames):
    model = make(preset="tiny", rnn=rnn, subsampling=subsampling)
    log_probs, lengths = model(torch.randn(2, frames, 80), torch.tensor([frames, 1]))
    assert lengths.tolist() == [-(-frames // subsampling), 1]
    assert log_probs.shape == (2, model.frames(frames), 30)
    torch.testing.assert_close(log_probs.exp().sum(2), torch.ones(log_probs.shape[:2]))


@pytest.mark.parametrize("subsampling", STRIDES)
def test_a_causal_model_does_not_look_ahead(subsampling):
    model = make(preset="tiny", bidirectional=False, subsampling=subsampling)
    features = torch.randn(1, 80, 80)
    changed = features.clone()
    changed[:, 40:] += 1.0
    a, b = (model(f, torch.tensor([80]))[0][0] for f in (features, changed))
    same = 40 // subsampling  # frames whose last feature frame lies before the change
    assert torch.equal(a[:same], b[:same])
    assert not torch.allclose(a[same:], b[same:])


CAUSAL = [
    {"features": {"cmvn": cmvn, "kind": kind}, "model": model}
    for cmvn in ("none", "global", "running")
    for kind, model in [
        ("log_mel", {"subsampling": 2, "rnn": "gru"}),
        ("log_mel", {"subsampling": 4, "inter_ctc": [1], "self_conditioned": True}),
        ("mfcc", {"subsampling": 8}),
        ("spectrogram", {"subsampling": 4}),
        ("log_mel", {"subsampling": 4, "lookahead_ms": 120}),
        ("mfcc", {"subsampling": 2, "lookahead_ms": 120}),
    ]
]


def on_waveforms(values, bidirectional=False) -> Recognizer:
    """An untrained recognizer on log-mel, MFCC or spectrogram features."""
    model = {"preset": "tiny", "hidden": 16, "channels": 4, "bidirectional": bidirectional}
    config = parse({"name": "t", **values, "model": model | values["model"]}, "test")
    torch.manual_seed(0)
    built = Model.build(config, CharacterTokenizer("abcdefghij"))
    if config.features.cmvn in MEASURED:
        built.features.measure([(0.1 * torch.randn(2, 16000), torch.tensor([16000, 9000]))])
    return Recognizer(built, "cpu")


def changed_after(recognizer, after: int) -> torch.Tensor:
    """Whether the emissions of a frame change if the samples from `after` on do, (T,) bool."""
    samples = 0.1 * torch.randn(16000)
    louder = torch.cat([samples[:after], 3 * samples[after:].flip(0)])
    a, b = (recognizer.emissions([s]).log_probs[0] for s in (samples, louder))
    return torch.from_numpy(np.abs(a - b).max(1) > 1e-5)


@pytest.mark.parametrize("after", [4000, 7777, 15000])
@pytest.mark.parametrize("values", CAUSAL, ids=str)
def test_emissions_of_a_causal_model_depend_on_no_later_sample(values, after):
    recognizer = on_waveforms(values)
    changed = changed_after(recognizer, after)
    # Frame i reads the samples before i * frame_s, and look_ahead_s more.
    assert recognizer.look_ahead_s == pytest.approx(
        0.0125 + values["model"].get("lookahead_ms", 0) / 1000
    )
    reads = torch.arange(len(changed)) * recognizer.frame_s + recognizer.look_ahead_s
    first = int((reads * recognizer.rate_hz <= after).sum())
    assert not changed[:first].any()
    assert changed[first : first + 2].any() and changed[-1]


@pytest.mark.parametrize("cmvn", ["utterance", "loud", "none"])
def test_emissions_of_a_bidirectional_model_depend_on_all_samples(cmvn):
    values = {"features": {"cmvn": cmvn}, "model": {}}
    assert changed_after(on_waveforms(values, bidirectional=True), 15000)[0]


@pytest.mark.parametrize("streaming", [False, True])
def test_an_untrained_model_emits_blanks(streaming):
    features, lengths = torch.randn(3, 60, 80), torch.tensor([60, 41, 17])
    for blank_bias, least, most in ((0.0, 0.0, 0.2), (3.0, 0.25, 0.75)):
        model = make(preset="tiny", streaming=streaming, blank_bias=blank_bias)
        log_probs, frames = model(features, lengths)
        for row, length in zip(log_probs, frames.tolist(), strict=True):
            blank = row[:length, 0].exp().mean().item()
            assert least <= blank <= most, (blank_bias, blank)


def test_a_bidirectional_model_uses_the_whole_utterance():
    model = make(preset="tiny")
    features = torch.randn(1, 80, 80)
    changed = features.clone()
    changed[:, 79] += 1.0
    a, b = (model(f, torch.tensor([80]))[0][0] for f in (features, changed))
    assert not torch.equal(a[0], b[0])


def test_backward_recurrence_is_that_of_a_packed_sequence():
    """The reversal by length is compared with torch's packed sequences."""
    layer = make(preset="tiny").layers[0]
    x, lengths = torch.randn(3, 20, 256), torch.tensor([20, 11, 1])
    last, frame = lengths[:, None] - 1, torch.arange(20)
    reversal = torch.where(frame <= last, last - frame, frame)[:, :, None]
    both = torch.nn.LSTM(256, 128, batch_first=True, bidirectional=True)
    both.load_state_dict(
        dict(layer.forward_rnn.state_dict())
        | {f"{k}_reverse": v for k, v in layer.backward_rnn.state_dict().items()}
    )
    packed = torch.nn.utils.rnn.pack_padded_sequence(
        layer.norm(x), lengths, batch_first=True, enforce_sorted=False
    )
    expected, _ = torch.nn.utils.rnn.pad_packed_sequence(both(packed)[0], batch_first=True)
    found = layer(x, reversal) - x
    for i, length in enumerate(lengths):
        torch.testing.assert_close(found[i, :length], expected[i, :length], atol=1e-5, rtol=0)
