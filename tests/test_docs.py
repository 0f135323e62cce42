"""Contract 9: every command of the pages is run, as written or at a smaller scale.

The commands of a page are the lines of its fenced blocks without a language, and those in the table
of figures of the README. They run in one folder, in the order of the pages; files that the pages
presuppose are created first. A command that is not in `RUN` fails the test that collects them.
test_tools.py runs the programs in tools/.
"""

import gzip
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import noise
from test_speechocean import write_original
from test_stream import save_streaming_model

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.export.model import export
from asr.model.model_file import load_model
from asr.plotting.recording import OF_MODEL

ROOT = Path(__file__).parent.parent
CLASSIFY = ("keywords", "speakers", "spoken_languages", "sounds")  # test_classify_page.py
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *(p for p in sorted(ROOT.glob("recipes/*/README.md")) if p.parent.name not in CLASSIFY),
    *(p for p in sorted(ROOT.glob("docs/*.md")) if p.name != "classify.md"),
]
SMALL = "train.epochs=1 model.hidden=16 model.layers=1 train.device=cpu"
ONE_LAYER = f"model.inter_ctc=[] model.self_conditioned=false {SMALL}"
DIGITS = f"data.prepare.hours=0.01 data.prepare.voices=8 data.prepare.clips=0 {SMALL}"
FIRST = "data/digits/audio/test-0000/test-0000-000.wav"

BEGUN = (
    "asr run recipes/speechocean name=begun data.folder=data/speechocean "
    "data.prepare.audio=speechocean762 train.init_from=runs/readers/model.asr "
    '"lm.texts=[train.jsonl,data/readers/train.jsonl]"'
)

