"""Pack a tuned model with a card into the file that the package contains.

    python recipes/english/pack.py OUT.asr --model TUNED.asr [--card card.md]

The weights become int8, and the file must not exceed 12 MB.
"""

from __future__ import annotations

from pathlib import Path

from asr.errors import Failed
from asr.model.model_file import load_model, save_model
from asr.pipeline.prepare_cli import main

LARGEST = 12_000_000  # bytes
# The model is unsure of people, so with the default of -3 a grammar would refuse most of what they
# say: of 120 commands of GRID 83%, and with -5 4%, while one of 115 other recordings is accepted.
MIN_FIT = -5.0


def prepare(out: Path, model: Path, card: Path) -> None:
    """Write `out`; raises `Failed` if it exceeds `LARGEST`."""
    loaded = load_model(model)
    loaded.card = card.read_text("utf-8")
    changes = {"decoder": loaded.config.decoder.model_copy(update={"min_fit": MIN_FIT})}
    loaded.config = loaded.config.model_copy(update=changes)
    save_model(out, loaded, packed=True)
    size = out.stat().st_size
    if size > LARGEST:
        raise Failed(f"{out}: {size / 1e6:.1f} MB, at most {LARGEST / 1e6:g} MB; prune the n-gram")
    print(f"{out}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    here = Path(__file__).parent
    main(
        prepare,
        __doc__,
        {
            "--model": {"type": Path, "required": True, "help": "the tuned model"},
            "--card": {"type": Path, "default": here / "card.md", "help": "the description"},
        },
    )
