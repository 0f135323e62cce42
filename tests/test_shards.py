"""Shards: same content and training as the manifest, resumption after a kill, damage is found."""

import io
import itertools
import json
import re
import signal
import tarfile
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch
from conftest import noise
from hypothesis import given
from hypothesis import strategies as st
from test_distributed import together
from test_resume import SETTINGS, train_until
from tones import asr, make_recipe, weights

from asr import audio
from asr.config import Config
from asr.data import manifest
from asr.data import shards as shards_of
from asr.data.check import check_shards
from asr.data.manifest import Utterance
from asr.data.sampler import BatchSampler, split_batch
from asr.data.shard_writer import write_shards
from asr.data.shards import SECONDS, Shard, ShardBatchSampler, Shards, index_tar, write_summary
from asr.errors import UserError
from asr.model.ctc import ctc_frames
from asr.text import tokenizer
from asr.text.tokenizer import CharacterTokenizer

RATE_HZ = 16000


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """Utterances of all kinds: whole files of three formats, segments, stereo, other columns."""
    folder = tmp_path_factory.mktemp("mixed")
    long = folder / "long.wav"
    soundfile.write(long, noise(6.0), RATE_HZ)
    soundfile.write(folder / "s.wav", np.stack([noise(3, 1, 44100), noise(3, 2, 44100)], 1), 44100)
    found = [
        Utterance("a/1", str(long), 0.0, 2.0, "one", "ann", "en", {"take": 3}),
        Utterance("a/2@2.5", str(long), 2.5, 1.25, "twó", "ben"),
        Utterance("to the end", str(long), 5.0, None, ""),
        Utterance("stereo", str(folder / "s.wav"), 0.5, 1.0, "three"),
    ]
    for i, suffix in enumerate(["wav", "flac", "ogg"] * 5):
        path = folder / f"{i}.{suffix}"
        soundfile.write(path, noise(0.5 + i / 7, i), RATE_HZ)
        found.append(Utterance(str(i), str(path), text=f"text {i}"))
    return found


@pytest.fixture(scope="module")
def packed(mixed, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    shards, left_out = write_shards(mixed, folder, shard_mb=0.2)
    assert left_out == [] and len(shards) > 3
    return folder


def test_shards_hold_each_utterance_with_all_its_columns(mixed, packed):
    found = Shards(packed)
    assert len(found) == len(mixed) == len(list(found))
    before = {u.id: u for u in mixed}
    for u, again in zip(found, (found[i] for i in range(len(found))), strict=True):
        old = before.pop(u.id)
        assert u == again
        assert (u.text, u.speaker, u.language, u.extra) == (
            old.text,
            old.speaker,
            old.language,
            old.extra,
        )
        samples = audio.read(old.audio, RATE_HZ, old.start_s, old.duration_s)
        heard = audio.read(u.audio, RATE_HZ, u.start_s, u.duration_s)
        assert abs(len(heard) - len(samples)) <= 1  # durations are rounded as in manifests
        n = min(len(heard), len(samples))
        # of 16 bits nothing is lost; the mean of two channels has half a bit more
        most = 2**-15 if u.id == "stereo" else 0
        np.testing.assert_allclose(heard[:n], samples[:n], atol=most)
    assert not before


def test_whole_files_are_copied_byte_for_byte(mixed, packed):
    before = {u.id: u for u in mixed}
    for u in Shards(packed):
        if u.id.isdigit():
            assert u.audio.read() == open(before[u.id].audio, "rb").read()


def test_utterances_are_shuffled_before_they_are_packed(mixed, packed):
    assert [u.id for u in Shards(packed)] != [u.id for u in mixed]


def test_interrupted_packing_resumes(mixed, packed, tmp_path):
    count = itertools.count()

    def stop():
        if next(count) == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(mixed, tmp_path, 0.2, progress=stop)
    assert 0 < len(list(tmp_path.glob("*.tar"))) < len(list(packed.glob("*.tar")))
    with pytest.raises(UserError, match="has not finished here; run it again"):
        Shards(tmp_path)
    kept = (tmp_path / "00000.tar").stat()
    write_shards(mixed, tmp_path, 0.2)
    assert (tmp_path / "00000.tar").stat().st_ino == kept.st_ino
    for path in packed.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_shards_of_other_utterances_are_not_added_to(mixed, packed):
    before = (packed / "shards.json").read_bytes()
    with pytest.raises(UserError, match=r"00000\.tar: holds .* choose another folder"):
        write_shards(mixed[1:], packed, 0.2)
    assert (packed / "shards.json").read_bytes() == before


def test_what_cannot_be_read_is_left_out_and_named(mixed, tmp_path):
    bad = [Utterance("gone", "gone.wav"), Utterance("late", mixed[0].audio, 5.0, 4.0, "a")]
    manifest.write(tmp_path / "m.jsonl", mixed + bad)
    for _ in range(2):  # also when nothing is left to do
        output = asr(
            "shard", tmp_path / "m.jsonl", "-o", tmp_path / "s", "--shard-mb", 0.2, status=1
        )
        assert "gone.wav: no such file" in output and "late: 4.00 s in the manifest" in output
        assert f"{len(mixed)} utterances" in output and "2 utterances were left out" in output
    assert len(Shards(tmp_path / "s")) == len(mixed)


# ---- other people's tars -----------------------------------------------------------------------


def test_webdataset_reads_our_shards(mixed, packed):
    webdataset = pytest.importorskip("webdataset", reason="pip install webdataset")
    urls = sorted(map(str, packed.glob("*.tar")))
    read = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample["json"]["id"] for sample in read] == [u.id for u in Shards(packed)]
    for sample, u in zip(read, Shards(packed), strict=True):
        assert sample["json"].get("text") == u.text
        assert sample[u.audio.name.rpartition(".")[2]] == u.audio.read()


