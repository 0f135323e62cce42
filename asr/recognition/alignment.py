"""A long recording and its text -> the time and score of each sentence, to make a corpus of it.

This is CTC segmentation (Kürzinger et al. 2020), but with an exact alignment of the whole text.
Wildcards before and after each sentence match speech that the text does not contain.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from asr import audio
from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.decoder.align import STAR, STAR_WORD, Alignment, align, encode, timed_words
from asr.errors import UserError
from asr.recognition.protocol import RecognizerProtocol
from asr.text.normalize import normalize
from asr.text.tokenizer import Tokenizer
from asr.transcript import Segment, Transcript, Word

log = logging.getLogger("asr")

SCORE_WINDOW_S = 1.0  # covers a few words, so a single wrong word lowers the mean clearly
MARGIN_S = 0.2  # CTC peaks lie inside the sounds, so a sentence starts earlier and ends later
PIECE_S = 30.0  # the part of a long recording whose emissions are computed at once
CONTEXT_S = 3.0  # audio added on both sides of each piece; its emissions are discarded


@dataclass(frozen=True)
class Match:
    """A sentence and where it was found."""

    text: str
    start_s: float
    end_s: float
    score: float  # natural log, at most 0: the lowest mean of the frame scores; see `segment`
    words: tuple[Word, ...]


def segment(
    log_probs: np.ndarray, sentences: Sequence[str], tokenizer: Tokenizer, frame_s: float
) -> tuple[Match, ...]:
    """Find all `sentences`, in their order, in the emissions of one recording.

    log_probs: (T, V) natural logs; frame_s: seconds per frame. Any speech may come before, between
    and after the sentences; inside a sentence, only where the text has a word `*`. A sentence
    extends from its first token to its last, and up to `MARGIN_S` further on both sides, but not
    past the middle between two neighbors.

    The score is the lowest mean log-probability of the path over any `SCORE_WINDOW_S` of the
    sentence (over the whole sentence if it is shorter), without wildcards. It is near 0 if all
    speech matches the text, and far below 0 if at least one word does not. Which score is good
    enough depends on the model, so sort sentences by score instead of using a fixed threshold.

    Raises ValueError as `align` does, for an unknown character, and for a sentence without tokens.
    """
    tokens: list[int] = [STAR]
    spans: list[tuple[int, int]] = []  # [first, after) of each sentence in `tokens`
    for number, sentence in enumerate(sentences, start=1):
        encoded = _encoded(sentence, number, tokenizer)
        spans.append((len(tokens), len(tokens) + len(encoded)))
        tokens += [*encoded, STAR]
    alignment = align(log_probs, tokens)

    outside_wildcards = np.ones(len(log_probs), bool)  # (T,)
    for i in np.flatnonzero(alignment.tokens == STAR):
        outside_wildcards[alignment.starts[i] : alignment.ends[i]] = False
    found = []
    for first, after in spans:
        spoken = first + np.flatnonzero(alignment.tokens[first:after] != STAR)
        found.append((int(alignment.starts[spoken[0]]), int(alignment.ends[spoken[-1]])))
    middles = [(end + start) / 2 for (_, end), (start, _) in pairwise(found)]
    limits = pairwise([0.0, *middles, float(len(log_probs))])
    margin, matches = MARGIN_S / frame_s, []
    for (start, end), span, sentence, (left, right) in zip(
        found, spans, sentences, limits, strict=True
    ):
        matches.append(
            Match(
                sentence,
                max(left, start - margin) * frame_s,
                min(right, end + margin) * frame_s,
                _score(alignment, start, end, outside_wildcards, frame_s),
                timed_words(alignment, *span, tokenizer.pieces, frame_s),
            )
        )
    return tuple(matches)


def _encoded(sentence: str, number: int, tokenizer: Tokenizer) -> list[int]:
    try:
        encoded = encode(sentence, tokenizer)
    except ValueError as error:
        raise ValueError(f"sentence {number} ({sentence[:40]!r}): {error}") from None
    if all(token == STAR for token in encoded):
        raise ValueError(f"sentence {number} ({sentence[:40]!r}): nothing to align")
    return encoded


def _score(
    alignment: Alignment, start: int, end: int, outside_wildcards: np.ndarray, frame_s: float
) -> float:
    """The lowest mean of the frame scores over a window, for the frames from `start` to `end`."""
    scores = alignment.frame_scores[start:end][outside_wildcards[start:end]].astype(np.float64)
    window = min(len(scores), max(1, round(SCORE_WINDOW_S / frame_s)))
    means = np.convolve(scores, np.full(window, 1 / window), "valid")
    return min(0.0, float(means.min()))


def long_emissions(
    recognizer: RecognizerProtocol, recording: Utterance
) -> tuple[np.ndarray, float]:
    """The emissions (T, V) of a recording of any length, and its duration in seconds.

    They are computed in pieces of `PIECE_S`, each with `CONTEXT_S` around it, so that memory grows
    with the emissions alone. Raises `UserError` if the recording cannot be read.
    """
    frame = round(recognizer.frame_s * recognizer.rate_hz)  # samples
    piece, context = round(PIECE_S / recognizer.frame_s), round(CONTEXT_S / recognizer.frame_s)
    rate_hz = recognizer.rate_hz
    blocks: Iterator[np.ndarray | None] = audio.blocks(
        recording.audio, rate_hz, piece * frame / rate_hz, recording.start_s, recording.duration_s
    )
    rows: list[np.ndarray] = []
    before, samples = np.zeros(0, np.float32), 0
    for block, following in pairwise(chain(blocks, [None])):
        assert block is not None  # only the last of the pairs has None, as `following`
        after = np.zeros(0, np.float32) if following is None else following[: context * frame]
        emissions = recognizer.emissions([np.concatenate([before, block, after])])
        first = len(before) // frame
        (row,) = emissions.rows()
        rows.append(row[first:] if following is None else row[first : first + piece])
        before, samples = block[-context * frame :], samples + len(block)
    if not rows:
        raise UserError(f"{recording.audio}: the file has no samples")
    return np.concatenate(rows), samples / rate_hz


def align_recording(
    recognizer: RecognizerProtocol, recording: Utterance, sentences: Sequence[str]
) -> tuple[Transcript, list[Utterance]]:
    """Align `sentences` with a recording of any length, or with a segment of one.

    The texts are normalized like those that the model was trained on; words `*` stay wildcards.
    Returns the transcript, with one segment for each sentence, and the sentences as utterances of a
    manifest with a column `score` (see `segment`). Raises `UserError`, which names the recording,
    if it cannot be read or the text cannot be aligned.
    """
    normalized = [_normalized(sentence, recognizer.config.text) for sentence in sentences]
    log_probs, duration_s = long_emissions(recognizer, recording)
    try:
        matches = segment(log_probs, normalized, recognizer.tokenizer, recognizer.frame_s)
    except ValueError as error:
        raise UserError(f"{recording.audio}: {error}") from None

    def in_file(time_s: float) -> float:
        # The last frame may extend past the last sample by part of a hop.
        return recording.start_s + min(time_s, duration_s)

    segments, utterances = [], []
    for number, (match, sentence) in enumerate(zip(matches, sentences, strict=True), start=1):
        start_s, end_s = in_file(match.start_s), in_file(match.end_s)
        words = tuple(
            Word(word.text, in_file(word.start_s), in_file(word.end_s), word.confidence)
            for word in match.words
        )
        segments.append(Segment(start_s, end_s, words))
        utterances.append(
            Utterance(
                id=recording.id if len(sentences) == 1 else f"{recording.id}-{number:05d}",
                audio=recording.audio,
                start_s=start_s,
                duration_s=end_s - start_s,
                text=sentence,
                speaker=recording.speaker,
                language=recording.language,
                extra=recording.extra | {"score": round(match.score, 4)},
            )
        )
    return Transcript(str(recording.audio), duration_s, tuple(segments)), utterances


def read_sentences(path: str | Path, config: TextConfig) -> list[str]:
    """The lines of a text file that have a letter; a warning lists the numbers of other lines.

    Raises `UserError` if the file cannot be read or if no line is left.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise UserError(f"{path}: no such text file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    left_out = [
        number for number, line in numbered if set(_normalized(line, config).split()) <= {STAR_WORD}
    ]
    if len(left_out) == len(numbered):
        raise UserError(f"{path}: no line has a letter to align")
    if left_out:
        named = ", ".join(map(str, left_out[:10])) + (", ..." if len(left_out) > 10 else "")
        log.warning("%s: %d lines without a letter left out: %s", path, len(left_out), named)
    return [line.strip() for number, line in numbered if number not in set(left_out)]


def _normalized(sentence: str, config: TextConfig) -> str:
    words = (word if word == STAR_WORD else normalize(word, config) for word in sentence.split())
    return " ".join(filter(None, words))
