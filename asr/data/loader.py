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

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from asr import audio
from asr.config import Config
from asr.data.augment import WaveformAugment
from asr.data.manifest import Utterance
from asr.data.padding import pad
from asr.data.sampler import Part, Place
from asr.errors import UserError
from asr.text.normalize import normalize
from asr.text.tokenizer import Tokenizer


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
        text = normalize(utterance.text or "", self.text)
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
