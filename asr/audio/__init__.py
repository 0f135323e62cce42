"""Any audio file -> samples; where somebody speaks; chunks of long recordings; noise levels."""

from asr.audio.io import (
    AUDIO_SUFFIXES,
    AudioInfo,
    audio_files,
    blocks,
    info,
    read,
    resample,
    verify,
)
from asr.audio.source import AudioInput, Encoded, Member, Samples, Source, source_of

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioInfo",
    "AudioInput",
    "Encoded",
    "Member",
    "Samples",
    "Source",
    "audio_files",
    "blocks",
    "info",
    "read",
    "resample",
    "source_of",
    "verify",
]
