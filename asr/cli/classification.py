"""`asr classify`: the classes of recordings, of their parts, or of a stream."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from asr.cli.console import err, say_failed
from asr.cli.options import Device, ModelArgument
from asr.errors import UserError

if TYPE_CHECKING:
    from asr.data.manifest import Utterance
    from asr.recognition.classification import Classification
    from asr.recognition.classifier import Classifier
    from asr.recognition.detector import DetectorSettings


@dataclass(frozen=True)
class PartOptions:
    """Whether parts of a recording are classified instead of the whole."""

    window: Annotated[
        float | None,
        typer.Option(metavar="S", help="Classify windows of S seconds, joined to events."),
    ] = None
    hop: Annotated[
        float | None,
        typer.Option(metavar="S", help="A window begins every S seconds (half a window)."),
    ] = None
    stream: Annotated[
        bool, typer.Option("--stream", help="Detect keywords, as in a stream that never ends.")
    ] = False
    debounce: Annotated[
        float | None,
        typer.Option(metavar="S", help="With --stream: deaf for S seconds after a keyword (0.7)."),
    ] = None
    near: Annotated[
        float | None,
        typer.Option(metavar="P", help="With --stream: show near misses down to P below (0.1)."),
    ] = None

    def check(self) -> None:
        """Raise `UserError` for options that would have no effect."""
        if not self.stream and (self.debounce is not None or self.near is not None):
            raise UserError("--debounce and --near: they need --stream")
        if self.hop is not None and self.window is None and not self.stream:
            raise UserError("--hop: give the length of a window as well, --window S")

    def detector(self, reject: float | None) -> DetectorSettings:
        """The settings of the detector; those that are not given have their defaults."""
        from asr.recognition.detector import DetectorSettings

        given = {
            "window_s": self.window,
            "hop_s": self.hop,
            "debounce_s": self.debounce,
            "near": self.near,
            "threshold": reject,
        }
        return replace(DetectorSettings(), **{k: v for k, v in given.items() if v is not None})


WHOLE = PartOptions()


def classify(
    model: ModelArgument,
    audio: Annotated[
        list[str],
        typer.Argument(metavar="AUDIO", help="Files, folders, 'patterns/*.mp3' or manifests."),
    ],
    top: Annotated[
        int, typer.Option(metavar="N", help="Print the N likeliest classes.", min=1)
    ] = 1,
    reject: Annotated[
        float | None,
        typer.Option(metavar="P", help="No class if the best probability is below P."),
    ] = None,
    parts: PartOptions = WHOLE,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines.")] = False,
    device: Device = "auto",
) -> None:
    """Classify recordings: sounds, keywords, speakers, languages."""
    from asr.data.sources import sources
    from asr.recognition.classifier import Classifier
    from asr.recognition.transcribe import Failure

    parts.check()
    utterances = sources(audio)
    classifier = Classifier.load(model, device)
    if reject is not None:
        classifier = classifier.with_reject(reject)
    failed = []
    if parts.stream or parts.window is not None:
        for utterance in utterances:
            try:
                if parts.stream:
                    _detect(classifier, utterance, parts.detector(reject), as_json)
                else:
                    _print_events(classifier, utterance, parts, top, as_json)
            except UserError as error:
                failed.append(Failure(utterance, str(error)))
    else:
        for utterance, found in classifier.classify_many(utterances):
            if isinstance(found, Failure):
                failed.append(found)
            else:
                print(_line(utterance.id, found, top, as_json), flush=True)
    for failure in failed:
        say_failed("failed", failure.reason)
    if failed:
        err.print(f"{len(failed)} of {len(utterances)} could not be classified (see above)")
        raise typer.Exit(2 if len(failed) == len(utterances) else 1)


def _line(name: str, found: Classification, top: int, as_json: bool, times: bool = False) -> str:
    if as_json:
        return json.dumps({"id": name} | found.to_dict(top), ensure_ascii=False)
    label = "; ".join(found.labels) or "(none)"
    ranked = [f"{n} {p:.3f}" for n, p in list(found.probabilities.items())[:top]]
    when = [f"{found.start_s:.2f}", f"{found.end_s:.2f}"] if times else []
    return "\t".join([name, *when, label, *ranked])


def _print_events(
    classifier: Classifier, utterance: Utterance, parts: PartOptions, top: int, as_json: bool
) -> None:
    from asr.recognition.windows import classify_windows, events

    window_s = float(parts.window or 0)
    hop_s = parts.hop if parts.hop is not None else window_s / 2
    for event in events(classify_windows(classifier, utterance, window_s, hop_s)):
        print(_line(utterance.id, event, top, as_json, times=True), flush=True)


def _detect(
    classifier: Classifier, utterance: Utterance, settings: DetectorSettings, as_json: bool
) -> None:
    from asr import audio
    from asr.recognition.detector import Detector
    from asr.recognition.windows import BLOCK_S

    rate_hz = classifier.rate_hz
    detector = Detector(classifier, rate_hz, settings)
    place = utterance.start_s, utterance.duration_s
    for samples in chain(audio.blocks(utterance.audio, rate_hz, BLOCK_S, *place), [None]):
        for one in detector.finish() if samples is None else detector.feed(samples):
            if as_json:
                print(json.dumps({"id": utterance.id} | one.to_dict(), ensure_ascii=False))
            else:
                near = "" if one.accepted else "\t(near miss)"
                times = f"{one.start_s:.2f}\t{one.end_s:.2f}"
                print(f"{utterance.id}\t{times}\t{one.label}\t{one.probability:.3f}{near}")
