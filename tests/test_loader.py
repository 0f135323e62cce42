"""Batches: their limits, their order, and that nothing depends on the number of workers."""

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.config import AugmentConfig, Config
from asr.data.augment import WaveformAugment
from asr.data.loader import SpeechDataset, load_batches
from asr.data.manifest import Utterance
from asr.data.sampler import BatchSampler, UtteranceDraw, split_batch
from asr.errors import UserError
from asr.text.tokenizer import CharacterTokenizer

durations = st.lists(st.floats(0.1, 20.0), min_size=1, max_size=200)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(durations, st.floats(20.0, 100.0), st.integers(0, 5), st.integers(0, 3))
def test_a_plan_holds_each_utterance_once_within_the_limit(durations_s, batch_s, seed, epoch):
    plan = BatchSampler(durations_s, batch_s, seed).batches(epoch)
    assert sorted(index for batch in plan for index, *_ in batch) == list(range(len(durations_s)))
    assert {e for batch in plan for _, e, *_ in batch} == {epoch}
    for batch in plan:
        assert len(batch) * max(durations_s[i] for i, *_ in batch) <= batch_s + 1e-9


@settings(derandomize=True, deadline=None, max_examples=50)
@given(durations, st.integers(0, 3))
def test_batches_are_filled_by_augmented_lengths(durations_s, epoch):
    plan = BatchSampler(durations_s, 25.0, 1, [0.8, 1.0, 1.25]).batches(epoch)
    assert sorted(place.index for batch in plan for place in batch) == list(range(len(durations_s)))
    for batch in plan:
        heard_s = [durations_s[place.index] / place.speed for place in batch]
        assert len(batch) * max(heard_s) <= 25.0 + 1e-9
    if len(durations_s) > 30:
        assert {place.speed for batch in plan for place in batch} == {0.8, 1.0, 1.25}


@given(st.integers(1, 20), st.integers(1, 8))
def test_every_part_of_a_batch_has_work_and_each_utterance_counts_once(utterances, parts):
    batch = [UtteranceDraw(i, 0) for i in range(utterances)]
    dealt = split_batch(batch, parts)
    assert len(dealt) == parts and all(part.draws and part.batch == batch for part in dealt)
    counted = [place for part in dealt if part.weight for place in part.draws]
    assert sorted(counted) == batch
    assert max(len(p.draws) for p in dealt) - min(len(p.draws) for p in dealt) <= 1


@settings(derandomize=True, deadline=None, max_examples=50)
@given(durations, st.integers(0, 5))
def test_the_first_batch_of_all_needs_the_most_memory(durations_s, seed):
    plan = BatchSampler(durations_s, 40.0, seed).batches(0)
    padded = [len(batch) * max(durations_s[i] for i, *_ in batch) for batch in plan]
    assert padded[0] == max(padded)


def test_epochs_differ_and_seeds_repeat():
    durations_s = np.random.default_rng(0).uniform(1, 10, 300)
    plan = BatchSampler(durations_s, 60.0, seed=1)
    assert plan.batches(1) == BatchSampler(durations_s, 60.0, seed=1).batches(1)
    assert plan.batches(1) != plan.batches(2)
    assert plan.batches(1) != BatchSampler(durations_s, 60.0, seed=2).batches(1)


def test_a_run_resumes_at_the_same_batch():
    plan = BatchSampler(np.random.default_rng(0).uniform(1, 10, 100), 60.0, seed=1)
    everything = [batch for epoch in range(3) for batch in plan.batches(epoch)]
    first = len(plan.batches(0))
    assert list(plan.following(0, 0, 3)) == everything
    assert list(plan.following(1, 4, 3)) == everything[first + 4 :]


def test_bucketing_leaves_little_padding():
    durations_s = np.random.default_rng(0).uniform(1, 10, 1000)
    plan = BatchSampler(durations_s, 100.0, seed=0).batches(3)
    padded = sum(len(batch) * max(durations_s[i] for i, *_ in batch) for batch in plan)
    assert durations_s.sum() / padded > 0.85


