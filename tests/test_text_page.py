"""Each example of docs/text.md does what the page says."""

import re
from pathlib import Path

import pytest
import yaml

from asr.config import TextConfig
from asr.text.normalize import normalize

PAGE = (Path(__file__).parent.parent / "docs/text.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^\| `(.*?)` \| `(.*?)` \| `(.*?)` \|$", PAGE, re.M)


def test_each_row_of_the_page_is_an_example():
    rows = re.findall(r"^\| `.*$", PAGE, re.M)
    assert len(rows) == len(EXAMPLES) > 20


@pytest.mark.parametrize(("settings", "text", "normalized"), EXAMPLES)
def test_examples(settings, text, normalized):
    config = TextConfig(**yaml.safe_load(f"{{{settings}}}"))
    assert normalize(text, config) == normalized


def test_every_setting_has_an_example():
    shown = {key for settings, _, _ in EXAMPLES for key in yaml.safe_load(f"{{{settings}}}")}
    assert shown | {"lowercase"} == set(TextConfig.model_fields)


def test_the_recipe_of_the_page_is_valid():
    (recipe,) = re.findall(r"```yaml\ntext:\n(.*?)```", PAGE, re.S)
    assert TextConfig(**yaml.safe_load(recipe)).language == "de"
