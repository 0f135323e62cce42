"""Texts -> a corpus of synthetic speech: a manifest, audio, and a list of what was left out.

A folder holds

    manifest.jsonl    the utterances, with the voice as speaker
    left-out.jsonl    the others, each with the reason
    synthesis.json    the settings and the versions of the engines
    outcomes.jsonl    what came of each utterance so far, for the next call
    audio/SPEAKER/ID.flac
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asr import files
from asr.data import manifest
from asr.data.download import sha256_of
from asr.data.manifest import Utterance
from asr.errors import Failed, UserError
from asr.synthesis.engine import VoiceEngine
from asr.synthesis.engines import engines_of
from asr.synthesis.plan import Take, choose_voices, plan
from asr.synthesis.quality import Flaw
from asr.synthesis.speaking import ENGINE, Speaking, SpeechOutcome, outcomes

VOICES = 100
GIVE_UP_AFTER = 5  # failures of an engine in a row, before its first success
LOWEST_HZ, HIGHEST_HZ = 4000, 48000


@dataclass(frozen=True)
class LeftOut:
    """An utterance that is not in the manifest, and why."""

    id: str
    speaker: str
    text: str
    flaw: Flaw

    def __str__(self) -> str:
        return f"{self.id} ({self.text[:40]!r}): {self.flaw.kind}: {self.flaw.detail}"


@dataclass(frozen=True)
class SyntheticCorpus:
    """What `synthesize` made."""

    manifest: Path
    utterances: list[Utterance]
    left_out: list[LeftOut]

    @property
    def failed(self) -> int:
        """How many utterances an engine failed to speak."""
        return sum(left_out.flaw.kind == ENGINE for left_out in self.left_out)


def synthesize(
    texts: Iterable[str],
    folder: str | Path,
    engines: Sequence[str | VoiceEngine] = (),
    *,
    voices: int = VOICES,
    takes: int = 1,
    seed: int = 0,
    rate_hz: int = 16000,
    model: str | Path | None = None,
    min_score: float | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> SyntheticCorpus:
    """Speak each text with `takes` voices out of `voices`, and write a corpus to `folder`.

    engines: names in `asr.synthesis.engines.ENGINES`, or engines such as
    `asr.synthesis.command.Command`; without any, all fast ones that are installed. They take turns,
    whatever the number of their voices. The seed determines voices, pace and intonation.
    model: a model file; it leaves out utterances that it cannot align with the text, or whose
    alignment scores below `min_score` (see `asr.recognition.alignment.segment`), and the manifest
    gets a column `score`. processes: with more than one, the calling script
    needs `if __name__ == "__main__"`. progress: called with the numbers of utterances done and in
    all.

    What the folder already has is kept, so an interrupted call is resumed by the same call, and a
    later call may have more texts. Raises `UserError` if an engine cannot be used, a value is out
    of range or the folder has a corpus of other settings; `Failed` if an engine fails from the
    beginning or nothing is left.
    """
    _check(seed, rate_hz, processes)
    folder = Path(folder)
    chosen = choose_voices(engines_of(engines), voices, seed)
    used = dict.fromkeys(voice.engine for voice in chosen)
    _keep_settings(
        folder,
        {
            "seed": seed,
            "voices": [voice.speaker for voice in chosen],
            "rate_hz": rate_hz,
            "engines": [f"{engine.name} {engine.version()}" for engine in used],
        },
    )
    planned = list(plan(texts, chosen, seed, takes))
    if not planned:
        raise UserError(f"{folder}: there is no text to speak")
    speaking = Speaking(folder, rate_hz, None if model is None else Path(model))
    found = _speak(speaking, planned, processes, progress)
    return _write(speaking, planned, found, min_score)


def _check(seed: int, rate_hz: int, processes: int) -> None:
    if seed < 0:
        raise UserError(f"seed: {seed} is below 0")
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise UserError(f"rate: {rate_hz} Hz is outside {LOWEST_HZ} to {HIGHEST_HZ} Hz")
    if processes < 1:
        raise UserError(f"processes: {processes} is not a positive number")


def _keep_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Write the settings into a new folder, or compare them with those that are there."""
    path = folder / "synthesis.json"
    try:
        known = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        if (folder / "audio").exists():
            raise UserError(f"{folder}: has audio of another origin; give another folder") from None
        files.write(path, json.dumps(settings, indent=1) + "\n")
        return
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); give another folder") from None
    different = [
        key for key in settings if not isinstance(known, dict) or known.get(key) != settings[key]
    ]
    if different:
        raise UserError(
            f"{folder}: has a corpus with other {' and '.join(different)}; give another folder, or "
            "delete this one"
        )


