"""Settings of a recognizer of commands that is made from sentence templates alone."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from asr.config.section import Section, given


class CommandsConfig(Section):
    """The grammar whose sentences are spoken by synthetic voices, for training and calibration."""

    grammar: str | None = Field(
        None,
        description="A file of sentence templates, relative to the recipe; the corpus is made from "
        "it, and commands.asr recognizes its sentences.",
    )
    sentences: Annotated[int, given("grammar")] = Field(
        1500, ge=10, description="The number of random sentences that are spoken for training."
    )
    voices: Annotated[int, given("grammar")] = Field(
        100, ge=3, description="The number of synthetic voices that speak them."
    )
    engines: Annotated[tuple[str, ...], given("grammar")] = Field(
        (), description="The voice engines; by default all fast ones that are installed."
    )
    test_engines: Annotated[tuple[str, ...], given("grammar")] = Field(
        (), description="The voice engines of the test set; by default those of `engines`."
    )
    outside: Annotated[tuple[str, ...], given("grammar")] = Field(
        (),
        description="Text files, relative to the recipe, with sentences that are no commands; they "
        "are spoken for training and to choose what is refused.",
    )
    false_accepts: Annotated[float, given("grammar")] = Field(
        0.01,
        ge=0,
        lt=1,
        description="The share of what is no command that may be accepted on the dev set.",
    )
