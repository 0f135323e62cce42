"""The synthesizers by name."""

from __future__ import annotations

from collections.abc import Iterable

from asr.errors import UserError
from asr.synthesis.engine import VoiceEngine
from asr.synthesis.espeak import Espeak
from asr.synthesis.flite import Flite
from asr.synthesis.hibari import Hibari
from asr.synthesis.kokoro import Kokoro

ENGINES: dict[str, VoiceEngine] = {
    engine.name: engine for engine in (Espeak(), Flite(), Hibari(), Kokoro())
}


def installed_engines() -> list[VoiceEngine]:
    """The fast engines that can be used on this machine."""
    return [engine for engine in ENGINES.values() if engine.fast and not engine.problem()]


def engines_of(names: Iterable[str | VoiceEngine]) -> list[VoiceEngine]:
    """The engines of these names, or all fast ones that are installed if there is no name.

    Raises `UserError` for an unknown name, an engine that cannot be used, or if none is installed.
    """
    found: list[VoiceEngine] = []
    for name in names:
        if isinstance(name, str) and name not in ENGINES:
            raise UserError(f"voice engine {name!r}: unknown; there are {', '.join(ENGINES)}")
        engine = ENGINES[name] if isinstance(name, str) else name
        engine.check()
        if engine not in found:
            found.append(engine)
    found = found or installed_engines()
    if not found:
        lines = "; ".join(engine.install for engine in ENGINES.values() if engine.fast)
        raise UserError(f"no voice engine is installed; install one or more: {lines}")
    return found
