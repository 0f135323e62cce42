"""The stage that scores a model file on a test manifest."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from asr.data import manifest
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.stage_cache import digest
from asr.training.task import DevEvaluation, task_of

log = logging.getLogger("asr")


def score_stage(run: RunFolder, model_file: Path, name: str, label: str) -> DevEvaluation | None:
    """Score `model_file` on the manifest `name`; results and report go to `score/LABEL`.

    Returns None if the stage is skipped because nothing has changed.
    """
    path, folder = run.data / name, run.path / "score" / label
    stage = f"score {label}"
    inputs = {"model": digest(model_file), "manifest": digest(path)}
    if run.stages.done(stage, inputs, [folder / "score.json"]):
        run.report(stage, json.loads((folder / "score.json").read_text())["summary"])
        return None
    task = task_of(run.config)
    recognizer = task.load(model_file, run.config.train.device)
    utterances = manifest.read(path)
    evaluation = task.evaluate(recognizer, utterances)
    by_id = {utterance.id: utterance for utterance in utterances}
    evaluation.save(folder, f"{run.config.name} on {name}", recognizer.config, by_id)
    run.report(stage, str(evaluation.score))
    for failure in evaluation.failures:
        log.error("%s", failure.reason)
    if not evaluation.failures:
        run.stages.record(stage, inputs)
    return evaluation
