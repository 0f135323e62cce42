"""Any audio file -> samples; where somebody speaks; chunks of long recordings; noise levels."""

from asr.audio.io import (
    AUDIO_SUFFIXES,
    AudioInfo,
    Member,
    Source,
    audio_files,
    blocks,
    info,
    read,
    resample,
    verify,
)

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioInfo",
    "Member",
    "Source",
    "audio_files",
    "blocks",
    "info",
    "read",
    "resample",
    "verify",
]