def test_we_read_the_shards_of_webdataset(tmp_path):
    webdataset = pytest.importorskip("webdataset", reason="pip install webdataset")
    with webdataset.ShardWriter(str(tmp_path / "x-%03d.tar"), maxcount=4, verbose=0) as writer:
        for i in range(10):
            file = io.BytesIO()
            soundfile.write(file, noise(1 + i / 10, i), RATE_HZ, format="FLAC")
            sample = {"__key__": f"dir/{i:03d}", "flac": file.getvalue()}
            sample |= {"json": {"text": f"t {i}", "n": i}} if i % 2 else {"txt": f"t {i}\n"}
            writer.write(sample)
    found = Shards(tmp_path)
    assert [u.id for u in found] == [f"dir/{i:03d}" for i in range(10)]
    assert [u.text for u in found] == [f"t {i}" for i in range(10)]
    assert [u.extra.get("n") for u in found] == [i if i % 2 else None for i in range(10)]
    np.testing.assert_allclose([u.duration_s for u in found], 1 + np.arange(10) / 10, atol=1e-4)
    assert len(audio.read(found[3].audio, RATE_HZ)) == round(1.3 * RATE_HZ)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    (tmp_path / "shards.json").unlink()
    assert len(Shards(tmp_path)) == 10  # indexed anew, to the same bytes
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# ---- plans -------------------------------------------------------------------------------------


