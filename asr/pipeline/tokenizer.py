"""The stage that learns the tokenizer from the training texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from asr import files
from asr.config import Config
from asr.data import shards
from asr.data.manifest import Utterance
from asr.data.targets import target_text
from asr.errors import UserError
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.stage_cache import digest
from asr.text import tokenizer
from asr.text.tokenizer import Tokenizer
from asr.training import finetune


def learn_tokenizer(corpus: Iterable[Utterance], config: Config) -> Tokenizer:
    """The tokenizer of `train.init_from` if it can encode the texts, otherwise a new one."""

    def texts() -> Iterator[str]:
        return (target_text(u, config) for u in corpus)

    c = config.tokenizer
    if config.train.init_from:
        inherited = finetune.inherited_tokenizer(config.train.init_from, texts(), c)
        if inherited is not None:
            return inherited
    return tokenizer.train(texts(), c.kind, c.vocab_size)


def tokenizer_stage(run: RunFolder) -> Tokenizer:
    """The tokenizer of the run folder, learned if the training texts or its settings changed."""
    c, path = run.config, run.tokenizer_file
    inputs = {
        "tokenizer": c.tokenizer.model_dump(),
        "text": c.text.model_dump(),
        **({"classify": c.classify.model_dump()} if c.task == "classify" else {}),
        "train": digest(run.train_manifest),
        **run.init_from_digest(),
    }
    if not run.stages.done("tokenizer", inputs, [path]):
        learned = learn_tokenizer(shards.read(run.train_manifest), c)
        files.write(path, learned.to_bytes())
        size = len(learned.pieces)
        blank = "" if c.task == "classify" else ", including the blank"
        run.report("tokenizer", f"{size} {c.tokenizer.kind}{blank}")
        run.stages.record("tokenizer", inputs)
    try:
        return tokenizer.from_bytes(path.read_bytes(), c.tokenizer.kind)
    except ValueError as error:
        raise UserError(f"{path}: damaged ({error}); delete it to learn it again") from None
