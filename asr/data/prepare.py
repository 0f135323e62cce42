"""Somebody's recordings and texts -> train, dev and test manifests that share no speaker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from asr import audio
from asr.data import manifest
from asr.data.importers import read_source
from asr.data.split import Split, split
from asr.errors import UserError


def prepare(
    source: str | Path,
    out: str | Path,
    dev: float = 0.1,
    test: float = 0.1,
    progress: Callable[[], None] = lambda: None,
) -> tuple[Split, list[str]]:
    """Write OUT/train.jsonl, dev.jsonl and test.jsonl; audio stays where it is.

    Returns the split, and a line for each recording that was left out.
    """
    if not (0 < dev < 1 and 0 < test < 1 and dev + test < 1):
        raise UserError(f"shares: dev {dev:g} and test {test:g} must lie between 0 and 1 together")
    utterances, left_out = read_source(source)
    usable = []
    for utterance in utterances:
        progress()
        try:
            left_s = audio.info(utterance.audio).duration_s - utterance.start_s
        except UserError as error:
            left_out.append(str(error))
            continue
        if not (utterance.text or "").strip():
            left_out.append(f"{utterance.id}: no text")
            continue
        duration_s = min(left_s, utterance.duration_s or left_s)
        # Made absolute: the manifests lie elsewhere, and what they name must be found from there.
        usable.append(
            replace(utterance, duration_s=duration_s, audio=str(Path(utterance.audio).resolve()))
        )
    if not usable:
        raise UserError(f"{source}: nothing can be used: {left_out[0]}")
    parts = split(usable, dev, test)
    for name in ("train", "dev", "test"):
        manifest.write(Path(out) / f"{name}.jsonl", getattr(parts, name))
    return parts, left_out
