"""Speed and word error rate of the beam search and of other decoders on the same emissions.

    python tools/bench_decoder.py --text BOOKS.txt.gz
    python tools/bench_decoder.py --text BOOKS.txt.gz --emissions dev.npz

The peers come with `pip install --no-deps ctc-beam-decoder pyctcdecode pygtrie flashlight-text
fast-ctc-decode kenlm-ex`; missing ones are named and left out. The language model is a word 3-gram
of the text without the sentences that are decoded. Each decoder runs in one thread, several times
over all utterances, alternating with the others; the fastest pass counts. --emissions: an npz with
`pieces`, `frame_s`, `texts`, `frames` (the length of each utterance) and `log_probs` (all of them,
concatenated), which replaces the synthetic sets.
"""

from __future__ import annotations

import argparse
import gzip
import importlib.util
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np

from asr.decoder.beam import BeamDecoder
from asr.decoder.greedy import GreedyDecoder
from asr.lm.ngram import NGram
from asr.text.tokenizer import (
    BLANK,
    WORD_START,
    CharacterTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
)

# The same for all decoders; these are the defaults of pyctcdecode and ctc-beam-decoder.
TOKEN_MIN_LOGP, BEAM_MARGIN = -5.0, 10.0
LM_WEIGHT, WORD_BONUS = 0.5, 1.0
Decode = Callable[[np.ndarray], str]


@dataclass
class Emissions:
    """Utterances of one kind: the (T, V) log-probs and the reference text of each."""

    name: str
    pieces: list[str]
    frame_s: float
    log_probs: list[np.ndarray]
    texts: list[str]
    spell: Callable[[str], list[int]]  # token ids of a word


def normalized(path: Path) -> list[str]:
    """The lines of a text, reduced to letters, apostrophes and single spaces."""
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else open(path)
    with opened as lines:
        kept = (" ".join(re.sub("[^a-z' ]", " ", line.lower()).split()) for line in lines)
        return [line for line in kept if line]


def synthesise(
    name: str, tokenizer: Tokenizer, texts: list[str], frame_s: float, peaky: bool, seed: int
) -> Emissions:
    """Random emissions that resemble those of a trained model.

    Peaky: a token has most of the probability in one or two frames, and the frames between tokens
    are blank. In about one word in five, a token is confused with one of three similar tokens.
    Flat: the emissions of an undertrained model, which spreads each token over many others.
    """
    rng = np.random.default_rng(seed)
    size = len(tokenizer.pieces)
    others = [np.delete(np.arange(size), [BLANK, token]) for token in range(1, size)]
    alike = np.array([rng.permutation(other)[:3] for other in others])
    words = sum(len(text.split()) for text in texts)
    confusion = 0.2 * words / sum(len(tokenizer.encode(text)) for text in texts)

    def draw(likely: np.ndarray, noise: float) -> np.ndarray:
        """A frame: (1 - noise) * likely + noise * random + 1e-6, where both are scaled to sum 1."""
        anywhere = rng.gamma(0.2, size=size)
        return (1 - noise) * likely / likely.sum() + noise * anywhere / anywhere.sum() + 1e-6

    def spike(token: int) -> np.ndarray:
        likely = np.zeros(size)
        if rng.random() < confusion:
            likely[token] = rng.uniform(0.1, 0.5)
        else:
            likely[token] = rng.beta(20, 1) if peaky else rng.uniform(0.4, 0.9)
        likely[alike[token - 1]] = (1 - likely[token]) * rng.dirichlet(np.ones(3))
        return likely

    blank = np.eye(size)[BLANK]
    all_log_probs = []
    for text in texts:
        frames, last = [], BLANK
        for token in tokenizer.encode(text):
            likely = spike(token)
            # This gives about 14 characters per second at 20 ms per frame, 6 pieces at 40 ms.
            for _ in range(int(rng.poisson(2.0)) + (token == last)):
                near = blank + 10 ** -rng.uniform(2, 5 if peaky else 2) * likely
                frames.append(draw(near, 1e-4 if peaky else 0.1))
            frames.append(draw(likely + 0.02 * blank, 0.01 if peaky else 0.2))
            if rng.random() < 0.5:
                more = likely + rng.uniform(0, 1) * blank
                frames.append(draw(more, 0.01 if peaky else 0.2))
            last = token
        frames += [draw(blank, 1e-4 if peaky else 0.1) for _ in range(3)]
        probs = np.array(frames)
        probs /= probs.sum(axis=1, keepdims=True)
        all_log_probs.append(np.log(probs).astype(np.float32))
    return Emissions(name, tokenizer.pieces, frame_s, all_log_probs, texts, tokenizer.encode)


