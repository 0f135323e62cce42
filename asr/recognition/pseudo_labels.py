"""Self-training: recordings without texts -> a manifest of those whose transcripts are sure.

A transcript is kept if its words are likely to be right (their calibrated confidence) and if two
decodings of the same emissions agree: the greedy one, which hears only the sounds, and that of the
model's decoder, with its language model. (Kahn et al. 2020 filter by confidence; here, agreement is
a second condition because CTC is overconfident.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from rapidfuzz.distance import Levenshtein

from asr import audio
from asr.audio.chunking import chunks
from asr.audio.vad import detector
from asr.data.manifest import Utterance
from asr.decoder.greedy import GreedyDecoder
from asr.errors import UserError
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure, emissions_of_many
from asr.recognition.waveforms import BLOCK_S, LONG_S, seconds_of
from asr.transcript import Hypothesis

MIN_CONFIDENCE = 0.85
MIN_AGREEMENT = 0.85


@dataclass(frozen=True)
class Rejected:
    """An utterance that was not kept, and the reason."""

    utterance: Utterance
    reason: str


@dataclass
class PseudoLabels:
    """The utterances with their new texts, and those that were left out."""

    kept: list[Utterance] = field(default_factory=list)
    left_out: list[Rejected] = field(default_factory=list)

    @property
    def kept_s(self) -> float:
        """Seconds of audio that were kept."""
        return sum(u.duration_s or 0.0 for u in self.kept)


def pseudo_label(
    recognizer: Recognizer,
    utterances: Iterable[Utterance],
    *,
    min_confidence: float = MIN_CONFIDENCE,
    min_agreement: float = MIN_AGREEMENT,
    vad: str = "auto",
    progress: Callable[[], None] = lambda: None,
) -> PseudoLabels:
    """Transcribe `utterances`, and keep those whose transcripts are sure.

    min_confidence: of the mean confidence of the words, in [0, 1]; `asr tune` calibrates
    confidences, so that this is the expected share of right words. min_agreement: of the share of
    words in which both decodings agree, 1 - (edit distance / number of words), in [0, 1]. Texts
    that the utterances have are replaced, and other columns stay; `confidence` and `agreement` are
    added. Recordings of more than 60 s are cut at pauses, which `vad` finds.

    Raises `UserError` if a threshold is outside [0, 1].
    """
    for name, value in (("min_confidence", min_confidence), ("min_agreement", min_agreement)):
        if not 0 <= value <= 1:
            raise UserError(f"{name}: {value:g} is outside 0 to 1")
    labels = PseudoLabels()
    greedy = GreedyDecoder(recognizer.tokenizer.pieces)
    pieces = _pieces(recognizer, utterances, vad, labels.left_out)
    for utterance, found in emissions_of_many(recognizer, pieces):
        progress()
        if isinstance(found, Failure):
            labels.left_out.append(Rejected(utterance, found.reason))
            continue
        sure = recognizer.decode(found)[0]
        heard = greedy.decode(found, recognizer.frame_s)[0]
        reason = _doubt(sure, heard, min_confidence, min_agreement)
        labelled = _labelled(utterance, sure, heard, len(found) * recognizer.frame_s)
        if reason is None:
            labels.kept.append(labelled)
        else:
            labels.left_out.append(Rejected(labelled, reason))
    return labels


def confidence_of(hypothesis: Hypothesis) -> float:
    """The mean confidence of the words; 0 without words."""
    words = hypothesis.words
    return sum(word.confidence for word in words) / len(words) if words else 0.0


def agreement_of(hypothesis: Hypothesis, other: Hypothesis) -> float:
    """1 - (word edit distance / number of words of `hypothesis`), at least 0."""
    words = hypothesis.text.split()
    if not words:
        return 0.0
    return max(0.0, 1 - Levenshtein.distance(words, other.text.split()) / len(words))


def _doubt(
    sure: Hypothesis, heard: Hypothesis, min_confidence: float, min_agreement: float
) -> str | None:
    """Why a transcript is not kept; None if it is."""
    if not sure.words:
        return "no word was recognized"
    confidence, agreement = confidence_of(sure), agreement_of(sure, heard)
    if confidence < min_confidence:
        return f"confidence {confidence:.2f} is below {min_confidence:g}"
    if agreement < min_agreement:
        return f"agreement {agreement:.2f} is below {min_agreement:g}"
    return None


def _labelled(
    utterance: Utterance, sure: Hypothesis, heard: Hypothesis, seconds: float
) -> Utterance:
    extra = utterance.extra | {
        "confidence": round(confidence_of(sure), 4),
        "agreement": round(agreement_of(sure, heard), 4),
    }
    duration_s = utterance.duration_s if utterance.duration_s is not None else seconds
    return replace(utterance, text=sure.text, duration_s=duration_s, extra=extra)


def _pieces(
    recognizer: Recognizer,
    utterances: Iterable[Utterance],
    vad: str,
    left_out: list[Rejected],
) -> Iterator[Utterance]:
    """The utterances; long ones in pieces without overlap, whose ids end in -1, -2, ..."""
    rate_hz = recognizer.rate_hz
    for utterance in utterances:
        try:
            seconds = seconds_of(utterance)
            if seconds <= LONG_S:
                yield replace(utterance, duration_s=seconds)
                continue
            blocks = audio.blocks(utterance.audio, rate_hz, BLOCK_S, utterance.start_s, seconds)
            for number, chunk in enumerate(chunks(blocks, detector(vad, rate_hz), rate_hz), 1):
                begin_s = chunk.start_s + chunk.overlap_s
                duration_s = min(len(chunk.samples) / rate_hz - chunk.overlap_s, seconds - begin_s)
                yield replace(
                    utterance,
                    id=f"{utterance.id}-{number}",
                    start_s=utterance.start_s + begin_s,
                    duration_s=duration_s,
                )
        except UserError as error:
            left_out.append(Rejected(utterance, str(error)))
