"""The score of a classifier as one self-contained HTML page, with the sounds of its errors."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from asr import files
from asr.data.manifest import Utterance
from asr.scoring.classes import ClassRow, calibration
from asr.scoring.report import EMBEDDED, embedded_sound

MATRIX = 40  # a confusion matrix of more classes is shown as a list of pairs
PAIRS = 30  # the most frequent confusions in that list
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0 } th, td { padding: .2rem .5rem }
td { text-align: right } th { text-align: left; font-weight: 600 } audio { height: 2rem }
.matrix td { min-width: 2.2rem; border: 1px solid #8884 } .scroll { overflow-x: auto }
.wrong td, .wrong th { border-top: 1px solid #8884; text-align: left }
"""


def write_class_report(
    folder: Path,
    title: str,
    rows: Sequence[ClassRow],
    figures: Mapping[str, Any],
    utterances: Mapping[str, Utterance],
) -> Path:
    """Write report.html and report.json into `folder`; returns the page's path.

    figures: the content of score.json; utterances: the recording of each row, by id. The sounds of
    at most `EMBEDDED` errors are part of the page, those first in which the model is most certain.
    """
    wrong = [row for row in rows if not row.correct]
    wrong.sort(key=lambda row: -max(row.probabilities.values(), default=0.0))
    data = {
        "title": title,
        "figures": dict(figures),
        "calibration": calibration(rows),
        "errors": [_plain(row) for row in wrong],
    }
    files.write(folder / "report.json", json.dumps(data, ensure_ascii=False, indent=1) + "\n")
    parts = [
        f"<h1>{html.escape(title)}</h1><p>{html.escape(str(figures['summary']))}</p>",
        _classes(figures["classes"]),
        _confusions(figures["confusion"]),
        _calibration(data["calibration"]["bins"]),
        _errors(wrong[:EMBEDDED], utterances, len(wrong)),
    ]
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
    )
    page = folder / "report.html"
    files.write(page, head + "".join(parts) + "</body></html>\n")
    return page


def _plain(row: ClassRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "speaker": row.speaker,
        "reference": list(row.reference),
        "labels": list(row.hypothesis),
    }


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "") -> str:
    """A table whose cells are HTML; the first cell of a row is its name."""
    top = "".join(f'<th scope="col">{head}</th>' for head in heads)
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>' + "".join(row[1:]) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table class="{kind}"><tr>{top}</tr>{body}</table></div>'


def _cell(text: str) -> str:
    return f"<td>{html.escape(text)}</td>"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _classes(classes: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [
        [
            html.escape(name),
            _cell(str(one["recordings"])),
            *(_cell(_share(one[key])) for key in ("precision", "recall", "f1")),
        ]
        for name, one in classes.items()
    ]
    return "<h2>Classes</h2>" + _table(["", "recordings", "precision", "recall", "F1"], rows)


def _confusions(confusion: Sequence[Sequence[Any]]) -> str:
    counts = {(reference, given): count for reference, given, count in confusion}
    names = sorted({name for pair in counts for name in pair})
    if len(names) > MATRIX:
        pairs = sorted(((n, p) for p, n in counts.items() if p[0] != p[1]), reverse=True)[:PAIRS]
        rows = [
            [html.escape(f"{a or 'none'} → {b or 'none'}"), _cell(str(n))] for n, (a, b) in pairs
        ]
        return "<h2>Most frequent confusions</h2>" + _table(["reference → label", ""], rows)
    totals = {name: sum(counts.get((name, other), 0) for other in names) for name in names}
    rows = []
    for name in names:
        cells = []
        for other in names:
            count = counts.get((name, other), 0)
            shade = count / totals[name] if totals[name] else 0.0
            color = "46, 125, 50" if name == other else "198, 40, 40"
            style = f"background: rgba({color}, {shade:.2f})"
            cells.append(f'<td style="{style}">{count or ""}</td>')
        rows.append([html.escape(name or "none"), *cells])
    heads = ["", *(html.escape(name or "none") for name in names)]
    return "<h2>Confusions</h2><p>Rows: reference; columns: label.</p>" + _table(
        heads, rows, "matrix"
    )


def _calibration(bins: Sequence[Mapping[str, float]]) -> str:
    rows = [
        [f"{one['confidence']:.1%}", _cell(f"{one['right']:.1%}"), _cell(f"{one['words']:.0f}")]
        for one in bins
    ]
    return "<h2>Calibration</h2>" + _table(["mean probability", "right", "recordings"], rows)


def _errors(wrong: Sequence[ClassRow], utterances: Mapping[str, Utterance], count: int) -> str:
    rows = []
    for row in wrong:
        sound = embedded_sound(utterances[row.id]) if row.id in utterances else None
        player = f'<td><audio controls preload="none" src="{sound}"></audio></td>' if sound else ""
        best = sorted(row.probabilities.items(), key=lambda one: -one[1])[:3]
        likely = ", ".join(f"{name} {value:.0%}" for name, value in best)
        cells = ["; ".join(row.reference) or "none", "; ".join(row.hypothesis) or "none", likely]
        rows.append([html.escape(row.id), *map(_cell, cells), player])
    shown = f"{len(rows)} of {count}" if len(rows) < count else str(count)
    heads = ["", "reference", "label", "likeliest classes", ""]
    return f"<h2>Errors: {shown}</h2>" + _table(heads, rows, "wrong")
