"""Commands in place of audio files, as in Kaldi's wav.scp. They are parsed and never run.

The common ones only decode a file, which is then read directly:

    sph2pipe -f wav -p -c 1 FILE |
    flac -c -d -s FILE |
    sox FILE -t wav -r 16000 - remix 1 |
    ffmpeg -i FILE -ac 1 -ar 16000 -f wav - |

More such commands may follow in the pipe, which may only resample or take a channel.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass


def _long(*names: str) -> set[str]:
    """Long options of these programs."""
    return {f"--{name}" for name in names}


_QUOTED = re.compile(r"'[^'\n]*'")  # a shell takes its contents literally
_FORBIDDEN = re.compile(r"[$`;&<>(){}\\\n]")
# Options with a value that only set the form of the output, which does not matter here.
_SOX_VALUES = {"-r", "-b", "-e", "-t", *_long("rate", "bits", "encoding", "type")}
_SOX_FLAGS = {"-q", "-V0", "-V1", "-V2", "-G", "-D", "-R", "-L"}
_SOX_FLAGS |= _long("no-dither", "no-show-progress")
_SOX_CHANNELS = {"-c", *_long("channels")}
_FFMPEG_VALUES = {"-ar", "-f", "-acodec", "-c:a", "-codec:a", "-loglevel", "-v", "-sample_fmt"}
_FFMPEG_FLAGS = {"-vn", "-nostdin", "-hide_banner", "-y"}
_FLAC_DECODE = _long("decode")
_FLAC_LONG = _long("decode", "stdout", "silent")


@dataclass(frozen=True)
class Piped:
    """The file that a command reads, and the channel that it takes, counted from 0 (None: all)."""

    path: str
    channel: int | None = None


class NotUnderstood(ValueError):
    """A command that is not known, or that changes the sound."""


def understand(command: str) -> Piped:
    """Parse `COMMAND |` without running it. Raises `NotUnderstood` with the reason."""
    if _FORBIDDEN.search(_QUOTED.sub("", command)):
        raise NotUnderstood("it needs a shell")
    found: Piped | None = None
    for words in _stages(command.strip().removesuffix("|")):
        program = words[0].rpartition("/")[2] if words else ""
        if program not in _PROGRAMS:
            raise NotUnderstood(f"{program or 'an empty command'} is not known")
        path, channel = _PROGRAMS[program](words[1:])
        if found is None:
            if path == "-":
                raise NotUnderstood(f"{program} names no file")
            found = Piped(path, channel)
        elif path != "-":
            raise NotUnderstood(f"{program} reads another file")
        elif channel is not None:
            if found.channel is not None:
                raise NotUnderstood("two commands choose a channel")
            found = Piped(found.path, channel)
    return found


def _stages(command: str) -> list[list[str]]:
    """The words of each command. Raises `NotUnderstood`."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|")
    lexer.whitespace_split, lexer.commenters = True, ""
    stages: list[list[str]] = [[]]
    try:
        for word in lexer:
            if word == "|":
                stages.append([])
            else:
                stages[-1].append(word)
    except ValueError as error:
        raise NotUnderstood(str(error)) from None
    return stages


def _sph2pipe(words: list[str]) -> tuple[str, int | None]:
    channel, files, at = None, [], iter(words)
    for word in at:
        if word in ("-f", "-c"):
            value = next(at, "")
            if word == "-c":
                channel = _channel(value)
        elif word.startswith("-") and word != "-":
            if word not in ("-p", "-u", "-a", "-h"):
                raise NotUnderstood(f"sph2pipe {word}")
        else:
            files.append(word)
    return _one(files[:1] if len(files) == 2 and files[1] == "-" else files, "sph2pipe"), channel


def _flac(words: list[str]) -> tuple[str, int | None]:
    files, decodes = [], False
    for word in words:
        if word == "-" or not word.startswith("-"):
            files.append(word)
        elif word in _FLAC_LONG or re.fullmatch(r"-[cdsf]+", word):
            decodes |= word in _FLAC_DECODE or (word[1] != "-" and "d" in word)
        else:
            raise NotUnderstood(f"flac {word}")
    if not decodes:
        raise NotUnderstood("flac without -d encodes")
    return _one(files or ["-"], "flac"), None


def _sox(words: list[str]) -> tuple[str, int | None]:
    files, effects, mono, at = [], [], False, iter(words)
    for word in at:
        if len(files) == 2:
            effects.append(word)
        elif word in _SOX_CHANNELS:
            mono = next(at, "") == "1"
            if not mono:
                raise NotUnderstood("sox makes several channels")
        elif word in _SOX_VALUES:
            next(at, None)
        elif word in _SOX_FLAGS:
            pass
        elif word.startswith("-") and word != "-":
            raise NotUnderstood(f"sox {word}")
        else:
            files.append(word)
    if len(files) != 2 or files[1] not in ("-", "/dev/stdout"):
        raise NotUnderstood("sox must read one file and write to -")
    return files[0], _sox_effects(effects)


def _sox_effects(words: list[str]) -> int | None:
    channel, at = None, iter(words)
    for word in at:
        if word == "remix":
            channel = _channel(next(at, ""))
        elif word == "rate":
            pass
        elif word == "dither" or re.fullmatch(r"-[slmhvQ]|\d+(\.\d+)?k?", word):
            pass  # how to resample, and to what
        elif word == "channels":
            if next(at, "") != "1":
                raise NotUnderstood("sox makes several channels")
        else:
            raise NotUnderstood(f"sox {word} changes the sound")
    return channel


def _ffmpeg(words: list[str]) -> tuple[str, int | None]:
    path, output, at = None, None, iter(words)
    for word in at:
        if word == "-i":
            path = next(at, None)
        elif word == "-ac":
            if next(at, "") != "1":
                raise NotUnderstood("ffmpeg makes several channels")
        elif word in _FFMPEG_VALUES:
            next(at, None)
        elif word in _FFMPEG_FLAGS:
            pass
        elif word in ("-", "pipe:1", "pipe:", "/dev/stdout"):
            output = word
        else:
            raise NotUnderstood(f"ffmpeg {word}")
    if path is None or output is None:
        raise NotUnderstood("ffmpeg must read one file and write to -")
    return "-" if path in ("-", "pipe:0", "pipe:", "/dev/stdin") else path, None


def _cat(words: list[str]) -> tuple[str, int | None]:
    return _one(words or ["-"], "cat"), None


_PROGRAMS = {
    "sph2pipe": _sph2pipe,
    "flac": _flac,
    "sox": _sox,
    "ffmpeg": _ffmpeg,
    "cat": _cat,
}


def _one(files: list[str], program: str) -> str:
    if len(files) != 1 or (files[0].startswith("-") and files[0] != "-"):
        raise NotUnderstood(f"{program} must read one file")
    return files[0]


def _channel(value: str) -> int:
    """The index, from 0, of a channel that these programs count from 1."""
    if not re.fullmatch(r"[1-9]", value):
        raise NotUnderstood(f"{value!r} is not one channel")
    return int(value) - 1
