"""Decoder settings that make the fewest errors on a dev set, searched over emissions made once."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from asr.config import DecoderConfig
from asr.data.manifest import Utterance
from asr.decoder.confidence import fit_logit, outcomes_of_words
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.model.model_file import Model
from asr.recognition.recognizer import DEFAULT_BEAM, Recognizer, build_decoder
from asr.recognition.transcribe import Failure, emissions_of_many
from asr.scoring.wer import NOTHING, Counts, Pair, Score, character_counts, score, word_counts
from asr.text.normalize import normalize
from asr.transcript import Hypothesis

BEAMS = (16, 50, 100)
# Where the search begins, coarsely, and how far it then steps from the best: half the way each
# time. It follows the best out of this rectangle.
LM_WEIGHTS = (0.0, 0.4, 0.8, 1.2, 1.6)
WORD_BONUSES = (-2.0, 0.0, 2.0, 4.0)
STEPS = ((0.2, 1.0), (0.1, 0.5))
UNKNOWN_SCORES = (-25.0, -20.0, -15.0, -10.0, -7.0, -5.0)

GREEDY = DecoderConfig(beam=1)


class DevSet:
    """Emissions of a dev set, kept in a temporary file that the system drops with the object.

    The file is mapped into memory, so that a large set costs no more of it than there is.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        utterances: Iterable[Utterance],
        progress: Callable[[], None] = lambda: None,
    ):
        """Read and emit every utterance; one that cannot be read counts as if nothing were heard.

        `progress` is called after each utterance.
        """
        text = recognizer.config.text
        self.frame_s, self.text = recognizer.frame_s, text
        self.utterances: list[Utterance] = []
        self.failures: list[Failure] = []
        self.references: list[str] = []
        shapes = []
        with tempfile.TemporaryFile() as file:
            for utterance, found in emissions_of_many(recognizer, utterances):
                if isinstance(found, Failure):
                    self.failures.append(found)
                    found = np.zeros((0, len(recognizer.tokenizer.pieces)), np.float32)
                np.ascontiguousarray(found, np.float32).tofile(file)
                shapes.append(found.shape)
                self.utterances.append(utterance)
                self.references.append(normalize(utterance.text or "", text))
                progress()
            if not any(self.references):
                raise UserError("nothing to tune on: no utterance has a text")
            file.flush()
            frames = [rows for rows, _ in shapes]
            # An empty file cannot be mapped.
            whole = np.memmap(file, np.float32, "r") if sum(frames) else np.zeros(0, np.float32)
        whole = np.asarray(whole).reshape(-1, len(recognizer.tokenizer.pieces))
        self.rows = np.split(whole, np.cumsum(frames)[:-1])  # [(T_i, V)]

    def decode(self, model: Model, settings: DecoderConfig) -> list[Hypothesis]:
        """The likeliest text of every utterance by these settings, on all cores."""
        config = model.config.model_copy(update={"decoder": settings})
        decoder = build_decoder(replace(model, config=config))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            found = pool.map(lambda row: decoder.decode(row, self.frame_s)[0], self.rows)
            return list(found)

    def heard(self, hypotheses: Iterable[Hypothesis]) -> list[str]:
        return [normalize(hypothesis.text, self.text) for hypothesis in hypotheses]

    def pairs(self, heard: Sequence[str]) -> list[Pair]:
        rows = zip(self.utterances, self.references, heard, strict=True)
        return [Pair(u.id, said, text, u.speaker) for u, said, text in rows]

    def outcomes(self, hypotheses: Iterable[Hypothesis]) -> tuple[list[float], list[bool]]:
        """Confidences of the words, and whether each is right."""
        texts = partial(normalize, config=self.text)
        words = [[replace(w, text=texts(w.text)) for w in h.words] for h in hypotheses]
        kept = [[word for word in one if word.text] for one in words]
        return outcomes_of_words(zip(self.references, kept, strict=True))


@dataclass(frozen=True)
class Trial:
    """Settings, and the errors that they make."""

    decoder: DecoderConfig
    words: Counts
    characters: Counts
    hypotheses: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int]:
        """Lower is better: words first; characters tell apart what words cannot."""
        return self.words.errors, self.characters.errors

    @property
    def wer(self) -> float:
        return self.words.errors / self.words.reference

    @property
    def cer(self) -> float:
        return self.characters.errors / self.characters.reference


@dataclass(frozen=True)
class Tuning:
    """What `tune` finds."""

    chosen: Trial
    trials: list[Trial]  # all, in the order of the search; the first is greedy
    scores: tuple[Score, Score]  # on the dev set: greedy, chosen
    unknown: int  # words of the dev texts that the language model lacks
    confidence: tuple[float, float]  # scale and shift that calibrate the choice on the dev set

    @property
    def decoder(self) -> DecoderConfig:
        """What is chosen, calibration and all."""
        scale, shift = self.confidence
        changes = {"confidence_scale": scale, "confidence_shift": shift}
        return self.chosen.decoder.model_copy(update=changes)

    @property
    def surface(self) -> list[tuple[float, float, float]]:
        """(lm_weight, word_bonus, WER), the best of the beams and scores of unknown words there."""
        best: dict[tuple[float, float], float] = {}
        for trial in self.trials[1:]:
            at = trial.decoder.lm_weight, trial.decoder.word_bonus
            best[at] = min(trial.wer, best.get(at, trial.wer))
        return [(*at, wer) for at, wer in best.items()]

    @property
    def place(self) -> tuple[float, float] | None:
        """lm_weight and word_bonus of the choice; None where it is greedy."""
        c = self.chosen.decoder
        return (c.lm_weight, c.word_bonus) if c.beam > 1 else None

    @property
    def gain(self) -> str:
        """One line for people."""
        before, after = self.scores
        c = self.chosen.decoder
        if c.beam == 1:
            return f"greedy, as nothing was better: dev WER {before.wer:.2%}"
        weights = f"lm_weight {c.lm_weight:g}, word_bonus {c.word_bonus:g}"
        return f"beam {c.beam}, {weights}: dev WER {before.wer:.2%} -> {after.wer:.2%}"


