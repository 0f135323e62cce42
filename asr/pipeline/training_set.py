"""The training set: the utterances of the training manifest that pass the checks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from asr import files
from asr.data import manifest, shards
from asr.data.check import Problem, Problems, check, check_shards
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.model.ctc import ctc_frames
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.stage_cache import digest
from asr.text.tokenizer import Tokenizer


def check_training_set(run: RunFolder, tokens: Tokenizer) -> None:
    """Check every training utterance; write the usable ones and a list of problems.

    A summary of the problems is printed. A folder of shards is checked again only if the folder or
    the settings have changed. Raises `UserError` if no utterance can be used.
    """
    path, streamed = run.train_manifest, run.train_manifest.is_dir()
    inputs = {
        "train": digest(path),
        "tokenizer": digest(run.tokenizer_file),
        "config": run.config.model_dump(mode="json", exclude={"name", "train", "decoder", "lm"}),
    }
    if streamed and run.stages.done("check", inputs, [run.usable_seconds, run.problems_file]):
        return
    problems = Problems()
    with files.replacing(run.problems_file) as beside, beside.open("w", encoding="utf-8") as file:
        file.write("id\tkind\tdetail\n")
        for problem in _find_problems(run, tokens):
            file.write(f"{problem.utterance}\t{problem.kind}\t{problem.detail}\n")
            problems.add(problem)
    if problems.counts:
        for line in problems.lines(path):
            run.console.print(line, highlight=False, markup=False)
        run.console.print(
            f"these utterances are left out of training; all are listed in {run.problems_file}"
        )
    if streamed and not len(read_training_set(run)):
        raise no_usable_utterance(path)
    if not streamed and not run.usable_manifest.stat().st_size:
        raise no_usable_utterance(path)
    if streamed:
        run.stages.record("check", inputs)


def _find_problems(run: RunFolder, tokens: Tokenizer) -> Iterator[Problem]:
    """Yield the problems, and write the list of usable utterances."""
    path, c = run.train_manifest, run.config
    if path.is_dir():
        yield from check_shards(shards.Shards(path), c, ctc_frames(c), tokens, run.usable_seconds)
        return
    report = check(manifest.read(path), c, ctc_frames(c), tokens, training=True)
    manifest.write(run.usable_manifest, report.usable)
    yield from report.errors


def read_training_set(run: RunFolder) -> Sequence[Utterance]:
    """The utterances that `check_training_set` found usable."""
    if run.train_manifest.is_dir():
        return shards.Shards(run.train_manifest, run.usable_seconds, run.config.data.shuffle_shards)
    return manifest.read(run.usable_manifest)


def no_usable_utterance(source: object) -> UserError:
    return UserError(f"{source}: no utterance can be used for training (see above)")