def saved(path: Path) -> Emissions:
    """The emissions of a model, read from an npz file."""
    with np.load(path, allow_pickle=False) as arrays:
        pieces, texts = arrays["pieces"].tolist(), arrays["texts"].tolist()
        ends = np.cumsum(arrays["frames"])
        log_probs = np.split(arrays["log_probs"].astype(np.float32), ends[:-1])
        frame_s = float(arrays["frame_s"])
    longest_first = sorted(range(1, len(pieces)), key=lambda k: -len(pieces[k]))
    on_characters = WORD_START in pieces and not any(
        piece.startswith(WORD_START) and len(piece) > 1 for piece in pieces
    )

    def spell(word: str) -> list[int]:
        """Spell a word with the longest piece at each position, as flashlight's lexicon does."""
        rest, ids = word if on_characters else WORD_START + word, []
        while rest:
            ids.append(next((k for k in longest_first if rest.startswith(pieces[k])), BLANK))
            rest = rest[len(pieces[ids[-1]]) if ids[-1] else 1 :]
        return ids

    return Emissions(path.stem, pieces, frame_s, log_probs, texts, spell)


# Each function returns a decoder of one utterance for a set of emissions, a beam, and optionally a
# language model; or None if the library does not support it.


def ours(emissions: Emissions, beam: int, lm: NGram | None, arpa: str) -> Decode:
    decoder = BeamDecoder(
        emissions.pieces,
        beam=beam,
        token_min_logp=TOKEN_MIN_LOGP,
        beam_margin=BEAM_MARGIN,
        lm=lm,
        lm_weight=LM_WEIGHT,
        word_bonus=WORD_BONUS if lm else 0.0,
        # The default of the two peers that support unknown words.
        unknown_score=lm.unknown_score - 10 * math.log(10) if lm else 0.0,
    )
    return lambda log_probs: decoder.decode(log_probs, emissions.frame_s)[0].text


def ctc_beam_decoder(emissions: Emissions, beam: int, lm: NGram | None, arpa: str) -> Decode:
    from ctc_beam_decoder import BeamSearchDecoder

    labels = peer_labels(emissions)
    options = {"kenlm_model_path": arpa, "alpha": LM_WEIGHT, "beta": WORD_BONUS} if lm else {}
    decoder = BeamSearchDecoder(labels, **options)
    return lambda log_probs: decoder.decode(
        log_probs, beam_width=beam, token_min_logp=TOKEN_MIN_LOGP, beam_prune_logp=-BEAM_MARGIN
    )


def pyctcdecode(emissions: Emissions, beam: int, lm: NGram | None, arpa: str) -> Decode:
    from pyctcdecode import build_ctcdecoder

    labels = peer_labels(emissions)
    options = {"kenlm_model_path": arpa, "alpha": LM_WEIGHT, "beta": WORD_BONUS} if lm else {}
    if lm:
        options["unigrams"] = [word for word in lm.words if not word.startswith("<")]
    decoder = build_ctcdecoder(labels, **options)
    return lambda log_probs: decoder.decode(
        log_probs, beam_width=beam, token_min_logp=TOKEN_MIN_LOGP, beam_prune_logp=-BEAM_MARGIN
    )


def peer_labels(emissions: Emissions) -> list[str]:
    """The pieces in the notation of two peers: blank is "", and the word mark of characters " "."""
    on_characters = all(len(piece) == 1 for piece in emissions.pieces[1:])
    return ["", *(p.replace(WORD_START, " ") if on_characters else p for p in emissions.pieces[1:])]


