"""Write the utterances of a manifest to tar shards in the layout of `asr.data.shards`."""

from __future__ import annotations

import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr import audio, files
from asr.audio import AUDIO_SUFFIXES, Member
from asr.data.check import check_duration
from asr.data.manifest import Utterance
from asr.data.shards import Shard, index_tar, write_summary
from asr.errors import UserError

AHEAD = 32  # number of samples that are packed in parallel
MANIFEST_STEP_S = 1e-4  # manifests round durations to multiples of it


@dataclass(frozen=True)
class Sample:
    """An utterance with the audio file to be written to a shard."""

    utterance: Utterance
    suffix: str
    data: bytes  # of the audio file
    duration_s: float


def write_shards(
    utterances: Sequence[Utterance],
    folder: Path,
    shard_mb: float,
    progress: Callable[[], None] = lambda: None,
) -> tuple[list[Shard], list[str]]:
    """Write `folder`/00000.tar and so on, each of about `shard_mb` million bytes.

    Returns the shards, and a line for each utterance that was left out because its audio cannot be
    read.

    Utterances are shuffled, because training mixes only a few shards at a time. The order is the
    same in each call, so existing shards are kept when an interrupted call is repeated. A file that
    holds one utterance is copied byte for byte; a segment of a longer file becomes a FLAC file
    (mono, 16 bits, at the rate of the original). Raises `UserError` if the folder has shards of
    other utterances. `progress` is called after each utterance.
    """
    order = [utterances[i] for i in np.random.default_rng(0).permutation(len(utterances)).tolist()]
    shards = [index_tar(path) for path in sorted(folder.glob("*.tar"))]
    remaining = iter(order)
    again = _skip(remaining, shards, folder, progress)
    write_summary(folder, shards, finished=False)
    left_out: list[str] = []
    samples = _packed(itertools.chain(again, remaining), left_out, progress)
    sample, written = next(samples, None), sum(shard.utterances for shard in shards)
    while sample is not None:
        path = folder / f"{len(shards):05d}.tar"
        sample = _write_shard(path, written, itertools.chain([sample], samples), shard_mb * 1e6)
        shards.append(index_tar(path))
        written += shards[-1].utterances
    write_summary(folder, shards)
    return shards, left_out


def _write_shard(
    path: Path, number: int, samples: Iterator[Sample], most_bytes: float
) -> Sample | None:
    """Write samples up to a size; returns the first sample that does not fit.

    number: the number that names the first sample.
    """
    with (
        files.replacing(path) as beside,
        # Every reader knows ustar, and the names and sizes here are within its limits.
        tarfile.open(beside, "w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for count, sample in enumerate(samples):
            if count > 0 and tar.offset + len(sample.data) > most_bytes:
                return sample
            _add(tar, f"{number + count:09d}", sample)
    return None


def _skip(
    remaining: Iterator[Utterance],
    shards: Sequence[Shard],
    folder: Path,
    progress: Callable[[], None],
) -> list[Utterance]:
    """Skip the utterances that existing shards have.

    Returns the utterances that were left out of these shards, so that they are reported again.
    """
    again = []
    for shard in shards:
        for line in (folder / shard.tar).with_suffix(".jsonl").read_bytes().splitlines():
            row = json.loads(line)
            for u in remaining:
                if (u.id, u.text) == (row["id"], row.get("text")):
                    progress()
                    break
                again.append(u)
            else:
                raise UserError(
                    f"{folder / shard.tar}: holds {row['id']!r}, which this manifest does not have "
                    "there; choose another folder"
                )
    return again


def _packed(
    utterances: Iterator[Utterance], left_out: list[str], progress: Callable[[], None]
) -> Iterator[Sample]:
    def attempt(utterance: Utterance) -> Sample | UserError:
        try:
            return pack(utterance)
        except UserError as error:
            return error

    with ThreadPoolExecutor(4) as pool:
        while chunk := list(itertools.islice(utterances, AHEAD)):
            for utterance, sample in zip(chunk, pool.map(attempt, chunk), strict=True):
                progress()
                if isinstance(sample, UserError):
                    left_out.append(f"{utterance.id}: {sample}")
                else:
                    yield sample


def pack(utterance: Utterance) -> Sample:
    """Read or cut the audio of an utterance.

    Raises `UserError` if the audio cannot be read or is shorter than the utterance.
    """
    info = audio.info(utterance.audio)
    wrong = check_duration(utterance, info.duration_s)
    if wrong:
        raise UserError(wrong[0].detail)
    source = utterance.audio
    name = source.name if isinstance(source, Member) else str(source)
    suffix, wanted_s = Path(name).suffix.lower(), utterance.duration_s
    to_the_end = wanted_s is None or wanted_s > info.duration_s - MANIFEST_STEP_S
    if utterance.start_s == 0 and to_the_end and suffix in AUDIO_SUFFIXES:
        return Sample(utterance, suffix, _bytes_of(source), info.duration_s)
    samples = audio.read(source, info.rate_hz, utterance.start_s, wanted_s)
    # libsndfile would scale by 32767 and so change samples that were 16-bit integers.
    pcm = np.rint(samples * 32768).clip(-32768, 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, pcm, info.rate_hz, format="FLAC")
    return Sample(utterance, ".flac", file.getvalue(), len(pcm) / info.rate_hz)


def _bytes_of(source: str | Member) -> bytes:
    return source.read() if isinstance(source, Member) else Path(source).read_bytes()


def _add(tar: tarfile.TarFile, key: str, sample: Sample) -> None:
    u = sample.utterance
    columns = {
        "id": u.id,
        "duration_s": sample.duration_s,
        "text": u.text,
        "speaker": u.speaker,
        "language": u.language,
    }
    columns = {name: value for name, value in columns.items() if value is not None} | u.extra
    text = json.dumps(columns, ensure_ascii=False).encode()
    for suffix, data in ((sample.suffix, sample.data), (".json", text)):
        member = tarfile.TarInfo(key + suffix)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
