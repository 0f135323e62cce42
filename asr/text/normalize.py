"""Text normalization, of training texts and of the references and hypotheses that are scored."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

from asr.config import TextConfig
from asr.text import steps
from asr.text.abbreviations import expand
from asr.text.numbers import speller

# Named settings for scoring transcripts when no model provides the settings.
NORMALIZATIONS = {
    "none": TextConfig(lowercase=False, punctuation="keep"),
    "basic": TextConfig(),
}
MOST_PASSES = 8  # at most; usually the second pass changes nothing
_INSIDE_WORDS = {"space": " ", "join": ""}


@dataclass(frozen=True)
class Step:
    """A step of normalization, named after the setting of `text` that turns it on."""

    name: str
    apply: Callable[[str], str]


def normalize(text: str, config: TextConfig) -> str:
    """Apply the configured lower case, punctuation and Unicode form.

    Words are separated by one space. Removed punctuation becomes a space, so "wait...what" remains
    two words; the typographic apostrophe becomes the plain one. This works in any script. The steps
    and their order are those of `steps_of`; they are repeated until they change nothing, so that
    normalizing a normalized text never changes it. Raises `UserError` if a step does not know
    `config.language`.

    >>> normalize("Don’t,  STOP!", TextConfig())
    "don't stop"
    """
    if text.isascii() and not _has_language_steps(config):  # no Unicode form is needed
        if config.lowercase:
            text = text.lower()
        if config.punctuation == "remove":
            text = steps.without_punctuation(text)
        return " ".join(text.split())
    for _ in range(MOST_PASSES if _has_language_steps(config) else 1):
        before = text
        for step in steps_of(config):
            text = step.apply(text)
        if text == before:
            break
    return text


@lru_cache
def _has_language_steps(config: TextConfig) -> bool:
    """Whether there is a step besides Unicode form, general lower case and punctuation."""
    plain = {name: getattr(config, name) for name in ("unicode", "lowercase", "punctuation")}
    own_case = config.lowercase and config.language in (*steps.DOTLESS_I, "el")
    return own_case or config.model_copy(update={"language": None}) != TextConfig(**plain)


@lru_cache
def steps_of(config: TextConfig) -> tuple[Step, ...]:
    """The steps of these settings, in order. Raises `UserError` as `normalize` does."""
    c, language = config, config.language
    form = Step("unicode", partial(unicodedata.normalize, c.unicode))
    found = [form]
    if c.abbreviations == "expand":
        expand("", language)  # refuses a language without a table
        found.append(Step("abbreviations", partial(expand, language=language)))
    if c.numbers == "spell":
        found.append(Step("numbers", speller(language)))
    if c.lowercase:
        found.append(Step("lowercase", partial(steps.lower, language=language)))
    if c.marks == "remove":
        found.append(Step("marks", steps.without_marks))
    if c.punctuation == "remove":
        found.append(Step("punctuation", steps.without_punctuation))
    for name, character in (("apostrophes", "'"), ("hyphens", "-")):
        if getattr(c, name) != "keep":
            replacement = _INSIDE_WORDS[getattr(c, name)]
            found.append(Step(name, partial(_replace, character, replacement)))
    if c.ideographs == "split":
        found.append(Step("ideographs", steps.split_ideographs))
    return (*found, form, Step("spaces", lambda text: " ".join(text.split())))


def _replace(old: str, new: str, text: str) -> str:
    return text.replace(old, new)


def describe(config: TextConfig) -> str:
    """What `normalize` does with these settings, in words."""
    c = config
    done = [
        "lower case" if c.lowercase else "case kept",
        f"punctuation {'removed' if c.punctuation == 'remove' else 'kept'}",
        c.unicode,
    ]
    done += [f"{name}: {value}" for name, value in _language_settings(c).items()]
    return ", ".join(done)


def _language_settings(config: TextConfig) -> dict[str, str]:
    """The settings of steps beyond the usual ones, where they are not the defaults."""
    usual = {"unicode", "lowercase", "punctuation"}
    default = TextConfig()
    names = [name for name in TextConfig.model_fields if name not in usual]
    return {n: getattr(config, n) for n in names if getattr(config, n) != getattr(default, n)}
