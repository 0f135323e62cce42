"""Corpora from the network: resumed, checked downloads, and archives kept in their folder."""

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
ATTEMPTS = 4  # each goes on where the last one broke off


class DownloadError(OSError):
    """What came is not what was asked for. One line, as a `UserError`, but not a mistake."""


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def download(url: str, path: str | Path, sha256: str | None) -> Path:
    """Fetch `url` into the file `path`, unless that is there with this SHA-256 already.

    None where the publisher names no checksum: then `extract` is the first to notice damage.

    What arrives is kept in `path`.part until it is whole and its checksum right, so that a broken
    download goes on where it stopped, in this run or the next. Raises `UserError` when `path` is
    some other file, and `DownloadError` when the server cannot be reached or sends something else.
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
            if error.code < 500:  # asking again will not change the answer
                raise DownloadError(
                    f"{url}: the server answers {error.code} {error.reason}"
                ) from None
            reason = f"the server answers {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    else:
        kept = part.stat().st_size if part.exists() else 0
        raise DownloadError(f"{url}: {reason}; {kept} bytes are kept, run again to go on")
    found = sha256_of(part) if sha256 else None
    if found != sha256:
        part.unlink()
        raise DownloadError(f"{url}: sha256 is {found}, expected {sha256}; nothing was kept")
    os.replace(part, path)
    return path


def _fetch(url: str, part: Path) -> bool:
    """Append to `part` what it lacks; False where the connection closed before the end."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # 416: nothing follows what we have. If that is whole the checksum says so, else it goes.
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
    """Unpack a tar archive (plain, gz, bz2, xz) as the new folder `folder`, all of it or nothing.

    Only files and folders are made, inside `folder` only, with none of the owners, modes and times
    that the archive asks for. Raises `DownloadError` for a damaged archive and for a member that is
    a link or device, that stands twice, or whose path leads out. An existing `folder` is left as
    it is: it was complete when it got its name.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        return folder
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                target = beside / _safe_path(member, archive)
                if member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
            while tar.fileobj.read(CHUNK_BYTES):
                pass  # a compressed file's own checksum stands at its end, and is compared there
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, DownloadError):
            raise
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise DownloadError(f"{archive}: {member.name!r} stands twice in the archive") from None
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
