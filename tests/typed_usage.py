"""Code as users of the package write it; `test_front_door.py` checks its types with mypy."""

from io import BytesIO
from pathlib import Path
from typing import assert_type

import numpy as np
import torch

import asr


def transcribed(path: str) -> list[str]:
    recognizer = asr.load(path, "cpu", hotwords=["Ann Arbor"], beam=8)
    assert_type(recognizer, asr.Recognizer)
    transcript = recognizer.transcribe("recording.wav")
    assert_type(transcript, asr.Transcript)
    transcript.save("recording.srt")
    with open("recording.wav", "rb") as file:
        one = recognizer.transcribe(file)
    samples = np.zeros(16000, np.float32)
    others = [
        one,
        recognizer.transcribe(Path("recording.wav")),
        recognizer.transcribe(b"RIFF"),
        recognizer.transcribe(BytesIO(b"RIFF")),
        recognizer.transcribe(samples, rate_hz=16000),
        recognizer.transcribe(torch.zeros(16000), rate_hz=16000),
    ]
    assert_type(others, list[asr.Transcript])
    several = recognizer.transcribe(["a.wav", Path("b.wav"), b"RIFF"])
    assert_type(several, list[asr.Transcript])
    assert_type(recognizer.align("talk.wav", "good day"), asr.Transcript)
    assert_type(recognizer.emissions(samples).log_probs, np.ndarray)
    recognizer.save("other.asr")
    return [one.text for one in several]


def rates() -> list[float]:
    return [asr.wer("one two", "one too"), asr.cer(["one"], ["on"])]


def durations(path: str) -> list[float | None]:
    rows = asr.read_manifest(path)
    assert_type(rows, list[asr.Utterance])
    asr.write_manifest(path, rows)
    return [row.duration_s for row in rows]


def trained() -> float:
    rows = [{"audio": "a.wav", "text": "one"}]
    recognizer = asr.train({"name": "digits"}, train=rows, dev=rows)
    assert_type(recognizer, asr.Recognizer)
    assert_type(asr.transcribe(recognizer, "a.wav"), asr.Transcript)
    assert_type(asr.transcribe("model.asr", ["a.wav"]), list[asr.Transcript])
    asr.align("model.asr", "a.wav", ["one"]).save("a.TextGrid")
    asr.train(asr.Config(name="digits"), asr.read_manifest("a.jsonl"), "b.jsonl")
    return asr.evaluate(recognizer, rows).wer
