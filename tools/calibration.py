"""The calibration of word confidences, for greedy decoding and for the beam.

    python tools/calibration.py MODEL.asr DEV TEST [--lm LM.npz] [beam=50 lm_weight=0.6 ...]

The manifest TEST is decoded greedily, with the beam alone, and with the beam and the language model
(that of the file, or --lm). The program prints the WER and the expected calibration error (ECE) in
10 bins, before and after a scale and a shift are fitted on the manifest DEV, as `asr tune` does.
The beam has the settings of a tuned model file, or those given.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from asr.config import parse
from asr.data import manifest
from asr.decoder.confidence import calibration_of_words, fit_logit, outcomes_of_words, recalibrate
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.model import model_file
from asr.recognition.recognizer import DEFAULT_BEAM, Recognizer
from asr.recognition.transcribe import Failure, transcribe_many
from asr.scoring.wer import Pair, Score, score
from asr.text.normalize import normalize
from asr.transcript import Word

Recognized = list[tuple[str, list[Word]]]  # reference texts, recognized words


def recognize(recognizer: Recognizer, path: str) -> tuple[Score, Recognized]:
    text = recognizer.config.text
    pairs, recognized = [], []
    for utterance, result in transcribe_many(recognizer, manifest.read(path)):
        if isinstance(result, Failure):
            raise UserError(result.reason)
        reference = normalize(utterance.text or "", text)
        words = [replace(word, text=normalize(word.text, text)) for word in result.words]
        recognized.append((reference, [word for word in words if word.text]))
        hypothesis = " ".join(word.text for word in recognized[-1][1])
        pairs.append(Pair(utterance.id, reference, hypothesis, utterance.speaker))
    return score(pairs), recognized


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("dev")
    parser.add_argument("test")
    parser.add_argument("--lm")
    parser.add_argument("settings", nargs="*", help="decoder settings, such as beam=50")
    arguments = parser.parse_args()

    model = model_file.load_model(arguments.model)
    if arguments.lm:
        model.ngram = NGram.load(arguments.lm)
    beam = model.config.decoder.beam if model.config.decoder.beam > 1 else DEFAULT_BEAM
    raw = ["decoder.confidence_scale=1", "decoder.confidence_shift=0"]
    fused = [*raw, f"decoder.beam={beam}", *(f"decoder.{change}" for change in arguments.settings)]
    alone = [*raw, f"decoder.beam={beam}", "decoder.word_bonus=0"]
    best_path = [*raw, "decoder.beam=1", "decoder.n_best=1"]
    systems = {"greedy": (best_path, None), "beam": (alone, None)}
    if model.ngram is not None:
        systems["beam and n-gram"] = (fused, model.ngram)

    console = Console(soft_wrap=True)
    bins = {}
    for name, (changes, ngram) in systems.items():
        config = parse(model.config.model_dump(mode="json"), arguments.model, changes)
        recognizer = Recognizer(replace(model, config=config, ngram=ngram))
        scale, shift = fit_logit(*outcomes_of_words(recognize(recognizer, arguments.dev)[1]))
        result, recognized = recognize(recognizer, arguments.test)
        mended = [(reference, recalibrate(words, scale, shift)) for reference, words in recognized]
        before, after = calibration_of_words(recognized), calibration_of_words(mended)
        console.print(f"[bold]{name}[/bold]: {result}", highlight=False)
        console.print(
            f"ECE {before.error:.4f} -> {after.error:.4f} over {before.words} words, "
            f"scale {scale:.3f}, shift {shift:.3f}",
            highlight=False,
        )
        bins[name] = {int(one.confidence * 10 - 1e-9): one for one in after.bins}
    table = Table("confidence", *systems, title="share of words that are right, after (words)")
    for i in range(10):
        cells = [bins[name].get(i) for name in systems]
        shown = [f"{one.accuracy:.3f} ({one.words})" if one else "" for one in cells]
        table.add_row(f"{i / 10:.1f} to {(i + 1) / 10:.1f}", *shown)
    console.print(table)


if __name__ == "__main__":
    main()
