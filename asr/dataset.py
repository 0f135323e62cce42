"""A checked manifest -> padded batches of waveforms and token ids.

Nothing here depends on the number of worker processes: batches are laid out before they are read,
and an utterance's augmentation is seeded by its place in the manifest and the epoch.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

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


class Place(NamedTuple):
    """An utterance as an epoch hears it."""

    index: int  # in the manifest
    epoch: int  # augmentation is drawn anew in each
    speed: float = 1.0  # how fast it is played


class Part(NamedTuple):
    """What one process takes of a step's batch at once."""

    places: list[Place]
    whole: list[Place]  # the step's batch, over all processes
    weight: float = 1.0  # 0: a stand-in, as the batch has fewer utterances than parts


@dataclass
class Batch:
    ids: list[str]
    tokens: int  # of the whole step, over all processes: what its loss is divided by
    weight: float
    waveforms: Tensor  # (B, N) float32, zeros past each length
    lengths: Tensor  # (B,) samples
    targets: Tensor  # (B, L) token ids, blanks past each length
    target_lengths: Tensor  # (B,)
    texts: Sequence[str | None] = ()  # as the manifest has them

    def seconds(self, rate_hz: int) -> tuple[float, float]:
        """Of audio and of padding; a stand-in is nothing but padding."""
        audio_s = self.lengths.sum().item() * self.weight / rate_hz
        return audio_s, self.waveforms.numel() / rate_hz - audio_s

    def to(self, device: torch.device) -> Batch:
        moved = {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in vars(self).items()
        }
        return Batch(**moved)

    def pin_memory(self) -> Batch:
        """What torch's loader calls, so that the copy to a GPU runs beside its work."""
        pinned = {k: v.pin_memory() if isinstance(v, Tensor) else v for k, v in vars(self).items()}
        return Batch(**pinned)


def pad(sequences: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """[(N_i,)] -> (B, max N_i) with zeros past the ends, and the lengths (B,)."""
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    return torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True), lengths


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch on one thread, as in a worker: several would add up sums and FFTs in another order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class SpeechDataset(Dataset):
    """A part of a step -> its padded batch, read and augmented."""

    def __init__(self, utterances: Sequence[Utterance], tokenizer: Tokenizer, config: Config):
        self.utterances = utterances
        self.rate_hz = config.features.rate_hz
        self.seed = config.seed
        self.augment = WaveformAugment(config.augment, self.rate_hz)
        self.tokenizer, self.text = tokenizer, config.text

    def __len__(self) -> int:
        return len(self.utterances)

    @property
    def targets(self) -> Iterator[Tensor]:
        """Of each utterance, (L,) token ids."""
        return map(self.target, self.utterances)

    def target(self, utterance: Utterance) -> Tensor:
        text = normalise(utterance.text or "", self.text)
        return torch.tensor(self.tokenizer.encode(text), dtype=torch.long)

    def waveform(self, place: Place) -> Tensor:
        """(N,) samples of an utterance as the epoch of `place` hears it."""
        index, epoch, speed = place
        u = self.utterances[index]
        try:
            samples = torch.from_numpy(audio.read(u.audio, self.rate_hz, u.start_s, u.duration_s))
        except UserError as error:
            raise UserError(f"utterance {u.id}: {error}; `asr check` finds all of these") from None
        seed = np.random.SeedSequence((self.seed, epoch, index)).generate_state(1)[0]
        generator = torch.Generator().manual_seed(int(seed))
        return self.augment(samples, generator, speed)

    def __getitem__(self, part: Part) -> Batch | UserError:
        """What a worker fetches. Torch would raise an error again with the worker's traceback as
        its message, so it is handed over as a value."""
        try:
            with one_thread():
                waveforms = [self.waveform(place) for place in part.places]
        except UserError as error:
            return error
        utterances = [self.utterances[place.index] for place in part.places]
        return Batch(
            [u.id for u in utterances],
            sum(len(self.target(self.utterances[place.index])) for place in part.whole),
            part.weight,
            *pad(waveforms),
            *pad([self.target(u) for u in utterances]),
            texts=[u.text for u in utterances],
        )


