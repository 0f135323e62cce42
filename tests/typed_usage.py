"""What a user of the package writes; `test_front_door.py` has mypy check its types."""

from typing import assert_type

import asr


def saved(path: str) -> str:
    recognizer = asr.load(path, "cpu", beam=8)
    assert_type(recognizer, asr.Recognizer)
    transcript = recognizer.transcribe("recording.wav")
    assert_type(transcript, asr.Transcript)
    transcript.save("recording.srt")
    return transcript.text


def rates() -> list[float]:
    return [asr.wer("one two", "one too"), asr.cer(["one"], ["on"])]


def durations(path: str) -> list[float | None]:
    rows = asr.read_manifest(path)
    assert_type(rows, list[asr.Utterance])
    asr.write_manifest(path, rows)
    return [row.duration_s for row in rows]
