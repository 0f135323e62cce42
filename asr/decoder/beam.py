"""Prefix beam search with language model, hotwords and lexicon, offline or streaming."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from asr.decoder import fusion as fuse
from asr.decoder import prefixes, search
from asr.decoder.compilation import Compilation
from asr.decoder.emissions import checked, divided_by_prior
from asr.decoder.hotwords import build_hotwords
from asr.decoder.lexicon import Spelling, spellable
from asr.decoder.words import words_of
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.text.tokenizer import decode
from asr.transcript import Hypothesis

# Number of prefixes that a new search has room for; doubled when all are in use. The arrays are so
# small that the allocator can reuse the memory of an earlier search.
FIRST_ROOM = 1 << 10


class BeamDecoder:
    """Prefix beam search (Hannun et al. 2014) on CTC emissions; `reference.py` defines its results.

    The score of a text is

        ln sum of P(path) over all paths of the text
        + lm_weight * ln P(text) + word_bonus * number of words + weights of its hotwords

    where a word that the language model does not know has `unknown_score` in place of its ln P, and
    P(path) is of probabilities that are divided by the prior of their tokens to the power of
    `prior_weight` and normalized in each frame, if `log_prior` is given.

    beam: number of prefixes kept after each frame. token_min_logp: tokens with a lower ln P are not
    tried in a frame, except the blank and the likeliest token. tokens_per_frame: at most this many
    tokens are tried in a frame. beam_margin: a prefix is dropped if its score is below the best
    score - beam_margin. hotwords: {phrase: weight}. lexicon: the only words that may occur in a
    text. log_prior: ln P of each token (V,) over all frames. n_best: at most this many texts are
    returned. Raises `UserError` for invalid values.

    Decoding does not change a decoder, so threads may share it.
    """

    def __init__(
        self,
        pieces: Sequence[str],
        *,
        beam: int = 50,
        token_min_logp: float = -7.0,
        tokens_per_frame: int = 40,
        beam_margin: float = 15.0,
        lm: NGram | None = None,
        lm_weight: float = 0.5,
        word_bonus: float = 0.0,
        unknown_score: float = -15.0,
        hotwords: Mapping[str, float] | None = None,
        lexicon: Iterable[str] | None = None,
        prior_weight: float = 0.0,
        log_prior: Sequence[float] | None = None,
        n_best: int = 1,
    ):
        _require("beam", beam, beam >= 1, "at least 1")
        _require("tokens_per_frame", tokens_per_frame, tokens_per_frame >= 1, "at least 1")
        _require("beam_margin", beam_margin, beam_margin >= 0, "a number from 0 up")
        _require("n_best", n_best, 1 <= n_best <= beam, f"1 to the beam, {beam}")
        _require("lm_weight", lm_weight, 0 <= lm_weight < np.inf, "a number from 0 up")
        _require("word_bonus", word_bonus, np.isfinite(word_bonus), "a finite number")
        _require("unknown_score", unknown_score, -np.inf < unknown_score <= 0, "at most 0")
        _require("prior_weight", prior_weight, 0 <= prior_weight < np.inf, "a number from 0 up")
        self.pieces = list(pieces)
        self.n_best = n_best
        self.bias: np.ndarray | None = None  # (V,), added to the emissions
        if prior_weight and log_prior is not None:
            count, needed = len(log_prior), len(self.pieces)
            _require("log_prior", count, count == needed, f"one value per token, {needed}")
            self.bias = -prior_weight * np.asarray(log_prior, np.float32)
        self.limits = search.Limits(
            int(beam), float(token_min_logp), int(tokens_per_frame), float(beam_margin)
        )
        spelling = Spelling.of(self.pieces)
        self.fusion = fuse.build(
            spelling,
            self.pieces,
            lm,
            lm_weight=lm_weight,
            word_bonus=word_bonus,
            unknown_score=unknown_score,
            hotwords=build_hotwords(hotwords or {}, spelling),
            lexicon=None if lexicon is None else spellable(lexicon, spelling),
        )
        _compilation.ensure(lambda: _use_each_loop(self))

    def decode(self, log_probs: np.ndarray, frame_s: float) -> list[Hypothesis]:
        """The best distinct texts of an utterance, best first; the list is never empty.

        log_probs: (T, V) natural logs; frame_s: seconds per frame.
        """
        stream = self.stream(frame_s)
        stream.feed(log_probs)
        return stream.finish()

    def decode_batch(
        self, batch: Iterable[np.ndarray], frame_s: float, threads: int = 1
    ) -> list[list[Hypothesis]]:
        """`decode` for many utterances (T, V); the result does not depend on `threads`."""
        batch = list(batch)

        def share(first: int) -> list[list[Hypothesis]]:
            return [self.decode(log_probs, frame_s) for log_probs in batch[first::threads]]

        if threads == 1:
            return share(0)
        # Each thread takes a share of the utterances, because a task for each utterance would cost
        # more than decoding a short one.
        found: list[list[Hypothesis]] = [[] for _ in batch]
        with ThreadPoolExecutor(threads) as pool:
            for first, texts in enumerate(pool.map(share, range(threads))):
                found[first::threads] = texts
        return found

    def stream(self, frame_s: float) -> Stream:
        """Decode an utterance while its emissions arrive. frame_s: seconds per frame."""
        return Stream(self, frame_s)


class Stream:
    """The decoding of one utterance, whose emissions may arrive in pieces of any size.

    The result does not depend on the pieces. Memory grows with the text, by 100 to 300 bytes per
    token, and not with time.
    """

    def __init__(self, decoder: BeamDecoder, frame_s: float):
        self._decoder, self._frame_s = decoder, frame_s
        self._arrays = _new_arrays(decoder.limits.beam, len(decoder.pieces))
        prefixes.start(decoder.fusion, self._arrays)

    def feed(self, log_probs: np.ndarray) -> None:
        """Search the next frames. log_probs: (T, V) natural logs, T from 0 up."""
        decoder = self._decoder
        log_probs = checked(log_probs, len(decoder.pieces))
        if decoder.bias is not None:
            log_probs = divided_by_prior(log_probs, decoder.bias)
        log_probs = log_probs.view()
        log_probs.flags.writeable = False  # numba compiles read-only and writable arrays separately
        done = search.advance(log_probs, decoder.limits, decoder.fusion, self._arrays)
        while done < len(log_probs):
            self._arrays = _make_room(self._arrays)
            done += search.advance(log_probs[done:], decoder.limits, decoder.fusion, self._arrays)
        head = self._arrays.head[0]
        if head["count"] and np.isnan(head["offset"] + self._arrays.scores[head["side"], 0]):
            raise ValueError("the emissions contain NaN")

    def best(self) -> Hypothesis:
        """The best text so far, whose last word may be unfinished."""
        head = self._arrays.head[0]
        if not head["count"]:
            return Hypothesis((), "", -np.inf)
        return self._hypothesis(0, float(head["offset"] + self._arrays.scores[head["side"], 0]))

    def settled(self) -> int:
        """The number of leading tokens that all prefixes of the beam share, so that no later frame
        can change them."""
        return int(prefixes.count_settled(self._arrays))

    def end_cost(self) -> float:
        """What an end of the utterance here would cost: the score of the best text so far minus
        that of the best whole text, a natural log; infinite where no text may end here."""
        head = self._arrays.head[0]
        if not head["count"]:
            return math.inf
        best = float(head["offset"] + self._arrays.scores[head["side"], 0])
        return best - float(self._final_scores().max())

    def finish(self) -> list[Hypothesis]:
        """The best texts, with the scores of the last word and of the end of the utterance."""
        scores = self._final_scores()
        found: dict[str, Hypothesis] = {}
        for rank in np.argsort(-scores, kind="stable"):
            if len(found) == self._decoder.n_best or scores[rank] == -np.inf:
                break
            hypothesis = self._hypothesis(rank, float(scores[rank]))
            found.setdefault(hypothesis.text, hypothesis)
        return list(found.values()) or [self._unfinished()]

    def _final_scores(self) -> np.ndarray:
        scores = np.empty(int(self._arrays.head[0]["count"]))
        search.final_scores(self._decoder.fusion, self._arrays, scores)
        return scores

    def _unfinished(self) -> Hypothesis:
        """The best prefix without its last word, which is only the beginning of a lexicon word."""
        best = self.best()
        begins = self._decoder.fusion.begins
        last = max((i for i, token in enumerate(best.tokens) if begins[token]), default=0)
        text = decode(best.tokens[:last], self._decoder.pieces)
        return Hypothesis(best.tokens[:last], text, -np.inf, best.words[: len(text.split())])

    def _hypothesis(self, rank: int, score: float) -> Hypothesis:
        pieces = self._decoder.pieces
        tokens, starts, ends, peaks = (
            array.tolist() for array in prefixes.trace(self._arrays, rank)
        )
        words = words_of(tokens, starts, ends, peaks, pieces, self._frame_s)
        return Hypothesis(tuple(tokens), decode(tokens, pieces), score, words)


def _require(name: str, value: float, valid: bool, fix: str) -> None:
    if not valid:
        raise UserError(f"decoder.{name}: {value}; give {fix}")


def _new_arrays(beam: int, vocabulary: int) -> prefixes.Arrays:
    room = max(FIRST_ROOM, 4 * beam)  # so that one doubling makes enough room for a frame
    return prefixes.Arrays(
        head=np.zeros(1, prefixes.HEAD),
        beams=np.empty((2, 2 * beam + 1), prefixes.ENTRY),
        orders=np.zeros((2, beam), np.int32),
        scores=np.zeros((2, beam)),
        nodes=np.empty(room, prefixes.NODE),
        times=np.empty(2 * room, prefixes.TIME),
        emit=np.empty(vocabulary),
        kept=np.empty(vocabulary, np.int32),
        mark=np.empty(vocabulary, np.int64),
        child=np.empty((2, 2 * beam + 1), np.int32),
    )


def _make_room(arrays: prefixes.Arrays) -> prefixes.Arrays:
    """Drop the times that no prefix needs; double each array that is then more than half full."""
    prefixes.compact_times(arrays)
    head = arrays.head[0]
    for name, used in (("nodes", head["nodes"] - head["spares"]), ("times", head["times"])):
        array = getattr(arrays, name)
        if used > len(array) // 2:
            larger = np.empty(2 * len(array), array.dtype)
            larger[: len(array)] = array
            arrays = arrays._replace(**{name: larger})
    return arrays


_compilation = Compilation("the decoder")


def _use_each_loop(decoder: BeamDecoder) -> None:
    stream = decoder.stream(0.0)
    stream.feed(np.zeros((1, len(decoder.pieces))))
    stream._arrays = _make_room(stream._arrays)
    stream.settled()
    stream.finish()