def simulated(folder, counts, seed=0):
    """Shards without audio, which suffice for planning batches."""
    folder.mkdir(parents=True)
    draw, shards = np.random.default_rng(seed), []
    for number, count in enumerate(counts):
        rows = [
            {"id": f"{number}-{i}", "audio": ["a", 0, 1], "duration_s": draw.uniform(0.2, 9)}
            for i in range(count)
        ]
        data = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / f"{number:05d}.tar").touch()
        (folder / f"{number:05d}.jsonl").write_bytes(data)
        shards.append(Shard(f"{number:05d}.tar", 0, count, 0.0, shards_of.digest(data)))
    write_summary(folder, shards)
    return Shards(folder)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=8).filter(any),
    st.integers(1, 9),
    st.integers(0, 3),
    st.sets(st.integers(0, 29)),
)
def test_every_utterance_once_an_epoch_also_when_some_are_left_out(
    tmp_path_factory, counts, window, epoch, left_out
):
    folder = tmp_path_factory.mktemp("plan")
    whole = simulated(folder / "s", counts)
    seconds = shards_of.durations_s(whole)
    seconds[[i for i in left_out if i < len(seconds) - 1]] = np.nan
    (folder / "seconds").write_bytes(seconds.astype(SECONDS).tobytes())
    shards = Shards(folder / "s", folder / "seconds", cached=2)
    expected = [u for u, s in zip(whole, seconds, strict=True) if not np.isnan(s)]
    assert list(shards) == expected == [shards[i] for i in range(len(shards))]
    plan = ShardBatchSampler(shards, window, 20.0, seed=1, speeds=[0.9, 1.1], tempo=(0.8, 1.2))
    batches = plan.batches(epoch)
    assert len(batches) == plan.steps(epoch)
    assert sorted(p.index for batch in batches for p in batch) == list(range(len(expected)))
    for batch in batches:
        heard_s = [expected[p.index].duration_s / (p.speed * p.tempo) for p in batch]
        assert len(batch) * max(heard_s) <= 20.0 + 1e-9
    for parts in (2, 3):  # over processes: disjoint, and complete
        dealt = [split_batch(batch, parts) for batch in batches]
        own = [p.index for whole in dealt for part in whole if part.weight for p in part.draws]
        assert sorted(own) == list(range(len(expected)))
    everything = [batch for e in (epoch, epoch + 1) for batch in plan.batches(e)]
    for at in (0, 1, len(batches) - 1):
        assert list(plan.following(epoch, at, epoch + 2)) == everything[at:]


def test_a_window_of_all_shards_is_the_plan_of_the_manifest(tmp_path):
    shards = simulated(tmp_path / "s", [20, 7, 31])
    manifests = BatchSampler([u.duration_s for u in shards], 40.0, 3, [0.9, 1.0])
    for window in (3, 99):
        plan = ShardBatchSampler(shards, window, 40.0, 3, [0.9, 1.0])
        assert plan.batches(0) == manifests.batches(0) and plan.batches(2) == manifests.batches(2)
    assert ShardBatchSampler(shards, 2, 40.0, 3).batches(0) != manifests.batches(0)


