"""A recipe from its corpus to its score: stages, skipped when nothing they need has changed.

prepare -> tokenizer -> train -> (language model) -> score, in the run folder `runs/NAME`.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from asr import __version__, config, files
from asr.config import Config
from asr.data import manifest, shards
from asr.data.check import Problems, check, check_shards
from asr.data.manifest import Utterance
from asr.data.texts import sentences_of
from asr.errors import Failed, UserError
from asr.lm.ngram import NGram
from asr.model import model_file
from asr.model.ctc import ctc_frames
from asr.model.model_file import Model
from asr.pipeline.stages import StageCache, differences, digest
from asr.recognition.recognizer import Recognizer, load, pick_device
from asr.scoring import tuning
from asr.scoring.evaluate import Evaluation, evaluate
from asr.scoring.report import write_report
from asr.scoring.wer import write_results
from asr.text import tokenizer
from asr.text.normalize import describe, normalize
from asr.training import distributed, finetune
from asr.training.loop import train
from asr.training.schedule import TrainingState

log = logging.getLogger("asr")

SHOWN = {"log_every", "wandb"}  # settings that may change before a run goes on


@dataclass(frozen=True)
class Recipe:
    config: Config
    prepare: Path | None  # the script that makes the corpus


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe folder (recipe.yaml, prepare.py) or a configuration file alone."""
    path = Path(path)
    if path.is_dir():
        if not (path / "recipe.yaml").is_file():
            raise UserError(f"{path}: no recipe.yaml in this folder")
        path = path / "recipe.yaml"
    script = path.parent / "prepare.py"
    return Recipe(config.load(path, overrides), script if script.is_file() else None)


