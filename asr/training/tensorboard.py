"""The writer for TensorBoard: scalars, texts, and audio and features of the worst utterances."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from asr import audio
from asr.data.manifest import Utterance
from asr.scoring.wer import Pair, word_counts
from asr.training.writers import Row, Validation, Writer

EXAMPLES = 5  # number of dev utterances whose texts are written at each validation
WORST = 5  # number of utterances with the most word errors whose texts are written as well
AUDIBLE = 3  # number of worst utterances that are written with audio and features
AUDIBLE_S = 30.0  # at most this much audio of each


class TensorBoard(Writer):
    """Writes TensorBoard logs to `folder`.

    Each validation writes the texts of `EXAMPLES` fixed utterances and of the `WORST` utterances.
    `folder/worst` has the audio and features of `AUDIBLE` of the worst utterances, for the best
    validation only: it is replaced by each better one, so its size does not grow with the run.
    resumed_at: TensorBoard hides rows after this step that an earlier run logged; None deletes
    earlier logs.
    """

    def __init__(self, folder: Path, resumed_at: int | None):
        self.folder = folder
        if resumed_at is None:
            shutil.rmtree(folder, ignore_errors=True)
        self._logs = SummaryWriter(str(folder), purge_step=(resumed_at or 0) + 1)

    def row(self, step: int, epoch: int, row: Row) -> None:
        for name, value in row.items():
            if value is not None:
                self._logs.add_scalar(name, value, step)

    def validation(self, validation: Validation) -> None:
        evaluation, utterances = validation.evaluation, validation.utterances
        pairs = evaluation.pairs
        errors = [word_counts(pair.reference, pair.hypothesis).errors for pair in pairs]
        wrong = [i for i in range(len(pairs)) if errors[i]]
        worst = sorted(wrong, key=lambda i: -errors[i])[:WORST]
        fixed = np.linspace(0, len(pairs) - 1, min(EXAMPLES, len(pairs))).astype(int).tolist()
        for name, chosen in (("examples", fixed), ("worst", worst)):
            table = text_table([pairs[i] for i in chosen], [errors[i] for i in chosen])
            self._logs.add_text(f"dev/{name}", table, validation.step)
        if validation.best:
            unreadable = {failure.utterance.id for failure in evaluation.failures}
            ranked = {
                rank: utterances[i]
                for rank, i in enumerate(worst, start=1)
                if pairs[i].id not in unreadable
            }
            audible = dict(itertools.islice(ranked.items(), AUDIBLE))
            write_audio(self.folder / "worst", audible, validation.recognizer, validation.step)

    def flush(self) -> None:
        self._logs.flush()

    def close(self, failed: bool) -> None:
        self._logs.close()


def text_table(pairs: Sequence[Pair], errors: Sequence[int]) -> str:
    """References and hypotheses, as a table in Markdown."""
    lines = ["| utterance | word errors | reference | hypothesis |", "|---|---|---|---|"]
    for pair, count in zip(pairs, errors, strict=True):
        cells = [pair.id, str(count), pair.reference, pair.hypothesis]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def write_audio(
    folder: Path, utterances: Mapping[int, Utterance], recognizer: Any, step: int
) -> None:
    """Replace the logs in `folder` with the audio and features of {rank: utterance}."""
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as logs:
        for rank, u in utterances.items():
            samples = audio.read(u.audio, recognizer.rate_hz, u.start_s, u.duration_s)
            samples = samples[: round(AUDIBLE_S * recognizer.rate_hz)]
            waveform = torch.from_numpy(samples)[None]  # (1, N)
            logs.add_audio(f"worst_audio/{rank}", waveform, step, recognizer.rate_hz)
            image = feature_image(recognizer, waveform)
            logs.add_image(f"worst_features/{rank}", image, step, dataformats="HW")


def feature_image(recognizer: Any, waveform: torch.Tensor) -> np.ndarray:
    """Samples (1, N) -> an image (4 F, 2 T) uint8 of the features without dither.

    Low frequencies are at the bottom; brighter is louder.
    """
    training = recognizer.emitter.features.training
    recognizer.emitter.features.eval()
    lengths = torch.tensor([waveform.shape[1]], device=recognizer.emitter.device)
    features, _ = recognizer.emitter.features.raw(waveform.to(recognizer.emitter.device), lengths)
    recognizer.emitter.features.train(training)
    shades = features[0].T.flip(0).cpu().numpy()  # (F, T)
    low, high = np.quantile(shades, [0.01, 1.0])
    shades = (255 * ((shades - low) / max(high - low, 1e-6)).clip(0, 1)).astype(np.uint8)
    return shades.repeat(4, axis=0).repeat(2, axis=1)
