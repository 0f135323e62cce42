"""The training objective: inner layers, two views, entropy, and the sum over parts."""

import math

import pytest
import torch

from asr.config import parse
from asr.data.loader import Batch
from asr.data.padding import pad
from asr.model.ctc import consistency_loss, ctc_loss, entropy
from asr.model.model_file import Model
from asr.text.tokenizer import CharacterTokenizer
from asr.training.objective import Objective

LAYERS = {"preset": "tiny", "layers": 3, "hidden": 8, "channels": 2, "dropout": 0.0}
UNMASKED = {"freq_masks": 0, "time_masks": 0}


def build(model=(), train=(), spec_augment=UNMASKED, augment=()):
    values = {
        "name": "o",
        "features": {"n_mels": 12, "dither": 0.0},
        "model": LAYERS | dict(model),
        "train": dict(train),
        "spec_augment": spec_augment,
        "augment": dict(augment),
    }
    torch.manual_seed(0)
    return Objective(Model.build(parse(values, "o"), CharacterTokenizer("abc")))


def make_batch(seconds=(0.5, 0.9, 0.3), weight=1.0, tokens=None):
    draw = torch.Generator().manual_seed(1)
    waveforms = [0.1 * torch.randn(round(s * 16000), generator=draw) for s in seconds]
    targets = [torch.tensor([2, 3, 4][: 1 + i]) for i in range(len(seconds))]
    count = sum(map(len, targets)) if tokens is None else tokens
    ids = [str(i) for i in range(len(seconds))]
    return Batch(ids, count, weight, *pad(waveforms), *pad(targets))


def emissions(objective, batch):
    features, frames = objective.features(batch.waveforms, batch.lengths)
    return objective.acoustic.outputs(features, frames)


def test_plain_ctc_per_token():
    objective, batch = build(), make_batch()
    (log_probs,), frames = emissions(objective, batch)
    expected = ctc_loss(log_probs, frames, batch.targets, batch.target_lengths) / 6
    torch.testing.assert_close(objective(batch), expected)


def test_parts_sum_to_the_whole_and_placeholders_to_zero():
    objective, whole = build(), make_batch()
    parts = []
    for i, samples in enumerate(whole.lengths.tolist()):
        one = slice(i, i + 1)
        waveforms, lengths = whole.waveforms[one, :samples], whole.lengths[one]
        targets = whole.targets[one], whole.target_lengths[one]
        parts.append(Batch(whole.ids[one], 6, 1.0, waveforms, lengths, *targets))
    torch.testing.assert_close(sum(objective(part) for part in parts), objective(whole))
    assert objective(make_batch(weight=0.0)) == 0


def test_inner_layers_share_the_loss():
    model, train = {"inter_ctc": [1, 2]}, {"inter_ctc_weight": 0.4}
    objective, batch = build(model, train), make_batch()
    outputs, frames = emissions(objective, batch)
    assert len(outputs) == 3
    a, b, last = (ctc_loss(o, frames, batch.targets, batch.target_lengths) for o in outputs)
    torch.testing.assert_close(objective(batch), (0.6 * last + 0.4 * (a + b) / 2) / 6)


def test_inner_reading_alone_changes_no_output_and_conditioning_does():
    batch = make_batch()
    plain, read = build(), build({"inter_ctc": [2]})
    read.load_state_dict(plain.state_dict())
    conditioned = build({"inter_ctc": [2], "self_conditioned": True})
    conditioned.load_state_dict(plain.state_dict(), strict=False)
    last = [emissions(objective, batch)[0][-1] for objective in (plain, read, conditioned)]
    assert torch.equal(last[0], last[1]) and not torch.allclose(last[0], last[2], atol=1e-4)
    features = plain.features(batch.waveforms, batch.lengths)
    assert torch.equal(conditioned.acoustic(*features)[0], last[2])  # decoding is conditioned too


def test_consistency_is_half_the_divergence_both_ways():
    log_probs = torch.randn(4, 5, 3).log_softmax(2)
    lengths = torch.tensor([5, 3, 5, 3])
    expected = 0.0
    for row, length in enumerate((5, 3)):
        a, b = log_probs[row, :length], log_probs[2 + row, :length]
        expected += 0.5 * ((b.exp() * (b - a)).sum() + (a.exp() * (a - b)).sum())
    torch.testing.assert_close(consistency_loss(log_probs, lengths), expected)
    same = log_probs[:2].repeat(2, 1, 1)
    assert consistency_loss(same, lengths).abs() < 1e-6


def test_consistency_pulls_each_view_and_holds_the_other_fixed():
    """The gradient at the logits of view a is that of KL(stop_grad(b) || a): (P(a) - P(b)) / 2."""
    logits = torch.randn(2, 1, 4, requires_grad=True)
    consistency_loss(logits.log_softmax(2), torch.tensor([1, 1])).backward()
    p = logits.detach().softmax(2)
    torch.testing.assert_close(logits.grad[0], (p[0] - p[1]) / 2)
    torch.testing.assert_close(logits.grad[1], (p[1] - p[0]) / 2)


def test_two_views_are_masked_apart():
    masks = {"freq_masks": 2, "freq_share": 0.5, "time_masks": 2, "time_share": 0.3}
    views = build(train={"cr_ctc_weight": 0.2}, spec_augment=masks)
    none = build(train={"cr_ctc_weight": 0.2})
    batch = make_batch()
    torch.testing.assert_close(none(batch), build()(batch))  # equal views: mean loss, no divergence
    torch.manual_seed(0)
    assert not torch.isclose(views(batch), build(spec_augment=masks)(batch))


@pytest.mark.parametrize(
    "voice", [{"vtlp": 0.2, "equalizer_db": 4}, {"pitch": 0.3}, {"noise_floor_p": 1.0}], ids=str
)
def test_two_views_are_two_voices_at_one_tempo(voice, monkeypatch):
    objective = build(train={"cr_ctc_weight": 0.2}, augment=voice)
    heard, forward = [], objective.acoustic.forward

    def listen(features, frames):
        heard.append((features, frames))
        return forward(features, frames)

    monkeypatch.setattr(objective.acoustic, "forward", listen)
    torch.manual_seed(0)
    batch = make_batch()
    batch.tempo = torch.tensor([0.8, 1.3, 1.0])
    assert torch.isfinite(objective(batch))
    ((features, frames),) = heard
    (a, b), (paced, same) = features.chunk(2), frames.chunk(2)
    untouched = objective.features.frames(batch.lengths)
    assert torch.equal(paced, same)
    assert paced.tolist() == (untouched / batch.tempo).ceil().tolist()
    assert all((one - other).abs().max() > 1e-3 for one, other in zip(a, b, strict=True))


def test_entropy_counts_real_frames_only():
    log_probs = torch.full((2, 4, 8), 1 / 8).log()
    found = entropy(log_probs, torch.tensor([4, 1])).item()
    assert found == pytest.approx(5 * math.log(8))
    objective, batch = build(train={"entropy_weight": 0.1}), make_batch()
    (log_probs,), frames = emissions(objective, batch)
    loss = ctc_loss(log_probs, frames, batch.targets, batch.target_lengths)
    expected = (loss - 0.1 * entropy(log_probs, frames)) / 6
    torch.testing.assert_close(objective(batch), expected)
