"""Lines of a docstring that begin with `>>>` become a block of code on the page."""

import re

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.M)


class Doctests(griffe.Extension):
    """Without this extension, Markdown would render the lines as quotations."""

    def on_object(self, *, obj: griffe.Object, **_) -> None:
        if obj.docstring is not None:
            obj.docstring.value = EXAMPLE.sub(_fenced, obj.docstring.value)


def _fenced(found: re.Match) -> str:
    lines = re.sub(r"\s*# doctest: .*", "", found[0])
    return f"```pycon\n{lines}\n```"
