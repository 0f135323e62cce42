"""Download corpora with resumption and checksums, and unpack archives safely."""

from __future__ import annotations

import errno
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


class DiskFull(DownloadError):
    """The disk has no space left for a download or what is unpacked from it."""


def _is_full(error: BaseException) -> bool:
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def sha256_of(path: Path) -> str:
    return _digest(path, "sha256")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _algorithm(checksum: str) -> str:
    """The algorithm of a checksum: MD5 has 32 hexadecimal digits, SHA-256 has 64."""
    return "md5" if len(checksum) == 32 else "sha256"


def verify(path: Path, checksum: str | None) -> str | None:
    """What is wrong with the checksum of a file, in words; None if it is correct or not known."""
    if checksum is None:
        return None
    algorithm = _algorithm(checksum)
    found = _digest(path, algorithm)
    return None if found == checksum else f"{algorithm} is {found}, expected {checksum}"


def download(url: str, path: str | Path, checksum: str | None) -> Path:
    """Download `url` to the file `path`, unless `path` exists with this SHA-256 or MD5.

    checksum: hexadecimal, 64 digits of SHA-256 or 32 of MD5; None if the publisher gives none, and
    then damage is detected only by `extract`.

    Data is written to `path`.part until it is complete and its checksum is correct, so an
    interrupted download resumes where it stopped, in this run or the next. Raises `UserError` if
    `path` exists with another checksum, and `DownloadError` if the server cannot be reached or
    sends other data.
    """
    path = Path(path)
    if not url.startswith(("https://", "http://")):
        raise UserError(f"{url}: not an http or https address")
    if path.exists():
        if wrong := verify(path, checksum):
            raise UserError(f"{path}: {wrong}; delete it to download it again")
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
            if _is_full(error):
                raise DiskFull(
                    f"{path}: the disk is full; what was downloaded is kept; free some space and "
                    "run again to resume"
                ) from None
            reason = str(getattr(error, "reason", error)) or type(error).__name__
    else:
        kept = part.stat().st_size if part.exists() else 0
        raise DownloadError(f"{url}: {reason}; {kept} bytes are kept; run again to resume")
    if wrong := verify(part, checksum):
        part.unlink()
        raise DownloadError(f"{url}: {wrong}; nothing was kept")
    os.replace(part, path)
    return path


def download_from(
    urls: Sequence[str], path: str | Path, checksum: str | None, size: int | None = None
) -> Path:
    """`download` from the first mirror that has the file, of `size` bytes if that is known.

    Raises `DownloadError` with the reason of each mirror, and `UserError` as `download` does.
    """
    path = Path(path)
    reasons = []
    for url in urls:
        try:
            download(url, path, checksum)
        except DiskFull:
            raise  # another mirror would not help
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
        if resumed and not _begins_at(response.headers.get("Content-Range"), have):
            part.unlink()  # another part than the one that is missing: begin again
            return False
        expected = response.headers.get("Content-Length")
        start = have if resumed else 0
        total = None if expected is None else start + int(expected)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        with (
            part.open("ab" if resumed else "wb") as file,
            Progress(
                *columns, TransferSpeedColumn(), TimeRemainingColumn(), transient=True
            ) as progress,
        ):
            task = progress.add_task(part.stem, total=total, completed=start)
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                progress.advance(task, len(chunk))
            return total is None or file.tell() == total


def _begins_at(content_range: str | None, start: int) -> bool:
    """Whether a partial response begins at byte `start`; one that does not say so is believed."""
    return content_range is None or content_range.startswith(f"bytes {start}-")


def extract(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a tar archive (plain, gz, bz2, xz) to the new folder `folder`, all of it or nothing.

    Only regular files, folders, and symbolic links to files and folders of the archive are created;
    owners, modes and times of the archive are ignored. Raises `DownloadError` if the archive is
    damaged, if a member is a device or another link, occurs twice, or has a path outside of
    `folder`, or if the members are larger than `BOMB_RATIO` times the archive, and `DiskFull`. An
    existing `folder` is complete, because it is renamed only at the end, and is left as it is.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        return folder
    beside = folder.with_name(folder.name + ".part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    unpacked, most = 0, max(BOMB_RATIO * archive.stat().st_size, SMALL_BYTES)
    links: list[tuple[tarfile.TarInfo, Path]] = []
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
                if member.issym():
                    links.append((member, target))
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with tar.extractfile(member) as source, target.open("xb") as file:
                    shutil.copyfileobj(source, file)
            while tar.fileobj.read(CHUNK_BYTES):
                pass  # read to the end, where the checksum of a compressed file is verified
        _create_links(links, beside, archive)
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        shutil.rmtree(beside, ignore_errors=True)
        if isinstance(error, DownloadError):
            raise
        if _is_full(error):
            raise DiskFull(
                f"{archive}: cannot be unpacked, because the disk is full; free some space and run "
                "again"
            ) from None
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise DownloadError(f"{archive}: {member.name!r} occurs twice in the archive") from None
        raise DownloadError(
            f"{archive}: cannot be unpacked: {error}; delete it to download it again"
        ) from error
    os.replace(beside, folder)
    return folder


def _create_links(
    links: Sequence[tuple[tarfile.TarInfo, Path]], folder: Path, archive: Path
) -> None:
    """Create symbolic links after all files, so that no file is written through a link.

    Raises `DownloadError` if one does not lead to a file or folder inside of `folder`.
    """
    for member, target in links:
        target.parent.mkdir(parents=True, exist_ok=True)
        if os.path.isabs(member.linkname):
            raise DownloadError(f"{archive}: {member.name!r} is a link that leads out")
        target.symlink_to(member.linkname)
    inside = folder.resolve()
    for member, target in links:
        # One link can change where another leads, so all exist before any is followed.
        if not target.exists() or not target.resolve().is_relative_to(inside):
            raise DownloadError(f"{archive}: {member.name!r} is a link that leads out")


def _safe_path(member: tarfile.TarInfo, archive: Path) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir() or member.issym()):
        raise DownloadError(f"{archive}: {member.name!r} is a link or a device, not a file")
    windows = PureWindowsPath(member.name)
    if path.is_absolute() or windows.anchor or ".." in windows.parts:
        raise DownloadError(f"{archive}: {member.name!r} leads out of its folder")
    return path
