"""Steps with a non-finite loss or gradient are skipped and reported; their batches are saved."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Sequence
from pathlib import Path

import soundfile

from asr.data import manifest
from asr.data.loader import Batch
from asr.data.manifest import Utterance
from asr.errors import Failed

log = logging.getLogger("asr")

MAX_BAD_STEPS = 5  # the run ends after this many consecutive bad steps
MAX_FOLDERS = 10  # at most this many bad batches are saved


class BadBatches:
    """Counts consecutive bad steps and writes their batches to `folder`."""

    def __init__(self, folder: Path, rate_hz: int):
        self.folder, self.rate_hz = folder, rate_hz
        self.consecutive = 0

    def good_step(self) -> None:
        self.consecutive = 0

    def bad_step(
        self, step: int, rank: int, batches: Sequence[Batch], loss: float, norm: float
    ) -> None:
        """Report a skipped step and save its batches.

        Raises `Failed` after `MAX_BAD_STEPS` in a row.
        """
        self.consecutive += 1
        utterances = self._keep(self.folder / f"step-{step}-rank-{rank}", batches)
        ids = [name for batch in batches if batch.weight for name in batch.ids]
        named = ", ".join(itertools.islice(ids, 8)) + (", ..." if len(ids) > 8 else "")
        kept = f"{utterances} is a manifest of this batch" if utterances else "earlier ones are"
        log.warning(
            f"step {step}: loss {loss:g}, gradient norm {norm:g}; the step is skipped. Its "
            f"{len(ids)} utterances: {named}. Either numbers are too large for the precision, or "
            "CTC cannot align an utterance with its text. If it happens again, listen to the "
            f"batches as the model received them: {kept}"
            + ("" if utterances else f" in {self.folder}")
        )
        if self.consecutive == MAX_BAD_STEPS:
            raise Failed(
                f"{MAX_BAD_STEPS} steps in a row without a finite loss: lower "
                "train.learning_rate, raise train.warmup, or use train.precision=no"
            )

    def _keep(self, folder: Path, batches: Sequence[Batch]) -> Path | None:
        """Write a manifest and its recordings; returns None if `MAX_FOLDERS` exist already."""
        if len(list(self.folder.glob("*"))) >= MAX_FOLDERS:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        utterances = [
            utterance
            for number, batch in enumerate(batches)
            if batch.weight  # a stand-in repeats an utterance that another part has
            for utterance in self._write(folder, number, batch)
        ]
        manifest.write(folder / "manifest.jsonl", utterances)
        return folder / "manifest.jsonl"

    def _write(self, folder: Path, number: int, batch: Batch) -> list[Utterance]:
        """Write the waveforms of a batch, augmented as the model received them."""
        utterances = []
        rows = zip(batch.ids, batch.texts, batch.lengths.tolist(), strict=True)
        for i, (name, text, length) in enumerate(rows):
            path = folder / f"{number}-{i}.wav"
            samples = batch.waveforms[i, :length].cpu().numpy()
            soundfile.write(path, samples, self.rate_hz, subtype="FLOAT")
            duration_s = length / self.rate_hz
            utterances.append(Utterance(name, str(path), duration_s=duration_s, text=text))
        return utterances
