"""What a training run shows of itself, while it runs and afterwards.

One name for each figure everywhere: `train/loss` is a column of `metrics.jsonl`, a scalar of
TensorBoard and one of Weights & Biases. Nothing here asks the device for anything: it takes the
numbers that the loop has already.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from asr import audio, files
from asr.config import Config
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.plotting import figures
from asr.recognition.recognizer import Recognizer
from asr.scoring.evaluate import Evaluation
from asr.scoring.wer import Pair, word_counts

log = logging.getLogger("asr")

EXAMPLES = 5  # utterances of the dev set whose texts every validation shows
WORST = 5  # utterances with the most errors, shown likewise
HEARD = 3  # of the worst, with audio and features, after the best validation only
HEARD_S = 30.0  # of each, at most
DRAWING_SHARE = 0.02  # of the time, at most, goes into drawing curves.png again


@dataclass(frozen=True)
class StepMetrics:
    """What a step of training tells; seconds of audio are those of all processes."""

    loss: float  # as it came out, finite or not
    gradient_norm: float  # before clipping, finite or not
    learning_rate: float
    audio_s: float  # of its batch, without padding
    padding_s: float
    wait_s: float  # of step_s: until the batch was there
    step_s: float  # since the step before was done

    @property
    def finite(self) -> bool:
        """Whether the weights could be updated."""
        return math.isfinite(self.loss) and math.isfinite(self.gradient_norm)


@dataclass
class StepMeans:
    """Sums over some steps of training."""

    steps: int = 0
    skipped: int = 0  # steps whose loss or gradient was not finite
    loss: float = 0.0  # of the others
    gradient_norm: float = 0.0  # of the others
    audio_s: float = 0.0
    padding_s: float = 0.0
    wait_s: float = 0.0
    step_s: float = 0.0

    def add(self, step: StepMetrics) -> None:
        self.steps += 1
        if step.finite:
            self.loss += step.loss
            self.gradient_norm += step.gradient_norm
        else:
            self.skipped += 1
        self.audio_s += step.audio_s
        self.padding_s += step.padding_s
        self.wait_s += step.wait_s
        self.step_s += step.step_s

    @property
    def audio_s_per_s(self) -> float:
        return _ratio(self.audio_s, self.step_s)

    @property
    def padding_share(self) -> float:
        return _ratio(self.padding_s, self.audio_s + self.padding_s)

    @property
    def data_wait_share(self) -> float:
        return _ratio(self.wait_s, self.step_s)

    def figures(self) -> dict[str, float | None]:
        done = self.steps - self.skipped
        return {
            "train/loss": self.loss / done if done else None,
            "train/gradient_norm": self.gradient_norm / done if done else None,
            "train/skipped_steps": self.skipped,
            "train/padding_share": self.padding_share,
            "train/audio_s_per_s": self.audio_s_per_s,
            "train/data_wait_share": self.data_wait_share,
        }

    def __str__(self) -> str:
        return (
            f"{self.audio_s / 3600:.2f} hours of audio in {self.steps} steps: "
            f"{self.audio_s_per_s:.0f} s of audio a second, {self.padding_share:.1%} padding, "
            f"{self.data_wait_share:.1%} of the time spent waiting for data"
        )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


class Monitor:
    """Takes the figures of a run and shows them, in its folder and on the console:

    - `metrics.jsonl`: a row for the first step, every `train.log_every`-th and the last, with means
      over the steps since the row before; and a row for each validation.
    - `tensorboard/`: the same figures, and for each validation the texts of `EXAMPLES` utterances,
      always the same ones, and of the `WORST`, those with the most word errors. Audio and features
      of `HEARD` of the worst are kept of the best validation alone, in `tensorboard/worst`, in
      place of those before: what they take does not grow with the run.
    - `curves.png`: loss, error rates, learning rate and gradient norm; drawn at the end, and after
      a validation where drawing takes less than `DRAWING_SHARE` of the time.
    - a progress line.
    - Weights & Biases, where `train.wandb` names a project: the rows of `metrics.jsonl`.

    resumed_at: steps that a resumed run has done; resumed: what `checkpoint` returned then. What
    was written after it is dropped, so a run that was killed leaves the rows of one that was not.
    writes: false in all but one of the processes of a run; these show nothing. Raises `UserError`
    when Weights & Biases is asked for and is not installed, or refuses.
    """

    def __init__(
        self,
        folder: Path,
        config: Config,
        total_steps: int,
        console: Console,
        resumed_at: int = 0,
        resumed: dict[str, Any] | None = None,
        *,
        writes: bool = True,
    ):
        self.folder, self.config, self.console = folder, config, console
        self.total_steps, self.writes = total_steps, writes
        self._rows = 0  # of metrics.jsonl
        self._window, self._since_start = StepMeans(), StepMeans()
        if resumed:
            self._rows, self._window = resumed["rows"], StepMeans(**resumed["window"])
        self._draws = True
        self._drawn, self._drawing_s = time.monotonic(), 0.0
        self._wandb = None
        if not writes:
            return
        if config.train.wandb is not None:
            self._wandb = start_wandb(folder, config, resuming=resumed is not None)
        self._metrics = folder / "metrics.jsonl"
        kept = self._metrics.read_bytes().splitlines(True) if self._metrics.exists() else []
        kept = kept[: self._rows]
        self._rows = len(kept)
        files.write(self._metrics, b"".join(kept))
        self._file = self._metrics.open("a", encoding="utf-8")
        if not resumed:
            shutil.rmtree(folder / "tensorboard", ignore_errors=True)
        # TensorBoard forgets what was written of this step and of later ones before.
        self._logs = SummaryWriter(str(folder / "tensorboard"), purge_step=resumed_at + 1)
        self._progress = Progress(
            TextColumn("{task.fields[epoch]}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total} steps{task.fields[figures]}"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        self._task = self._progress.add_task(
            "", total=total_steps, completed=resumed_at, epoch="", figures=""
        )

    def __enter__(self) -> Monitor:
        if self.writes:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_) -> None:
        if not self.writes:
            return
        self._progress.stop()
        self._logs.close()
        self._file.close()
        self._draw()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if kind is None else 1)
        if kind is None and self._since_start.steps:
            self.console.print(f"trained on {self._since_start}", highlight=False)

    def step(self, step: int, epoch: int, figures: StepMetrics) -> None:
        """The `step`-th step of the run is done, in its `epoch`-th epoch, both from 1 on."""
        if not self.writes:
            return
        self._window.add(figures)
        self._since_start.add(figures)
        self._progress.update(
            self._task,
            completed=step,
            epoch=f"epoch {epoch}/{self.config.train.epochs}",
            figures=f", loss {figures.loss:.3f}, rate {figures.learning_rate:.1e}, "
            f"{self._window.audio_s_per_s:.0f} s of audio/s",
        )
        if step == 1 or step % self.config.train.log_every == 0 or step == self.total_steps:
            rate = {"train/learning_rate": figures.learning_rate}
            self._record(step, epoch, self._window.figures() | rate)
            self._window = StepMeans()

    def validation(
        self,
        step: int,
        epoch: int,
        evaluation: Evaluation,
        recognizer: Recognizer,
        utterances: Sequence[Utterance],
        best: bool,
    ) -> None:
        """The model was evaluated on `utterances` after `step`; best: none before was better."""
        if not self.writes:
            return
        found = evaluation.score.to_dict()
        low, high = found["wer_interval_95"]
        rates = {"wer": found["wer"], "wer_low": low, "wer_high": high, "cer": found["cer"]}
        self._record(step, epoch, {f"dev/{name}": rate for name, rate in rates.items()})

        pairs = evaluation.pairs
        errors = [word_counts(pair.reference, pair.hypothesis).errors for pair in pairs]
        wrong = [i for i in range(len(pairs)) if errors[i]]
        worst = sorted(wrong, key=lambda i: -errors[i])[:WORST]
        fixed = np.linspace(0, len(pairs) - 1, min(EXAMPLES, len(pairs))).astype(int).tolist()
        for name, chosen in (("examples", fixed), ("worst", worst)):
            table = texts([pairs[i] for i in chosen], [errors[i] for i in chosen])
            self._logs.add_text(f"dev/{name}", table, step)
        if best:
            unreadable = {failure.utterance.id for failure in evaluation.failures}
            places = {
                place: utterances[i]
                for place, i in enumerate(worst, start=1)
                if pairs[i].id not in unreadable
            }
            heard = dict(itertools.islice(places.items(), HEARD))
            show_utterances(self.folder / "tensorboard/worst", heard, recognizer, step)
        if time.monotonic() - self._drawn >= self._drawing_s / DRAWING_SHARE:
            self._draw()

    def checkpoint(self) -> dict[str, Any]:
        """What a later `Monitor` of this run has to know, for the checkpoint; plain types.

        What was shown up to now is on the disk when this returns.
        """
        if self.writes:
            self._logs.flush()
        return {"rows": self._rows, "window": asdict(self._window)}

    def _record(self, step: int, epoch: int, figures: dict[str, float | None]) -> None:
        self._file.write(json.dumps({"step": step, "epoch": epoch} | figures) + "\n")
        self._file.flush()  # what the operating system has survives a kill
        self._rows += 1
        known = {name: value for name, value in figures.items() if value is not None}
        for name, value in known.items():
            self._logs.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.log({"epoch": epoch} | known, step=step)

    def _draw(self) -> None:
        if not self._draws:
            return
        started = time.monotonic()
        try:
            figures.curves(self.folder / "curves.png", self.config.name, read(self._metrics))
        except UserError as error:
            log.warning("no curves.png: %s", error)
            self._draws = False
        self._drawn = time.monotonic()
        self._drawing_s = self._drawn - started


def read(path: str | Path) -> list[dict[str, Any]]:
    """The rows of a `metrics.jsonl`, in the order of the run."""
    with Path(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def texts(pairs: Sequence[Pair], errors: Sequence[int]) -> str:
    """References against hypotheses, as a table in Markdown."""
    lines = ["| utterance | word errors | reference | hypothesis |", "|---|---|---|---|"]
    for pair, count in zip(pairs, errors, strict=True):
        cells = [pair.id, str(count), pair.reference, pair.hypothesis]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines)


def show_utterances(
    folder: Path, utterances: Mapping[int, Utterance], recognizer: Recognizer, step: int
) -> None:
    """Audio and features of utterances, by their place, as all the TensorBoard logs of `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    with SummaryWriter(str(folder)) as logs:
        for place, u in utterances.items():
            samples = audio.read(u.audio, recognizer.rate_hz, u.start_s, u.duration_s)
            samples = samples[: round(HEARD_S * recognizer.rate_hz)]
            waveform = torch.from_numpy(samples)[None]  # (1, N)
            logs.add_audio(f"worst_audio/{place}", waveform, step, recognizer.rate_hz)
            image = picture(recognizer, waveform)
            logs.add_image(f"worst_features/{place}", image, step, dataformats="HW")


def picture(recognizer: Recognizer, waveform: torch.Tensor) -> np.ndarray:
    """(1, N) samples -> (4 F, 2 T) uint8: the features, low frequencies below, bright is loud."""
    training = recognizer.features.training
    recognizer.features.eval()  # without dither
    lengths = torch.tensor([waveform.shape[1]], device=recognizer.device)
    features, _ = recognizer.features.raw(waveform.to(recognizer.device), lengths)
    recognizer.features.train(training)
    shades = features[0].T.flip(0).cpu().numpy()  # (F, T)
    low, high = np.quantile(shades, [0.01, 1.0])
    shades = (255 * ((shades - low) / max(high - low, 1e-6)).clip(0, 1)).astype(np.uint8)
    return shades.repeat(4, axis=0).repeat(2, axis=1)


def start_wandb(folder: Path, config: Config, resuming: bool) -> Any:
    """The Weights & Biases run of a run folder, the same one again where the training resumes."""
    try:
        import wandb
    except ModuleNotFoundError:
        raise UserError(
            f"train.wandb={config.train.wandb}: Weights & Biases is not installed: "
            "pip install 'asr[wandb]', or leave train.wandb out"
        ) from None
    id_file = folder / "wandb.id"
    try:
        run = wandb.init(
            project=config.train.wandb,
            name=config.name,
            id=id_file.read_text() if resuming and id_file.exists() else None,
            resume="allow",
            dir=folder,
            config=config.model_dump(mode="json"),
            settings=wandb.Settings(console="off"),  # the console is rich's
        )
    except wandb.Error as error:
        reason = " ".join(str(error).split())
        raise UserError(f"train.wandb={config.train.wandb}: {reason}") from None
    files.write(id_file, run.id)
    return run
