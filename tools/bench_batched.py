"""Batched beam search on a device beside the compiled one: same emissions, same run, same texts.

    python tools/bench_batched.py --text BOOKS.txt.gz [--device cuda] [--batches 1 16 64]

Emissions are drawn as in `bench_decoder.py`, with its beam and token limits, and lie on the device
already. Each decoder takes the utterances twice; the faster pass counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from bench_decoder import BEAM_MARGIN, LM_WEIGHT, TOKEN_MIN_LOGP, normalized, synthesise

from asr.decoder.batched import BatchedBeamDecoder
from asr.decoder.beam import BeamDecoder
from asr.lm.ngram import NGram
from asr.text.tokenizer import SentencePieceTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="a sentence a line")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--utterances", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--beam", type=int, default=16)
    parser.add_argument("--threads", type=int, default=1, help="of the compiled decoder")
    arguments = parser.parse_args()
    lines = normalized(arguments.text)
    texts, rest = lines[: arguments.utterances], lines[arguments.utterances :]
    tokenizer = SentencePieceTokenizer.train(rest[:20000], "bpe", 500)
    drawn = synthesise("peaky 500-BPE", tokenizer, texts, 0.04, True, 0)
    lengths = torch.tensor([len(one) for one in drawn.log_probs])
    padded = torch.nn.utils.rnn.pad_sequence(list(map(torch.from_numpy, drawn.log_probs)), True)
    padded, lengths = padded.to(arguments.device), lengths.to(arguments.device)
    lm = NGram.estimate(rest, order=3, max_words=50_000)

    print(f"{len(texts)} utterances, {sum(map(len, drawn.log_probs)) * 0.04:.0f} s, 500 BPE tokens")
    print("| LM | decoder | utterances/s | other texts |\n|---|---|---|---|")
    for model in (None, lm):
        decoder = BeamDecoder(
            drawn.pieces,
            beam=arguments.beam,
            token_min_logp=TOKEN_MIN_LOGP,
            beam_margin=BEAM_MARGIN,
            lm=model,
            lm_weight=LM_WEIGHT,
        )
        batched = BatchedBeamDecoder(decoder, arguments.device)

        def compiled(decoder=decoder):
            return decoder.decode_batch(drawn.log_probs, drawn.frame_s, arguments.threads)

        def in_batches(size, batched=batched):
            return [
                hypotheses
                for part, frames in zip(padded.split(size), lengths.split(size), strict=True)
                for hypotheses in batched.decode_batch(
                    part[:, : int(frames.max())], frames, drawn.frame_s
                )
            ]

        expected = [one[0].text for one in compiled()]
        ways = {f"compiled, {arguments.threads} threads": compiled}
        for size in arguments.batches:
            ways[f"{arguments.device}, batches of {size}"] = lambda size=size: in_batches(size)
        for name, decode in ways.items():
            seconds = []
            for _ in range(2):
                started = time.perf_counter()
                found = [one[0].text for one in decode()]
                seconds.append(time.perf_counter() - started)
            other = sum(a != b for a, b in zip(expected, found, strict=True))
            rate = len(texts) / min(seconds)
            print(
                f"| {'3-gram' if model else 'none'} | {name} | {rate:.1f} | {other} |", flush=True
            )


if __name__ == "__main__":
    main()
