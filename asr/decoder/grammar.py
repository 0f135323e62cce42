"""The decoder of a grammar: the likeliest of its sentences, or a refusal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from asr.decoder import grammar_forward as ahead
from asr.decoder.compilation import Compilation
from asr.decoder.emissions import checked
from asr.decoder.grammar_search import best_sentences
from asr.decoder.rejection import fit_of
from asr.decoder.viterbi import best_path
from asr.decoder.words import words_of
from asr.errors import UserError
from asr.lm.token_grammar import GrammarArrays
from asr.text.tokenizer import BLANK, decode
from asr.transcript import Hypothesis, SpokenCommand

# Natural logs. The search is repeated with a wider margin if a sentence that was dropped could be
# better than those found; `MARGIN_MORE` is added to what was missing.
FIRST_MARGIN, MARGIN_MORE, WIDEST_MARGIN = 14.0, 2.0, 60.0
MAY_GO_ON = 3.0  # natural log; above the limit of the rule that ends a complete command
MOST_ENDINGS = 500  # of sentences that are expanded for one result
WORST_FIT = -99.0  # of an utterance in which no sentence is possible
FIRST_FRAMES, FIRST_ENTRIES = 128, 1 << 12

Meaning = Callable[[Sequence[int]], tuple | None]


class FreeStream(Protocol):
    """A stream of a decoder without a grammar."""

    def feed(self, log_probs: np.ndarray, /) -> None: ...
    def finish(self) -> list[Hypothesis]: ...


class FreeDecoder(Protocol):
    """A decoder without a grammar, which gives the text of what is refused."""

    def stream(self, frame_s: float, /) -> FreeStream: ...


class GrammarDecoder:
    """The sentences of a grammar with the highest probability, each the sum over its alignments.

    The score of a sentence is ln of its CTC probability times its weight in the grammar. A sentence
    is accepted if its fit (`asr.decoder.rejection`) is at least `threshold`; otherwise the
    utterance has no words, or those of the decoder `free` if there is one.

    arrays: the grammar in the tokens `pieces`; meaning: tokens -> intent and slots; n_best: at most
    this many sentences are returned. The result is exact, unless more than `MOST_ENDINGS` endings
    of sentences fit about equally well. Raises `UserError` for invalid values.

    Decoding does not change a decoder, so threads may share it.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        arrays: GrammarArrays,
        meaning: Meaning,
        *,
        threshold: float = -np.inf,
        n_best: int = 1,
        free: FreeDecoder | None = None,
    ):
        if n_best < 1 or np.isnan(threshold):
            raise UserError(
                f"grammar decoder: n_best {n_best}, threshold {threshold}; give n_best from 1 up "
                "and a number as threshold"
            )
        self.pieces = list(pieces)
        self.threshold, self.n_best, self.free = threshold, n_best, free
        self.meaning = meaning
        self.automaton = ahead.GrammarTables(
            *(getattr(arrays, name) for name in ahead.GrammarTables._fields)
        )
        self.longest = ahead.longest_sentence(
            self.automaton, np.zeros(len(arrays.final_weight), np.int64)
        )
        _compilation.ensure(lambda: _use_each_loop(self))

    def decode(self, log_probs: np.ndarray, frame_s: float) -> list[Hypothesis]:
        """The best sentences of an utterance, best first; the list is never empty.

        log_probs: (T, V) natural logs; frame_s: seconds per frame. The first hypothesis has the
        command, accepted or not.
        """
        stream = self.stream(frame_s)
        stream.feed(log_probs)
        return stream.finish()

    def stream(self, frame_s: float) -> GrammarStream:
        """Decode an utterance while its emissions arrive. frame_s: seconds per frame."""
        return GrammarStream(self, frame_s)