@pytest.fixture
def dataset(tmp_path):
    draw = np.random.default_rng(0)
    utterances = []
    for i in range(12):
        path = tmp_path / f"{i}.wav"
        samples = 0.1 * draw.standard_normal(8000 + 500 * i)
        soundfile.write(path, samples, 16000)
        utterances.append(Utterance(str(i), str(path), duration_s=len(samples) / 16000, text="ab"))
    augment = AugmentConfig(
        speed=[0.9, 1.0, 1.1], gain_db=6, noise_p=0.5, reverb_p=0.5, telephone_p=0.5
    )
    config = Config(name="t", seed=3, augment=augment)
    return SpeechDataset(utterances, CharacterTokenizer("ab"), config)


def test_any_number_of_workers_gives_the_same_batches(dataset):
    plan = BatchSampler([u.duration_s for u in dataset.utterances], 2.5, 0, [0.9, 1.0, 1.1])
    batches = plan.batches(0) + plan.batches(1)
    parts = [part for batch in batches for part in split_batch(batch, 2)]
    runs = [list(load_batches(dataset, parts, workers)) for workers in (0, 1, 2)]
    assert len(runs[0]) == len(parts) > 8
    for run in runs[1:]:
        for a, b in zip(runs[0], run, strict=True):
            assert (a.ids, a.tokens, a.weight) == (b.ids, b.tokens, b.weight)
            for name in ("waveforms", "lengths", "targets", "target_lengths"):
                assert torch.equal(getattr(a, name), getattr(b, name))


@pytest.mark.parametrize("workers", [0, 1])
def test_audio_that_cannot_be_read_is_one_line_that_names_it(dataset, workers):
    path = dataset.utterances[3].audio
    with open(path, "r+b") as file:
        file.truncate(2000)
    with pytest.raises(UserError) as caught:
        list(
            load_batches(
                dataset, split_batch([UtteranceDraw(i, 0) for i in (1, 2, 3, 4)], 2), workers
            )
        )
    assert str(caught.value).startswith(f"utterance 3: {path}: truncated: ")
    assert "\n" not in str(caught.value)


def test_augmentation_is_new_in_each_epoch_and_the_same_when_repeated(dataset):
    first, again, later = (
        dataset.waveform(place)
        for place in (UtteranceDraw(5, 0), UtteranceDraw(5, 0), UtteranceDraw(5, 1))
    )
    assert torch.equal(first, again) and not torch.equal(first, later)


def test_padding_is_zero_and_lengths_are_true(dataset):
    whole = [UtteranceDraw(0, 0), UtteranceDraw(4, 0), UtteranceDraw(11, 0)]
    batch, _ = load_batches(dataset, split_batch(whole, 2), workers=0)
    assert batch.ids == ["0", "11"] and batch.tokens == 6
    for row, length in zip(batch.waveforms, batch.lengths, strict=True):
        assert not row[length:].any() and row[length - 100 : length].any()
    assert batch.targets.tolist() == [[2, 3], [2, 3]] and batch.target_lengths.tolist() == [2, 2]


@pytest.mark.parametrize(
    "options",
    [
        {"gain_db": 6},
        {"noise_p": 1, "noise_snr_db": (10, 10)},
        {"reverb_p": 1},
        {"telephone_p": 1},
    ],
)
def test_each_augmentation_changes_the_waveform_and_leaves_it_sane(options):
    augment = WaveformAugment(AugmentConfig(pad_silence_s=0, **options), 16000)
    samples = 0.1 * torch.randn(16000)
    changed = augment(samples, torch.Generator().manual_seed(0))
    assert torch.isfinite(changed).all() and changed.dtype == torch.float32
    assert len(changed) == 16000 and not torch.equal(changed, samples)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_moves_length_and_pitch(speed):
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)
    changed = WaveformAugment(AugmentConfig(pad_silence_s=0), 16000)(tone, torch.Generator(), speed)
    assert len(changed) == pytest.approx(16000 / speed, abs=2)
    peak_hz = torch.fft.rfft(changed).abs().argmax().item() * 16000 / len(changed)
    assert peak_hz == pytest.approx(1000 * speed, abs=2)
