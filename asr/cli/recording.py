"""`asr record`: read prompts aloud and keep the recordings as a corpus."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from asr.cli.console import err, note, result
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.audio.take import AudioTake

RATE_HZ = 16000
TAKES = 3  # of one prompt, before it is left out


def record(
    prompts: Annotated[
        Path,
        typer.Argument(metavar="PROMPTS", help="A text file, a sentence a line, or a grammar."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FOLDER", help="Where the corpus goes.")
    ],
    count: Annotated[
        int, typer.Option(metavar="N", help="The number of prompts, random ones of a grammar.")
    ] = 20,
    speaker: Annotated[
        str, typer.Option(metavar="NAME", help="Who speaks; a column of the manifest.")
    ] = "me",
    seed: Annotated[int, typer.Option(metavar="N", help="The seed of a grammar's prompts.")] = 0,
    microphone: Annotated[
        str | None,
        typer.Option(metavar="DEVICE", help="Number or name of the device (default: system's)."),
    ] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option(
            "--from", metavar="FILE", help="Play this file for the next prompt; may be repeated."
        ),
    ] = None,
) -> None:
    """Show one prompt after another, record each, and check level and noise.

    A take with a problem is recorded again. The same command continues an unfinished corpus.
    """
    from asr.recognition.prompts import PromptCorpus, read_prompts

    if microphone is not None and files:
        raise UserError("--microphone and --from: give one of them")
    corpus = PromptCorpus(output, speaker)
    missing = corpus.missing(read_prompts(prompts, count, seed))
    if not missing:
        return result(f"{corpus.manifest}: complete, {len(corpus.rows)} recordings")
    left_out: list[str] = []
    with _takes(files, microphone) as (rate_hz, take_packets):
        note(f"{len(missing)} prompts; speak after each, then stay silent for a second")
        try:
            for number, prompt in enumerate(missing, start=1):
                take = _good_take(take_packets, rate_hz, f"{number}/{len(missing)}", prompt)
                if take is None:
                    left_out.append(prompt)
                else:
                    corpus.add(prompt, take)
        except KeyboardInterrupt:
            note("stopped; what was recorded is saved; the same command continues from here")
    for prompt in left_out:
        note(f"left out after {TAKES} takes: {prompt}")
    result(f"{corpus.manifest}: {len(corpus.rows)} recordings")
    if len(corpus.missing([*missing])):
        raise typer.Exit(1)


def _good_take(
    take_packets: Iterator[Iterator[np.ndarray]], rate_hz: int, number: str, prompt: str
) -> AudioTake | None:
    """The first take of a prompt without a problem; None after `TAKES` takes with one.

    Raises `KeyboardInterrupt` at the end of the audio.
    """
    from asr.audio.take import record_take

    for _ in range(TAKES):
        err.print(f"[bold]{number}[/bold]  {prompt}", highlight=False)
        take = record_take(next(take_packets, iter(())), rate_hz)
        if take is None:
            raise KeyboardInterrupt
        if not take.problem:
            level = f"{take.loudest_db:.0f} dB, {take.snr_db:.0f} dB above the noise"
            note(f"good: {take.duration_s:.1f} s, {level}")
            return take
        note(take.problem)
    return None


@contextmanager
def _takes(
    files: list[Path] | None, device: str | None
) -> Iterator[tuple[int, Iterator[Iterator[np.ndarray]]]]:
    """The sample rate, and for each take the packets of samples (N,) float32."""
    from asr import audio
    from asr.audio.microphone import microphone
    from asr.audio.take import packets_per_prompt

    if files:
        recordings = ((RATE_HZ, audio.read(str(file), RATE_HZ)) for file in files)
        yield RATE_HZ, packets_per_prompt(recordings)
        return
    with microphone(RATE_HZ, device) as packets:
        yield RATE_HZ, _endless(packets)


def _endless(packets: Iterator[np.ndarray]) -> Iterator[Iterator[np.ndarray]]:
    """The same stream of packets for every take."""
    while True:
        yield packets
