"""The stage that makes `commands.asr`: the trained model with its grammar and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from asr import files
from asr.config import override, parse
from asr.data import manifest
from asr.lm.grammar import Grammar
from asr.model import model_file
from asr.model.model_file import Model
from asr.model.shipped import model_path
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.stage_cache import digest
from asr.recognition.recognizer import Recognizer
from asr.scoring.commands import CommandScore, HeardCommands, choose_min_fit, hear, score_commands

MANIFESTS = ("dev.jsonl", "outside-dev.jsonl", "test.jsonl", "outside-test.jsonl")


def command_stage(run: RunFolder, grammar_file: Path) -> CommandScore | None:
    """Put the grammar into the model, choose `decoder.min_fit` on dev, and score on test.

    If training started from another model, that model as it is competes: the one that understands
    more commands of the dev set is written. Returns None if nothing has changed.
    """
    c = run.config
    output = run.path / "commands.asr"
    inputs = {
        "model": digest(run.model_file),
        "grammar": digest(grammar_file),
        "sets": [digest(run.data / name) for name in MANIFESTS],
        "false_accepts": c.commands.false_accepts,
    }
    if run.stages.done("commands", inputs, [output]):
        return None
    grammar = Grammar(grammar_file)
    candidates = {"trained": run.model_file}
    if c.train.init_from is not None and model_path(c.train.init_from).exists():
        candidates["as it was"] = model_path(c.train.init_from)
    tried = []
    for name, path in candidates.items():
        model = model_file.load_model(path)
        model.grammar = grammar
        dev = _calibrate(run, model)
        run.report("commands", f"{name}, dev: {dev}")
        tried.append((dev.commands.share, name, model))
    _, name, model = max(tried, key=lambda one: one[0])
    test = _hear(run, model, "test")
    score = score_commands(test, model.config.decoder.min_fit)
    run.report("commands", f"{name}, test: {score}")
    model_file.save_model(output, model)
    files.write(run.path / "commands.json", json.dumps(_figures(score), indent=1) + "\n")
    run.report("commands", f"wrote {output}")
    run.stages.record("commands", inputs)
    return score


def _hear(run: RunFolder, model: Model, name: str) -> HeardCommands:
    inside = manifest.read(run.data / f"{name}.jsonl")
    outside = manifest.read(run.data / f"outside-{name}.jsonl")
    return hear(Recognizer(model, run.config.train.device), inside, outside)


def _calibrate(run: RunFolder, model: Model) -> CommandScore:
    """Choose `decoder.min_fit` of the model on the dev sets; returns the score with it."""
    heard = _hear(run, model, "dev")
    min_fit = choose_min_fit(
        [one.command.fit for one in heard.inside],
        [one.command.fit for one in heard.outside],
        run.config.commands.false_accepts,
    )
    settings = model.config.model_dump(mode="json")
    model.config = parse(settings, run.config.name, [override("decoder.min_fit", min_fit)])
    return score_commands(heard, min_fit)


def _figures(score: CommandScore) -> dict[str, dict[str, float]]:
    return {
        name: {"count": share.count, "of": share.of}
        for name in ("sentences", "intents", "commands", "refused", "accepted")
        for share in [getattr(score, name)]
    }