def flashlight(emissions: Emissions, beam: int, lm: NGram | None, arpa: str) -> Decode:
    """Lexicon-free without a language model, otherwise with a lexicon of the words of the model."""
    from flashlight.lib.text import decoder as fl
    from flashlight.lib.text.dictionary import Dictionary

    pieces = emissions.pieces
    on_characters = WORD_START in pieces and all(len(piece) == 1 for piece in pieces[1:])
    silence = pieces.index(WORD_START) if on_characters else BLANK
    tokens = min(len(pieces), 40)

    def call(decoder, log_probs):
        frames, size = log_probs.shape
        return decoder.decode(log_probs.ctypes.data, frames, size)[0]

    if lm is None:
        options = fl.LexiconFreeDecoderOptions(
            beam, tokens, BEAM_MARGIN, 0.0, 0.0, True, fl.CriterionType.CTC
        )
        decoder = fl.LexiconFreeDecoder(options, fl.ZeroLM(), silence, BLANK, [])

        def decode(log_probs: np.ndarray) -> str:
            text, last = [], BLANK
            for token in call(decoder, log_probs).tokens:
                if token not in (last, BLANK):
                    text.append(pieces[token] if token >= 0 else "")
                last = token
            return " ".join("".join(text).replace(WORD_START, " ").split())

        return decode

    words = [word for word in lm.words if not word.startswith("<")]
    dictionary = Dictionary()
    for word in words:
        dictionary.add_entry(word)
    dictionary.add_entry("<unk>")
    model = fl.KenLM(arpa, dictionary)
    trie, start = fl.Trie(len(pieces), silence), model.start(False)
    for word in words:
        index = dictionary.get_index(word)
        trie.insert(emissions.spell(word), index, model.score(start, index)[1])
    trie.smear(fl.SmearingMode.MAX)
    options = fl.LexiconDecoderOptions(
        beam,
        tokens,
        BEAM_MARGIN,
        LM_WEIGHT * math.log(10),  # its scores are logarithms to base 10
        WORD_BONUS,
        -math.inf,
        0.0,
        True,
        fl.CriterionType.CTC,
    )
    unknown = dictionary.get_index("<unk>")
    decoder = fl.LexiconDecoder(options, trie, model, silence, BLANK, unknown, [], False)
    return lambda log_probs: " ".join(
        dictionary.get_entry(word) for word in call(decoder, log_probs).words if word >= 0
    )


def fast_ctc_decode(emissions: Emissions, beam: int, lm: NGram | None, arpa: str) -> Decode | None:
    """It has no language model. It reads probabilities; the conversion from logs is not timed."""
    if lm is not None:
        return None
    from fast_ctc_decode import beam_search

    threshold = min(math.exp(TOKEN_MIN_LOGP), 0.99 / len(emissions.pieces))
    pieces = emissions.pieces

    def decode(probs: np.ndarray) -> str:
        text, _ = beam_search(probs, pieces, beam_size=beam, beam_cut_threshold=threshold)
        return " ".join(text.replace(WORD_START, " ").split())

    decode.wants_probabilities = True
    return decode


PEERS = {
    "ctc-beam-decoder": ("ctc_beam_decoder", ctc_beam_decoder),
    "flashlight-text": ("flashlight", flashlight),
    "pyctcdecode": ("pyctcdecode", pyctcdecode),
    "fast-ctc-decode": ("fast_ctc_decode", fast_ctc_decode),
}


@dataclass
class Result:
    seconds: float
    texts: list[str]


def measure(
    decoders: dict[str, Decode], emissions: Emissions, budget_s: float
) -> dict[str, Result]:
    """The fastest pass of each decoder over all utterances.

    The decoders alternate until each has run for `budget_s` seconds.
    """
    probabilities = [np.exp(log_probs) for log_probs in emissions.log_probs]
    results: dict[str, Result] = {}
    spent = dict.fromkeys(decoders, 0.0)
    for name, decode in decoders.items():
        decode(
            probabilities[0] if hasattr(decode, "wants_probabilities") else emissions.log_probs[0]
        )
        results[name] = Result(math.inf, [])
    while min(spent.values()) < budget_s:
        for name, decode in decoders.items():
            if spent[name] >= budget_s:
                continue
            given = hasattr(decode, "wants_probabilities")
            inputs = probabilities if given else emissions.log_probs
            begin = time.perf_counter()
            texts = [decode(one) for one in inputs]
            seconds = time.perf_counter() - begin
            spent[name] += seconds
            results[name] = Result(min(seconds, results[name].seconds), texts)
    return results


