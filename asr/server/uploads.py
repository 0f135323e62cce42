"""Uploads: the file of a form is written to the disk as it comes, and removed after the answer."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from asr.errors import UserError
from asr.server.errors import BadField
from asr.server.limits import Refused, UploadMeter
from asr.server.service import Service

FILE = "file"  # the field with the recording
MAX_FIELDS = 1000
MAX_FIELD_BYTES = 64 << 10  # of all fields but the file


@dataclass
class Form:
    """The fields of a form in their order, and the recording."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    file: Path | None = None
    filename: str = "recording"  # as the client calls it

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Errors about the file inside the block name it as the client does."""
        try:
            yield
        except UserError as error:
            message = str(error).replace(f"{self.file}: ", "")
            raise BadField(FILE, f"{self.filename!r}: {message}") from None

    def one(self, name: str, default: str = "") -> str:
        """The value of a field; the last one if it is repeated."""
        return next((value for key, value in reversed(self.fields) if key == name), default)

    def every(self, name: str) -> list[str]:
        """The values of a field that may be repeated, as NAME or as NAME[]."""
        return [value for key, value in self.fields if key in (name, f"{name}[]")]


@asynccontextmanager
async def received(request: Request, service: Service) -> AsyncIterator[Form]:
    """The form of a request; its file exists until the block ends.

    Raises `Refused` for a body that exceeds a limit (413, 429) or stalls (408), and `BadField` for
    one that is no form or has no file.
    """
    stated = request.headers.get("content-length", "")
    with (
        service.admission.upload(int(stated) if stated.isdecimal() else None) as meter,
        tempfile.TemporaryDirectory(prefix="upload-", dir=service.spool) as folder,
    ):
        parts = _Parts(request.headers.get("content-type", ""), Path(folder))
        try:
            await _receive(request, parts, meter, service.admission.limits.idle_s)
        finally:
            parts.close()
        if parts.form.file is None:
            raise BadField(FILE, "the form has no recording; send one as multipart/form-data")
        yield parts.form


async def _receive(request: Request, parts: _Parts, meter: UploadMeter, idle_s: float) -> None:
    body = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(body), idle_s)
        except StopAsyncIteration:
            break
        except TimeoutError:
            raise Refused(
                408, f"the upload stalled: no byte came for {idle_s:g} s", "upload_stalled"
            ) from None
        except ClientDisconnect:
            raise Refused(
                499, "the client went away during the upload", "client_disconnected"
            ) from None
        meter.add(len(chunk))
        parts.feed(chunk)
    parts.finish()


class _Parts:
    """The parts of a multipart body, taken apart as they come."""

    def __init__(self, content_type: str, folder: Path):
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            raise BadField(
                FILE, f"content-type {content_type!r} is not multipart/form-data with a boundary"
            )
        self.form = Form()
        self._folder = folder
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._all,
            },
        )
        self._complete = False
        self._field_bytes = 0
        self._out: BinaryIO | None = None
        self._begin()

    def feed(self, chunk: bytes) -> None:
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise BadField(FILE, f"the form is damaged: {error}") from None

    def finish(self) -> None:
        if not self._complete:
            raise BadField(FILE, "the form ends before its last boundary; send it again")

    def close(self) -> None:
        if self._out is not None:
            self._out.close()
            self._out = None

    # ---- called by the parser ----

    def _begin(self) -> None:
        self._headers: dict[bytes, bytes] = {}
        self._name, self._value = b"", b""
        self._key, self._text = "", bytearray()

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._key = options.get(b"name", b"").decode(errors="replace")
        if self._key != FILE:
            return
        if self.form.file is not None:
            raise BadField(FILE, "the form has more than one; send one recording a request")
        # Only the suffix of the client's name is used: it tells raw MP3 from other formats.
        name = os.path.basename(options.get(b"filename", b"").decode(errors="replace"))
        self.form.filename = name[:200] or self.form.filename
        suffix = Path(name).suffix[:8]
        self.form.file = self._folder / f"recording{suffix if suffix[1:].isalnum() else ''}"
        self._out = self.form.file.open("wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._out is not None:
            self._out.write(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > MAX_FIELD_BYTES:
            raise BadField(self._key, f"the fields have more than {MAX_FIELD_BYTES} bytes")
        self._text += data[start:end]

    def _end(self) -> None:
        if self._out is not None:
            self.close()
            return
        if len(self.form.fields) >= MAX_FIELDS:
            raise BadField(self._key, f"the form has more than {MAX_FIELDS} fields")
        self.form.fields.append((self._key, self._text.decode(errors="replace")))

    def _all(self) -> None:
        self._complete = True
