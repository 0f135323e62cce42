"""The worker of a cluster: a recognizer that transcribes one chunk after another."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from asr.data.manifest import Utterance
from asr.recognition.recognizer import load
from asr.recognition.transcribe import Failure, Result, transcribe_many
from asr.transcript import Transcript
from asr.transcript.writers import jsonl

MAX_ATTEMPTS = 2  # per chunk; if both fail, also per recording of the chunk, each one alone


@dataclass(frozen=True)
class Work:
    """The settings of every worker: the arguments of `asr.load` and of `transcribe_many`."""

    model: Path
    device: str = "auto"
    lm: Path | None = None
    hotwords: Mapping[str, float] = field(default_factory=dict)
    decoder: Mapping[str, Any] = field(default_factory=dict)
    vad: str = "auto"  # a detector of `asr.audio.vad`
    quantized: bool = False
    grammar: Path | None = None

    def files(self) -> dict[str, bytes]:
        """{name: content} of the model file, the language model and the grammar; names keep the
        suffixes."""
        files = {f"model{self.model.suffix}": self.model.read_bytes()}
        if self.lm is not None:
            files[f"lm{''.join(self.lm.suffixes)}"] = self.lm.read_bytes()
        if self.grammar is not None:
            files["grammar.yaml"] = self.grammar.read_bytes()
        return files

    def settings(self) -> dict[str, Any]:
        """All settings that the texts depend on, with a digest instead of each file."""
        return {
            "model": _digest(self.model),
            "language model": None if self.lm is None else _digest(self.lm),
            "grammar": None if self.grammar is None else _digest(self.grammar),
            "hotwords": dict(self.hotwords),
            "decoder": {key: str(value) for key, value in self.decoder.items()},
            "vad": self.vad,
            "quantized": self.quantized,
        }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _use_one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # for ONNX Runtime
    if importlib.util.find_spec("torch"):
        importlib.import_module("torch").set_num_threads(1)


class Worker:
    """A Ray actor with a recognizer on one CPU or GPU."""

    def __init__(self, work: Work, files: Any, attempts: Any):
        import ray

        _use_one_thread()  # Ray reserved one CPU for this worker
        with tempfile.TemporaryDirectory() as folder:
            paths = {}
            for name, data in ray.get(files).items():
                paths[name] = Path(folder) / name
                paths[name].write_bytes(data)
            model = paths.pop(next(name for name in paths if name.startswith("model.")))
            grammar = paths.pop("grammar.yaml", None)
            lm = next(iter(paths.values()), None)
            self.recognizer = load(
                model,
                work.device,
                lm=lm,
                grammar=grammar,
                hotwords=work.hotwords,
                quantized=work.quantized,
                **work.decoder,
            )
        self.vad = work.vad
        self.actor = ray.get_runtime_context().get_actor_id()
        self.attempts = attempts

    def __call__(self, chunk: dict) -> list[dict]:
        """Transcribe a chunk: one row per utterance, with its index and JSON line or failure."""
        import ray

        indices, utterances = [], []
        for index, *columns in json.loads(chunk["utterances"]):
            indices.append(index)
            utterances.append(Utterance(*columns))
        task = f"chunk {chunk['chunk']}"
        if ray.get(self.attempts.start.remote(task)) <= MAX_ATTEMPTS:
            results = self._results(utterances)
        else:
            results = [self._isolated(*pair) for pair in zip(indices, utterances, strict=True)]
        ray.get(self.attempts.finish.remote(task))
        return [self._row(index, *result) for index, result in zip(indices, results, strict=True)]

    def _row(self, index: int, utterance: Utterance, result: Transcript | Failure) -> dict:
        failed = isinstance(result, Failure)
        line = result.reason if failed else jsonl(result, utterance.id)
        return {
            "index": index,
            "failed": failed,
            "line": line.encode(errors="surrogateescape" if failed else "backslashreplace"),
            "actor": self.actor,
            "process": os.getpid(),
        }

    def _results(self, utterances: list[Utterance]) -> list[Result]:
        try:
            return list(transcribe_many(self.recognizer, utterances, vad=self.vad))
        except Exception as error:  # one recording must not stop the whole job
            if len(utterances) > 1:
                return [result for u in utterances for result in self._results([u])]
            (utterance,) = utterances
            reason = f"{utterance.audio}: {type(error).__name__}: {error}"
            return [(utterance, Failure(utterance, " ".join(reason.split())))]

    def _isolated(self, index: int, utterance: Utterance) -> Result:
        """Transcribe one recording of a chunk that made its workers fail.

        This finds the recording that is the cause.
        """
        import ray

        task = f"recording {index}"
        if ray.get(self.attempts.start.remote(task)) > MAX_ATTEMPTS:
            reason = "every worker that transcribed it died; it may need more memory"
            return utterance, Failure(utterance, f"{utterance.audio}: {reason}")
        (result,) = self._results([utterance])
        ray.get(self.attempts.finish.remote(task))
        return result
