"""A long recording and its text -> the place of each sentence, with a score: a book as a corpus.

The idea is CTC-segmentation (Kürzinger et al. 2020), here by exact alignment of the whole text,
with a wildcard around every sentence for what was said but not written down.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np

from asr import audio
from asr.config import TextConfig
from asr.data.manifest import Utterance
from asr.decoder.align import STAR, STAR_WORD, align, encode, timed_words
from asr.errors import UserError
from asr.recognition.recognizer import Recognizer
from asr.text.normalize import normalize
from asr.text.tokenizer import Tokenizer
from asr.transcript import Segment, Transcript, Word

logger = logging.getLogger(__name__)

SCORE_WINDOW_S = 1.0  # long enough for a few words, short enough for one wrong word to show
MARGIN_S = 0.2  # CTC's peaks lie inside the sounds: what is cut out begins earlier, ends later
PIECE_S = 30.0  # of a long recording that the model hears at a time
CONTEXT_S = 3.0  # heard before and after each piece, and not used


@dataclass(frozen=True)
class Match:
    """A sentence and where it was found."""

    text: str
    start_s: float
    end_s: float
    score: float  # natural log, at most 0: mean of the frames in the worst SCORE_WINDOW_S
    words: tuple[Word, ...]


def segment(
    log_probs: np.ndarray, sentences: Sequence[str], tokenizer: Tokenizer, frame_s: float
) -> tuple[Match, ...]:
    """Find all `sentences`, in their order, in the emissions of one recording.

    log_probs: (T, V) natural logs; frame_s: seconds a frame. Before, between and after sentences
    anything may be said; inside them only where the text has a word `*`. A sentence lasts from its
    first token to its last and up to `MARGIN_S` more on both sides, never past the middle between
    two neighbors.

    The score is the lowest mean log-prob of the path over any `SCORE_WINDOW_S` of the sentence (of
    all of it, when shorter), wildcards left out: near 0 where every sound was heard as written,
    far below where at least one word was not. What to ask for depends on the model: sort by it.

    Raises ValueError as `align` does, for an unknown character, and for a sentence without tokens.
    """
    tokens: list[int] = [STAR]
    spans: list[tuple[int, int]] = []  # of each sentence in `tokens`
    for number, sentence in enumerate(sentences, start=1):
        try:
            encoded = encode(sentence, tokenizer)
        except ValueError as error:
            raise ValueError(f"sentence {number} ({sentence[:40]!r}): {error}") from None
        if all(token == STAR for token in encoded):
            raise ValueError(f"sentence {number} ({sentence[:40]!r}): nothing to align")
        spans.append((len(tokens), len(tokens) + len(encoded)))
        tokens += [*encoded, STAR]
    alignment = align(log_probs, tokens)

    frames, margin = len(log_probs), MARGIN_S / frame_s
    heard = np.ones(frames, bool)  # frames in no wildcard
    for i in np.flatnonzero(alignment.tokens == STAR):
        heard[alignment.starts[i] : alignment.ends[i]] = False
    found = []
    for first, after in spans:
        said = first + np.flatnonzero(alignment.tokens[first:after] != STAR)
        found.append((int(alignment.starts[said[0]]), int(alignment.ends[said[-1]])))
    middles = [(end + start) / 2 for (_, end), (start, _) in pairwise(found)]
    matches = []
    for (start, end), (first, after), sentence, left, right in zip(
        found, spans, sentences, [0.0, *middles], [*middles, float(frames)], strict=True
    ):
        scores = alignment.frame_scores[start:end][heard[start:end]].astype(np.float64)
        window = min(len(scores), max(1, round(SCORE_WINDOW_S / frame_s)))
        means = np.convolve(scores, np.full(window, 1 / window), "valid")
        matches.append(
            Match(
                sentence,
                max(left, start - margin) * frame_s,
                min(right, end + margin) * frame_s,
                min(0.0, float(means.min())),
                timed_words(alignment, first, after, tokenizer.pieces, frame_s),
            )
        )
    return tuple(matches)


def long_emissions(recognizer: Recognizer, recording: Utterance) -> tuple[np.ndarray, float]:
    """Emissions (T, V) of a recording of any length, and its duration in seconds.

    It is heard in pieces of `PIECE_S`, each with `CONTEXT_S` around it, so memory grows with the
    emissions alone. Raises `UserError` when the file cannot be read.
    """
    frame = round(recognizer.frame_s * recognizer.rate_hz)  # samples
    piece, context = round(PIECE_S / recognizer.frame_s), round(CONTEXT_S / recognizer.frame_s)
    rate_hz = recognizer.rate_hz
    blocks = audio.blocks(
        recording.audio, rate_hz, piece * frame / rate_hz, recording.start_s, recording.duration_s
    )
    rows: list[np.ndarray] = []
    before, samples = np.zeros(0, np.float32), 0
    for block, following in pairwise(chain(blocks, [None])):
        beyond = np.zeros(0, np.float32) if following is None else following[: context * frame]
        emissions = recognizer.emissions([np.concatenate([before, block, beyond])])
        first = len(before) // frame
        (row,) = emissions.rows()
        rows.append(row[first:] if following is None else row[first : first + piece])
        before, samples = block[-context * frame :], samples + len(block)
    if not rows:
        raise UserError(f"{recording.audio}: the file has no samples")
    return np.concatenate(rows), samples / rate_hz


def align_recording(
    recognizer: Recognizer, recording: Utterance, sentences: Sequence[str]
) -> tuple[Transcript, list[Utterance]]:
    """Align `sentences` with a recording of any length, or the stretch of it that is named.

    Texts are normalized as the model's training text was, words `*` kept as wildcards. Returns the
    transcript, a segment for each sentence, and the sentences as utterances of a manifest, with a
    column `score` (see `segment`). Raises `UserError` that names the recording and the mend.
    """
    spoken = [_normalized(sentence, recognizer.config.text) for sentence in sentences]
    log_probs, duration_s = long_emissions(recognizer, recording)
    try:
        matches = segment(log_probs, spoken, recognizer.tokenizer, recognizer.frame_s)
    except ValueError as error:
        raise UserError(f"{recording.audio}: {error}") from None

    def in_file(time_s: float) -> float:
        # The last frame may reach past the last sample by part of a hop.
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
    return Transcript(recording.audio, duration_s, tuple(segments)), utterances


def read_sentences(path: str | Path, config: TextConfig) -> list[str]:
    """The lines of a text file that have something to align; the others are counted and named.

    Raises `UserError` when the file cannot be read or no line is left.
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
        logger.warning("%s: %d lines without a letter left out: %s", path, len(left_out), named)
    return [line.strip() for number, line in numbered if number not in set(left_out)]


def _normalized(sentence: str, config: TextConfig) -> str:
    words = (word if word == STAR_WORD else normalize(word, config) for word in sentence.split())
    return " ".join(filter(None, words))
