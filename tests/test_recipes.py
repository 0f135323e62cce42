"""Recipes of published corpora, each from a small corpus that is laid out as its publisher's."""

import io
from pathlib import Path

import layouts
import pytest
from rich.console import Console

from asr.data import manifest
from asr.pipeline.run import Run, load_recipe

RECIPES = Path(__file__).parents[1] / "recipes"
SMALL = [
    "train.epochs=1",
    "train.validate_every=1",
    "train.workers=0",
    "train.threads=1",
    "train.device=cpu",
    "train.precision='no'",
    "model.hidden=8",
    "model.layers=2",
    "model.channels=2",
    "model.inter_ctc=[1]",
    "lm.texts=[]",
]


def librispeech(at: Path) -> Path:
    root = layouts.librispeech(at)
    layouts.read_books(root, {"dev-other": [85]})
    return root


CASES = {
    "an4": (lambda at: layouts.an4(at, more=6), [], {"test": 1}),
    "mini_librispeech": (layouts.mini_librispeech, [], {"dev": 2}),
    "librispeech_100": (librispeech, [], {"test-clean": 2, "test-other": 2}),
    "librispeech_960": (librispeech, [], {"test-clean": 2, "test-other": 2}),
    "common_voice": (layouts.common_voice, ["text.language=de"], {"test": 1}),
    "tedlium": (layouts.tedlium, [], {"test": 2}),
}


@pytest.mark.parametrize("name", CASES)
def test_a_recipe_from_its_corpus_to_its_score(tmp_path, name):
    lay_out, settings, expected = CASES[name]
    source, data = lay_out(tmp_path / "made"), tmp_path / "data"
    overrides = [f"data.folder={data}", f"data.prepare.audio={source}", *settings, *SMALL]
    said = Console(file=io.StringIO(), width=200)
    run = Run(load_recipe(RECIPES / name, overrides), tmp_path / "runs", said)
    run.prepare()
    run.train()
    found = run.score()
    sizes = {Path(label).stem: len(result.pairs) for label, result in found.items()}
    assert sizes == expected, said.file.getvalue()
    parts = [run.config.data.train, run.config.data.dev, *run.config.data.test]
    ids = [{u.id for u in manifest.read(data / part)} for part in parts]
    assert len(set().union(*ids)) == sum(map(len, ids))  # no utterance in two sets


@pytest.mark.parametrize(
    ("language", "held_out", "texts"),
    [
        ("de", "last", ["Größe und Maß 21", "Dr. Müller, z. B. hier", "ein Straßenbahn-Gleis"]),
        ("fr", "hash", ["l'été à 3 heures", "où ça ?", "déjà vu"]),
        ("es", "hash", ["el niño 2", "¿dónde está?", "mañana"]),
        ("ru", "hash", ["съешь ещё 3", "нажмите решётку", "в ожидании"]),
    ],
)
def test_languages(tmp_path, language, held_out, texts):
    rows = ["id\taudio\tduration_s\tspeaker\ttext"]
    for i in range(40):
        layouts.record(tmp_path / f"made/{i:02d}.flac", 1.0, seed=i)
        rows.append(f"u{i:02d}\t{i:02d}.flac\t1\tann\t{texts[i % 3]} {chr(97 + i % 26)} {i // 26}")
    rows.append(rows[1].replace("u00", "u99"))  # the same text once more
    layouts.write(tmp_path / "made/manifest.tsv", "\n".join(rows))
    data = tmp_path / "data"
    given = {"audio": tmp_path / "made", "language": language, "held_out": held_out}
    overrides = [f"data.prepare.{key}={value}" for key, value in given.items()]
    overrides += [f"data.folder={data}", f"text.language={language}"]
    overrides += ["text.abbreviations=keep"] if language == "ru" else []
    settings = [each for each in SMALL if not each.startswith("lm.")]
    run = Run(
        load_recipe(RECIPES / "languages", [*overrides, *settings]),
        tmp_path / "runs",
        Console(quiet=True),
    )
    run.prepare()
    sets = {name: manifest.read(data / f"{name}.jsonl") for name in ("train", "dev", "test")}
    assert sum(map(len, sets.values())) == 41
    assert {u.language for rows in sets.values() for u in rows} == {language}
    if held_out == "last":
        assert [u.id for u in sets["test"]] == ["u37", "u38", "u39", "u99"]
        assert [u.id for u in sets["dev"]] == ["u35", "u36"]
    else:
        assert not {u.text for u in sets["test"]} & {u.text for u in sets["train"]}
    run.train()
    (found,) = run.score().values()
    assert not any(c.isdigit() for pair in found.pairs for c in pair.reference)


@pytest.mark.parametrize("name", CASES)
def test_the_page_has_a_cell_for_this_recipe_beside_published_figures(name):
    page = (RECIPES / name / "README.md").read_text()
    assert "| this recipe" in page and "| source |" in page and f"asr run recipes/{name}" in page