class Run:
    """A run folder and the ledger of its stages.

    Where several processes train together, the first does all that comes before and after.
    """

    def __init__(self, recipe: Recipe, runs: str | Path, console: Console):
        self.recipe, self.config, self.console = recipe, recipe.config, console
        if not distributed.is_main():
            self.console = Console(quiet=True)
            log.setLevel(logging.ERROR)
        self.folder = Path(runs) / self.config.name
        self.data = self.config.data_folder
        self.model_file = self.folder / "model.asr"
        self.tuned_file = self.folder / "tuned.asr"  # with a language model, where there is one
        self._manifest = self.folder / "manifests/train.jsonl"  # of what can be trained on
        self._seconds = self.folder / "manifests/train.seconds"  # the same, where it is in shards
        self._stages = StageCache(self.folder / "stages.json", self._say)

    # ---- stages --------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Run the recipe's prepare.py: it writes the manifests and the audio they name."""
        with self._main_first():
            self._prepare()

    def _prepare(self) -> None:
        wanted = [self.data / self.config.data.train, self.data / self.config.data.dev]
        wanted += [self.data / name for name in self.config.data.test]
        script = self.recipe.prepare
        if script is None:
            missing = [path for path in wanted if not path.exists()]
            if missing:
                raise UserError(
                    f"{missing[0]}: no such manifest, and the recipe has no prepare.py to make it"
                )
            return self._say("prepare", "skipped: the manifests are there")
        inputs = {"script": digest(script), "options": self.config.data.prepare}
        if self._stages.done("prepare", inputs, wanted):
            return
        command = [sys.executable, str(script), str(self.data)]
        for key, value in self.config.data.prepare.items():
            command += [f"--{key.replace('_', '-')}", str(value)]
        status = subprocess.run(command).returncode
        if status == 2:
            raise UserError(f"{script}: could not prepare the corpus (see above)")
        if status != 0:
            raise Failed(f"{script}: ended with exit status {status} (see above)")
        self._stages.note("prepare", inputs)

    def tokenizer(self) -> tokenizer.Tokenizer:
        """Learn the tokenizer from the training texts."""
        c = self.config
        path = self.folder / "tokenizer"
        manifest_file = self.data / c.data.train
        inputs = {
            "tokenizer": c.tokenizer.model_dump(),
            "text": c.text.model_dump(),
            "train": digest(manifest_file),
            **self._init_from(),
        }
        if not self._stages.done("tokenizer", inputs, [path]):
            corpus = shards.read(manifest_file)

            def texts() -> Iterator[str]:
                return (normalize(u.text or "", c.text) for u in corpus)

            learned = None
            if c.train.init_from:
                learned = finetune.inherited_tokenizer(c.train.init_from, texts(), c.tokenizer)
            if learned is None:
                learned = tokenizer.train(texts(), c.tokenizer.kind, c.tokenizer.vocab_size)
            files.write(path, learned.to_bytes())
            self._say(
                "tokenizer", f"{len(learned.pieces)} {c.tokenizer.kind}, the blank among them"
            )
            self._stages.note("tokenizer", inputs)
        try:
            return tokenizer.from_bytes(path.read_bytes(), c.tokenizer.kind)
        except ValueError as error:
            raise UserError(f"{path}: damaged ({error}); delete it to make it again") from None

    def train(self, fresh: bool = False) -> None:
        """Check the manifests, train or resume, write the model file."""
        c = self.config
        self._texts()  # missing ones are said now, not after hours
        with self._main_first():
            inputs = self._training_inputs(fresh)
            tokens = self.tokenizer()
            if fresh and distributed.is_main():
                self._forget("train")
            elif self._stages.done("train", inputs, [self.model_file]):
                return
            train_set = self._start_training(inputs, tokens)
        # Dev texts need no alphabet and no alignment: what the model cannot write counts as errors.
        dev_set = manifest.read(self.data / c.data.dev)
        torch.manual_seed(c.seed)
        model = Model.build(c, tokens)
        self._say(
            "train",
            f"{c.model.preset} model, {model.acoustic.parameter_count() / 1e6:.1f} M parameters, "
            f"{shards.durations_s(train_set).sum() / 3600:.2f} hours",
        )
        state = train(model, train_set, dev_set, self.folder, self.console)
        if not distributed.is_main():
            return
        model.card = model_card(c, train_set, state)
        model_file.save_model(self.model_file, model)
        self._say(
            "train",
            f"best dev WER {state.best[0]:.2%} in epoch {state.best_epoch}, "
            f"{state.train_s:.0f} s; wrote {self.model_file}",
        )
        self._stages.note("train", inputs)

    def _training_inputs(self, fresh: bool) -> dict:
        """What a training run depends on."""
        c = self.config
        return {
            "config": c.model_dump(
                mode="json",
                exclude={"name": True, "data": {"prepare", "test"}, "train": SHOWN, "lm": True},
            ),
            "manifests": {
                name: digest(self.data / file)
                for name, file in {"train": c.data.train, "dev": c.data.dev}.items()
            },
            **self._init_from(fresh),
        }

    def _start_training(self, inputs: dict, tokens: tokenizer.Tokenizer) -> Sequence[Utterance]:
        """Claim the run folder for these settings; returns what can be trained on."""
        path = self.data / self.config.data.train
        if not distributed.is_main():
            return self._checked(path)
        started = self._stages.stages.get("train started")
        if started is not None and started != inputs:
            changed = ", ".join(differences(started, inputs))
            raise UserError(
                f"{self.folder}: holds a run with other settings ({changed}): choose another name, "
                "or start over with --fresh"
            )
        self._stages.note("train started", inputs)
        files.write(self.folder / "config.yaml", config.to_yaml(self.config))
        self._check(path, tokens)
        return self._checked(path)

    def language_model(self) -> None:
        """Estimate an n-gram, choose how the decoder uses it on dev, write both to `tuned.asr`."""
        c = self.config
        if not c.lm.texts or not distributed.is_main():
            return
        texts = self._texts()
        dev = self.data / c.data.dev
        inputs = {
            "model": digest(self.model_file),
            "order": c.lm.order,
            "texts": {str(path): digest(path) for path in texts},
            "dev": digest(dev),
        }
        if self._stages.done("language model", inputs, [self.tuned_file]):
            return
        model = model_file.load_model(self.model_file)
        lines = sentences_of(texts, lambda text: normalize(text, c.text))
        model.ngram = NGram.estimate(lines, c.lm.order)
        self._say("language model", str(model.ngram))
        utterances = manifest.read(dev)
        with self.console.status("emissions of the dev set") as status:
            made = tuning.DevSet(Recognizer(model, pick_device(c.train.device)), utterances)
            trials = itertools.count(1)
            found = tuning.tune(model, made, lambda _: status.update(f"trial {next(trials)}"))
        model_file.save_model(self.tuned_file, tuning.apply(model, found, dev.name))
        self._say("language model", f"{found.gain}; wrote {self.tuned_file}")
        self._stages.note("language model", inputs)

    def score(self) -> dict[str, Evaluation]:
        """Score the model files on the test manifests; texts and figures go to score/SET."""
        found = {}
        if not distributed.is_main():
            return found
        for name in self.config.data.test:
            found[name] = self._score(self.model_file, name, Path(name).stem)
            if self.config.lm.texts:
                tuned = f"{Path(name).stem}-tuned"
                found[tuned] = self._score(self.tuned_file, name, tuned)
        return {name: evaluation for name, evaluation in found.items() if evaluation}

    def _score(self, model_file: Path, name: str, called: str) -> Evaluation | None:
        """On one manifest; None where that is done."""
        path, folder = self.data / name, self.folder / "score" / called
        stage = f"score {called}"
        inputs = {"model": digest(model_file), "manifest": digest(path)}
        if self._stages.done(stage, inputs, [folder / "score.json"]):
            self._say(stage, json.loads((folder / "score.json").read_text())["summary"])
            return None
        recognizer = load(model_file, self.config.train.device)
        utterances = manifest.read(path)
        evaluation = evaluate(recognizer, utterances)
        form = {"normalization": "recipe", "normalized": describe(recognizer.config.text)}
        pairs, words = evaluation.pairs, evaluation.words
        heard = {utterance.id: utterance for utterance in utterances}
        write_results(folder, pairs, evaluation.score, form, words, heard)
        figures = evaluation.score.to_dict() | form
        write_report(folder, f"{self.config.name} on {name}", pairs, figures, heard, words)
        self._say(stage, str(evaluation.score))
        for failure in evaluation.failures:
            log.error("%s", failure.reason)
        if not evaluation.failures:
            self._stages.note(stage, inputs)
        return evaluation

    # ---- helpers -------------------------------------------------------------------------------

    def _texts(self) -> list[Path]:
        """What the language model is made of: manifests of the data folder, or files by path."""
        found = []
        for name in self.config.lm.texts:
            places = [self.data / name, Path(name)]
            found += [path for path in places if path.is_file()][:1]
            if not any(path.is_file() for path in places):
                raise UserError(f"lm.texts: {name}: no such file, nor {places[0]}")
        return found

    @contextmanager
    def _main_first(self) -> Iterator[None]:
        cpu = pick_device(self.config.train.device).type == "cpu"
        with distributed.main_first(cpu):
            self._stages.read()
            yield

    def _init_from(self, fresh: bool = False) -> dict[str, str]:
        """The digest of the model file to begin with; a run that has begun needs it no more."""
        name = self.config.train.init_from
        if name is None:
            return {}
        path = Path(name)
        if path.resolve() == self.model_file.resolve():
            raise UserError(f"train.init_from: {path} is what this run writes; give another name")
        known = self._stages.stages.get("train started", {}).get("init_from")
        if known is not None and not fresh and not path.exists():
            return {"init_from": known}
        return {"init_from": digest(path)}

    def _check(self, path: Path, tokens: tokenizer.Tokenizer) -> None:
        """Find the utterances that can be trained on; the others are named, counted and listed."""
        listed = self.folder / "manifests/train.problems.tsv"
        c, streamed = self.config, path.is_dir()
        inputs = {
            "train": digest(path),
            "tokenizer": digest(self.folder / "tokenizer"),
            "config": c.model_dump(mode="json", exclude={"name", "train", "decoder", "lm"}),
        }
        if streamed and self._stages.done("check", inputs, [self._seconds, listed]):
            return
        problems = Problems()
        with files.replacing(listed) as beside, beside.open("w", encoding="utf-8") as file:
            file.write("id\tkind\tdetail\n")
            if streamed:
                found = check_shards(shards.Shards(path), c, ctc_frames(c), tokens, self._seconds)
            else:
                report = check(manifest.read(path), c, ctc_frames(c), tokens, training=True)
                manifest.write(self._manifest, report.usable)
                found = report.errors
            for problem in found:
                file.write(f"{problem.utterance}\t{problem.kind}\t{problem.detail}\n")
                problems.add(problem)
        if problems.counts:
            for line in problems.lines(path):
                self.console.print(line, highlight=False, markup=False)
            self.console.print(f"left out of training; the whole list is in {listed}")
        if not (len(self._checked(path)) if streamed else report.usable):
            raise UserError(f"{path}: no utterance can be used for training (see above)")
        if streamed:
            self._stages.note("check", inputs)

    def _checked(self, path: Path) -> Sequence[Utterance]:
        """What `_check` found that can be trained on."""
        if path.is_dir():
            return shards.Shards(path, self._seconds, self.config.data.shuffle_shards)
        return manifest.read(self._manifest)

    def _forget(self, stage: str) -> None:
        """Drop a training run's checkpoints: the next one starts from nothing."""
        for path in (self.folder / "checkpoints").glob("*.safetensors"):
            path.unlink()
        self.model_file.unlink(missing_ok=True)
        self._stages.forget(stage)

    def _say(self, stage: str, text: str) -> None:
        self.console.print(f"[bold]{stage}[/bold]: {text}", highlight=False)


