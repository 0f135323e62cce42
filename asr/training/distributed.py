"""Several processes, one run: which of them writes, and how figures come together.

`torchrun --nproc-per-node 4 -m asr.cli train RECIPE` or `accelerate launch -m asr.cli ...` starts
them; each finds its rank in the environment. One process alone is rank 0 of 1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from accelerate import PartialState
from accelerate.utils import gather_object
from torch import distributed

from asr.data.manifest import Utterance
from asr.recognition.recognizer import Recognizer
from asr.scoring.evaluate import Evaluation, evaluate
from asr.scoring.wer import score


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def is_main() -> bool:
    """Whether this process writes, prints and prepares for all."""
    return rank() == 0


def log_errors_only() -> None:
    """Keep the processes beside the main one from repeating its messages."""
    logging.getLogger("asr").setLevel(logging.ERROR)


@contextmanager
def main_first(cpu: bool) -> Iterator[None]:
    """The main process goes through the block alone; then the others do, and find its files.

    When it raises there, it ends with that; whoever started the processes then ends the others.
    """
    with PartialState(cpu=cpu).main_process_first():
        yield


def validate(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Evaluation:
    """`evaluate`, each process transcribing its share; all of them get the whole result."""
    if not distributed.is_initialized():
        return evaluate(recognizer, utterances)
    ranks = distributed.get_world_size()
    mine = evaluate(recognizer, utterances[rank() :: ranks])
    shares = gather_object([mine])  # one a process, in the order of ranks
    pairs = [shares[i % ranks].pairs[i // ranks] for i in range(len(utterances))]
    failures = [failure for share in shares for failure in share.failures]
    return Evaluation(score(pairs), pairs, failures)


def finish() -> None:
    """Leave the other processes: gloo's threads, alive at the exit, could abort it."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
