"""Transcribe many recordings into a folder of results, on all machines of a Ray cluster.

The driver splits the utterances into chunks and writes all results. Workers, one per CPU or GPU,
transcribe one chunk after another. The model is sent through Ray's object store, so neither it nor
the result folder needs a shared disk; the audio must be readable at the same path on all machines.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from asr.audio.vad import detector_name
from asr.cluster.attempts import AttemptCounter
from asr.cluster.cluster import connected, require_ray
from asr.cluster.parts import PartFiles
from asr.cluster.worker import Work, Worker
from asr.data.manifest import Utterance
from asr.errors import Failed, UserError
from asr.recognition.recognizer import load
from asr.recognition.transcribe import WINDOW, Failure

log = logging.getLogger("asr")

CHUNK_S = 1800.0  # at most this much audio per chunk; it is repeated when a worker fails
CHUNKS_PER_WORKER = 4  # at least, so that all workers finish at about the same time
DEFAULT_DURATION_S = 60.0  # assumed for a recording of unknown duration

Chunk = list[tuple[int, Utterance]]  # utterances, with their indices in the list of all
IndexedResult = tuple[int, bytes | Failure]  # the index of an utterance, and its JSON line


@dataclass(frozen=True)
class Outcome:
    """The outcome of one utterance, whose audio is an absolute path.

    failure: the reason why it could not be transcribed, or None; kept: whether its result existed
    before this run.
    """

    utterance: Utterance
    failure: str | None = None
    kept: bool = False


def transcribe_archive(
    work: Work,
    utterances: Iterable[Utterance],
    to: str | Path,
    address: str | None = None,
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Transcribe the utterances that have no result in the folder `to`; yield each when it is done.

    Each result is one line of a file `part-*.jsonl` in the format of `writers.jsonl`, with an
    absolute path; the lines are in the order of completion. Failures are listed in failed.jsonl,
    and the next run tries them again.

    address: HOST:PORT of a Ray cluster to which this machine belongs; by default RAY_ADDRESS, or a
    local cluster is started. overwrite: delete the existing results first. Raises `UserError` for
    wrong settings, before any work starts, and `Failed` when the workers cannot start.
    """
    require_ray()
    recognizer = load(  # checks the model and the settings before any worker starts
        work.model,
        "cpu",
        lm=work.lm,
        hotwords=work.hotwords,
        quantized=work.quantized,
        **work.decoder,
    )
    # Resolve "auto" here: with different packages, machines would choose different detectors.
    work = replace(work, vad=detector_name(work.vad, recognizer.rate_hz))
    del recognizer
    given = [replace(u, audio=os.path.abspath(u.audio)) for u in utterances]
    with PartFiles(to, work.settings(), overwrite) as parts:
        missing = list(_missing(given, parts))
        yield from (Outcome(u, kept=True) for u in given if u.id in parts.done)
        if not missing:
            return
        with connected(address, parts.folder / "ray.log"):
            for i, found in _transcribe(work, missing):
                utterance = missing[i]
                if isinstance(found, Failure):
                    parts.add_failure(found)
                    yield Outcome(utterance, found.reason)
                else:
                    parts.add(utterance.id, utterance.audio, found)
                    yield Outcome(utterance)


def chunks(utterances: Sequence[Utterance], workers: int) -> list[Chunk]:
    """Split utterances into chunks of similar durations, the longest first.

    A chunk has at most `WINDOW` utterances, as many as `transcribe_many` sorts at a time, and at
    most `CHUNK_S` of audio, unless it is a single longer recording.
    """

    def seconds(i: int) -> float:
        duration_s = utterances[i].duration_s
        return DEFAULT_DURATION_S if duration_s is None else duration_s

    order = sorted(range(len(utterances)), key=seconds, reverse=True)
    limit_s = min(CHUNK_S, sum(map(seconds, order)) / (CHUNKS_PER_WORKER * workers))
    split: list[Chunk] = []
    left_s = 0.0
    for i in order:
        left_s -= seconds(i)
        if not split or left_s < 0 or len(split[-1]) == WINDOW:
            split.append([])
            left_s = limit_s - seconds(i)
        split[-1].append((i, utterances[i]))
    return split


# ---- on the driver -------------------------------------------------------------------------------


def _missing(utterances: Iterable[Utterance], parts: PartFiles) -> Iterable[Utterance]:
    """The utterances that have no result yet."""
    missing: dict[str, Utterance] = {}
    for utterance in utterances:
        audio = parts.done.get(utterance.id)
        other = missing.get(utterance.id, utterance)
        if audio is None:
            missing[utterance.id] = other
        elif audio != utterance.audio:
            raise UserError(
                f"{parts.folder}: the result with id {utterance.id!r} is that of {audio}, not of "
                f"{utterance.audio}; choose another folder"
            )
        if (other.audio, other.start_s) != (utterance.audio, utterance.start_s):
            raise UserError(
                f"id {utterance.id!r}: two recordings have this id; change one of the ids"
            )
    return missing.values()


def _transcribe(work: Work, utterances: Sequence[Utterance]) -> Iterator[IndexedResult]:
    """Yield the result of each utterance exactly once, in the order of completion."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    resources = ray.cluster_resources()
    gpu = work.device.startswith("cuda") or (work.device == "auto" and resources.get("GPU", 0) >= 1)
    workers = int(resources.get("GPU" if gpu else "CPU", 0))
    if not workers:
        raise UserError(f"the Ray cluster has no {'GPU' if gpu else 'CPU'}; add a machine that has")
    attempts = ray.remote(num_cpus=0)(AttemptCounter)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    arguments = {
        "work": work,
        "files": ray.put(work.files()),
        "attempts": attempts.options(scheduling_strategy=here).remote(),
    }
    items = [
        {"chunk": i, "utterances": _packed(c)} for i, c in enumerate(chunks(utterances, workers))
    ]
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    # Ray retries the chunk of a failed worker without limit; `AttemptCounter` limits the retries.
    job = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
        Worker,
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            initial_size=workers,  # Ray scales the pool when machines join or leave
            max_tasks_in_flight_per_actor=2,  # one running and one queued
        ),
        num_cpus=None if gpu else 1,
        num_gpus=1 if gpu else None,
    )
    left = set(range(len(utterances)))
    processes: dict[str, int] = {}
    try:
        for row in job.iter_rows():
            actor, process = row["actor"], row["process"]
            if processes.setdefault(actor, process) != process:
                processes[actor] = process
                log.warning("a worker failed; its unfinished chunks are transcribed again")
            i = row["index"]
            if i in left:  # a chunk whose worker failed late may be transcribed twice
                left.remove(i)
                yield i, _result(utterances[i], row)
    except ray.exceptions.RayError as error:
        raise Failed(f"the workers stopped: {_cause(error)}") from None
    if left:
        raise Failed(f"no worker returned {len(left)} of the recordings; run the command again")


def _result(utterance: Utterance, row: Mapping[str, Any]) -> bytes | Failure:
    if row["failed"]:
        return Failure(utterance, row["line"].decode(errors="surrogateescape"))
    return row["line"]


def _cause(error: Exception) -> str:
    """The last non-empty line of the message; the lines above are tracebacks of the workers."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("asr.errors.UserError: ") if lines else type(error).__name__


def _packed(chunk: Chunk) -> str:
    """The chunk as escaped JSON, because Arrow rejects file names that are not valid UTF-8."""
    rows = [[i, u.id, u.audio, u.start_s, u.duration_s] for i, u in chunk]
    return json.dumps(rows)
