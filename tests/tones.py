"""An artificial language of three words, each a tone, on which a model trains in seconds."""

import subprocess
import sys

import numpy as np
import soundfile
import torch

from asr.config import parse
from asr.data import manifest
from asr.data.check import check
from asr.data.manifest import Utterance
from asr.model.ctc import ctc_frames
from asr.model.model_file import Model, load_model
from asr.text.tokenizer import CharacterTokenizer

RATE_HZ = 8000
TONES_HZ = {"low": 400, "mid": 1000, "high": 2400}  # a language of three words


def speak(words, draw):
    """Synthesize a text: each word is a tone; pauses and a little noise are added."""
    parts = [np.zeros(400)]
    for word in words:
        t = np.arange(int(draw.integers(1200, 1800))) / RATE_HZ
        parts += [
            0.3 * np.sin(2 * np.pi * TONES_HZ[word] * t),
            np.zeros(int(draw.integers(300, 700))),
        ]
    samples = np.concatenate(parts)
    return samples + 0.003 * draw.standard_normal(len(samples))


def make_corpus(folder, **counts):
    draw = np.random.default_rng(0)
    for split, count in counts.items():
        utterances = []
        for i in range(count):
            words = draw.choice(list(TONES_HZ), size=int(draw.integers(1, 5))).tolist()
            path = folder / "audio" / f"{split}-{i}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, speak(words, draw), RATE_HZ)
            utterances.append(Utterance(path.stem, str(path), text=" ".join(words)))
        manifest.write(folder / f"{split}.jsonl", utterances)


def make_recipe(folder):
    """Write a corpus to `folder`, and recipe.yaml beside it."""
    make_corpus(folder, train=120, dev=20, test=20)
    (folder / "recipe.yaml").write_text(
        f"""
name: tones
data: {{folder: {folder}, max_duration_s: 4}}
features: {{rate_hz: {RATE_HZ}, n_mels: 24}}
tokenizer: {{kind: bpe, vocab_size: 14}}
augment: {{gain_db: 6, noise_p: 0.3}}
spec_augment: {{time_masks: 1, freq_masks: 1}}
model: {{preset: tiny, layers: 1, hidden: 48, channels: 8}}
train: {{epochs: 12, batch_s: 4, learning_rate: 5.0e-3, workers: 0, threads: 1, device: cpu}}
"""
    )


def small_model(rows, **train):
    """An untrained model with a few thousand weights, and the rows with their durations."""
    values = {"epochs": 2, "batch_s": 4, "workers": 0, "threads": 1, "device": "cpu"}
    config = parse(
        {
            "name": "small",
            "data": {"max_duration_s": 4},
            "features": {"rate_hz": RATE_HZ, "n_mels": 12},
            "model": {"preset": "tiny", "layers": 1, "hidden": 8, "channels": 2},
            "train": values | train,
        },
        "small",
    )
    torch.manual_seed(0)
    model = Model.build(config, CharacterTokenizer("dghilmow"))
    return model, check(rows, config, ctc_frames(config), model.tokenizer, training=True).usable


def command(*arguments):
    return [sys.executable, "-m", "asr.cli", *map(str, arguments)]


def asr(*arguments, status=0):
    done = subprocess.run(command(*arguments), capture_output=True, text=True)
    assert done.returncode == status, done.stderr + done.stdout
    return done.stdout + done.stderr


def weights(run):
    """All weights of a run's model file, in one vector."""
    tensors = load_model(run / "model.asr").acoustic.state_dict().values()
    return torch.cat([tensor.flatten() for tensor in tensors])
