"""Speech from text by many voices of many synthesizers."""

from asr.synthesis.command import Command
from asr.synthesis.corpus import LeftOut, SyntheticCorpus, synthesize
from asr.synthesis.engine import VoiceEngine
from asr.synthesis.engines import ENGINES

__all__ = ["ENGINES", "Command", "LeftOut", "SyntheticCorpus", "VoiceEngine", "synthesize"]
