"""The batches that a process trains on, in order, and the CMVN statistics measured on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from accelerate import Accelerator

from asr.config import Config
from asr.data.loader import Batch, SpeechDataset, load_batches
from asr.data.manifest import Utterance
from asr.data.sampler import BatchSampler, split_batch
from asr.data.shards import ShardBatchSampler, Shards, durations_s
from asr.model.model_file import Model
from asr.training import distributed
from asr.training.schedule import TrainingState

CMVN_UTTERANCES = 2000  # hours of speech; more would not change the statistics of global CMVN


def make_sampler(train_set: Sequence[Utterance], batch_s: float, config: Config) -> BatchSampler:
    """The sampler that fixes the batches, of `batch_s` seconds each, of the whole run."""
    augment = config.augment
    changes = (augment.speed, 2 * augment.pad_silence_s, augment.tempo)
    if isinstance(train_set, Shards):
        mixed = config.data.shuffle_shards
        return ShardBatchSampler(train_set, mixed, batch_s, config.seed, *changes)
    return BatchSampler(durations_s(train_set), batch_s, config.seed, *changes)


def remaining_batches(
    dataset: SpeechDataset,
    sampler: BatchSampler,
    state: TrainingState,
    config: Config,
    accelerator: Accelerator,
) -> Iterator[Batch]:
    """The share of this process in every batch from `state` to the end of the run.

    Each step takes `train.accumulate` parts from this iterator. One loader serves all epochs, so
    its workers start only once, and read ahead while the model is validated.
    """
    c = config.train
    first = distributed.rank() * c.accumulate
    parts = (
        part
        for batch in sampler.following(state.epoch, state.batch, c.epochs)
        for part in split_batch(batch, accelerator.num_processes * c.accumulate)[
            first : first + c.accumulate
        ]
    )
    return load_batches(dataset, parts, c.workers, pin=accelerator.device.type == "cuda")


def measure_cmvn(
    model: Model, dataset: SpeechDataset, sampler: BatchSampler, device: torch.device
) -> None:
    """Measure the mean and the deviation of global CMVN on the training set.

    The first batches with at least `CMVN_UTTERANCES` utterances are used, or all batches.
    """
    parts, count = [], 0
    for batch in sampler.following(0, 0, 1):
        if count >= CMVN_UTTERANCES:
            break
        parts += split_batch(batch, 1)
        count += len(batch)
    batches = load_batches(dataset, parts, model.config.train.workers)
    model.features.measure((b.waveforms.to(device), b.lengths.to(device)) for b in batches)