def model_card(c: Config, train_set: Sequence[Utterance], state: TrainingState) -> str:
    """What travels inside the model file for people to read."""
    hours = shards.durations_s(train_set).sum() / 3600
    told = {(u.speaker, u.language) for u in train_set}
    speakers = len({speaker for speaker, _ in told if speaker is not None})
    languages = sorted({language for _, language in told if language}) or ["not stated"]
    began = f"- Began with the weights of {c.train.init_from}.\n" if c.train.init_from else ""
    return f"""# {c.name}

A speech recognizer: {c.model.preset}, {c.model.rnn.upper()}, \
{"bidirectional" if c.model.bidirectional else "causal"}, CTC on {c.tokenizer.kind}.

- Trained on {hours:.2f} hours, {len(train_set)} utterances, {speakers or "unknown"} speakers; \
language: {", ".join(languages)}.
- Expects {c.features.rate_hz} Hz mono; other rates are resampled.
- Dev WER {state.best[0]:.2%}, CER {state.best[1]:.2%} (epoch {state.best_epoch}, greedy).
{began}- Trained in {state.train_s:.0f} s with asr {__version__}, torch {torch.__version__}, \
{os.cpu_count()} cores, seed {c.seed}.

    asr transcribe {c.name}.asr recording.wav
"""