def run(arguments: argparse.Namespace) -> Iterator[str]:
    """Yield the lines of the report, each as soon as it is measured."""
    lines = normalized(arguments.text)
    texts, rest = lines[: arguments.sentences], lines[arguments.sentences :]
    if arguments.emissions:
        sets = [saved(path) for path in arguments.emissions]
        held_out = {text for emissions in sets for text in emissions.texts}
        rest = [line for line in lines if line not in held_out]
    else:
        characters = CharacterTokenizer.train(rest)
        bpe = SentencePieceTokenizer.train(rest[:20000], "bpe", 500)
        sets = [
            synthesise("peaky characters", characters, texts, 0.02, True, arguments.seed),
            synthesise("peaky 500-BPE", bpe, texts, 0.04, True, arguments.seed),
            synthesise("flat characters", characters, texts, 0.02, False, arguments.seed),
        ]
    lm = NGram.estimate(rest, order=3, max_words=arguments.max_words)
    with tempfile.TemporaryDirectory() as folder:
        arpa = os.path.join(folder, "lm.arpa")
        lm.save(arpa)
        installed = {"ours": ours}
        for name, (module, make) in PEERS.items():
            if importlib.util.find_spec(module) is None:
                print(f"not installed, left out: {name}", file=sys.stderr)
            else:
                installed[name] = make
        for emissions in sets:
            seconds = sum(map(len, emissions.log_probs)) * emissions.frame_s
            plain = GreedyDecoder(emissions.pieces)
            guess = [plain.decode(one, emissions.frame_s)[0].text for one in emissions.log_probs]
            yield (
                f"\n### {emissions.name}: {len(emissions.texts)} utterances, {seconds:.0f} s, "
                f"greedy WER {100 * jiwer.wer(emissions.texts, guess):.2f}%\n"
            )
            yield "| beam | LM | " + " | ".join(installed) + " |"
            yield "|---" * (2 + len(installed)) + "|"
            for beam in arguments.beams:
                for model in (None, lm):
                    made = {
                        name: make(emissions, beam, model, arpa) for name, make in installed.items()
                    }
                    decoders = {name: decode for name, decode in made.items() if decode}
                    results = measure(decoders, emissions, arguments.budget)
                    cells = [
                        cell(results.get(name), results["ours"], emissions) for name in installed
                    ]
                    lm_name = "3-gram" if model else "none"
                    yield f"| {beam} | {lm_name} | " + " | ".join(cells) + " |"
            yield "\n" + two_threads(emissions, lm)


def cell(result: Result | None, best: Result, emissions: Emissions) -> str:
    """Utterances per second, the speed of asr relative to this decoder, and the WER."""
    if result is None:
        return ""
    rate = len(emissions.texts) / result.seconds
    ratio = "" if result is best else f" ({result.seconds / best.seconds:.1f}x)"
    return f"{rate:.1f}{ratio}, {100 * jiwer.wer(emissions.texts, result.texts):.2f}%"


def two_threads(emissions: Emissions, lm: NGram) -> str:
    """The speed-up by a second thread, at beam 50 with the language model."""
    decoder = BeamDecoder(emissions.pieces, lm=lm, lm_weight=LM_WEIGHT, word_bonus=WORD_BONUS)
    fastest = {1: math.inf, 2: math.inf}
    for _ in range(40):
        for threads in fastest:
            begin = time.perf_counter()
            decoder.decode_batch(emissions.log_probs, emissions.frame_s, threads)
            fastest[threads] = min(fastest[threads], time.perf_counter() - begin)
    return f"Two threads: {fastest[1] / fastest[2]:.2f} times one."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--text", type=Path, required=True, help="one sentence per line, plain or gzip"
    )
    parser.add_argument("--emissions", type=Path, nargs="+", help="npz files, see the docstring")
    parser.add_argument("--sentences", type=int, default=100, help="utterances of a synthetic set")
    parser.add_argument("--beams", type=int, nargs="+", default=[16, 50, 100])
    parser.add_argument(
        "--budget", type=float, default=2.0, help="seconds for each decoder, at least"
    )
    parser.add_argument("--max-words", type=int, default=50000, help="vocabulary of the 3-gram")
    parser.add_argument("--seed", type=int, default=0)
    for line in run(parser.parse_args()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
