"""Tune decoder settings on a dev set, whose emissions are computed once."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np

from asr.config import DecoderConfig
from asr.data.manifest import Utterance
from asr.decoder.confidence import fit_logit, outcomes_of_words
from asr.errors import UserError
from asr.lm.ngram import NGram
from asr.recognition.decoding import DEFAULT_BEAM, build_decoder
from asr.recognition.model import RecognitionModel
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure, emissions_of_many
from asr.scoring.wer import NO_EDITS, EditCounts, Pair, Score, character_counts, score, word_counts
from asr.text.normalize import normalize
from asr.transcript import Hypothesis

BEAMS = (16, 50, 100)
# The search begins with this grid. From its best point it continues by hill climbing with the steps
# `STEPS` in (lm_weight, word_bonus), and may leave the rectangle of the grid.
LM_WEIGHTS = (0.0, 0.4, 0.8, 1.2, 1.6)
WORD_BONUSES = (-2.0, 0.0, 2.0, 4.0)
STEPS = ((0.2, 1.0), (0.1, 0.5))
UNKNOWN_SCORES = (-25.0, -20.0, -15.0, -10.0, -7.0, -5.0)
PRIOR_WEIGHTS = (0.2, 0.1, 0.3, 0.4)  # the others are tried only if the first is better than none
PRIOR_FLOOR = 1e-5

GREEDY = DecoderConfig(beam=1)
KEPT = ("n_best", "lexicon", "token_min_logp", "tokens_per_frame", "beam_margin")  # not tuned


class DevSet:
    """Emissions and reference texts of a dev set.

    The emissions are in a memory-mapped temporary file, so a dev set may be larger than memory. The
    operating system deletes the file with the object.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        utterances: Iterable[Utterance],
        progress: Callable[[], None] = lambda: None,
    ):
        """Compute the emissions of every utterance; `progress` is called after each.

        Utterances that cannot be read are listed in `failures` and have no frames. Raises
        `UserError` when no utterance has a text.
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
            # An empty file cannot be mapped into memory.
            whole = np.memmap(file, np.float32, "r") if sum(frames) else np.zeros(0, np.float32)
        whole = np.asarray(whole).reshape(-1, len(recognizer.tokenizer.pieces))
        self.rows = np.split(whole, np.cumsum(frames)[:-1])  # [(T_i, V)]

    @cached_property
    def log_prior(self) -> tuple[float, ...]:
        """ln of the mean probability of each token (V,), over all frames, at least PRIOR_FLOOR."""
        total = sum(np.exp(row, dtype=np.float64).sum(axis=0) for row in self.rows)
        prior = np.maximum(total / sum(map(len, self.rows)), PRIOR_FLOOR)
        return tuple(np.log(prior).round(3).tolist())

    def decode(self, model: RecognitionModel, settings: DecoderConfig) -> list[Hypothesis]:
        """The best hypothesis of every utterance with these settings; all cores are used."""
        config = model.config.model_copy(update={"decoder": settings})
        decoder = build_decoder(replace(model, config=config, grammar=None))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(lambda row: decoder.decode(row, self.frame_s)[0], self.rows))

    def normalized(self, hypotheses: Iterable[Hypothesis]) -> list[str]:
        """The texts of the hypotheses, normalized as the references are."""
        return [normalize(hypothesis.text, self.text) for hypothesis in hypotheses]

    def pairs(self, texts: Sequence[str]) -> list[Pair]:
        """The references, each with one of the normalized hypothesis texts."""
        rows = zip(self.utterances, self.references, texts, strict=True)
        return [Pair(u.id, reference, text, u.speaker) for u, reference, text in rows]

    def outcomes(self, hypotheses: Iterable[Hypothesis]) -> tuple[list[float], list[bool]]:
        """The confidence of each hypothesis word, and whether the word is correct."""
        texts = partial(normalize, config=self.text)
        words = [[replace(w, text=texts(w.text)) for w in h.words] for h in hypotheses]
        kept = [[word for word in one if word.text] for one in words]
        return outcomes_of_words(zip(self.references, kept, strict=True))


@dataclass(frozen=True)
class Trial:
    """Decoder settings and their errors on the dev set."""

    decoder: DecoderConfig
    words: EditCounts
    characters: EditCounts
    hypotheses: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int]:
        """The sort key, lower is better: word errors, with character errors to break ties."""
        return self.words.errors, self.characters.errors

    @property
    def wer(self) -> float:
        return self.words.errors / self.words.reference

    @property
    def cer(self) -> float:
        return self.characters.errors / self.characters.reference


@dataclass(frozen=True)
class Tuning:
    """The result of `tune`."""

    chosen: Trial
    trials: list[Trial]  # all, in the order of the search; the first is greedy
    scores: tuple[Score, Score]  # on the dev set: greedy, chosen
    unknown: int  # words of the dev texts that are outside the language model's vocabulary
    confidence: tuple[float, float]  # scale and shift that calibrate the word confidences

    @property
    def decoder(self) -> DecoderConfig:
        """The chosen settings, with the calibration of the confidences."""
        scale, shift = self.confidence
        changes = {"confidence_scale": scale, "confidence_shift": shift}
        return self.chosen.decoder.model_copy(update=changes)

    @property
    def surface(self) -> list[tuple[float, float, float]]:
        """(lm_weight, word_bonus, WER): the lowest WER of all trials with these two settings."""
        best: dict[tuple[float, float], float] = {}
        for trial in self.trials[1:]:
            point = trial.decoder.lm_weight, trial.decoder.word_bonus
            best[point] = min(trial.wer, best.get(point, trial.wer))
        return [(*point, wer) for point, wer in best.items()]

    @property
    def weights(self) -> tuple[float, float] | None:
        """The chosen (lm_weight, word_bonus); None when greedy decoding was chosen."""
        c = self.chosen.decoder
        return (c.lm_weight, c.word_bonus) if c.beam > 1 else None

    @property
    def summary(self) -> str:
        """The chosen settings and the dev WER before and after, in one line."""
        before, after = self.scores
        c = self.chosen.decoder
        if c.beam == 1:
            return f"greedy decoding, no beam search was better: dev WER {before.wer:.2%}"
        weights = f"lm_weight {c.lm_weight:g}, word_bonus {c.word_bonus:g}"
        if c.prior_weight:
            weights += f", prior_weight {c.prior_weight:g}"
        return f"beam {c.beam}, {weights}: dev WER {before.wer:.2%} -> {after.wer:.2%}"


def tune(
    model: RecognitionModel, dev: DevSet, on_trial: Callable[[Trial], None] = lambda trial: None
) -> Tuning:
    """Search the settings of the decoder of `model` and its n-gram.

    The steps are:

    1. a coarse grid over lm_weight and word_bonus, refined by hill climbing with smaller steps;
    2. the score of unknown words, if the dev texts have any;
    3. the weight of the prior, by which the probability of each token is divided: the mean
       probability of the token over all frames, to the power of the weight (Manohar et al. 2015).
       The blank is by far the most frequent token, so this finds words that it would hide;
    4. the smallest beam that has the fewest word errors;
    5. greedy decoding instead, unless the beam search has fewer word errors or a lexicon limits it;
    6. calibration of the word confidences.

    `on_trial` is called with each trial. The WER on the dev set is optimistic, because the settings
    were chosen on it; report the WER on another set.
    """
    search = _Search(model, dev, on_trial)
    greedy = search.trial(GREEDY)
    unknown = unknown_words(model.ngram, dev.references)
    best = search.grid()
    for steps in STEPS:
        best = search.hill_climb(best, *steps)
    if unknown:
        settings = [best.decoder.model_copy(update={"unknown_score": s}) for s in UNKNOWN_SCORES]
        better = min([best, *map(search.trial, settings)], key=lambda trial: trial.rank)
        if better is not best:
            for steps in STEPS:
                better = search.hill_climb(better, *steps)
            best = better
    best = search.prior(best)
    n_best = best.decoder.n_best
    settings = [best.decoder.model_copy(update={"beam": max(b, n_best)}) for b in BEAMS]
    beams = [search.trial(s) for s in settings]
    fewest = min(trial.words.errors for trial in beams)
    best = next(trial for trial in beams if trial.words.errors == fewest)
    closed = model.config.decoder.lexicon is not None  # greedy decoding could write other words
    if best.words.errors >= greedy.words.errors and not closed:
        best = greedy
    scores = tuple(score(dev.pairs(trial.hypotheses)) for trial in (greedy, best))
    hypotheses = dev.decode(model, best.decoder)
    scale, shift = fit_logit(*dev.outcomes(hypotheses))
    confidence = round(scale, 4), round(shift, 4)
    return Tuning(best, list(search.tried.values()), scores, unknown, confidence)


class _Search:
    """The trials of one model on one dev set; the same settings are decoded only once."""

    def __init__(self, model: RecognitionModel, dev: DevSet, on_trial: Callable[[Trial], None]):
        self.model, self.dev, self.on_trial = model, dev, on_trial
        self.tried: dict[DecoderConfig, Trial] = {}
        given = model.config.decoder
        kept = {name: getattr(given, name) for name in KEPT}
        self.start = DecoderConfig(beam=max(DEFAULT_BEAM, given.n_best), **kept)

    def trial(self, settings: DecoderConfig) -> Trial:
        if settings not in self.tried:
            texts = self.dev.normalized(self.dev.decode(self.model, settings))
            pairs = list(zip(self.dev.references, texts, strict=True))
            words, characters = (
                sum((count(reference, text) for reference, text in pairs), NO_EDITS)
                for count in (word_counts, character_counts)
            )
            self.tried[settings] = Trial(settings, words, characters, tuple(texts))
            self.on_trial(self.tried[settings])
        return self.tried[settings]

    def best_of(self, points: Iterable[tuple[float, float]], at: DecoderConfig) -> Trial:
        changes = [{"lm_weight": weight, "word_bonus": bonus} for weight, bonus in points]
        trials = [self.trial(at.model_copy(update=change)) for change in changes]
        return min(trials, key=lambda trial: trial.rank)

    def grid(self) -> Trial:
        weights = LM_WEIGHTS if self.model.ngram is not None else (self.start.lm_weight,)
        return self.best_of(itertools.product(weights, WORD_BONUSES), self.start)

    def hill_climb(self, current: Trial, weight_step: float, bonus_step: float) -> Trial:
        """Move to the best neighbor until no neighbor is better."""
        moves = (0, -1, 1)  # the current point comes first, so that it wins ties
        while True:
            c = current.decoder
            weights = [c.lm_weight]
            bonuses = [round(c.word_bonus + i * bonus_step, 3) for i in moves]
            if self.model.ngram is not None:
                weights = [max(0.0, round(c.lm_weight + i * weight_step, 3)) for i in moves]
            points = itertools.product(weights, bonuses)
            best = self.best_of(points, c)
            if best.rank >= current.rank:
                return current
            current = best

    def prior(self, best: Trial) -> Trial:
        """The best trial with a weight of the prior, each with other weights around its best."""
        for weight in PRIOR_WEIGHTS:
            divided = {"prior_weight": weight, "log_prior": self.dev.log_prior}
            found = self.trial(best.decoder.model_copy(update=divided))
            found = self.hill_climb(found, *STEPS[0])
            if found.rank < best.rank:
                best = found
            elif weight == PRIOR_WEIGHTS[0]:
                return best
        return self.hill_climb(best, *STEPS[1])


def unknown_words(ngram: NGram | None, texts: Iterable[str]) -> int:
    """The number of words outside a word n-gram's vocabulary; a token n-gram covers all words."""
    if ngram is None or ngram.unit == "tokens":
        return 0
    labels = ngram.labels(word for text in texts for word in text.split())
    return int(((labels < 0) | (labels == ngram.unknown_label)).sum())


CARD_LINE = "- Decoder tuned on "


def apply(model: RecognitionModel, tuning: Tuning, dev_name: str) -> RecognitionModel:
    """The model with the chosen settings, recorded in its model card.

    Its n-gram is removed when greedy decoding was chosen.
    """
    settings = tuning.decoder
    line = f"{CARD_LINE}{dev_name} ({tuning.scores[0].utterances} utterances): {tuning.summary}."
    return replace(
        model,
        config=model.config.model_copy(update={"decoder": settings}),
        ngram=model.ngram if settings.beam > 1 else None,
        card=_with_line(model.card, line),
    )


def _with_line(card: str, line: str) -> str:
    """The card with `line` at the end of its list, replacing the line of an earlier tuning."""
    lines = [old for old in card.splitlines() if not old.startswith(CARD_LINE)]
    listed = [i for i, old in enumerate(lines) if old.startswith("- ")]
    lines.insert(listed[-1] + 1 if listed else len(lines), line)
    return "\n".join(lines) + "\n"
