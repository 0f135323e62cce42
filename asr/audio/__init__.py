"""Any audio file -> samples; where somebody speaks; chunks of long recordings; noise levels."""

from asr.audio.io import (
    AUDIO_SUFFIXES,
    AudioInfo,
    audio_files,
    blocks,
    info,
    measure,
    read,
    verify,
)
from asr.audio.live_resampling import LiveResampler
from asr.audio.resampling import StreamResampler, resample
from asr.audio.source import AudioInput, Encoded, Member, Samples, Source, source_of

__all__ = [
    "AUDIO_SUFFIXES",
    "AudioInfo",
    "AudioInput",
    "Encoded",
    "LiveResampler",
    "Member",
    "Samples",
    "Source",
    "StreamResampler",
    "audio_files",
    "blocks",
    "info",
    "measure",
    "read",
    "resample",
    "source_of",
    "verify",
]
