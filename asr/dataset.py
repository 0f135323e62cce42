"""A checked manifest -> padded batches of waveforms and token ids.

Nothing here depends on the number of worker processes: batches are laid out before they are read,
and an utterance's augmentation is seeded by its place in the manifest and the epoch.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asr import audio
from asr.augment import WaveformAugment
from asr.config import Config
from asr.errors import UserError
from asr.manifest import Utterance
from asr.text import normalise
from asr.tokenizer import Tokenizer

Place = tuple[int, int]  # index in the manifest, epoch


@dataclass
class Batch:
    ids: list[str]
    waveforms: Tensor  # (B, N) float32, zeros past each length
    lengths: Tensor  # (B,) samples
    targets: Tensor  # (B, L) token ids, blanks past each length
    target_lengths: Tensor  # (B,)

    def to(self, device: torch.device) -> Batch:
        moved = {k: v.to(device, non_blocking=True) for k, v in vars(self).items() if k != "ids"}
        return Batch(ids=self.ids, **moved)


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[(N_i,)] -> (B, max N_i) with zeros past the ends, and the lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths


class SpeechDataset(Dataset):
    """(index, epoch) -> id, waveform (N,), token ids (L,)."""

    def __init__(self, utterances: Sequence[Utterance], tokenizer: Tokenizer, config: Config):
        self.utterances = utterances
        self.rate_hz = config.features.rate_hz
        self.seed = config.seed
        self.augment = WaveformAugment(config.augment, self.rate_hz)
        self.targets = [
            torch.tensor(tokenizer.encode(normalise(u.text or "", config.text)), dtype=torch.long)
            for u in utterances
        ]

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, place: Place) -> tuple[str, Tensor, Tensor]:
        index, epoch = place
        u = self.utterances[index]
        try:
            samples = torch.from_numpy(audio.read(u.audio, self.rate_hz, u.start_s, u.duration_s))
        except UserError as error:
            raise UserError(f"utterance {u.id}: {error}; `asr check` finds all of these") from None
        seed = np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(seed))
        return u.id, self.augment(samples, generator), self.targets[index]

    def __getitems__(self, places: list[Place]) -> list[tuple[str, Tensor, Tensor]] | UserError:
        """What a worker fetches. Torch would raise an error again with the worker's traceback as
        its message, so it is handed over as a value."""
        try:
            return [self[place] for place in places]
        except UserError as error:
            return error


def collate(items: list[tuple[str, Tensor, Tensor]] | UserError) -> Batch | UserError:
    if isinstance(items, UserError):
        return items
    ids, waveforms, targets = zip(*items, strict=True)
    return Batch(list(ids), *pad(waveforms), *pad(targets))


class BatchPlan:
    """Which utterances go together: batches of similar length, at most `batch_s` with padding.

    An epoch's batches depend on the seed and the epoch alone. The first epoch opens with the batch
    that needs the most memory, so that running out of it shows in the first minute.
    """

    def __init__(self, durations_s: Sequence[float], batch_s: float, seed: int):
        self.durations_s = np.asarray(durations_s, dtype=np.float64)
        self.batch_s, self.seed = batch_s, seed

    def batches(self, epoch: int) -> list[list[Place]]:
        draw = np.random.default_rng((self.seed, epoch))
        # Lengths are jittered before sorting: neighbours change from epoch to epoch.
        order = np.argsort(self.durations_s * draw.uniform(0.9, 1.1, len(self.durations_s)))
        plan: list[list[Place]] = [[]]
        longest_s = 0.0
        for index in order.tolist():
            longest_s = max(longest_s, self.durations_s[index])
            if plan[-1] and longest_s * (len(plan[-1]) + 1) > self.batch_s:
                plan.append([])
                longest_s = self.durations_s[index]
            plan[-1].append((index, epoch))
        order = draw.permutation(len(plan))
        plan = [plan[i] for i in order]
        if epoch == 0:
            plan.sort(key=self._padded_s, reverse=True)
            plan[1:] = [plan[1:][i] for i in draw.permutation(len(plan) - 1)]
        return plan

    def following(self, epoch: int, batch: int, epochs: int) -> Iterator[list[Place]]:
        """All batches from one of an epoch on, to the end of the last of `epochs`."""
        for later in range(epoch, epochs):
            yield from self.batches(later)[batch if later == epoch else 0 :]

    def _padded_s(self, batch: list[Place]) -> float:
        return len(batch) * max(self.durations_s[index] for index, _ in batch)


def load_batches(
    dataset: SpeechDataset, plan: Iterable[list[Place]], workers: int, pin: bool = False
) -> Iterator[Batch]:
    """Read the batches of a plan in its order, `workers` processes ahead of the training.

    Raises `UserError` that names the utterance and the file which cannot be read.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=plan,
        num_workers=workers,
        collate_fn=collate,
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training loop to answer
    logging.getLogger("asr").setLevel(logging.WARNING)  # what is worth saying, the parent has said