# command: what is run in its place, where the command itself would take too long or needs a network
RUN = {
    "bash tools/quickstart.sh": None,  # its commands are collected beside those of the pages
    "bash tools/test.sh": None,  # this
    # installs from the network: test_wheel.py installs from the wheel
    "bash tools/setup.sh": None,
    "bash tools/setup.sh train": None,
    "bash tools/setup.sh train dev": None,
    "asr doctor": "",
    "asr config train": "",
    "asr transcribe talk.wav": "",
    "asr info": "",
    "asr pseudo-label model.asr recordings -o data/guessed": (
        "asr pseudo-label model.asr recordings -o data/guessed --min-confidence 0 --min-agreement 0"
    ),
    "asr run recipes/digits": f"asr run recipes/digits {DIGITS}",
    "asr run recipes/digits name=hibari data.prepare.engines=hibari": (
        f"asr run recipes/digits name=hibari data.prepare.engines=hibari {DIGITS}"
    ),
    "asr run recipes/digits name=digits-streaming model.streaming=true": (
        f"asr run recipes/digits name=digits-streaming model.streaming=true {DIGITS}"
    ),
    "asr listen streaming.asr": None,  # a microphone; test_listen.py
    "asr listen streaming.asr --from talk.wav": "",
    "asr listen streaming.asr --from talk.wav --fast --json": "",
    "asr listen streaming.asr --from talk.wav --fast --save heard": "",
    # test_tools.py runs it at a small scale
    "python tools/bench_serve.py load small-streaming.asr talks --streams 1 10 20 30 40 --seconds "
    "10": None,
    "python tools/bench_serve.py files small.asr files --clients 16": None,
    "python tools/bench_streaming.py streaming.asr data/digits/test.jsonl --chunkings 0 --paced "
    "25": None,
    # servers run until they are ended: test_server*.py
    "asr serve runs/mine/model.asr": None,
    "asr serve english=runs/mine/model.asr digits=runs/digits/model.asr --port 9000": None,
    "asr serve runs/mine/model.asr --host 0.0.0.0 --tokens tokens.txt --cert cert.pem --key "
    "key.pem": None,
    "asr serve streaming.asr --corrections corrected": None,
    "asr serve streaming.asr --vosk-port 2700": None,
    "asr serve streaming.asr --wyoming-port 10300": None,
    "asr serve commands.asr --wyoming-port 10300 --grammar my-home.yaml": None,
    "asr serve streaming.asr --host 0.0.0.0 --wyoming-port 10300 --announce kitchen": None,
    "python tools/docker_steps.py build/root --models models": None,  # test_tools.py
    "asr serve runs/mine/model.asr --engine ray --replicas 4 --address HEAD:6379": None,
    "asr prepare recordings -o data/mine": "",
    "asr prepare recordings -o data/mine --dry-run": "",
    "asr corpus list": "",
    # test_corpora.py gets corpora from a server of its own
    "asr corpus get mini-librispeech -o data/mini-librispeech": None,
    "asr corpus get common-voice -o data/german --archive cv-corpus-de.tar.gz": None,
    "asr prepare corpus.csv -o data/mine --audio-column clip --text-column said": (
        "asr prepare corpus.csv -o data/named --audio-column clip --text-column said"
    ),
    "asr prepare recordings -o data/mine --split-by text --dev 2 --test 0.2 --seed 1": (
        "asr prepare recordings -o data/split --split-by text --dev 2 --test 0.2 --seed 1"
    ),
    "asr prepare recordings -o data/mine --to lhotse": (
        "asr prepare recordings -o data/lhotse --to lhotse"
    ),
    "asr check data/mine/train.jsonl --against data/mine/test.jsonl": (
        "asr check data/mine/train.jsonl --against data/mine/test.jsonl || test $? = 1"
    ),
    "asr check data/mine/train.jsonl": "",
    'echo "name: mine" > mine.yaml': "",
    "asr run mine.yaml": f"asr run mine.yaml {SMALL}",
    "asr transcribe runs/mine/model.asr recordings/new.wav": "",
    "asr transcribe runs/mine/model.asr recordings -o texts --format txt --format srt": "",
    "asr transcribe runs/mine/model.asr 'recordings/**/*.wav' --format jsonl": "",
    "asr export runs/mine/model.asr --to mine.onnx": "",
    "asr transcribe mine.onnx recordings/new.wav": "",
    "asr export runs/mine/model.asr --to int8.onnx --quantize --check data/mine/test.jsonl": "",
    "asr bench runs/mine/model.asr": "",
    "asr bench runs/mine/model.asr recordings/new.wav --json": (
        "asr bench runs/mine/model.asr --json"  # the small recording is too short
    ),
    "asr transcribe runs/mine/model.asr recordings/new.wav --quantize": "",
    "asr transcribe model.asr data/NAME/test.jsonl --engine ray -o archive": "",
    "asr score data/NAME/test.jsonl archive/part-00000.jsonl": "",
    # test_archive.py runs it on a cluster
    "asr transcribe model.asr data/NAME/test.jsonl --engine ray -o archive --address HEAD:6379": (
        None
    ),
    "cat recordings/new.wav | asr transcribe runs/mine/model.asr - --format srt": "",
    "torchrun --nproc-per-node 2 -m asr.cli train mine.yaml": (
        "torchrun --standalone --nproc-per-node 2 -m asr.cli train mine.yaml "
        f"name=two data.folder=data/mine {SMALL}"
    ),
    "asr run recipes/readers data.prepare.audio=voices": (
        f"asr run recipes/readers data.prepare.audio=voices {ONE_LAYER}"
    ),
    "asr score runs/digits/model.asr data/fsdd/manifest.tsv --by speaker": "",
    # test_recipes.py runs them in its own process, on corpora in the layouts of their publishers
    **{
        f"asr run recipes/{name}{copy}": None
        for name, folder in {
            "an4": "an4",
            "mini_librispeech": "LibriSpeech",
            "librispeech_100": "LibriSpeech",
            "librispeech_960": "LibriSpeech",
            "tedlium": "TEDLIUM_release-3",
        }.items()
        for copy in ("", f" data.prepare.audio={folder}")
    },
    **{
        f"asr run recipes/common_voice name=german data.prepare.{given} text.language=de": None
        for given in ("archive=cv-corpus-de.tar.gz", "audio=cv-corpus/de")
    },
    "torchrun --nproc-per-node 8 -m asr.cli run recipes/librispeech_960": None,
    **{
        f"asr run recipes/languages {given}": None
        for given in (
            "data.prepare.audio=rhasspy_kerstin_de data.prepare.language=de",
            "name=french text.language=fr data.prepare.audio=asterisk_fr "
            "data.prepare.language=fr data.prepare.held_out=hash train.epochs=70",
            "name=spanish text.language=es data.prepare.audio=asterisk_es "
            "data.prepare.language=es data.prepare.held_out=hash train.epochs=70",
            "name=russian text.language=ru text.abbreviations=keep "
            "data.prepare.audio=asterisk_ru data.prepare.language=ru data.prepare.held_out=hash "
            "train.epochs=70",
        )
    },
    # downloads: test_recipes_prepare.py does that from a server of its own
    "asr run recipes/fsdd": None,
    "asr run recipes/fsdd data.prepare.audio=recordings/fsdd": (
        f"asr run recipes/fsdd data.prepare.audio=recordings/fsdd {SMALL}"
    ),
    "asr run recipes/fsdd data.prepare.audio=recordings/fsdd name=fsdd-tuned "
    "train.init_from=runs/digits/model.asr train.learning_rate=1.0e-3 train.freeze_steps=20 "
    "train.layer_decay=0.9": (
        "asr run recipes/fsdd data.prepare.audio=recordings/fsdd name=fsdd-tuned "
        f"train.init_from=runs/digits/model.asr train.freeze_steps=2 {SMALL}"
    ),
    # without the copy it downloads: test_recipes_prepare.py does that from a server of its own
    "asr run recipes/yesno": f"asr run recipes/yesno data.prepare.audio=waves_yesno {SMALL}",
    "asr run recipes/yesno data.prepare.audio=waves_yesno": (
        f"asr run recipes/yesno data.prepare.audio=waves_yesno {SMALL}"
    ),
    # downloads too, without the copy: test_speechocean.py does that from a server of its own
    "asr run recipes/speechocean": (
        f"asr run recipes/speechocean data.prepare.audio=speechocean762 {ONE_LAYER}"
    ),
    "asr run recipes/speechocean data.prepare.audio=speechocean762": (
        f"asr run recipes/speechocean data.prepare.audio=speechocean762 {ONE_LAYER}"
    ),
    BEGUN: f"{BEGUN} {ONE_LAYER}",
    "asr score runs/begun/model.asr data/speechocean/test.jsonl --by age": "",
    "asr score runs/begun/tuned.asr data/speechocean/test.jsonl --by age": "",
    "asr run recipes/speechocean/deepspeech2.yaml data.prepare.audio=speechocean762": (
        "asr run recipes/speechocean/deepspeech2.yaml data.prepare.audio=speechocean762 "
        f"{SMALL} model.channels=4"
    ),
    "asr align model.asr talk.wav talk.txt -o aligned": "",
    "asr align model.asr data/NAME/test.jsonl -o aligned": "",
    "asr align model.asr book.mp3 book.txt -o book --min-score -1": (
        "asr align model.asr book.mp3 book.txt -o book --min-score -100"
    ),
    "asr prepare book/manifest.jsonl -o data/book": (
        "asr prepare book/manifest.jsonl -o data/book --dev 0 --test 0"
    ),
    "asr transcribe runs/digits/model.asr data/digits/audio/test-0000/test-0000-00{0,1,2}.wav": "",
    "asr score runs/digits/model.asr data/digits/test.jsonl": "",
    "asr score model.asr data/NAME/test.jsonl": "",
    "asr score model.asr data/NAME/test.jsonl --by speaker --by duration --by snr "
    "-o scores/model": "",
    "asr score scores/model --train data/NAME/train.jsonl --confusions 10": "",
    "asr score model.asr data/NAME/test.jsonl --decoder beam=20 -o scores/beam": "",
    "asr score scores/model --against scores/beam": "",
    "asr score data/NAME/test.jsonl model.txt --against other.txt": "",
    "asr lm books.txt.gz data/NAME/train.jsonl -o lm.npz --perplexity data/NAME/dev.jsonl": "",
    "asr tune model.asr data/NAME/dev.jsonl --lm lm.npz -o tuned.asr": "",
    "asr score tuned.asr data/NAME/test.jsonl": "",
    "asr grammar my-home.yaml --sample 10": "",
    "asr transcribe model.asr talk.wav --grammar my-home.yaml --format json": "",
    # test_commands.py runs it with voices of one engine
    "asr run my-home.yaml": None,
    "asr run recipes/commands": None,
    "asr transcribe runs/my-home/commands.asr talk.wav --format json": (
        "asr transcribe model.asr talk.wav --grammar my-home.yaml --format json"
    ),
    "asr record my-home.yaml -o data/me --count 10 --speaker me": None,  # a microphone
    "asr tune runs/my-home/commands.asr data/me/manifest.jsonl --outside noises "
    "--false-accepts 0.01 -o mine.asr": None,  # test_commands.py
    "asr synth books.txt.gz -o data/spoken --voices 40": "",
    # Some of the voices speak too fast for a model of characters, which is status 1.
    "asr check data/spoken/manifest.jsonl": "asr check data/spoken/manifest.jsonl || [ $? = 1 ]",
    "asr synth --list": "",
    "asr synth books.txt.gz -o data/checked --voices 4 --model model.asr --min-score -50": (
        "asr synth talk.txt -o data/checked --voices 4 --model model.asr --min-score -1000"
    ),
    "asr shard data/mine/train.jsonl -o data/mine/shards": "",
    "asr check data/mine/shards": "",
    "asr train mine.yaml name=large data.folder=data/mine data.train=shards": (
        f"asr train mine.yaml name=large data.folder=data/mine data.train=shards {SMALL}"
    ),
    **{
        f"asr show {FIRST} --what {name} -o docs/pictures/{name}.png": ""
        for name in ("waveform", "spectrum", "spectrogram")
    },
    **{
        f"asr show {FIRST} --model runs/digits/model.asr --what {name} "
        f"-o docs/pictures/{name}.png": ""
        for name in ("mel", "log-mel", "augment", "spec-augment", *OF_MODEL)
    },
    f"asr transcribe runs/digits/model.asr {FIRST}": "",
    f"asr transcribe runs/digits/model.asr {FIRST} "
    "--decoder beam=50 --decoder n_best=4 --format json": "",
    "asr transcribe runs/digits/model.asr data/digits/audio/test-0016/test-0016-006.wav": (
        f"asr transcribe runs/digits/model.asr {FIRST}"  # the small corpus has fewer voices
    ),
}