def _speak(
    speaking: Speaking,
    planned: Sequence[Take],
    processes: int,
    progress: Callable[[int, int], None],
) -> dict[str, SpeechOutcome]:
    """The outcome of each take, from the folder's record where it has one."""
    record = speaking.folder / "outcomes.jsonl"
    # A score is kept as long as the model is the same.
    model = None if speaking.model is None else sha256_of(speaking.model)[:16]
    found = _recorded(record, model)
    found = {
        take.id: found[take.id]
        for take in planned
        if take.id in found and (found[take.id].duration_s is None or speaking.path(take).exists())
    }
    missing = [take for take in planned if take.id not in found]
    progress(len(found), len(planned))
    spoken: Counter[VoiceEngine] = Counter()
    failures: Counter[VoiceEngine] = Counter()
    with (
        record.open("a", encoding="utf-8") as file,
        outcomes(speaking, missing, processes) as results,
    ):
        for take, outcome in zip(missing, results, strict=True):
            engine = take.voice.engine
            if outcome.flaw is not None and outcome.flaw.kind == ENGINE:
                failures[engine] += 1
                if failures[engine] >= GIVE_UP_AFTER and not spoken[engine]:
                    raise Failed(f"voice engine {engine.name}: {outcome.flaw.detail}")
            else:
                spoken[engine] += 1
                file.write(json.dumps(_row(outcome, model)) + "\n")
                file.flush()
            found[take.id] = outcome
            progress(len(found), len(planned))
    return found


def _row(outcome: SpeechOutcome, model: str | None) -> dict[str, Any]:
    row: dict[str, Any] = {"id": outcome.id}
    if outcome.duration_s is not None:
        row |= {"duration_s": outcome.duration_s, "model": model, "score": outcome.score}
    if outcome.flaw is not None:
        row |= {"kind": outcome.flaw.kind, "detail": outcome.flaw.detail}
    return row


def _recorded(record: Path, model: str | None) -> dict[str, SpeechOutcome]:
    """The outcomes of earlier calls; those with audio only if the model was the same."""
    found: dict[str, SpeechOutcome] = {}
    for row in _rows(record):
        flaw = Flaw(row["kind"], row["detail"]) if "kind" in row else None
        if row.get("duration_s") is None or row["model"] == model:
            found[row["id"]] = SpeechOutcome(
                row["id"], row.get("duration_s"), flaw, row.get("score")
            )
    return found


def _rows(record: Path) -> Iterator[dict[str, Any]]:
    """The rows of the record, without a last line that an interruption cut off."""
    if not record.exists():
        return
    text = record.read_text("utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        files.write(record, whole)
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            row = json.loads(line)
            row["id"]
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{record}:{number}: damaged; delete the file, and run again") from None
        yield row


def _write(
    speaking: Speaking,
    planned: Sequence[Take],
    found: dict[str, SpeechOutcome],
    min_score: float | None,
) -> SyntheticCorpus:
    """Write the manifest and the list of what was left out."""
    utterances: list[Utterance] = []
    left_out: list[LeftOut] = []
    for take in planned:
        outcome = found[take.id]
        speaker, engine = take.voice.speaker, take.voice.engine
        flaw, extra = outcome.flaw, {}
        if flaw is None and outcome.score is not None:
            extra = {"score": outcome.score}
            if min_score is not None and outcome.score < min_score:
                flaw = Flaw("score", f"{outcome.score:g}, below {min_score:g}")
        if flaw is not None:
            left_out.append(LeftOut(take.id, speaker, take.text, flaw))
            continue
        path = str(speaking.path(take))
        utterances.append(
            Utterance(
                take.id, path, 0.0, outcome.duration_s, take.text, speaker, engine.language, extra
            )
        )
    rows = (
        {"id": u.id, "speaker": u.speaker, "text": u.text, "reason": u.flaw.kind}
        | {"detail": u.flaw.detail}
        for u in left_out
    )
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    files.write(speaking.folder / "left-out.jsonl", lines)
    if not utterances:
        raise Failed(f"{speaking.folder}: nothing could be used; {left_out[0]}")
    listed = speaking.folder / "manifest.jsonl"
    manifest.write(listed, utterances)
    return SyntheticCorpus(listed, utterances, left_out)
