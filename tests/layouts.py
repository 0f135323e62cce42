"""Small corpora in the layouts of their publishers: folders, names, formats and oddities.

Each function fills a folder and returns the source to import.
"""

import csv
import datetime
import gzip
import io
import json
import tarfile

import numpy as np
import soundfile
from shorten_encoder import shorten, sphere

RATE_HZ = 16000


def sound(seconds, seed=0, channels=1):
    """Noise (N, channels) int16; it depends on the seed."""
    draw = np.random.default_rng(seed)
    return (draw.standard_normal((round(seconds * RATE_HZ), channels)) * 3000).astype(np.int16)


def record(path, seconds=1.0, seed=0, channels=1, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".sph":
        x = sound(seconds, seed, channels).T.astype(int)
        body = shorten(x, pick=lambda number: 1)
        data = sphere(body, RATE_HZ, channels, x.shape[1], "pcm,embedded-shorten-v2.00")
        path.write_bytes(data)
        return path
    soundfile.write(path, sound(seconds, seed, channels), RATE_HZ, **more)
    return path


def encoded(seconds=1.0, seed=0, format="FLAC"):
    file = io.BytesIO()
    soundfile.write(file, sound(seconds, seed), RATE_HZ, format=format)
    return file.getvalue()


def write(path, text, encoding="utf-8"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def librispeech(at):
    root = at / "LibriSpeech"
    write(
        root / "SPEAKERS.TXT",
        ";ID  |SEX| SUBSET           |MINUTES| NAME\n"
        "14   | F | train-clean-100  | 25.03 | Kristin LeMoine\n"
        "19   | M | train-clean-360  | 25.19 | Some | Body\n",
    )
    sets = {"train-clean-100": [14], "train-clean-360": [19], "dev-clean": [84],
            "test-clean": [61], "test-other": [62]}  # fmt: skip
    read_books(root, sets)
    folder = root / "train-clean-100/14/208"
    with (folder / "14-208.trans.txt").open("a") as file:
        file.write("14-208-0007 NOT THERE\n")
    record(folder / "14-208-0009.flac")
    write(root / "train-clean-100/14/208/._14-208-0000.flac", "a Mac's attributes")
    return root


def mini_librispeech(at):
    root = at / "LibriSpeech"
    read_books(root, {"train-clean-5": range(1, 8), "dev-clean-2": [84]})
    return root


def read_books(root, sets):
    """Two utterances by each speaker of {subset: speakers}, in the tree of LibriSpeech."""
    for subset, speaker in [(name, speaker) for name, all in sets.items() for speaker in all]:
        folder = root / subset / str(speaker) / "208"
        lines = []
        for i in range(2):
            id = f"{speaker}-208-{i:04d}"
            record(folder / f"{id}.flac", 1 + i / 10, seed=speaker + i)
            lines.append(f"{id} NORTHANGER ABBEY {speaker} DON'T")
        write(folder / f"{speaker}-208.trans.txt", "\n".join(lines) + "\n")


def mls(at):
    root = at / "mls_german"
    for subset in ("train", "dev", "test"):
        id = f"1_2{len(subset)}_000003"
        record(root / f"{subset}/audio/1/2{len(subset)}/{id}.flac")
        write(root / f"{subset}/transcripts.txt", f"{id}\tsüß und größer\n")
    return root


def tedlium(at):
    root = at / "TEDLIUM_release-3"
    for split in ("train", "dev", "test"):
        for talk in ("AlGore_2009", "Bee_2010") if split == "train" else (f"Talk{split}_2011",):
            record(root / f"legacy/{split}/sph/{talk}.sph", 6)
            write(
                root / f"legacy/{split}/stm/{talk}.stm",
                f"{talk} 1 {talk} 0.00 0.50 <o,f0,male> ignore_time_segment_in_scoring\n"
                f"{talk} 1 {talk} 0.50 2.00 <o,f0,male> i 'm {{NOISE}} here don 't\n"
                f"{talk} 1 {talk} 2.00 3.25 <o,f0,female> <unk> is not known\n"
                f"{talk} 1 {talk} 3.25 4.00 <o,f0,female> the(2) end\n"
                f"{talk} 1 {talk} 4.00 4.50 <o,f0,male> {{NOISE}}\n"
                f"{talk} 1 {talk} 4.50 7.50 <o,f0,male> after the end\n",
            )
    record(root / "data/sph/AlGore_2009.sph", 1)
    write(
        root / "data/stm/AlGore_2009.stm", "AlGore_2009 1 AlGore_2009 0.5 1.0 <o,f0,male> twice\n"
    )
    return root


def ljspeech(at):
    root = at / "LJSpeech-1.1"
    rows = [
        'LJ001-0001|"Printing," in 1436|"Printing," in fourteen thirty-six',
        "LJ001-0002|in being comparatively modern.|",
        "LJ001-0003|one|two|three",
        "LJ001-0004|missing|missing",
        "LJ001-0005||",
    ]
    for i in (1, 2, 3, 5):
        record(root / f"wavs/LJ001-000{i}.wav", seed=i)
    write(root / "metadata.csv", "\n".join(rows) + "\n")
    write(root / "README", "LJ")
    return root


CV = ("client_id", "path", "sentence_id", "sentence", "sentence_domain", "up_votes", "down_votes",
      "age", "gender", "accents", "variant", "locale", "segment")  # fmt: skip


def common_voice(at):
    root = at / "cv-corpus-24.0-2025-12-05" / "de"
    number = 0
    for split, count in (("train", 3), ("dev", 1), ("test", 1), ("validated", 5), ("other", 1)):
        rows = ["\t".join(CV)]
        for _ in range(count):
            name, number = f"common_voice_de_{number}.mp3", number + 1
            record(root / "clips" / name, seed=number, format="MP3")
            cells = [f"speaker{number}", name, "s1", f'„Er sagte: "Nein {number}', "", "2", "0",
                     "twenties", "female_feminine", "", "", "de", ""]  # fmt: skip
            rows.append("\t".join(cells))
        if split == "train":
            write(root / "clips/common_voice_de_empty.mp3", "")
            rows.append(
                "\t".join(["s", "common_voice_de_empty.mp3", "", "leer", *[""] * 7, "de", ""])
            )
            rows.append(
                "\t".join(["s", "common_voice_de_gone.mp3", "", "weg", *[""] * 7, "de", ""])
            )
            rows.append("s\tshort row")
        write(root / f"{split}.tsv", "\n".join(rows) + "\n")
    write(root / "clip_durations.tsv", "clip\tduration[ms]\ncommon_voice_de_0.mp3\t1000\n")
    return root.parent


def an4(at, more=0):
    """more: the number of further training speakers, with two utterances each."""
    root = at / "an4"
    train = ["an251-fash-b", "an253-fash-b"]
    train += [f"an{i}-m{chr(97 + n)}xx-b" for n in range(more) for i in (300, 301)]
    for split, ids in (("train", train), ("test", ["an406-fcaw-b"])):
        files, texts = [], []
        for i, id in enumerate(ids):
            folder = f"an4_clstk/{id.split('-')[1]}"
            record(root / f"wav/{folder}/{id}.sph", seed=i)
            files.append(f"{folder}/{id}")
            text = ["<s> YES </s>", "GO ++noise++ <sil> ON(2)"][i % 2]
            texts.append(f"{text} ({id})")
        write(root / f"etc/an4_{split}.fileids", "\n".join(files) + "\n")
        write(root / f"etc/an4_{split}.transcription", "\n".join(texts) + "\n")
    return root


def yesno(at):
    root = at / "waves_yesno"
    for number in range(60):
        name = "_".join(f"{number * 4:08b}")
        record(root / f"{name}.wav", seed=number)
    write(root / "README", "A free corpus")
    write(root / "README~", "A free corpu")
    return root


def fsdd(at):
    root = at / "free-spoken-digit-dataset-1.0.10"
    for digit in range(10):
        for speaker in ("george", "jackson", "theo", "yweweler"):
            for number in (0, 5, 6):
                record(root / f"recordings/{digit}_{speaker}_{number}.wav", 0.3, seed=digit)
    write(root / "README.md", "# Free Spoken Digit Dataset")
    write(root / "metadata.py", "metadata = {}")
    write(root / "utils/trimmer.py", "")
    return root


def speech_commands(at):
    sets = {"validation_list.txt": [], "testing_list.txt": []}
    for word in ("yes", "no", "visual"):
        for i, speaker in enumerate(("004ae714", "0a7c2a8d", "ffd2ba2f")):
            record(at / word / f"{speaker}_nohash_0.wav", 0.3, seed=i)
        sets["validation_list.txt"].append(f"{word}/0a7c2a8d_nohash_0.wav")
        sets["testing_list.txt"].append(f"{word}/ffd2ba2f_nohash_0.wav")
    record(at / "yes/004ae714_nohash_1.wav", 0.3, seed=7)
    record(at / "_background_noise_/white_noise.wav", 2)
    write(at / "_background_noise_/README.md", "noise")
    for name, lines in sets.items():
        write(at / name, "\n".join(lines) + "\n")
    for name in ("LICENSE", "README.md"):
        write(at / name, name)
    return at


def voxforge(at):
    def submission(name, prompts, texts, kind="wav", readme=""):
        for i, (stem, _) in enumerate(texts):
            record(at / name / kind / f"{stem}.{kind}", seed=i)
        lines = "".join(f"{name}/mfc/{stem} {text}\n" for stem, text in texts)
        write(at / name / "etc" / prompts, lines)
        write(at / name / "etc" / "README", readme, "latin-1")
        write(at / name / "LICENSE", "GPL")

    two = [("a0001", "AUTHOR OF THE DANGER TRAIL"), ("a0002", "NOT AT THIS PARTICULAR CASE TOM")]
    readme = (
        "User Name:Jos\xe9\n\nGender: Male;\nAge Range: Adult;\nLanguage: EN;\n"
        "Pronunciation dialect: American English;\n"
    )
    submission("jose-20080102-abc", "PROMPTS", two, readme=readme)
    submission("jose-20091231-xyz", "PROMPTS", two[:1], "flac", "Gender: Unknown;\nLanguage: EN;\n")
    submission("anonymous-20080410-aaa", "prompts-original", [("b0001", "God bless")])
    submission("anonymous-20080411-bbb", "PROMPTS", two[:1])
    with (at / "anonymous-20080411-bbb/etc/PROMPTS").open("a") as file:
        file.write("anonymous-20080411-bbb/mfc/a0009 NOT THERE\n*/mfc/a0001\n")
    record(at / "lost-20080101/wav/a0001.wav")
    write(at / "lost-20080101/etc/README", "Gender: Female;")
    write(at / "old-20070101-ccc/etc/PROMPTS", "x/mfc/a ist größer\n", "latin-1")
    record(at / "old-20070101-ccc/wav/a.wav")
    return at


def kaldi(at):
    for i in range(3):
        record(at / f"audio/r{i}.wav", 4, seed=i)
    record(at / "audio/r3.flac", 4, seed=3)
    record(at / "audio/r4.sph", 4, seed=4)
    record(at / "audio/r5.wav", 4, seed=5, channels=2)
    folder = at / "data" / "train"
    write(
        folder / "wav.scp",
        f"r0 {at}/audio/r0.wav\n"
        "r1 audio/r1.wav\n"
        f"r2 sox {at}/audio/r2.wav -t wav -r 8000 - |\n"
        f"r3 flac -c -d -s {at}/audio/r3.flac |\n"
        f"r4 /opt/kaldi/tools/sph2pipe_v2.5/sph2pipe -f wav -p -c 1 {at}/audio/r4.sph |\n"
        f"r5 sox -t wav {at}/audio/r5.wav -t wav - remix 2 |\n"
        f"r6 sox {at}/audio/r0.wav -t wav - speed 1.1 |\n"
        f"r7 touch {at}/ran; cat {at}/audio/r0.wav |\n",
    )
    ids = [f"s{r % 2}-r{r}-{i}" for r in range(8) for i in range(2)]
    write(
        folder / "segments",
        "".join(f"{id} {id.split('-')[1]} {(0, 2.5)[i % 2]} {(2.5, -1)[i % 2]}\n"
                for i, id in enumerate(ids))
        + "s0-x r9 0 1\ns0-y r0 2 1\ns0-z r0 zero 1\n",
    )  # fmt: skip
    write(folder / "text", "".join(f"{id} wörter von {id}\n" for id in ids if id != "s0-r0-1"))
    write(folder / "utt2spk", "".join(f"{id} {id[:2]}\n" for id in ids))
    write(folder / "utt2lang", "".join(f"{id} de\n" for id in ids))
    write(folder / "spk2gender", "s0 f\ns1 m\n")
    write(folder / "reco2dur", "r0 4.0\nr1 4.0\n")
    return folder


def webdataset(at):
    """Two tars, one with JSON and one with texts; one sample has no audio, one has two files."""
    at.mkdir(parents=True, exist_ok=True)
    for number in range(2):
        with tarfile.open(at / f"train-{number:06d}.tar", "w") as tar:
            for i in range(3):
                key = f"{number}/sample{i}"
                add(tar, f"{key}.flac", encoded(1 + i, seed=number * 3 + i))
                if number == 0:
                    row = {"text": f"json {i}", "speaker_id": f"s{i}", "duration": 1 + i, "x": [1]}
                    add(tar, f"{key}.json", json.dumps(row).encode())
                else:
                    add(tar, f"{key}.txt", f"text {i}\n".encode())
            add(tar, f"{number}/none.txt", b"no audio")
            add(tar, f"{number}/two.flac", encoded())
            add(tar, f"{number}/two.wav", encoded(format="WAV"))
    return at


def nemo_tars(at):
    at.mkdir(parents=True, exist_ok=True)
    rows = []
    for shard in range(2):
        with tarfile.open(at / f"audio_{shard}.tar", "w") as tar:
            for i in range(3):
                name = f"clips_{shard}_{i}.wav"
                add(tar, name, encoded(1 + i, seed=shard * 3 + i, format="WAV"))
                rows.append({"audio_filepath": name, "duration": 1.0 + i, "offset": 7.0,
                             "text": f"shard {shard} {i}", "shard_id": shard})  # fmt: skip
    rows.insert(2, {"audio_filepath": "gone.wav", "duration": 1.0, "text": "x", "shard_id": 1})
    rows.append({"audio_filepath": "a.wav", "duration": 1.0, "text": "x", "shard_id": 7})
    rows[0], rows[-1] = rows[-1], rows[0]
    write(at / "tarred_audio_manifest.json", "".join(json.dumps(row) + "\n" for row in rows))
    return at


def add(tar, name, data):
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def nemo(at):
    rows = []
    for i in range(4):
        record(at / f"audio/{i // 2}.wav", 6, seed=i // 2)
        row = {"audio_filepath": f"audio/{i // 2}.wav", "offset": 3.0 * (i % 2), "duration": 2.5}
        rows.append(row | {"text": f"row {i}", "lang": "en", "taskname": "asr"})
    rows.append(
        rows[0] | {"audio_filepath": "/elsewhere/audio/1.wav", "offset": 1.0, "text": "moved"}
    )
    rows.append({"audio_filepath": "audio/0.wav", "duration": 1.0, "text": ""})
    rows.append({"audio_filepath": "audio/9.wav", "duration": 1.0, "text": "gone"})
    rows.append({"audio_filepath": "audio/0.wav", "offset": -1, "duration": 1.0, "text": "before"})
    lines = [json.dumps(row) for row in rows] + ["{broken", '"a string"', ""]
    return write(at / "manifest.json", "\n".join(lines))


def huggingface(at):
    for split in ("train", "test"):
        rows = [["file_name", "transcription", "speaker_id"]]
        for i in range(2):
            record(at / split / f"{split}{i}.wav", seed=i)
            rows.append([f"{split}{i}.wav", f'He said "{split}", twice\nor {i}', f"s{i}"])
        with (at / split / "metadata.csv").open("w", newline="", encoding="utf-8-sig") as file:
            csv.writer(file).writerows(rows)
    return at


def parquet(at):
    import pyarrow
    from pyarrow import parquet

    (at / "data").mkdir(parents=True)
    record(at / "data/file.wav")
    for split in ("train", "validation"):
        audio = [
            {"bytes": encoded(1.0, 1), "path": "same.flac"},
            {"bytes": encoded(2.0, 2), "path": "same.flac"},
            {"bytes": None, "path": "file.wav"},
            {"bytes": encoded(1.0, 3), "path": None},
            {"bytes": None, "path": None},
        ]
        columns = {"audio": audio, "sentence": [f"{split} {i}" for i in range(4)] + ["none"],
                   "speaker_id": [1, 2, 3, 4, 5],
                   "snr": [1.5, float("nan"), None, 2.0, 0.0], "mask": [b"x"] * 5,
                   "day": [datetime.date(2026, 1, 1)] * 5}  # fmt: skip
        table = pyarrow.table(columns)
        parquet.write_table(table, at / "data" / f"{split}-00000-of-00001.parquet")
    return at


def csv_text(at, rows, name="table.csv", **more):
    at.mkdir(parents=True, exist_ok=True)
    with (at / name).open("w", newline="", encoding=more.pop("encoding", "utf-8")) as file:
        csv.writer(file, **more).writerows(rows)
    return at / name


def gzipped(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path
