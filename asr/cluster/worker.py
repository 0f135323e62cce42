"""What runs on the machines of a cluster: a Recognizer that is given one chunk after another."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from asr.data.manifest import Utterance
from asr.recognition.recognizer import load
from asr.recognition.transcribe import Failure, Result, transcribe_many
from asr.transcript import Transcript
from asr.transcript.writers import jsonl

TRIES = 2  # of a chunk whose workers died; then of each of its recordings alone


@dataclass(frozen=True)
class Work:
    """What every worker needs to know: the arguments of `asr.load` and of `transcribe_many`."""

    model: Path
    device: str = "auto"
    lm: Path | None = None
    hotwords: Mapping[str, float] = field(default_factory=dict)
    decoder: Mapping[str, Any] = field(default_factory=dict)
    vad: str = "auto"  # of `asr.audio.vad`
    quantized: bool = False

    def files(self) -> dict[str, bytes]:
        """The model and the language model by names that end as theirs do."""
        files = {"model.asr": self.model.read_bytes()}
        if self.lm is not None:
            files[f"lm{''.join(self.lm.suffixes)}"] = self.lm.read_bytes()
        return files

    def settings(self) -> dict[str, Any]:
        """What the texts depend on."""
        return {
            "model": _digest(self.model),
            "language model": None if self.lm is None else _digest(self.lm),
            "hotwords": dict(self.hotwords),
            "decoder": {key: str(value) for key, value in self.decoder.items()},
            "vad": self.vad,
            "quantized": self.quantized,
        }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Worker:
    """An actor: a Recognizer on one CPU or GPU, for chunk after chunk."""

    def __init__(self, work: Work, files: Any, attempts: Any):
        import ray

        torch.set_num_threads(1)  # Ray counted one CPU
        with tempfile.TemporaryDirectory() as folder:
            paths = {}
            for name, data in ray.get(files).items():
                paths[name] = Path(folder) / name
                paths[name].write_bytes(data)
            model = paths.pop("model.asr")
            lm = next(iter(paths.values()), None)
            self.recognizer = load(
                model,
                work.device,
                lm=lm,
                hotwords=work.hotwords,
                quantized=work.quantized,
                **work.decoder,
            )
        self.vad = work.vad
        self.actor = ray.get_runtime_context().get_actor_id()
        self.attempts = attempts

    def __call__(self, chunk: dict) -> list[dict]:
        """A row an utterance: its number, its JSON line or why it has none."""
        import ray

        numbers, utterances = [], []
        for number, *columns in json.loads(chunk["utterances"]):
            numbers.append(number)
            utterances.append(Utterance(*columns))
        piece = f"chunk {chunk['chunk']}"
        if ray.get(self.attempts.begin.remote(piece)) <= TRIES:
            results = self._results(utterances)
        else:
            results = [self._alone(*pair) for pair in zip(numbers, utterances, strict=True)]
        ray.get(self.attempts.finish.remote(piece))
        return [self._row(number, *result) for number, result in zip(numbers, results, strict=True)]

    def _row(self, number: int, utterance: Utterance, found: Transcript | Failure) -> dict:
        failed = isinstance(found, Failure)
        line = found.reason if failed else jsonl(found, utterance.id)
        return {
            "number": number,
            "failed": failed,
            "line": line.encode(errors="surrogateescape" if failed else "backslashreplace"),
            "actor": self.actor,
            "process": os.getpid(),
        }

    def _results(self, utterances: list[Utterance]) -> list[Result]:
        try:
            return list(transcribe_many(self.recognizer, utterances, vad=self.vad))
        except Exception as error:  # of one recording: it must not stop the job of many machines
            if len(utterances) > 1:
                return [result for u in utterances for result in self._results([u])]
            (utterance,) = utterances
            reason = f"{utterance.audio}: {type(error).__name__}: {error}"
            return [(utterance, Failure(utterance, " ".join(reason.split())))]

    def _alone(self, number: int, utterance: Utterance) -> Result:
        """For a chunk that killed its workers: by one of its recordings, most likely."""
        import ray

        piece = f"recording {number}"
        if ray.get(self.attempts.begin.remote(piece)) > TRIES:
            reason = "each worker that had it died (out of memory? a decoder that crashes?)"
            return utterance, Failure(utterance, f"{utterance.audio}: {reason}")
        (result,) = self._results([utterance])
        ray.get(self.attempts.finish.remote(piece))
        return result
