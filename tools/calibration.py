"""How far word confidences can be trusted on a manifest, for greedy decoding and for the beam.

    python tools/calibration.py MODEL.asr MANIFEST [--lm LM.npz] [beam=50 lm_weight=0.6 ...]

Greedy, the beam alone, and the beam with the language model (of the file, or --lm): WER, expected
calibration error (ECE) in 10 bins, and the bins. The beam has the settings of the model file where
it has been tuned, or those given.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from asr import checkpoint, manifest
from asr.config import parse
from asr.decoder.confidence import Calibration, calibration_of_words
from asr.decoder.ngram import NGram
from asr.errors import UserError
from asr.recognizer import DEFAULT_BEAM, Recognizer, pick_device
from asr.score import Pair, Score, score
from asr.text import normalise
from asr.transcribe import Failure, transcribe_many


def measure(recognizer: Recognizer, utterances: list) -> tuple[Score, Calibration]:
    text = recognizer.config.text
    pairs, recognised = [], []
    for utterance, result in transcribe_many(recognizer, utterances):
        if isinstance(result, Failure):
            raise UserError(result.reason)
        said = normalise(utterance.text or "", text)
        words = [replace(word, text=normalise(word.text, text)) for word in result.words]
        recognised.append((said, [word for word in words if word.text]))
        heard = " ".join(word.text for word in recognised[-1][1])
        pairs.append(Pair(utterance.id, said, heard, utterance.speaker))
    return score(pairs), calibration_of_words(recognised)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("--lm")
    parser.add_argument("settings", nargs="*", help="of the decoder, as beam=50")
    arguments = parser.parse_args()

    model = checkpoint.load_model(arguments.model)
    if arguments.lm:
        model.ngram = NGram.load(arguments.lm)
    utterances = manifest.read(arguments.manifest)
    beam = model.config.decoder.beam if model.config.decoder.beam > 1 else DEFAULT_BEAM
    given = [f"decoder.{setting}" for setting in arguments.settings]
    fused = [f"decoder.beam={beam}", *given]
    alone = [f"decoder.beam={beam}", "decoder.word_bonus=0"]
    systems = {"greedy": (["decoder.beam=1", "decoder.n_best=1"], None), "beam": (alone, None)}
    if model.ngram is not None:
        systems["beam and n-gram"] = (fused, model.ngram)

    console = Console(soft_wrap=True)
    bins = {}
    for name, (changes, ngram) in systems.items():
        config = parse(model.config.model_dump(mode="json"), arguments.model, changes)
        recognizer = Recognizer(replace(model, config=config, ngram=ngram), pick_device())
        result, found = measure(recognizer, utterances)
        console.print(f"[bold]{name}[/bold]: {result}", highlight=False)
        console.print(f"ECE {found.error:.4f} over {found.words} words", highlight=False)
        bins[name] = {int(one.confidence * 10 - 1e-9): one for one in found.bins}
    table = Table("confidence", *systems, title="share of words that are right (words)")
    for i in range(10):
        cells = [bins[name].get(i) for name in systems]
        shown = [f"{one.accuracy:.3f} ({one.words})" if one else "" for one in cells]
        table.add_row(f"{i / 10:.1f} to {(i + 1) / 10:.1f}", *shown)
    console.print(table)


if __name__ == "__main__":
    main()
