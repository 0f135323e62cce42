"""Padded batches of waveforms and token ids from a checked manifest.

Results do not depend on the number of worker processes: batches are planned before they are read,
and the augmentation of an utterance is seeded by its index in the manifest and the epoch.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asr import audio
from asr.config import Config
from asr.data.augment import WaveformAugment
from asr.data.manifest import Utterance
from asr.data.padding import pad
from asr.data.sampler import BatchShard, UtteranceDraw
from asr.data.targets import target_text
from asr.errors import UserError
from asr.text.tokenizer import Tokenizer


@dataclass
class Batch:
    ids: list[str]
    tokens: int  # number of tokens or labels of the whole step over all processes; divides the loss
    weight: float  # 0 for a placeholder (see `BatchShard`), otherwise 1
    waveforms: Tensor  # (B, N) float32, zeros past each length
    lengths: Tensor  # (B,) samples
    targets: Tensor  # (B, L) ids of tokens or labels, zeros past each length
    target_lengths: Tensor  # (B,)
    texts: Sequence[str | None] = ()  # the texts of the manifest, not normalized
    tempo: Tensor | None = None  # (B,) factors by which the features are to be sped up

    def seconds(self, rate_hz: int) -> tuple[float, float]:
        """The seconds of audio and of padding, after the change of tempo.

        A placeholder counts as padding.
        """
        lengths_s = self.lengths.numpy() / rate_hz
        if self.tempo is not None:
            lengths_s = lengths_s / self.tempo.numpy()
        audio_s = float(lengths_s.sum()) * self.weight
        return audio_s, float(lengths_s.max()) * len(lengths_s) - audio_s

    def to(self, device: torch.device) -> Batch:
        moved = {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in vars(self).items()
        }
        return Batch(**moved)

    def pin_memory(self) -> Batch:
        """Called by torch's loader, so that the copy to a GPU runs in parallel with its work."""
        pinned = {k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in vars(self).items()}
        return Batch(**pinned)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, as workers do; with more threads, results differ by rounding."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class SpeechDataset(Dataset):
    """Maps a `BatchShard` to a `Batch`: reads and augments waveforms, encodes texts, pads both."""

    def __init__(self, utterances: Sequence[Utterance], tokenizer: Tokenizer, config: Config):
        self.utterances = utterances
        self.rate_hz = config.features.rate_hz
        self.seed = config.seed
        self.augment = WaveformAugment(config.augment, self.rate_hz)
        self.tokenizer, self.config = tokenizer, config

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def targets(self) -> Iterator[Tensor]:
        """The token ids (L,) of each utterance."""
        return map(self.target, self.utterances)

    def target(self, utterance: Utterance) -> Tensor:
        text = target_text(utterance, self.config)
        return torch.tensor(self.tokenizer.encode(text), dtype=torch.long)

    def waveform(self, draw: UtteranceDraw) -> Tensor:
        """(N,) samples of an utterance, augmented for an epoch."""
        index, epoch, speed, _ = draw
        u = self.utterances[index]
        try:
            samples = torch.from_numpy(audio.read(u.audio, self.rate_hz, u.start_s, u.duration_s))
        except UserError as error:
            raise UserError(f"utterance {u.id}: {error}; `asr check` lists such files") from None
        seed = np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(seed))
        return self.augment(samples, generator, speed)

    def __getitem__(self, shard: BatchShard) -> Batch | UserError:
        """Read one batch in a worker.

        A `UserError` is returned as a value, because torch would raise it again with the traceback
        of the worker as its message.
        """
        try:
            with one_thread():
                waveforms = [self.waveform(draw) for draw in shard.draws]
        except UserError as error:
            return error
        utterances = [self.utterances[draw.index] for draw in shard.draws]
        return Batch(
            [u.id for u in utterances],
            sum(len(self.target(self.utterances[draw.index])) for draw in shard.batch),
            shard.weight,
            *pad(waveforms),
            *pad([self.target(u) for u in utterances]),
            texts=[u.text for u in utterances],
            tempo=_tempo(shard.draws),
        )


def _tempo(draws: Sequence[UtteranceDraw]) -> Tensor | None:
    """The tempo of each utterance (B,), or None if all are 1."""
    factors = [draw.tempo for draw in draws]
    return None if all(factor == 1 for factor in factors) else torch.tensor(factors)


def load_batches(
    dataset: SpeechDataset, shards: Iterable[BatchShard], workers: int, pin: bool = False
) -> Iterator[Batch]:
    """Read batches in order, in `workers` processes that run ahead of the training.

    Raises `UserError`, which names the utterance and the file, if a file cannot be read.
    """
    loader = DataLoader(
        dataset,
        sampler=shards,
        batch_size=None,  # a shard is a batch already
        num_workers=workers,
        pin_memory=pin,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_start_worker if workers else None,
    )
    for batch in loader:
        if isinstance(batch, UserError):
            raise batch
        yield batch


def _start_worker(_: int) -> None:
    torch.set_num_threads(1)  # the cores belong to the training
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training loop handles Ctrl-C
    logging.getLogger("asr").setLevel(logging.WARNING)  # the parent process has logged the rest
