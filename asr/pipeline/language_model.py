"""The stage that estimates a language model and tunes the decoder to it."""

from __future__ import annotations

import itertools
from pathlib import Path

from asr.data import manifest
from asr.data.texts import sentences_of
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.model import model_file
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.stage_cache import digest
from asr.recognition.recognizer import Recognizer
from asr.scoring import tuning
from asr.text.normalize import normalize


def language_model_stage(run: RunFolder) -> None:
    """Estimate an n-gram on `lm.texts`, tune the decoder on the dev set, and write `tuned.asr`."""
    c = run.config
    texts = text_files(run)
    inputs = {
        "model": digest(run.model_file),
        "order": c.lm.order,
        "texts": {str(path): digest(path) for path in texts},
        "dev": digest(run.dev_manifest),
    }
    if run.stages.done("language model", inputs, [run.tuned_file]):
        return
    model = model_file.load_model(run.model_file)
    lines = sentences_of(texts, lambda text: normalize(text, c.text))
    model.ngram = NGram.estimate(lines, c.lm.order)
    run.report("language model", str(model.ngram))
    recognizer = Recognizer(model, c.train.device)
    with run.console.status("emissions of the dev set") as status:
        dev_set = tuning.DevSet(recognizer, manifest.read(run.dev_manifest))
        trials = itertools.count(1)
        found = tuning.tune(model, dev_set, lambda _: status.update(f"trial {next(trials)}"))
    model_file.save_model(run.tuned_file, tuning.apply(model, found, run.dev_manifest.name))
    run.report("language model", f"{found.summary}; wrote {run.tuned_file}")
    run.stages.record("language model", inputs)


def text_files(run: RunFolder) -> list[Path]:
    """The files of `lm.texts`; a name is looked up in the data folder first, then as a path.

    Raises `UserError`, which names the file, if a file does not exist.
    """
    found = []
    for name in run.config.lm.texts:
        candidates = [path for path in (run.data / name, Path(name)) if path.is_file()]
        if not candidates:
            raise UserError(f"lm.texts: {name}: no such file, nor {run.data / name}")
        found.append(candidates[0])
    return found