class GrammarStream:
    """The decoding of one utterance, whose emissions may arrive in pieces of any size.

    The result does not depend on the pieces. Memory grows with time: the emissions are kept.
    """

    def __init__(self, decoder: GrammarDecoder, frame_s: float):
        self._decoder, self._frame_s = decoder, frame_s
        self._forward = _new_forward(decoder.automaton)
        self._history = _new_history(decoder.automaton)
        self._rows: list[np.ndarray] = []
        self._free = decoder.free.stream(frame_s) if decoder.free is not None else None
        ahead.start(self._forward)

    def feed(self, log_probs: np.ndarray) -> None:
        """Follow the next frames. log_probs: (T, V) natural logs, T from 0 up."""
        decoder = self._decoder
        log_probs = checked(log_probs, len(decoder.pieces))
        if np.isnan(log_probs).any():
            raise ValueError("the emissions contain NaN")
        if self._free is not None:
            self._free.feed(log_probs)
        self._rows.append(log_probs)
        self._follow(log_probs, FIRST_MARGIN)

    def _follow(self, log_probs: np.ndarray, margin: float) -> None:
        """Continue the forward pass over the next frames."""
        probs, done = np.exp(log_probs, dtype=np.float64), 0
        likeliest = probs[:, BLANK + 1 :].max(axis=1, initial=0.0)
        while done < len(probs):
            done += ahead.advance(
                self._decoder.automaton,
                self._forward,
                self._history,
                probs[done:],
                likeliest[done:],
                margin,
            )
            if done < len(probs):
                self._history = _make_room(self._history)

    def best(self) -> Hypothesis:
        """The likeliest beginning of a sentence so far; it is not tested whether it fits."""
        found = self._search(1, whole=False, lost=-np.inf)
        return self._hypothesis(*found[0]) if found else Hypothesis((), "", -np.inf)

    def settled(self) -> int:
        """The number of leading tokens that no later frame can change: none is certain."""
        return 0

    def end_cost(self) -> float:
        """What an end of the utterance here would cost: ln of the probability of all beginnings of
        sentences minus that of the sentences that are complete. `MAY_GO_ON` is added where a
        sentence is complete but may go on; the cost is infinite where no sentence may end."""
        begun, whole, closed = ahead.ends(self._decoder.automaton, self._forward)
        if not whole:
            return np.inf
        may_go_on = float(np.log(begun / whole)) + MAY_GO_ON
        return min(may_go_on, float(np.log(begun / closed))) if closed else may_go_on

    def finish(self) -> list[Hypothesis]:
        """The best sentences, the first with its command."""
        found = [self._hypothesis(*one) for one in self._exact()]
        command = self._command(found)
        if command.accepted:
            return [replace(found[0], command=command), *found[1:]]
        if self._free is not None:
            heard, *others = self._free.finish()
            return [replace(heard, command=command), *others]
        return [Hypothesis((), "", -np.inf, command=command), *found]

    def _exact(self) -> list[tuple[tuple[int, ...], float]]:
        """The tokens and scores of the best sentences, with a margin that has lost none of them."""
        wanted, margin = self._decoder.n_best, FIRST_MARGIN
        likeliest = _two_likeliest(self._emissions())
        while True:
            lost = ahead.most_lost(
                self._history, self._emissions(), likeliest, self._decoder.longest
            )
            found = self._search(wanted, True, lost)
            missing = lost - found[-1][1] if len(found) == wanted else np.inf
            if missing <= 0 or lost == -np.inf:
                return found
            margin += missing + MARGIN_MORE
            ahead.start(self._forward)
            self._follow(self._emissions(), margin if margin <= WIDEST_MARGIN else np.inf)

    def _command(self, found: list[Hypothesis]) -> SpokenCommand:
        decoder = self._decoder
        if not found:
            return SpokenCommand(False, WORST_FIT, "", None, {})
        best = found[0]
        fit = max(WORST_FIT, fit_of(best.score, len(best.tokens)))
        accepted = fit >= decoder.threshold
        meaning = decoder.meaning(best.tokens)
        intent, slots = meaning if meaning is not None else (None, {})
        return SpokenCommand(accepted, fit, best.text, intent, slots)

    def _emissions(self) -> np.ndarray:
        """(T, V) of the utterance so far."""
        if len(self._rows) != 1:
            rows = self._rows or [np.zeros((0, len(self._decoder.pieces)), np.float32)]
            self._rows = [np.concatenate(rows)]
        return self._rows[0]

    def _search(self, wanted: int, whole: bool, lost: float) -> list[tuple[tuple[int, ...], float]]:
        tokens, lengths, scores = best_sentences(
            self._decoder.automaton,
            self._forward,
            self._history,
            self._emissions(),
            wanted,
            MOST_ENDINGS,
            whole,
            lost,
        )
        return [
            (tuple(tokens[i, : lengths[i]].tolist()), float(scores[i])) for i in range(len(scores))
        ]

    def _hypothesis(self, tokens: tuple[int, ...], score: float) -> Hypothesis:
        pieces, log_probs = self._decoder.pieces, self._emissions()
        if not tokens:
            return Hypothesis((), "", score)
        runs = token_runs(log_probs, tokens)
        peaks = [
            float(log_probs[first:after, token].max())
            for token, (first, after) in zip(tokens, runs, strict=True)
        ]
        starts, ends = zip(*runs, strict=True)
        words = words_of(tokens, starts, ends, peaks, pieces, self._frame_s)
        return Hypothesis(tokens, decode(tokens, pieces), score, words)


