"""The DeepSpeech2 design: compared with torch's layers, without padding, and trained."""

import numpy as np
import pytest
import torch
from torch import nn

from asr.config import Config, ModelConfig, TrainConfig, parse
from asr.errors import UserError
from asr.model.ctc import ctc_loss
from asr.model.deepspeech2 import DeepSpeech2, FrameNorm
from asr.model.features import Features, length_mask
from asr.model.model_file import Model, load_model, save_model
from asr.recognition.recognizer import Recognizer
from asr.text.tokenizer import CharacterTokenizer
from asr.training.optimizer import make_optimizer

SMALL = {"preset": "deepspeech2", "layers": 3, "hidden": 16, "channels": 4}
SPECTROGRAM = {"kind": "spectrogram", "window_ms": 20}


def make(features=40, **options) -> DeepSpeech2:
    torch.manual_seed(0)
    model = DeepSpeech2(ModelConfig(**SMALL | options), features, 29)
    with torch.no_grad():  # norms that do something
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def reference(model: DeepSpeech2, x: torch.Tensor) -> torch.Tensor:
    """The model in torch's own 2-D norms and bidirectional LSTMs, for unpadded (B, T, F)."""
    x = x.transpose(1, 2).unsqueeze(1)  # (B, 1, F, T)
    for convolution, frame_norm, kernel, stride in zip(
        model.convolutions, model.norms, ((41, 11), (21, 11)), ((2, 2), (2, 1)), strict=True
    ):
        padding = (kernel[0] // 2, kernel[1] // 2)
        twin = nn.Conv2d(convolution.in_channels, convolution.out_channels, kernel, stride, padding)
        twin.load_state_dict(
            {"weight": convolution.weight.transpose(2, 3), "bias": convolution.bias}
        )
        norm = nn.BatchNorm2d(convolution.out_channels)
        norm.load_state_dict(frame_norm.norm.state_dict())
        x = nn.functional.hardtanh(norm.train(model.training)(twin(x)), 0, 20)
    x = x.flatten(1, 2).transpose(1, 2)  # (B, T', C * F')
    for layer in model.layers:
        if layer.norm is not None:
            norm = nn.BatchNorm1d(x.shape[2])
            norm.load_state_dict(layer.norm.norm.state_dict())
            x = norm.train(model.training)(x.transpose(1, 2)).transpose(1, 2)
        both = nn.LSTM(x.shape[2], model.config.hidden, batch_first=True, bidirectional=True)
        both.load_state_dict(
            dict(layer.forward_rnn.state_dict())
            | {f"{k}_reverse": v for k, v in layer.backward_rnn.state_dict().items()}
        )
        x = both(x)[0].unflatten(2, (2, -1)).sum(2)
    norm = nn.BatchNorm1d(x.shape[2])
    norm.load_state_dict(model.norm.norm.state_dict())
    x = norm.train(model.training)(x.transpose(1, 2)).transpose(1, 2)
    return (x @ model.head.weight.T).log_softmax(2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("frames", [1, 2, 31, 32])
def test_it_is_the_published_design(training, frames):
    model = make().train(training)
    x = torch.randn(3, frames, 40)
    expected = reference(model, x)  # before the running statistics of training change
    found, lengths = model(x, torch.tensor([frames] * 3))
    assert lengths.tolist() == [-(-frames // 2)] * 3 == [model.frames(frames)] * 3
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_its_size_is_the_published_one():
    """The parameters of convolutions, bidirectional LSTMs, norms and head, counted by hand."""
    features = Features(Config(name="a", features=SPECTROGRAM).features)
    assert features.size == 161
    model = DeepSpeech2(ModelConfig(preset="deepspeech2"), features.size, 29)
    convolutions = 32 * (41 * 11 + 1) + 32 * (32 * 21 * 11 + 1)
    lstms = 2 * 4 * 1024 * (32 * 41 + 1024 + 2) + 4 * 2 * 4 * 1024 * (2 * 1024 + 2)
    norms = 2 * (2 * 32 + 5 * 1024)
    assert model.parameter_count() == convolutions + lstms + norms + 29 * 1024 == 86_618_400


def test_statistics_are_those_of_real_frames():
    """The statistics of a padded batch are those of its utterances, concatenated."""
    lengths = torch.tensor([7, 20, 1])
    mask = length_mask(lengths, 20)
    x = torch.randn(3, 20, 5, 6) * 3 + 1
    found, expected = FrameNorm(5), nn.BatchNorm2d(5)
    y = found(x, mask)
    end_to_end = torch.cat([u[:n] for u, n in zip(x, lengths, strict=True)])  # (28, C, F)
    z = expected(end_to_end.transpose(0, 1)[None])[0].transpose(0, 1)
    torch.testing.assert_close(y[mask], z)
    assert not y[~mask].any()
    torch.testing.assert_close(found.norm.running_mean, expected.running_mean)
    torch.testing.assert_close(found.norm.running_var, expected.running_var)


def test_padding_does_not_affect_training():
    """Emissions, gradients and statistics do not change with frames added past the end."""
    lengths = torch.tensor([30, 17, 4])
    x = torch.randn(3, 30, 40) * length_mask(lengths, 30)[:, :, None]
    results = []
    for more in (0, 33):
        model = make().train()
        log_probs, frames = model(nn.functional.pad(x, (0, 0, 0, more)), lengths)
        real = log_probs[length_mask(frames, log_probs.shape[1])]
        real.square().sum().backward()
        gradients = [p.grad for p in model.parameters()]
        results.append([real, *gradients, *model.buffers()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"subsampling": 4}, "subsampling of preset deepspeech2 is 2, not 4"),
        ({"dropout": 0.1}, "dropout of preset deepspeech2 is 0, not 0.1"),
        ({"bidirectional": False}, "bidirectional of preset deepspeech2 is True, not False"),
        ({"inter_ctc": [1]}, "inter_ctc of preset deepspeech2 is [], not [1]"),
    ],
)
def test_settings_that_the_design_lacks_are_refused(wrong, said):
    with pytest.raises(UserError) as raised:
        parse({"name": "a", "model": SMALL | wrong}, "test")
    assert said in str(raised.value)


def test_it_learns_and_its_model_file_says_the_same(tmp_path):
    torch.manual_seed(0)
    config = Config(name="a", features=SPECTROGRAM, model=SMALL)
    model = Model.build(config, CharacterTokenizer("abc"))
    training = TrainConfig(optimizer="sgd", learning_rate=0.05, weight_decay=1e-5)
    optimizer = make_optimizer(model.acoustic, training)
    assert optimizer.defaults["nesterov"] and optimizer.defaults["momentum"] == 0.9
    waveforms = 0.1 * torch.randn(4, 16000)
    samples = torch.tensor([16000, 12000, 15000, 9000])
    targets, target_lengths = torch.randint(1, 4, (4, 6)), torch.tensor([6, 4, 5, 3])
    features, frames = model.features(waveforms, samples)
    losses = []
    for _ in range(25):
        log_probs, lengths = model.acoustic(features, frames)
        loss = ctc_loss(log_probs, lengths, targets, target_lengths)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.acoustic.parameters(), 5.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
    save_model(tmp_path / "a.asr", model)
    spoken = [w[:n] for w, n in zip(waveforms, samples, strict=True)]
    emissions = [
        Recognizer(m, "cpu").emissions(spoken).log_probs
        for m in (model, load_model(tmp_path / "a.asr"))
    ]
    assert np.array_equal(*emissions)
