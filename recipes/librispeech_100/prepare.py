"""Prepare LibriSpeech: train-clean-100, and all dev and test sets.

By Vassil Panayotov and others (ICASSP 2015), CC BY 4.0, <https://www.openslr.org/12>.

    python recipes/librispeech_100/prepare.py OUT [--audio FOLDER]

writes train.jsonl, dev-clean.jsonl, dev-other.jsonl, test-clean.jsonl and test-other.jsonl.
"""

from asr.pipeline.corpus_cli import corpus_main

if __name__ == "__main__":
    corpus_main("librispeech-100", __doc__)
