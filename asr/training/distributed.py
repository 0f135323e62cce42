"""Training in several processes: which of them writes, and how their results are gathered.

`torchrun --nproc-per-node 4 -m asr.cli train RECIPE` or `accelerate launch -m asr.cli ...` starts
them; each reads its rank from the environment. A single process is rank 0 of 1.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import gather_object
from torch import distributed

from asr.data.manifest import Utterance


def rank() -> int:
    return int(os.environ.get("RANK", 0))


def is_main() -> bool:
    """Whether this is the main process, which writes, prints and prepares for all."""
    return rank() == 0


def log_errors_only() -> None:
    """Call this in all processes but the main one, so that they do not repeat its messages."""
    logging.getLogger("asr").setLevel(logging.ERROR)


@contextmanager
def main_first(cpu: bool) -> Iterator[None]:
    """The main process runs the block first; the others then run it and find its files.

    If the main process raises in the block, the launcher ends the other processes.
    """
    with PartialState(cpu=cpu).main_process_first():
        yield


def in_shares(
    evaluate: Callable[[Sequence[Utterance]], Any],
    joined: Callable[[Sequence[Any], int], Any],
    utterances: Sequence[Utterance],
) -> Any:
    """`evaluate` in all processes: each takes a share of the utterances, all return all results.

    joined: makes one evaluation of the shares, in the order of ranks, and the number of utterances.
    """
    if not distributed.is_initialized():
        return evaluate(utterances)
    share = evaluate(utterances[rank() :: distributed.get_world_size()])
    return joined(gather_object([share]), len(utterances))


def any_process(flag: bool, accelerator: Accelerator) -> bool:
    """Whether the flag is set in at least one process; all of them must call this."""
    if accelerator.num_processes == 1:
        return flag
    found = torch.tensor([float(flag)], device=accelerator.device)
    return accelerator.reduce(found, "sum").item() > 0


def finish() -> None:
    """Leave the process group, because running threads of gloo could crash the exiting process."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
