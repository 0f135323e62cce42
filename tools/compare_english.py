"""WER of an English model beside other recognizers for a CPU, on the same recordings.

    python tools/compare_english.py [MODEL.asr] SET.jsonl [SET.jsonl ...] [--with pocketsphinx hama]

MODEL is by default the English model of the package. It decodes greedily and as the file says.
Others are measured if they are installed (`pip install pocketsphinx hama`); they are no dependency.
All texts are normalized as those of the model. Speed is seconds of audio for each second of
processor time. The last row joins the sets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import asr
from asr import audio
from asr.data import manifest
from asr.data.manifest import Utterance
from asr.errors import UserError
from asr.scoring.normalization import BY_NAME, WHISPER_ENGLISH, normalizer_of
from asr.scoring.wer import Pair, Score, score

RATE_HZ = 16000  # of the others
Transcriber = Callable[[np.ndarray], str]  # (N,) float32 at `RATE_HZ` -> text


def pocketsphinx() -> Transcriber:
    """The US English model and language model that the package pocketsphinx contains."""
    from pocketsphinx import Decoder

    decoder = Decoder(samprate=RATE_HZ, loglevel="FATAL")

    def transcribe(samples: np.ndarray) -> str:
        decoder.start_utt()
        pcm = (np.clip(samples, -1, 1) * 32767).astype(np.int16).tobytes()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return found.hypstr if found else ""

    return transcribe


def hama() -> Transcriber:
    """The recognizer of phonemes in the package hama, and its model of spelling word by word."""
    from hama import ASRModel, P2GModel

    recognizer, speller = ASRModel(), P2GModel()

    def transcribe(samples: np.ndarray) -> str:
        found = recognizer.transcribe_waveform(samples, RATE_HZ)
        words = filter(None, found.word_phoneme_text.split(" | "))
        return " ".join(speller(word).text for word in words)

    return transcribe


OTHERS = {"pocketsphinx": pocketsphinx, "hama": hama}


def others(names: list[str]) -> dict[str, Transcriber]:
    """The recognizers of these names. Raises `UserError` for one that is not installed."""
    loaded = {}
    for name in names:
        try:
            loaded[name] = OTHERS[name]()
        except ImportError as error:
            raise UserError(f"--with {name}: {error}; pip install {name}") from None
    return loaded


def recognizers(model: Path | None, names: list[str]) -> tuple[dict[str, Transcriber], asr.Config]:
    """All systems by name, and the settings of the model."""
    saved, greedy = asr.load(model, "cpu"), asr.load(model, "cpu", beam=1)
    systems: dict[str, Transcriber] = {
        "greedy": lambda samples: greedy.transcribe(samples, RATE_HZ).text
    }
    if saved.config.decoder.beam > 1:
        systems["beam"] = lambda samples: saved.transcribe(samples, RATE_HZ).text
    return systems | others(names), saved.config


def measure(
    systems: dict[str, Transcriber], utterances: list[Utterance], normalize: Callable[[str], str]
) -> tuple[dict[str, list[Pair]], dict[str, float], float]:
    """The pairs and the processor seconds of each system, and the seconds of audio."""
    pairs: dict[str, list[Pair]] = {name: [] for name in systems}
    spent = dict.fromkeys(systems, 0.0)
    seconds = 0.0
    for u in utterances:
        samples = audio.read(u.audio, RATE_HZ, u.start_s, u.duration_s)
        seconds += len(samples) / RATE_HZ
        reference = normalize(u.text or "")
        for name, transcribe in systems.items():
            started = time.process_time()
            text = transcribe(samples)
            spent[name] += time.process_time() - started
            pairs[name].append(Pair(u.id, reference, normalize(text), u.speaker))
    return pairs, spent, seconds


def row(name: str, found: dict[str, Score]) -> str:
    words = next(iter(found.values())).words.reference
    cells = [f"{100 * s.wer:.1f}% ({100 * s.interval[0]:.1f} to {100 * s.interval[1]:.1f})"
             for s in found.values()]  # fmt: skip
    return f"| {name} | {words} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, help="a model file, if any, and manifests")
    parser.add_argument("--with", dest="names", nargs="*", default=[], choices=list(OTHERS))
    parser.add_argument("--whisper", action="store_true", help="Whisper's normalization of texts")
    options = parser.parse_args()
    model = options.paths[0] if options.paths[0].suffix == ".asr" else None
    systems, config = recognizers(model, options.names)
    normalize = normalizer_of(BY_NAME[WHISPER_ENGLISH] if options.whisper else config.text)
    print("| set | words | " + " | ".join(systems) + " |")
    print("|---" * (2 + len(systems)) + "|")
    joined: dict[str, list[Pair]] = {name: [] for name in systems}
    spent, seconds = dict.fromkeys(systems, 0.0), 0.0
    for path in options.paths[model is not None :]:
        pairs, used, length_s = measure(systems, manifest.read(path), normalize)
        print(row(path.stem, {name: score(found) for name, found in pairs.items()}), flush=True)
        for name in systems:
            joined[name] += [
                Pair(f"{path.stem}/{p.id}", p.reference, p.hypothesis, p.speaker)
                for p in pairs[name]
            ]
            spent[name] += used[name]
        seconds += length_s
    print(row("all", {name: score(found) for name, found in joined.items()}))
    speeds = [f"{seconds / spent[name]:.0f}" for name in systems]
    print("| times real time | | " + " | ".join(speeds) + " |")


if __name__ == "__main__":
    main()
