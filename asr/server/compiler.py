"""The grammars of clients, compiled in a process of their own.

Compilation is plain Python: a thread of the server that compiles holds the interpreter's lock, and
live connections, whose many short steps each need the lock, would stand still meanwhile.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from asr.config import TextConfig
from asr.errors import Failed, UserError
from asr.lm.grammar import Grammar
from asr.server.grammars import NESTED_TOO_DEEP, grammar_of
from asr.text import tokenizer as tokenizers
from asr.text.tokenizer import Tokenizer

NICE = 5  # below the threads that answer clients
_Job = tuple[tuple[str, ...], int, str, bytes, TextConfig]


class GrammarCompiler:
    """Compiles one grammar after another; its process starts with the first and ends with `close`.

    most_arcs: how many arcs a grammar may need. Call `compile` and `close` in one thread.
    """

    def __init__(self, most_arcs: int):
        self._most_arcs = most_arcs
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def compile(self, templates: Sequence[str], tokenizer: Tokenizer, text: TextConfig) -> Grammar:
        """The grammar of these templates, compiled for a model; returns when it is done.

        Raises `UserError` for a template that is wrong, `GrammarTooLarge`, and `Failed` if the
        process ends, after which the next call starts another.
        """
        connection = self._connection or self._start()
        data = tokenizer.to_bytes()
        try:
            connection.send((tuple(templates), self._most_arcs, tokenizer.kind, data, text))
            found = connection.recv()
        except (EOFError, OSError):
            self.close()
            raise Failed(
                "the process that compiles grammars has ended, perhaps for lack of memory; send "
                "the grammar again"
            ) from None
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        """End the process."""
        if self._connection is not None and self._process is not None:
            self._connection.close()
            self._process.terminate()
            self._process.join()
        self._connection = self._process = None

    def _start(self) -> Connection:
        context = get_context("spawn")
        here, there = context.Pipe()
        # A daemon ends with this process, and also finds its connection closed.
        self._process = context.Process(target=_work, args=(there,), daemon=True)
        self._process.start()
        there.close()
        self._connection = here
        return here


def _work(connection: Connection) -> None:
    """Answer each job with a grammar or an exception until the server closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal reaches all its processes
    if hasattr(os, "nice"):
        os.nice(NICE)
    while True:
        try:
            job: _Job = connection.recv()
        except EOFError:
            return
        try:
            connection.send(_compiled(*job))
        except RecursionError:  # while it is sent
            connection.send(UserError(NESTED_TOO_DEEP))
        except Exception as error:
            connection.send(error)


def _compiled(
    templates: Sequence[str], most_arcs: int, kind: str, data: bytes, text: TextConfig
) -> Grammar:
    grammar = grammar_of(templates, most_arcs)
    grammar.compile(tokenizers.from_bytes(data, kind), text)
    return grammar