def test_each_epoch_mixes_other_shards(tmp_path):
    plan = ShardBatchSampler(simulated(tmp_path / "s", [10] * 9), 3, 40.0, seed=0)
    windows = [
        [frozenset((indices // 10).tolist()) for indices, _ in plan.windows(e)] for e in (0, 1)
    ]
    assert all(len(shards) == 3 for epoch in windows for shards in epoch)
    assert set(windows[0]) != set(windows[1])


def test_memory_does_not_grow_with_the_corpus(tmp_path):
    def peak(count):
        shards = Shards(simulated(tmp_path / str(count), [100] * count).folder, cached=4)
        tracemalloc.start()
        for batch in ShardBatchSampler(shards, 4, 40.0, seed=0).following(0, 0, 1):
            for place in batch:
                assert shards[place.index].duration_s > 0
        bytes_at_most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return bytes_at_most

    assert peak(160) < 1.2 * peak(16)


# ---- training ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tones in shards, one of which cannot be aligned, and a manifest of the same in order."""
    folder = tmp_path_factory.mktemp("tones")
    make_recipe(folder)
    rows = manifest.read(folder / "train.jsonl")
    rows.insert(30, Utterance("too fast", rows[0].audio, text="low mid high " * 9))
    write_shards(rows, folder / "shards", shard_mb=0.3)
    order = {row.id: row for row in rows}
    manifest.write(folder / "same.jsonl", [order[u.id] for u in Shards(folder / "shards")])
    recipe = (folder / "recipe.yaml").read_text()
    recipe = recipe.replace("data: {", "data: {train: shards, shuffle_shards: 2, ")
    (folder / "recipe.yaml").write_text(recipe)
    return folder


SHORT = ("train.epochs=2", "train.batch_s=5", "augment.speed=[0.9,1.0]", "features.cmvn=global")


def test_shards_train_to_the_same_as_their_manifest(corpus):
    asr("train", corpus, *SHORT, "data.train=same.jsonl", "-o", corpus / "same")
    settings = (*SHORT, "data.shuffle_shards=99", "train.workers=2")
    output = asr("train", corpus, *settings, "-o", corpus / "all")
    assert "1 problems: 1 ctc" in output and "too fast: " in output
    same, run = corpus / "same/tones", corpus / "all/tones"
    assert torch.equal(weights(run), weights(same))
    problems = (run / "manifests/train.problems.tsv").read_text()
    assert re.findall(r"^too fast\tctc\t", problems, re.M) and problems.count("\n") == 2
    assert problems == (same / "manifests/train.problems.tsv").read_text()


@pytest.mark.slow
def test_killed_and_resumed_equals_never_killed(corpus):
    asr("train", corpus, *SETTINGS, "-o", corpus / "straight")
    for step in (5, 31):
        train_until(corpus, corpus / "killed", step, signal.SIGKILL)
    output = asr("train", corpus, *SETTINGS, "-o", corpus / "killed")
    assert "resuming at step" in output and "check: skipped" in output
    assert torch.equal(weights(corpus / "killed/tones"), weights(corpus / "straight/tones"))


@pytest.mark.slow
def test_processes_share_the_shards(corpus):
    done = together(2, corpus, corpus / "two")
    assert done.returncode == 0, done.stderr
    settings = ("spec_augment.time_masks=0", "spec_augment.freq_masks=0", "model.dropout=0")
    settings += ("features.dither=0", "augment.speed=[0.9,1.0,1.1]", "train.epochs=2")
    asr("train", corpus, *settings, "train.batch_s=5", "-o", corpus / "one")
    one, two = weights(corpus / "one/tones"), weights(corpus / "two/tones")
    torch.testing.assert_close(two, one, atol=2e-4, rtol=1e-3)


def test_a_check_of_the_index_reads_no_audio(tmp_path):
    shards = simulated(tmp_path / "s", [3, 3])
    config = Config(name="a")
    tokens, seconds = CharacterTokenizer("a"), tmp_path / "seconds"
    (problem, *_) = check_shards(shards, config, ctc_frames(config), tokens, seconds)
    assert (problem.kind, problem.detail) == ("text", "no text is left of None after normalization")
    assert len(Shards(tmp_path / "s", tmp_path / "seconds")) == 0


def test_units_are_learned_from_a_draw_of_very_many_texts(monkeypatch):
    texts = ["low high"] * 30 + ["é"] + ["mid low"] * 30
    whole = tokenizer.train(texts, "bpe", 14)
    assert tokenizer.train(iter(texts), "bpe", 14).pieces == whole.pieces
    monkeypatch.setattr(tokenizer, "MOST_TEXTS", 6)
    drawn = tokenizer.train(iter(texts), "bpe", 14)
    assert drawn.alphabet == whole.alphabet  # what was not drawn can still be spelt
    assert drawn.pieces != whole.pieces


# ---- damage ------------------------------------------------------------------------------------


@pytest.fixture
def copy(packed, tmp_path):
    """A copy of only the tars of a folder of shards, to be damaged."""
    for path in packed.glob("*.tar"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def refused(folder):
    with pytest.raises(UserError) as caught:
        Shards(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("left", [0.1, 0.5, 0.9])
def test_a_tar_that_was_cut_off(copy, left):
    path = copy / "00001.tar"
    data = path.read_bytes()
    path.write_bytes(data[: int(left * len(data))])
    assert re.match(rf"{path}.*(damaged|truncated)", refused(copy))


def test_a_tar_cut_off_between_two_members_is_not_taken_for_a_shorter_one(copy):
    path = copy / "00001.tar"
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2].offset
    path.write_bytes(path.read_bytes()[:third])
    assert f"{path}: damaged or cut off at byte {third}" in refused(copy)


def test_an_invalid_header_is_not_the_end(copy):
    path = copy / "00001.tar"
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2].offset
    data = bytearray(path.read_bytes())
    data[third + 5] ^= 1
    path.write_bytes(data)
    assert f"{path}: damaged or cut off at byte {third}" in refused(copy)


def add(path, name, data=b"", **attributes):
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in attributes.items():
            setattr(info, key, value)
        tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("x.json", b"{}")], "sample 'x' at byte .* has 0 audio files"),
        ([("x.wav", b""), ("x.flac", b"")], "sample 'x' at byte .* has 2 audio files"),
        ([("x.wav", b""), ("x.wav", b"")], "'x.wav' at byte .* occurs twice"),
        ([("x.wav", b""), ("x.json", b"{")], r"x\.json at byte \d+: not valid JSON"),
        ([("x.wav", b""), ("x.json", b"[1]")], r"x\.json at byte \d+: expected an object"),
        ([("x.wav", b""), ("x.txt", b"\xff")], r"x\.txt at byte \d+: not UTF-8"),
        ([("x.wav", b""), ("x.json", b'{"duration": "long"}')], "duration_s must be seconds"),
        ([("x.wav", b""), ("x.json", b'{"text": "\\ud800"}')], "sample 'x': not Unicode"),
    ],
)
def test_invalid_samples_are_refused(copy, members, message):
    for name, data in members:
        add(copy / "00001.tar", name, data)
    assert re.search(rf"00001\.tar.*{message}", refused(copy))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(copy, kind):
    add(copy / "00001.tar", "x.wav", type=kind, linkname="/etc/passwd")
    assert re.search(r"00001\.tar: 'x\.wav' at byte \d+ is not a plain file", refused(copy))


