"""Prepare AN4: 1078 short utterances of 84 speakers who spell, and say numbers, dates and commands.

By Carnegie Mellon University, 1991, 16 kHz, <http://www.speech.cs.cmu.edu/databases/an4/>.

    python recipes/an4/prepare.py OUT [--audio FOLDER | --archive FILE]

writes test.jsonl (the published 130 utterances), and dev.jsonl from a tenth of the published
training set, by speaker.
"""

from asr.pipeline.corpus_cli import corpus_main

if __name__ == "__main__":
    corpus_main("an4", __doc__)
