"""Recordings -> a folder of transcripts, on all machines of a Ray cluster.

The driver, the process that asked, lists the work and writes all results; workers, one for each
CPU or GPU, only read audio. So the model and the results' folder need not be on a shared disk: the
model travels through Ray's object store. The audio must be readable under the same path by all.
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
from asr.cluster.attempts import Attempts
from asr.cluster.cluster import connected, require_ray
from asr.cluster.parts import Parts
from asr.cluster.worker import Work, Worker
from asr.data.manifest import Utterance
from asr.errors import Failed, UserError
from asr.recognition.recognizer import load
from asr.recognition.transcribe import WINDOW, Failure

log = logging.getLogger("asr")

CHUNK_S = 1800.0  # of audio, what a worker is given at a time: what a lost one costs, at most
ROUNDS = 4  # chunks for each worker, at least: the last to finish should not be waited for
UNKNOWN_S = 60.0  # taken as the duration of a recording that was not measured

Chunk = list[tuple[int, Utterance]]  # utterances with their numbers in the list of all
Found = tuple[int, bytes | Failure]  # the number of an utterance, its JSON line


@dataclass(frozen=True)
class Outcome:
    """What became of an utterance."""

    utterance: Utterance  # its audio an absolute path
    failure: str | None = None  # the reason
    kept: bool = False  # the result lay there already


def transcribe_archive(
    work: Work,
    utterances: Iterable[Utterance],
    to: str | Path,
    address: str | None = None,
    overwrite: bool = False,
) -> Iterator[Outcome]:
    """Transcribe what has no result in the folder `to` yet; yields every utterance, as it is done.

    Results are lines of `part-*.jsonl`, as `formats.jsonl` writes them, with absolute paths and in
    no order; each utterance has one. What failed stands in failed.jsonl and is tried again by the
    next run. address: HOST:PORT of a Ray cluster that this machine belongs to; None: RAY_ADDRESS,
    or Ray is started here. overwrite: begin anew. Raises `UserError` for what can be known
    beforehand, `Failed` when no worker starts.
    """
    require_ray()
    recognizer = load(  # or it says what is wrong
        work.model,
        "cpu",
        lm=work.lm,
        hotwords=work.hotwords,
        quantized=work.quantized,
        **work.decoder,
    )
    # Chosen once: what is installed may differ among the machines, and texts must not.
    work = replace(work, vad=detector_name(work.vad, recognizer.rate_hz))
    del recognizer
    asked = [replace(u, audio=os.path.abspath(u.audio)) for u in utterances]
    with Parts(to, work.settings(), overwrite) as parts:
        missing = list(_missing(asked, parts))
        yield from (Outcome(u, kept=True) for u in asked if u.id in parts.done)
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
    """The work in portions for a worker, the longest recordings first and with their like.

    A portion is a window of `transcribe_many` at most, and no more than `CHUNK_S` of audio unless
    one recording has more.
    """

    def seconds(i: int) -> float:
        duration_s = utterances[i].duration_s
        return UNKNOWN_S if duration_s is None else duration_s

    order = sorted(range(len(utterances)), key=seconds, reverse=True)
    limit_s = min(CHUNK_S, sum(map(seconds, order)) / (ROUNDS * workers))
    found: list[Chunk] = []
    left_s = 0.0
    for i in order:
        left_s -= seconds(i)
        if not found or left_s < 0 or len(found[-1]) == WINDOW:
            found.append([])
            left_s = limit_s - seconds(i)
        found[-1].append((i, utterances[i]))
    return found


# ---- on the driver -------------------------------------------------------------------------------


def _missing(asked: Iterable[Utterance], parts: Parts) -> Iterable[Utterance]:
    missing: dict[str, Utterance] = {}
    for utterance in asked:
        audio = parts.done.get(utterance.id)
        other = missing.get(utterance.id, utterance)
        if audio is None:
            missing[utterance.id] = other
        elif audio != utterance.audio:
            raise UserError(
                f"{parts.folder}: there id {utterance.id!r} is {audio}, not {utterance.audio}; "
                "name another folder"
            )
        if (other.audio, other.start_s) != (utterance.audio, utterance.start_s):
            raise UserError(f"id {utterance.id!r}: stands for two recordings; give one another id")
    return missing.values()


def _transcribe(work: Work, utterances: Sequence[Utterance]) -> Iterator[Found]:
    """The result of each utterance, once, in the order in which they come."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    there = ray.cluster_resources()
    gpu = work.device.startswith("cuda") or (work.device == "auto" and there.get("GPU", 0) >= 1)
    workers = int(there.get("GPU" if gpu else "CPU", 0))
    if not workers:
        raise UserError(f"the Ray cluster has no {'GPU' if gpu else 'CPU'} to work with")
    attempts = ray.remote(num_cpus=0)(Attempts)
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
    # Ray gives the chunk of a dead worker to another, however often.
    job = ray.data.from_items(items, override_num_blocks=len(items)).flat_map(
        Worker,
        fn_constructor_kwargs=arguments,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            initial_size=workers,  # more when machines join, fewer when they leave
            max_tasks_in_flight_per_actor=2,  # one waits there, and is held up when the actor dies
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
                log.warning("a worker was lost; what it had not finished is done again")
            i = row["number"]
            if i in left:  # not when results were lost with a machine and made again
                left.remove(i)
                yield i, _found(utterances[i], row)
    except ray.exceptions.RayError as error:
        raise Failed(f"the workers stopped: {_cause(error)}") from None
    if left:
        raise Failed(f"{len(left)} recordings came back from no worker; run the command again")


def _found(utterance: Utterance, row: Mapping[str, Any]) -> bytes | Failure:
    if row["failed"]:
        return Failure(utterance, row["line"].decode(errors="surrogateescape"))
    return row["line"]


def _cause(error: Exception) -> str:
    """The last line that says something: Ray puts the workers' tracebacks before it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].removeprefix("asr.errors.UserError: ") if lines else type(error).__name__


def _packed(portion: Chunk) -> str:
    """Escaped JSON: names of files need not be text, which Arrow would refuse."""
    rows = [[i, u.id, u.audio, u.start_s, u.duration_s] for i, u in portion]
    return json.dumps(rows)
