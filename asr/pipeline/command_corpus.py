"""The stage that makes a corpus from a grammar: its sentences and others, by synthetic voices.

The data folder gets

    train.jsonl, dev.jsonl, test.jsonl    sentences of the grammar; those of train and others
    outside-dev.jsonl, outside-test.jsonl what must be refused

The voices are drawn anew for each set; those of the test set may come from other engines.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.data.texts import sentences_of
from asr.errors import UserError
from asr.lm.grammar import Grammar
from asr.pipeline.run_folder import RunFolder
from asr.pipeline.stage_cache import digest
from asr.synthesis.corpus import synthesize

HELD_OUT = 5  # dev and test have the number of training sentences divided by this
LEAST_HELD_OUT = 10
SCRAMBLED = 0.25  # of the training sentences: the words of the grammar in a random order
NOISES, NOISE_S = 12, 4.0
SETS = ("train", "dev", "test")


def prepare_commands(run: RunFolder, grammar_file: Path, outside: Sequence[Path]) -> None:
    """Speak sentences of the grammar, and others, with the engines of `commands`."""
    c = run.config.commands
    names = [f"{name}.jsonl" for name in (*SETS, "outside-dev", "outside-test")]
    inputs = {
        "grammar": digest(grammar_file),
        "outside": [digest(path) for path in outside],
        "commands": c.model_dump(mode="json", exclude={"false_accepts"}),
        "seed": run.config.seed,
        "rate_hz": run.config.features.rate_hz,
    }
    if run.stages.done("prepare", inputs, [run.data / name for name in names]):
        return
    grammar = Grammar(grammar_file)
    others = list(sentences_of(outside, str)) if outside else []
    for number, name in enumerate(SETS):
        sentences, refused = _texts(run, grammar, others, number)
        spoken = _speak(run, name, [*sentences, *refused], number)
        inside = set(sentences)
        commands = [u for u in spoken if u.text in inside]
        rest = [u for u in spoken if u.text not in inside]
        manifest.write(run.data / f"{name}.jsonl", spoken if name == "train" else commands)
        if name != "train":
            rest += _noises(run.data / f"noise-{name}", run.config.features.rate_hz, number)
            manifest.write(run.data / f"outside-{name}.jsonl", rest)
        run.report("prepare", f"{name}: {len(commands)} commands, {len(rest)} others")
    run.stages.record("prepare", inputs)


def _texts(
    run: RunFolder, grammar: Grammar, others: Sequence[str], number: int
) -> tuple[list[str], list[str]]:
    """The sentences of a set that are in the grammar, and those that are not."""
    seed = 3 * run.config.seed + number
    count = run.config.commands.sentences
    if number:
        count = max(LEAST_HELD_OUT, count // HELD_OUT)
    sentences = grammar.sample(count, seed)
    scrambled = scramble(grammar, max(3, round(SCRAMBLED * count)), seed)
    return sentences, [*scrambled, *others[number :: len(SETS)]]


def scramble(grammar: Grammar, count: int, seed: int) -> list[str]:
    """Sentences with the words of a grammar in a random order, which are not in the grammar.

    Sentences that the grammar has by chance are left out, so there may be fewer than `count`.
    """
    draw = random.Random(seed)
    sentences = grammar.sample(2 * count, seed)
    words = sorted({word for sentence in sentences for word in sentence.split()})
    found = {}
    for sentence in sentences:
        changed = sentence.split()
        draw.shuffle(changed)
        changed[draw.randrange(len(changed))] = draw.choice(words)
        text = " ".join(changed)
        if text not in found and not grammar.accepts(text):
            found[text] = None
    return list(found)[:count]


def _speak(run: RunFolder, name: str, texts: Sequence[str], number: int) -> list[Utterance]:
    c = run.config.commands
    engines = c.test_engines if name == "test" and c.test_engines else c.engines
    found = synthesize(
        texts,
        run.data / name,
        list(engines),
        voices=c.voices if name == "train" else max(3, c.voices // HELD_OUT),
        seed=3 * run.config.seed + number,
        rate_hz=run.config.features.rate_hz,
        processes=os.cpu_count() or 1,
    )
    if len(found.utterances) < len(texts) // 2:
        raise UserError(
            f"{run.data / name}: only {len(found.utterances)} of {len(texts)} sentences could be "
            f"spoken; see {run.data / name / 'left-out.jsonl'}"
        )
    return found.utterances


def _noises(folder: Path, rate_hz: int, seed: int) -> list[Utterance]:
    """Silence, hiss, hum and murmur without words, each for `NOISE_S` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, samples in enumerate(_noise_samples(rate_hz, seed)):
        path = folder / f"noise-{number}.wav"
        soundfile.write(path, samples, rate_hz)
        rows.append(Utterance(f"{folder.name}-{number}", str(path), duration_s=NOISE_S, text=""))
    return rows


def _noise_samples(rate_hz: int, seed: int) -> Iterator[np.ndarray]:
    draw = np.random.default_rng(seed)
    count = round(NOISE_S * rate_hz)
    times = np.arange(count) / rate_hz
    yield np.zeros(count, np.float32)
    for _ in range(NOISES - 1):
        hiss = draw.standard_normal(count)
        width = int(draw.integers(1, 40))
        smooth = np.convolve(hiss, np.ones(width) / np.sqrt(width), "same")
        beats = 1 + draw.uniform(0, 1) * np.sin(2 * np.pi * draw.uniform(0.2, 4) * times)
        hum = draw.uniform(0, 1) * np.sin(2 * np.pi * draw.uniform(50, 400) * times)
        level = 10 ** draw.uniform(-3, -1)
        yield (level * (smooth * beats + hum)).clip(-1, 1).astype(np.float32)
