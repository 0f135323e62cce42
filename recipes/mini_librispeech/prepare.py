"""Prepare Mini LibriSpeech: 5 hours of read books for training, and 2 hours for scoring.

By Vassil Panayotov and Daniel Povey, CC BY 4.0, <https://www.openslr.org/31>.

    python recipes/mini_librispeech/prepare.py OUT [--audio FOLDER]

writes dev.jsonl (dev-clean-2, on which others report), and test.jsonl, which is a tenth of the
training set by speaker.
"""

from asr.pipeline.corpus_cli import corpus_main

if __name__ == "__main__":
    corpus_main("mini-librispeech", __doc__)