def _two_likeliest(log_probs: np.ndarray) -> np.ndarray:
    """(T, V) -> (T, 2), the highest and the second highest value of each frame, without the blank;
    -inf if there is no such token."""
    tokens = log_probs[:, BLANK + 1 :].copy()
    likeliest = np.full((len(tokens), 2), -np.inf, np.float32)
    if tokens.size:
        best = tokens.argmax(axis=1)[:, None]
        likeliest[:, :1] = np.take_along_axis(tokens, best, axis=1)
        np.put_along_axis(tokens, best, -np.inf, axis=1)
        likeliest[:, 1] = tokens.max(axis=1)
    return likeliest


def token_runs(log_probs: np.ndarray, tokens: Sequence[int]) -> list[tuple[int, int]]:
    """The first frame of each token on the likeliest alignment, and the frame after its last.

    log_probs: (T, V); tokens: (N,) ids without blanks, for which an alignment exists.
    """
    no_gaps, no_scores = np.zeros(0, np.int64), np.zeros(len(log_probs), np.float32)
    path = best_path(log_probs, np.asarray(tokens), no_gaps, no_scores)
    starts = np.searchsorted(path, 2 * np.arange(len(tokens)) + 1)
    ends = np.searchsorted(path, 2 * np.arange(len(tokens)) + 1, side="right")
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def _new_forward(automaton: ahead.GrammarTables) -> ahead.Forward:
    arcs, states = len(automaton.arc_token), len(automaton.final_weight)
    return ahead.Forward(
        on_token=np.zeros((2, arcs)),
        on_blank=np.zeros(states),
        arrived=np.zeros(states),
        arcs=np.zeros((2, arcs), np.int32),
        states=np.zeros((2, states), np.int32),
        active_arc=np.zeros(arcs, bool),
        active_state=np.zeros(states, bool),
        counts=np.zeros(3, np.int64),
    )


def _new_history(automaton: ahead.GrammarTables) -> ahead.History:
    entries = max(FIRST_ENTRIES, 2 * len(automaton.arc_token))
    return ahead.History(
        scale=np.zeros(FIRST_FRAMES),
        dropped=np.zeros(FIRST_FRAMES),
        after=np.zeros(FIRST_FRAMES + 1, np.int64),
        arc=np.zeros(entries, np.int32),
        value=np.zeros(entries),
    )


def _make_room(history: ahead.History) -> ahead.History:
    """Double all arrays; what they hold is kept."""
    frames, entries = len(history.scale), len(history.arc)
    return ahead.History(
        np.resize(history.scale, 2 * frames),
        np.resize(history.dropped, 2 * frames),
        np.resize(history.after, 2 * frames + 1),
        np.resize(history.arc, 2 * entries),
        np.resize(history.value, 2 * entries),
    )


_compilation = Compilation("the grammar decoder")


def _use_each_loop(decoder: GrammarDecoder) -> None:
    stream = decoder.stream(0.0)
    stream.feed(np.zeros((2, len(decoder.pieces)), np.float32))
    stream.end_cost()
    stream.best()
    stream.finish()