class Window:
    """Utterances that are mixed with one another, laid out as batches of similar length."""

    def __init__(
        self,
        indices: np.ndarray,
        durations_s: np.ndarray,
        batch_s: float,
        speeds: Sequence[float],
        added_s: float,
        draw: np.random.Generator,
    ):
        self.speeds = draw.choice(speeds, len(durations_s))
        heard_s = durations_s / self.speeds + added_s
        # Lengths are jittered before sorting: neighbours change from epoch to epoch.
        order = np.argsort(heard_s * draw.uniform(0.9, 1.1, len(heard_s)))
        self.indices, self.speeds = indices[order], self.speeds[order]
        self.ends, self.padded_s = _fill(heard_s[order].tolist(), batch_s)
        self.order = draw.permutation(len(self.ends)).tolist()

    def largest_first(self) -> None:
        largest = int(np.argmax(self.padded_s))
        self.order.remove(largest)
        self.order.insert(0, largest)

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, number: int, epoch: int) -> list[Place]:
        at = self.order[number]
        mine = slice(self.ends[at - 1] if at else 0, self.ends[at])
        pairs = zip(self.indices[mine].tolist(), self.speeds[mine].tolist(), strict=True)
        return [Place(index, epoch, speed) for index, speed in pairs]


def _fill(lengths_s: list[float], batch_s: float) -> tuple[list[int], list[float]]:
    """Where batches of at most `batch_s`, padding counted, end, and what each takes of that."""
    ends, padded_s = [], []
    start, longest_s = 0, 0.0
    for at, length_s in enumerate(lengths_s):
        grown_s = max(longest_s, length_s)
        if at > start and grown_s * (at - start + 1) > batch_s:
            ends.append(at)
            padded_s.append(longest_s * (at - start))
            start, grown_s = at, length_s
        longest_s = grown_s
    ends.append(len(lengths_s))
    padded_s.append(longest_s * (len(lengths_s) - start))
    return ends, padded_s


class BatchPlan:
    """Which utterances go together: batches of similar length, at most `batch_s` with padding.

    An epoch's batches depend on the seed and the epoch alone. How fast each utterance is played is
    drawn here too (from `speeds`), so that batches are filled by what will be heard; `added_s` is
    the most that augmentation lengthens it by. The first epoch opens with the batch that needs the
    most memory (of its first window), so that running out of it shows in the first minute.
    """

    def __init__(
        self,
        durations_s: Sequence[float],
        batch_s: float,
        seed: int,
        speeds: Sequence[float] = (),
        added_s: float = 0.0,
    ):
        self.durations_s = np.asarray(durations_s, dtype=np.float64)
        self.batch_s, self.seed = batch_s, seed
        self.speeds, self.added_s = speeds or (1.0,), added_s

    def windows(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Indices and seconds, (n,) each, of what is mixed and laid out at once: everything."""
        yield np.arange(len(self.durations_s)), self.durations_s

    def _laid_out(self, epoch: int) -> Iterator[Window]:
        for number, (indices, durations_s) in enumerate(self.windows(epoch)):
            draw = np.random.default_rng((self.seed, epoch, number))
            window = Window(indices, durations_s, self.batch_s, self.speeds, self.added_s, draw)
            if epoch == number == 0:
                window.largest_first()
            yield window

    def steps(self, epoch: int) -> int:
        """The number of an epoch's batches."""
        return sum(len(window) for window in self._laid_out(epoch))

    def following(self, epoch: int, batch: int, epochs: int) -> Iterator[list[Place]]:
        """All batches from one of an epoch on, to the end of the last of `epochs`."""
        for later in range(epoch, epochs):
            skipped = batch if later == epoch else 0
            for window in self._laid_out(later):
                for number in range(skipped, len(window)):
                    yield window.batch(number, later)
                skipped = max(0, skipped - len(window))

    def batches(self, epoch: int) -> list[list[Place]]:
        """An epoch's batches at once."""
        return list(self.following(epoch, 0, epoch + 1))


def deal(batch: list[Place], parts: int) -> list[Part]:
    """Split a step's batch over processes, and over the passes that each makes of it.

    Neighbours in length go to different parts, which take about the same time. Every part has an
    utterance, so that no process waits for one that has nothing to do.
    """
    return [
        Part(batch[i::parts], batch) if i < len(batch) else Part(batch[:1], batch, weight=0.0)
        for i in range(parts)
    ]


def load_batches(
    dataset: SpeechDataset, parts: Iterable[Part], workers: int, pin: bool = False
) -> Iterator[Batch]:
    """Read parts in their order, `workers` processes ahead of the training.

    Raises `UserError` that names the utterance and the file which cannot be read.
    """
    loader = DataLoader(
        dataset,
        sampler=parts,
        batch_size=None,  # a part is a batch already
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the training loop to answer
    logging.getLogger("asr").setLevel(logging.WARNING)  # what is worth saying, the parent has said
