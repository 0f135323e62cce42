"""The assessment of a system: its score, its errors, and the comparison with another system.

`asr score` prints it. A system is a model file, a folder that an earlier `Assessment.save` wrote,
or a file of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from asr.data import manifest
from asr.data.manifest import Utterance
from asr.data.texts import sentences_of
from asr.errors import UserError
from asr.recognition.model import is_model
from asr.recognition.recognizer import Recognizer
from asr.recognition.transcribe import Failure
from asr.scoring.compare import Comparison, compare
from asr.scoring.error_analysis import Confusions, Vocabulary, by_column, confusions, vocabulary
from asr.scoring.evaluate import evaluate
from asr.scoring.normalization import BY_NAME, Normalization, described, normalizer_of
from asr.scoring.pairs import (
    Paired,
    PairingIssue,
    empty_texts,
    missing_recordings,
    pair_files,
    recordings,
    timed_words,
)
from asr.scoring.report import write_report
from asr.scoring.transcript_readers import columns_of
from asr.scoring.wer import Score, score, write_results
from asr.transcript import Word

HYPOTHESES = "hypotheses.jsonl"  # what `Assessment.save` writes into a folder
RECIPE = "recipe"  # the normalization of a model's training texts

# Called with a label and a number of items; what it returns is called after each item.
StartProgress = Callable[[str, int], Callable[[], None]]


@dataclass(frozen=True)
class ScoreRequest:
    """What to score, and which analyses to make.

    system: a model file, a folder or a file of texts. references: the manifest or the texts to
    compare it with (for a folder, the folder itself). against: a second system on the same
    references. normalization: `none`, `basic`, `whisper-en` or `recipe`; the default is `recipe`
    for a model, `none` for a folder, whose texts are normalized already, and `basic` for a file.
    by: columns to group by, see `error_analysis.by_column`. train: training texts; reference words
    that they lack are out of vocabulary. confusions: how many of the most frequent errors of each
    kind to list.
    """

    system: Path
    references: Path
    against: Path | None = None
    normalization: str | None = None
    by: Sequence[str] = ()
    train: Sequence[Path] = ()
    confusions: int = 5

    @property
    def models(self) -> list[Path]:
        """The model files among the systems."""
        systems = (self.system, self.against)
        return [path for path in systems if path is not None and is_model(path)]


@dataclass(frozen=True)
class SystemResult:
    """The hypotheses of a system, paired with the references."""

    paired: Paired
    failures: list[Failure] = field(default_factory=list)  # audio that cannot be read
    utterances: Mapping[str, Utterance] = field(default_factory=dict)  # known recordings, by id
    words: Mapping[str, Sequence[Word]] = field(default_factory=dict)  # words with times, by id


@dataclass(frozen=True)
class Assessment:
    """The result of a `ScoreRequest`."""

    request: ScoreRequest
    normalization: str
    text: Normalization  # how both texts were normalized
    result: SystemResult
    score: Score
    confusions: Confusions | None  # None if there are no errors
    vocabulary: Vocabulary | None
    groups: Mapping[str, Mapping[str, Sequence[int]]]  # column: {value: indices of the pairs}
    other: SystemResult | None
    comparison: Comparison | None  # with `request.against`

    @property
    def failures(self) -> list[Failure]:
        """Recordings that could not be read, of both systems."""
        return self.result.failures + (self.other.failures if self.other else [])

    @property
    def issues(self) -> list[PairingIssue]:
        """The mismatches and empty texts of both systems that affect the score."""
        others = self.other.paired.issues if self.other else []
        return list(dict.fromkeys([*self.result.paired.issues, *others]))

    def scores_by(self, column: str) -> dict[str, Score]:
        """The score of each group of a column."""
        pairs = self.result.paired.pairs
        groups = self.groups[column]
        return {label: score([pairs[i] for i in indices]) for label, indices in groups.items()}

    def to_dict(self) -> dict[str, Any]:
        """The content of `score.json` except the score itself."""
        details: dict[str, Any] = {
            "normalization": self.normalization,
            "normalized": described(self.text),
            "sources": self.result.paired.sources,
        }
        if self.confusions is not None:
            details["confusions"] = self.confusions.to_dict()
        if self.vocabulary is not None:
            details["vocabulary"] = self.vocabulary.to_dict()
        if self.groups:
            details["by"] = {
                column: {label: s.to_dict() for label, s in self.scores_by(column).items()}
                for column in self.groups
            }
        if self.comparison is not None and self.other is not None:
            details["against"] = {"sources": self.other.paired.sources} | self.comparison.to_dict()
        return details

    def save(self, folder: str | Path) -> list[PairingIssue]:
        """Write score.json, hypotheses.jsonl, report.json and report.html into `folder`.

        Returns the issues that affect only the report: recordings that it cannot play.
        """
        folder, system, result = Path(folder), self.request.system, self.result
        missing: list[PairingIssue] = []
        if not is_model(system):  # the unreadable recordings of a model are among the failures
            missing = missing_recordings(result.utterances, result.words)
        issues = [issue.to_dict() for issue in [*self.issues, *missing]]
        details = self.to_dict() | {"issues": issues}
        pairs = result.paired.pairs
        write_results(folder, pairs, self.score, details, result.words, result.utterances)
        title = str(system) if system.is_dir() else f"{system} on {self.request.references}"
        figures = self.score.to_dict() | details
        write_report(folder, title, pairs, figures, result.utterances, result.words, self.groups)
        return missing


def assess(
    request: ScoreRequest,
    load: Callable[[Path], Recognizer],
    progress: StartProgress = lambda label, total: lambda: None,
) -> Assessment:
    """Score a system, analyze its errors, and compare it with another.

    load: opens a model file. Raises `UserError` if the references or the normalization do not fit
    the kind of system, or if a file cannot be read.
    """
    recognizers = {path: load(path) for path in request.models}
    name, text = _normalization(request, recognizers)
    result = _result_of(request.system, request.references, recognizers, text, progress)
    pairs = result.paired.pairs
    total = score(pairs)
    groups = {
        column: by_column(result.paired.columns, column, progress(column, len(pairs)))
        for column in dict.fromkeys(request.by)
    }
    found = Assessment(
        request=request,
        normalization=name,
        text=text,
        result=result,
        score=total,
        confusions=confusions(pairs, request.confusions)
        if request.confusions and total.words.errors
        else None,
        vocabulary=vocabulary(pairs, _words_of(request.train, text)) if request.train else None,
        groups=groups,
        other=None,
        comparison=None,
    )
    if request.against is None:
        return found
    other = _result_of(request.against, request.references, recognizers, text, progress)
    return replace(found, other=other, comparison=compare(pairs, other.paired.pairs))


def _normalization(
    request: ScoreRequest, recognizers: Mapping[Path, Recognizer]
) -> tuple[str, Normalization]:
    system, name = request.system, request.normalization
    if name is None:
        name = RECIPE if is_model(system) else "none" if system.is_dir() else "basic"
    if name != RECIPE:
        return name, BY_NAME[name]
    if system not in recognizers:
        raise UserError(f"{system}: only a model file stores the normalization of its recipe")
    return name, recognizers[system].config.text


def _result_of(
    system: Path,
    references: Path,
    recognizers: Mapping[Path, Recognizer],
    text: Normalization,
    progress: StartProgress,
) -> SystemResult:
    if system in recognizers:
        step = partial(progress, "utterances")
        return _result_of_model(system, recognizers[system], references, text, step)
    if system.is_dir():
        references = system
    files = [path / HYPOTHESES if path.is_dir() else path for path in (references, system)]
    paired = pair_files(*files, text)
    words = timed_words(paired) if system.is_dir() else {}
    return SystemResult(paired, utterances=recordings(paired), words=words)


def _result_of_model(
    path: Path,
    recognizer: Recognizer,
    references: Path,
    text: Normalization,
    progress: Callable[[int], Callable[[], None]],
) -> SystemResult:
    if references.is_dir():
        raise UserError(f"{references}: a model needs a manifest with audio, not a folder")
    utterances = manifest.read(references)
    evaluation = evaluate(recognizer, utterances, progress(len(utterances)), text)
    columns = [columns_of(utterance) for utterance in utterances]
    failed = {failure.utterance.id for failure in evaluation.failures}  # listed with their reason
    issues = empty_texts(pair for pair in evaluation.pairs if pair.id not in failed)
    return SystemResult(
        Paired(evaluation.pairs, columns, issues, (str(references), str(path))),
        evaluation.failures,
        {utterance.id: utterance for utterance in utterances},
        evaluation.words,
    )


def _words_of(texts: Sequence[Path], config: Normalization) -> set[str]:
    lines = sentences_of(texts, normalizer_of(config))
    return {word for line in lines for word in line.split()}
