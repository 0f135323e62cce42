"""Where an utterance of a stream ends: named rules about silence and length, in seconds.

The conditions and their default values are Kaldi's (`OnlineEndpointConfig`). A frame is silent if
the blank is its likeliest token, so the decision depends on the emissions alone and not on the
pieces in which the audio came.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LENGTH_SLACK_S = 2.0  # an utterance that is too long ends at a silent frame, or so much later


@dataclass(frozen=True)
class EndpointRule:
    """An utterance ends when all conditions of one rule hold."""

    name: str
    silence_s: float = 0.0  # silence up to now, at least
    length_s: float = 0.0  # the utterance up to now, at least
    words: bool = False  # whether something must have been said
    # How much less likely the text may be as a whole utterance than as the beginning of one, a
    # natural log: with a language model the cost of its end, without one 0.
    max_cost: float = math.inf


ENDPOINT_RULES = (
    EndpointRule("nothing_said", silence_s=5.0),
    EndpointRule("complete", silence_s=0.5, words=True, max_cost=2.0),
    EndpointRule("maybe_complete", silence_s=1.0, words=True, max_cost=8.0),
    EndpointRule("silence", silence_s=2.0, words=True),
    EndpointRule("too_long", length_s=20.0),
)

# With a grammar, what was said tells when a command is complete, so a shorter silence is enough
# where nothing can follow; a sentence that may go on costs more (`GrammarStream.end_cost`).
COMMAND_RULES = (
    EndpointRule("nothing_said", silence_s=5.0),
    EndpointRule("complete", silence_s=0.4, words=True, max_cost=2.0),
    EndpointRule("maybe_complete", silence_s=1.0, words=True, max_cost=8.0),
    EndpointRule("silence", silence_s=2.0, words=True),
    EndpointRule("too_long", length_s=20.0),
)


class Endpointer:
    """Follows one utterance frame by frame and says which rules its times satisfy."""

    def __init__(self, rules: Sequence[EndpointRule], frame_s: float):
        self._rules, self._frame_s = tuple(rules), frame_s
        self.frames = 0  # of the utterance so far
        self._silent = 0  # frames at its end
        self.said = False  # whether a frame was not silent

    def advance(self, silent: bool) -> list[EndpointRule]:
        """Hear the next frame; returns the rules that hold after it but for their `max_cost`."""
        self.frames += 1
        self._silent = self._silent + 1 if silent else 0
        self.said = self.said or not silent
        return [rule for rule in self._rules if self._holds(rule)]

    def _holds(self, rule: EndpointRule) -> bool:
        silence_s, length_s = (count * self._frame_s for count in (self._silent, self.frames))
        rounding = 1e-6
        if silence_s + rounding < rule.silence_s or length_s + rounding < rule.length_s:
            return False
        if rule.length_s and not self._silent:
            return length_s >= rule.length_s + LENGTH_SLACK_S
        return self.said or not rule.words
