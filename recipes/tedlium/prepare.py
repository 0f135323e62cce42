"""Prepare TED-LIUM 3: 452 hours of English talks, with the dev and test sets of release 2.

By Francois Hernandez and others (SPECOM 2018), CC BY-NC-ND 3.0, <https://www.openslr.org/51>.

    python recipes/tedlium/prepare.py OUT [--audio FOLDER | --archive FILE]

writes train.jsonl, dev.jsonl and test.jsonl, the legacy sets, on which systems are compared.
"""

from asr.pipeline.corpus_cli import corpus_main

if __name__ == "__main__":
    corpus_main("tedlium3", __doc__)