def tune(
    model: Model, dev: DevSet, on_trial: Callable[[Trial], None] = lambda trial: None
) -> Tuning:
    """Search beam, lm_weight, word_bonus and unknown_score of `model` and its n-gram.

    A coarse grid over weight and bonus first, then neighbors of the best at ever smaller steps;
    then the score of unknown words where the dev texts have some; then the smallest beam that
    loses nothing. Greedy decoding is chosen where nothing makes fewer word errors. The figures of
    the dev set flatter what was chosen on it: quote those of another set. Last, word confidences
    are calibrated. `on_trial` is called with each trial.
    """
    search = _Search(model, dev, on_trial)
    greedy = search.trial(GREEDY)
    unknown = unknown_words(model.ngram, dev.references)
    best = search.grid()
    for steps in STEPS:
        best = search.climb(best, *steps)
    if unknown:
        settings = [best.decoder.model_copy(update={"unknown_score": s}) for s in UNKNOWN_SCORES]
        better = min([best, *map(search.trial, settings)], key=lambda trial: trial.rank)
        if better is not best:
            for steps in STEPS:
                better = search.climb(better, *steps)
            best = better
    n_best = best.decoder.n_best
    settings = [best.decoder.model_copy(update={"beam": max(b, n_best)}) for b in BEAMS]
    beams = [search.trial(s) for s in settings]
    fewest = min(trial.words.errors for trial in beams)
    best = next(trial for trial in beams if trial.words.errors == fewest)
    if best.words.errors >= greedy.words.errors:
        best = greedy
    scores = tuple(score(dev.pairs(trial.hypotheses)) for trial in (greedy, best))
    scale, shift = fit_logit(*dev.outcomes(dev.decode(model, best.decoder)))
    confidence = round(scale, 4), round(shift, 4)
    return Tuning(best, list(search.tried.values()), scores, unknown, confidence)


class _Search:
    """Trials of one model on one dev set; none is made twice."""

    def __init__(self, model: Model, dev: DevSet, on_trial: Callable[[Trial], None]):
        self.model, self.dev, self.on_trial = model, dev, on_trial
        self.tried: dict[DecoderConfig, Trial] = {}
        n_best = model.config.decoder.n_best
        self.start = DecoderConfig(beam=max(DEFAULT_BEAM, n_best), n_best=n_best)

    def trial(self, settings: DecoderConfig) -> Trial:
        if settings not in self.tried:
            heard = self.dev.heard(self.dev.decode(self.model, settings))
            pairs = list(zip(self.dev.references, heard, strict=True))
            words, characters = (
                sum((count(said, text) for said, text in pairs), NOTHING)
                for count in (word_counts, character_counts)
            )
            self.tried[settings] = Trial(settings, words, characters, tuple(heard))
            self.on_trial(self.tried[settings])
        return self.tried[settings]

    def best_of(self, points: Iterable[tuple[float, float]], at: DecoderConfig) -> Trial:
        changes = [{"lm_weight": weight, "word_bonus": bonus} for weight, bonus in points]
        trials = [self.trial(at.model_copy(update=change)) for change in changes]
        return min(trials, key=lambda trial: trial.rank)

    def grid(self) -> Trial:
        weights = LM_WEIGHTS if self.model.ngram is not None else (self.start.lm_weight,)
        return self.best_of(itertools.product(weights, WORD_BONUSES), self.start)

    def climb(self, at: Trial, weight_step: float, bonus_step: float) -> Trial:
        """Go on to the best neighbor until none is better."""
        while True:
            c = at.decoder
            weights, bonuses = [c.lm_weight], [round(c.word_bonus + i * bonus_step, 3) for i in _AT]
            if self.model.ngram is not None:
                weights = [max(0.0, round(c.lm_weight + i * weight_step, 3)) for i in _AT]
            best = self.best_of(itertools.product(weights, bonuses), c)
            if best.rank >= at.rank:
                return at
            at = best


_AT = (0, -1, 1)  # where equals are found, the first wins: stay


def unknown_words(ngram: NGram | None, texts: Iterable[str]) -> int:
    """How many words of the texts a model on words lacks; one on tokens knows all."""
    if ngram is None or ngram.unit == "tokens":
        return 0
    labels = ngram.labels(word for text in texts for word in text.split())
    return int(((labels < 0) | (labels == ngram.unknown_label)).sum())


CARD_LINE = "- Decoder tuned on "


def apply(model: Model, tuning: Tuning, dev_name: str) -> Model:
    """The model with the chosen settings, its n-gram where they use it, and a line in its card."""
    settings = tuning.decoder
    line = f"{CARD_LINE}{dev_name} ({tuning.scores[0].utterances} utterances): {tuning.gain}."
    return replace(
        model,
        config=model.config.model_copy(update={"decoder": settings}),
        ngram=model.ngram if settings.beam > 1 else None,
        card=_with_line(model.card, line),
    )


def _with_line(card: str, line: str) -> str:
    """The card with `line` after its list, in place of what an earlier tuning wrote."""
    lines = [old for old in card.splitlines() if not old.startswith(CARD_LINE)]
    listed = [i for i, old in enumerate(lines) if old.startswith("- ")]
    lines.insert(listed[-1] + 1 if listed else len(lines), line)
    return "\n".join(lines) + "\n"
