"""Download corpora with resumption and checksums, and unpack archives safely."""

from __future__ import annotations

import hashlib
import http.client
import lzma
import os
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from asr.errors import UserError

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 60
BOMB_RATIO = 20  # times the archive, unpacked: speech does not compress so well
SMALL_BYTES = 100_000_000  # unpacked: allowed at any ratio
ATTEMPTS = 4  # each continues where the previous one stopped


class DownloadError(OSError):
    """A download failed, or its content is not the expected one. The message is one line."""


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(url: str, path: str | Path, sha256: str | None) -> Path:
    """Download `url` to the file `path`, unless `path` exists with this SHA-256.

    sha256: None if the publisher gives no checksum; damage is then detected only by `extract`.

    Data is written to `path`.part until it is complete and its checksum is correct, so an
    interrupted download resumes where it stopped, in this run or the next. Raises `UserError` if
    `path` exists with another checksum, and `DownloadError` if the server cannot be reached or
    sends other data.
    """
    path = Path(path)
    if not url.startswith(("https://", "http://")):
        raise UserError(f"{url}: not an http or https address")
    if path.exists():
        found = sha256_of(path) if sha256 else None
        if found != sha256:
            raise UserError(
                f"{path}: sha256 is {found}, expected {sha256}; delete it to download it again"
            )
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(2 ** (attempt - 1))
        try:
            if _fetch(url, part):
                break
            reason = "the connection closed early"
        except urllib.error.HTTPError as error:
            if error.code < 500:  # another attempt would give the same response
                raise DownloadError(
                    f"{url}: the server responds {error.code} {error.reason}"
                ) from None
            reason = f"the server responds {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    else:
        kept = part.stat().st_size if part.exists() else 0
        raise DownloadError(f"{url}: {reason}; {kept} bytes are kept; run again to resume")
    found = sha256_of(part) if sha256 else None
    if found != sha256:
        part.unlink()
        raise DownloadError(f"{url}: sha256 is {found}, expected {sha256}; nothing was kept")
    os.replace(part, path)
    return path


def download_from(
    urls: Sequence[str], path: str | Path, sha256: str | None, size: int | None = None
) -> Path:
    """`download` from the first mirror that has the file, of `size` bytes if that is known.

    Raises `DownloadError` with the reason of each mirror, and `UserError` as `download` does.
    """
    path = Path(path)
    reasons = []
    for url in urls:
        try:
            download(url, path, sha256)
        except DownloadError as error:
            reasons.append(str(error))
            continue
        found = path.stat().st_size
        if size is None or found == size:
            return path
        path.unlink()
        reasons.append(f"{url}: {found} bytes, expected {size}; nothing was kept")
    raise DownloadError("; ".join(reasons))


def _fetch(url: str, part: Path) -> bool:
    """Append the missing data to `part`; returns False if the connection closed before the end."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # 416: no data follows the existing part. The caller's checksum decides if it is complete.
        if error.code == 416:
            return True
        raise
    with response:
        resumed = response.status == 206
        expected = response.headers.get("Content-Length")
        start = have if resumed else 0
        total = None if expected is None else start + int(expected)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with (
            part.open("ab" if resumed else "wb") as file,
            Progress(*columns, TransferSpeedColumn(), TimeRemainingColumn()) as progress,
        ):
            task = progress.add_task(part.stem, total=total, completed=start)
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                progress.advance(task, len(chunk))
            return total is None or file.tell() == total


def extract(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a tar archive (plain, gz, bz2, xz) to the new folder `folder`, all of it or nothing.

    Only regular files and folders inside `folder` are created; owners, modes and times of the
    archive are ignored. Raises `DownloadError` if the archive is damaged, or if a member is a link
    or device, occurs twice, or has a path outside of `folder`, or if the members are larger than
    `BOMB_RATIO` times the archive. An existing `folder` is complete, because it is renamed only at
    the end, and is left as it is.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        return folder
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    unpacked, most = 0, max(BOMB_RATIO * archive.stat().st_size, SMALL_BYTES)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                unpacked += max(member.size, 0)
                if unpacked > most:
                    raise DownloadError(f"{archive}: unpacks to more than {most / 1e6:.0f} MB")
                target = beside / _safe_path(member, archive)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
            while tar.fileobj.read(CHUNK_BYTES):
                pass  # read to the end, where the checksum of a compressed file is verified
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, DownloadError):
            raise
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise DownloadError(f"{archive}: {member.name!r} occurs twice in the archive") from None
        raise DownloadError(
            f"{archive}: cannot be unpacked: {error}; delete it to download it again"
        ) from error
    os.replace(beside, folder)
    return folder


def _safe_path(member: tarfile.TarInfo, archive: Path) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()):
        raise DownloadError(f"{archive}: {member.name!r} is a link or a device, not a file")
    windows = PureWindowsPath(member.name)
    if path.is_absolute() or windows.anchor or ".." in windows.parts:
        raise DownloadError(f"{archive}: {member.name!r} leads out of its folder")
    return path
