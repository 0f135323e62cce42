"""Prepare a language of Mozilla Common Voice from the archive that its website gives out.

CC0, <https://commonvoice.mozilla.org/datasets>. Nothing is downloaded.

    python recipes/common_voice/prepare.py OUT --archive FILE | --audio FOLDER

writes train.jsonl, dev.jsonl and test.jsonl, the sets of the release.
"""

from asr.pipeline.corpus_cli import corpus_main

if __name__ == "__main__":
    corpus_main("common-voice", __doc__)
