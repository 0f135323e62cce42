"""eSpeak NG: formant synthesis with many variants of a voice and many accents.

https://github.com/espeak-ng/espeak-ng (GPL-3). Its library is called through ctypes: that of the
package `espeakng-loader`, or else the one of the installed program. The program itself has no seed.
"""

from __future__ import annotations

import _ctypes
import ctypes
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from asr.errors import Failed
from asr.synthesis.engine import VoiceEngine, from_int16, generator

ACCENTS = (
    "en-us en-us-nyc en-gb-x-rp en-gb-scotland en-gb-x-gbclan en-gb-x-gbcwmd en-029"  # Caribbean
).split()
# The variants that versions 1.51 and 1.52 have in common, without robots, croaking and jokes.
VARIANTS = (
    "Alex Alicia Andrea Andy Annie Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee Marco Mario "
    "Michael Mike Nguyen RicishayMax RicishayMax2 RicishayMax3 adam anika announcer antonio aunty "
    "belinda benjamin boris caleb david ed edward edward2 f1 f2 f3 f4 f5 grandma grandpa gustave "
    "iven iven2 iven3 iven4 john kaukovalta klatt klatt2 klatt3 klatt4 klatt5 klatt6 linda m1 m2 "
    "m3 m4 m5 m6 m7 m8 marcelo max michel miguel norbert pablo paul pedro quincy rob robert sandro "
    "shelby steph steph2 steph3 travis victor whisper whisperf zac"
).split()

RETRIEVAL, RATE, PITCH, RANGE = 2, 1, 3, 4  # constants of speak_lib.h
DONT_EXIT = 0x8000  # report missing data instead of ending the process
UTF8, END_PAUSE = 1, 0x1000  # flags: the encoding, and silence after the last sentence
SLOWEST_WPM, FASTEST_WPM = 130, 220  # words a minute
SYSTEM_LIBRARIES = {"darwin": "libespeak-ng.1.dylib", "win32": "libespeak-ng.dll"}

Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak(VoiceEngine):
    """Each voice is a variant with an accent, `en-us+f3`, and has a pitch of its own."""

    name = "espeak"
    about = "eSpeak NG, formant synthesis"
    license = "GPL-3.0"
    install = "pip install 'espeakng-loader>=0.2.4,<0.3', or apt-get install espeak-ng"

    def voices(self) -> Sequence[str]:
        return [f"{accent}+{variant}" for accent in ACCENTS for variant in VARIANTS]

    def problem(self) -> str:
        try:
            with _library():
                return ""
        except OSError as error:
            return f"its library cannot be loaded ({error})"

    def version(self) -> str:
        with _library() as (library, _):
            library.espeak_Info.restype = ctypes.c_char_p
            return library.espeak_Info(None).decode().split()[0]

    def speak(self, text: str, voice: str, seed: int) -> tuple[np.ndarray, int]:
        draw = generator(seed, voice)
        pitch = generator(voice).uniform(30, 70) + draw.normal(0, 4)
        with _library() as (library, rate_hz):
            _set_seed(library, seed % 2**31)
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise Failed(f"eSpeak NG has no voice {voice!r}")
            library.espeak_SetParameter(RATE, int(draw.uniform(SLOWEST_WPM, FASTEST_WPM)), 0)
            library.espeak_SetParameter(PITCH, int(np.clip(pitch, 15, 85)), 0)
            library.espeak_SetParameter(RANGE, int(draw.uniform(30, 80)), 0)
            return _synthesize(library, text), rate_hz


@contextmanager
def _library() -> Iterator[tuple[ctypes.CDLL, int]]:
    """The library in its initial state, and its rate in hertz; raises OSError without one.

    It is unloaded at the end, as its noise and its oscillators have a state that no call resets and
    that would make an utterance depend on those before it.
    """
    path, data = SYSTEM_LIBRARIES.get(sys.platform, "libespeak-ng.so.1"), None
    if importlib.util.find_spec("espeakng_loader"):
        import espeakng_loader

        path, data = espeakng_loader.get_library_path(), espeakng_loader.get_data_path().encode()
    library = ctypes.CDLL(path)
    try:
        rate_hz = library.espeak_Initialize(RETRIEVAL, 0, data, DONT_EXIT)
        if rate_hz <= 0:
            raise OSError(f"{path} finds no data")
        try:
            yield library, rate_hz
        finally:
            library.espeak_Terminate()
    finally:
        unload = "dlclose" if hasattr(_ctypes, "dlclose") else "FreeLibrary"  # Windows
        getattr(_ctypes, unload)(library._handle)


def _set_seed(library: ctypes.CDLL, seed: int) -> None:
    """Of the noise, which versions before 1.52 draw with the C library's rand()."""
    if hasattr(library, "espeak_ng_SetRandSeed"):
        library.espeak_ng_SetRandSeed(ctypes.c_long(seed))
    elif sys.platform != "win32":  # where each library may have its own C library
        ctypes.CDLL(None).srand(seed)


def _synthesize(library: ctypes.CDLL, text: str) -> np.ndarray:
    """(N,) float32."""
    pieces: list[np.ndarray] = []

    @Callback
    def take(samples, count, _events):
        if samples and count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    library.espeak_SetSynthCallback(take)
    data = text.encode() + b"\0"
    size, flags = ctypes.c_size_t(len(data)), UTF8 | END_PAUSE
    # From position 0, counted in characters (1), to the end; no identifier and no user data
    if library.espeak_Synth(data, size, 0, 1, 0, flags, None, None) != 0:
        raise Failed("eSpeak NG could not speak the text")
    library.espeak_Synchronize()
    return from_int16(np.concatenate(pieces)) if pieces else np.zeros(0, np.float32)