def commands() -> list[str]:
    found = []
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(), re.M | re.S):
            lines = block.replace("\\\n", " ").splitlines()
            found += [
                line for line in lines if re.match(r"(asr|bash|python|echo|torchrun|cat) ", line)
            ]
    readme = (ROOT / "README.md").read_text()
    found += re.findall(r"`((?:asr run|bash) [^`]*)`", readme)  # its table of figures
    script = (ROOT / "tools/quickstart.sh").read_text()
    found += re.findall(r"^\.venv/bin/(asr .*)$", script, re.M)
    return list(dict.fromkeys(" ".join(command.split()) for command in found))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model_file):
    """Small versions of the files that the pages presuppose."""
    folder = tmp_path_factory.mktemp("docs")
    (folder / "recipes").symlink_to(ROOT / "recipes")
    shutil.copy(model_file, folder / "model.asr")
    save_streaming_model(folder / "streaming.asr")
    export(folder / "mine.onnx", load_model(model_file))
    for name in ("talk.wav", "book.mp3", "recording.wav"):
        soundfile.write(folder / name, noise(3.0), 16000)
    (folder / "my-home.yaml").write_text("intents: {Go: ['bad (cab|cage)']}\n")
    for name in ("talk.txt", "book.txt"):
        (folder / name).write_text("bad cab\nace\n")
    with gzip.open(folder / "books.txt.gz", "wt") as file:
        file.writelines(f"a bad {word} ate a big fig\n" for word in ("cab", "hedge", "face") * 20)
    for part in ("train", "dev", "test"):
        rows = [
            Utterance(f"{part}{i}", str(folder / "talk.wav"), text="bad cab", speaker=f"s{i}")
            for i in range(3)
        ]
        manifest.write(folder / f"data/NAME/{part}.jsonl", rows)
    (folder / "model.txt").write_text("test0\tbad cab\ntest1\tbad\ntest2\tcab cab\n")
    (folder / "other.txt").write_text("bad cab\n" * 3)
    rows = ["id\taudio\ttext\tspeaker"]
    for digit, word in enumerate("zero one two three four five six seven eight nine".split()):
        for speaker in ("ann", "ben", "theo", "yweweler"):
            for i in range(2):
                path = folder / f"recordings/fsdd/{digit}_{speaker}_{i}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, noise(0.4, digit, 8000), 8000)
                path.with_suffix(".txt").write_text(word)
                rows.append(f"{path.stem}\t{path}\t{word}\t{speaker}")
    (folder / "data/fsdd").mkdir(parents=True)
    (folder / "data/fsdd/manifest.tsv").write_text("\n".join(rows))
    draw = np.random.default_rng(0)
    for i in range(12):
        path = folder / f"recordings/{i}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, noise(float(draw.uniform(1, 3)), seed=i), 16000)
        path.with_suffix(".txt").write_text(f"text number {'abcdefghijkl'[i]}")
    shutil.copy(folder / "recordings/3.wav", folder / "recordings/new.wav")
    shutil.copy(folder / "recordings/3.txt", folder / "recordings/new.txt")
    lines = [f"recordings/{i}.wav,text number {i},never\n" for i in range(12)]
    (folder / "corpus.csv").write_text("clip,said,sentence\n" + "".join(lines))
    for voice in ("ljspeech_part", "rhasspy_kathleen", "asterisk_en"):
        rows = ["id\taudio\tspeaker\ttext"]
        for i in range(60):
            path = folder / f"voices/{voice}/{voice[:2]}_a{i:04d}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, noise(0.4, i, 16000), 16000)
            rows.append(f"{path.stem}\t{path.name}\tx\tten")
        (path.parent / "manifest.tsv").write_text("\n".join(rows))
    sys.path.insert(0, str(ROOT / "recipes/yesno"))
    try:
        from prepare import expected_ids
    finally:
        sys.path.pop(0)
        sys.modules.pop("prepare", None)
    write_original(folder / "speechocean762")
    (folder / "waves_yesno").mkdir()
    for i, name in enumerate(expected_ids()):
        soundfile.write(folder / f"waves_yesno/{name}.wav", noise(3.0, i, 8000), 8000)
    return folder


def test_every_command_of_the_pages_is_known():
    unknown = [command for command in commands() if command not in RUN]
    assert unknown == []
    assert len(commands()) > 10


def test_the_commands_of_the_pages_work(folder):
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    ran = []
    for command in commands():
        if RUN[command] is None:
            continue
        done = subprocess.run(
            ["bash", "-c", RUN[command] or command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        ran.append(command)
    assert len(ran) > 10


def test_the_python_examples_work(folder):
    for page in PAGES:
        if page.name in ("decoding.md", "python.md", "server.md"):
            continue  # test_beam.py, test_python_page.py and test_server.py run them
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S):
            block = block.replace("runs/digits/model.asr", "model.asr")
            done = subprocess.run(
                [sys.executable, "-c", block], cwd=folder, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{page}\n{block}\n{done.stderr}"
