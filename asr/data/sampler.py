"""Batches of utterances of similar length, planned before any audio is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

UNCHANGED = (1.0, 1.0)  # the tempo range without augmentation


class UtteranceDraw(NamedTuple):
    """An utterance and the random choices for it in one epoch."""

    index: int  # in the manifest
    epoch: int  # each epoch draws its own augmentation
    speed: float = 1.0  # the factor by which it is played faster, which shifts the pitch
    tempo: float = 1.0  # the factor by which it is sped up at the same pitch


class BatchShard(NamedTuple):
    """The part of the batch of a step that one process computes in one pass."""

    draws: list[UtteranceDraw]
    batch: list[UtteranceDraw]  # the whole batch of the step, over all processes and passes
    weight: float = 1.0  # 0: a placeholder, because the batch has fewer utterances than shards


class BucketWindow:
    """Utterances that are shuffled together and divided into batches of similar length."""

    def __init__(
        self,
        indices: np.ndarray,
        durations_s: np.ndarray,
        batch_s: float,
        speeds: Sequence[float],
        added_s: float,
        tempo: tuple[float, float],
        draw: np.random.Generator,
    ):
        self.speeds = draw.choice(speeds, len(durations_s))
        self.tempos = np.ones(len(durations_s))
        if tempo != UNCHANGED:
            self.tempos = np.exp(draw.uniform(*np.log(tempo), len(durations_s)))
        lengths_s = (durations_s / self.speeds + added_s) / self.tempos
        # Lengths are jittered before sorting, so that neighbors change from epoch to epoch.
        order = np.argsort(lengths_s * draw.uniform(0.9, 1.1, len(lengths_s)))
        self.indices, self.speeds = indices[order], self.speeds[order]
        self.tempos = self.tempos[order]
        self.ends, self.padded_s = _fill(lengths_s[order].tolist(), batch_s)
        self.order = draw.permutation(len(self.ends)).tolist()

    def largest_first(self) -> None:
        largest = int(np.argmax(self.padded_s))
        self.order.remove(largest)
        self.order.insert(0, largest)

    def __len__(self) -> int:
        return len(self.ends)

    def batch(self, number: int, epoch: int) -> list[UtteranceDraw]:
        at = self.order[number]
        members = slice(self.ends[at - 1] if at else 0, self.ends[at])
        drawn = (values[members].tolist() for values in (self.indices, self.speeds, self.tempos))
        return [
            UtteranceDraw(index, epoch, speed, tempo)
            for index, speed, tempo in zip(*drawn, strict=True)
        ]


def _fill(lengths_s: list[float], batch_s: float) -> tuple[list[int], list[float]]:
    """Fill batches of at most `batch_s` seconds, including padding, in the given order.

    Returns the end index and the padded seconds of each batch.
    """
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


class BatchSampler:
    """Batches of utterances of similar length, with at most `batch_s` seconds including padding.

    The batches of an epoch depend only on the seed and the epoch. The speed of each utterance (one
    of `speeds`) and its tempo (log-uniform in the range `tempo`) are drawn here as well, because
    batches are filled by the lengths after augmentation; `added_s` is the largest number of seconds
    that other augmentation adds. The first epoch begins with the largest batch of its first window,
    so that a lack of memory is found at once.
    """

    def __init__(
        self,
        durations_s: Sequence[float],
        batch_s: float,
        seed: int,
        speeds: Sequence[float] = (),
        added_s: float = 0.0,
        tempo: tuple[float, float] = UNCHANGED,
    ):
        self.durations_s = np.asarray(durations_s, dtype=np.float64)
        self.batch_s, self.seed = batch_s, seed
        self.speeds, self.added_s, self.tempo = speeds or (1.0,), added_s, tempo

    def windows(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The indices (n,) and durations (n,) in seconds of each window; here there is only one."""
        yield np.arange(len(self.durations_s)), self.durations_s

    def _laid_out(self, epoch: int) -> Iterator[BucketWindow]:
        for number, (indices, durations_s) in enumerate(self.windows(epoch)):
            draw = np.random.default_rng((self.seed, epoch, number))
            changes = (self.speeds, self.added_s, self.tempo)
            window = BucketWindow(indices, durations_s, self.batch_s, *changes, draw)
            if epoch == number == 0:
                window.largest_first()
            yield window

    def steps(self, epoch: int) -> int:
        """The number of batches of an epoch."""
        return sum(len(window) for window in self._laid_out(epoch))

    def following(self, epoch: int, batch: int, epochs: int) -> Iterator[list[UtteranceDraw]]:
        """The batches from number `batch` of epoch `epoch` to the end of the last of all epochs.

        epochs: the number of epochs of the run.
        """
        for later in range(epoch, epochs):
            skipped = batch if later == epoch else 0
            for window in self._laid_out(later):
                for number in range(skipped, len(window)):
                    yield window.batch(number, later)
                skipped = max(0, skipped - len(window))

    def batches(self, epoch: int) -> list[list[UtteranceDraw]]:
        """All batches of an epoch."""
        return list(self.following(epoch, 0, epoch + 1))


def split_batch(batch: list[UtteranceDraw], shards: int) -> list[BatchShard]:
    """Split the batch of a step into parts, one for each pass of each process.

    Utterances of similar length go to different parts, so that all parts take about the same time.
    Every part has an utterance (if necessary a placeholder with weight 0), so that all processes
    make the same number of passes.
    """
    return [
        BatchShard(batch[i::shards], batch)
        if i < len(batch)
        else BatchShard(batch[:1], batch, weight=0.0)
        for i in range(shards)
    ]