def test_names_with_other_folders_are_only_names(tmp_path, mixed):
    data = open(mixed[4].audio, "rb").read()
    add(tmp_path / "0.tar", "../../up.wav", data)
    (u,) = Shards(tmp_path)
    assert u.id == "../../up" and len(audio.read(u.audio, RATE_HZ)) == RATE_HZ // 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.jsonl", "0.tar", "shards.json"]


def test_an_index_that_was_edited_is_named(copy):
    Shards(copy)
    path = copy / "00001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"text", b"texT", 1))
    with pytest.raises(
        UserError, match=r"00001\.jsonl: differs from the index recorded in shards\.json"
    ):
        list(Shards(copy))


def test_a_summary_that_is_damaged_is_named(copy):
    (copy / "shards.json").write_text("{")
    assert refused(copy).startswith(f"{copy / 'shards.json'}: damaged")


def test_a_folder_without_shards(tmp_path):
    assert "no .tar files in this folder" in refused(tmp_path)


def test_check_decodes_shards_and_names_shard_and_byte(copy):
    shards = Shards(copy)
    bad = next(u for u in shards if u.id.isdigit() and u.audio.name.endswith(".flac"))
    with open(bad.audio.path, "r+b") as file:
        file.seek(bad.audio.offset + bad.audio.size // 2)
        file.write(bytes(4000))
    output = asr("check", copy, status=1)
    assert f"{bad.id}: {bad.audio.path}: {bad.audio.name} at byte {bad.audio.offset}" in output
    # one utterance has an empty text besides
    assert re.search(rf"utterances +{len(shards) - 2}\b", output)
    assert f"2 problems, {len(shards) - 2} utterances can be used" in output


def test_audio_cut_off_later_is_one_line(copy):
    u = list(Shards(copy))[-1]
    with open(u.audio.path, "r+b") as file:
        file.truncate(u.audio.offset + 10)
    with pytest.raises(UserError, match=rf"{u.audio.name} at byte {u.audio.offset}: truncated: 10"):
        audio.read(u.audio, RATE_HZ)


def test_index_tar_needs_no_more_than_headers_and_text(copy, monkeypatch):
    monkeypatch.setattr(audio, "info", None)  # durations are in the JSON
    assert index_tar(copy / "00000.tar").utterances > 0
