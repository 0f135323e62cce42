"""`asr listen`: a microphone to text, while somebody speaks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.live import Live
from rich.text import Text

from asr.cli.console import err, messages, note
from asr.cli.options import AS_SAVED, Decoding, ModelArgument
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.recognition.stream import FinishedUtterance, Partial


def listen(
    model: ModelArgument,
    file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Play a recording as the microphone."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="With --from: as fast as possible, not in real time.")
    ] = False,
    microphone: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="Number or name of the device (default: system's)."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print utterances as JSON lines, with word times.")
    ] = False,
    save: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Keep the audio of each utterance and a manifest."),
    ] = None,
    decoding: Decoding = AS_SAVED,
) -> None:
    """Write down what a microphone hears, while somebody speaks; needs a streaming model."""
    if fast and file is None:
        raise UserError("--fast: name a recording with --from FILE")
    if microphone is not None and file is not None:
        raise UserError("--microphone and --from: give one of them")
    recognizer = decoding.load(model)
    with _source(recognizer.rate_hz, file, fast, microphone) as (rate_hz, packets), _live() as show:
        stream = recognizer.stream(rate_hz, keep_transcript=False)
        recording = None
        if save is not None:
            from asr.recognition.recording import Recording

            recording = Recording(save, rate_hz)

        def deliver(partial: Partial) -> None:
            for utterance in partial.finished:
                if utterance.words or (as_json and utterance.refused):
                    show(None)
                    print(_line(utterance, as_json), flush=True)
                elif utterance.refused:
                    show(None)
                    note(f"refused; it sounds most like: {utterance.command.text}")
                if recording is not None:
                    recording.finish(utterance)
            show(partial)

        with suppress(KeyboardInterrupt):
            for samples in packets:
                if recording is not None:
                    recording.hear(samples)
                deliver(stream.feed(samples))
        deliver(stream.end())


@contextmanager
def _source(
    rate_hz: int, file: Path | None, fast: bool, device: str | None
) -> Iterator[tuple[int, Iterator[np.ndarray]]]:
    """The sample rate, and the packets of samples (N,) float32."""
    from asr.audio.microphone import microphone, packets_of

    if file is not None:
        yield packets_of(file, real_time=not fast)
        return
    with microphone(rate_hz, device) as packets:
        note("listening; Ctrl-C ends it")
        yield rate_hz, packets


@contextmanager
def _live():
    """A function that shows the text so far in the last line of a terminal; None clears it."""
    if messages.quiet or not err.is_terminal:
        yield lambda partial: None
        return
    with Live(console=err, transient=True, auto_refresh=False, redirect_stdout=True) as live:

        def show(partial: Partial | None) -> None:
            line = Text()
            if partial is not None:
                line = Text.assemble(partial.stable, " ", (partial.unstable, "dim"))
                line.truncate(10 * err.width)
            live.update(line, refresh=True)

        yield show


def _line(utterance: FinishedUtterance, as_json: bool) -> str:
    if not as_json:
        return utterance.text
    fields = {"start_s": utterance.start_s, "end_s": utterance.end_s, "text": utterance.text}
    words = [asdict(word) for word in utterance.words]
    fields |= {"words": words, "rule": utterance.rule}
    if utterance.command is not None:
        fields["command"] = asdict(utterance.command)
    return json.dumps(fields, ensure_ascii=False)
