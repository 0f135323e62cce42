"""Hooks that add pages of other folders, and the table of settings, to the site of `docs`.

The recipes' READMEs, CONTRIBUTING.md and CHANGELOG.md stay where readers of the repository expect
them. On the site, `docs` is the root, so links between the two are rewritten.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

from asr.config.settings import settings

ROOT = Path(__file__).parent.parent
ELSEWHERE = [
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *(f"recipes/{path.parent.name}/README.md" for path in sorted(ROOT.glob("recipes/*/README.md"))),
]


def on_files(files, config):
    for name in ELSEWHERE:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "settings.md", content=settings_page()))
    return files


def on_page_markdown(markdown, page, **_):
    """Rewrite links for the site: `docs` is the root, and source files are not on the site."""
    source = page.file.src_uri
    if source.startswith("recipes/"):
        markdown = markdown.replace("](../../docs/", "](../../")
    elif source in ELSEWHERE:
        markdown = markdown.replace("](docs/", "](")
    else:
        markdown = re.sub(r"\]\(\.\./(recipes/|CONTRIBUTING|CHANGELOG)", r"](\1", markdown)
    return re.sub(r"\[(`?)([^\]]*?)\1\]\((?:\.\./)*(?:asr|tests|tools)/[^)]*\)", r"`\2`", markdown)


def settings_page() -> str:
    """All settings as tables, a section each; `asr config` prints the same."""
    lines = [
        "# Settings",
        "",
        "A recipe gives settings as YAML, and a command as `section.key=value`"
        " ([how](commands.md#settings)). `asr config` prints the same list.",
    ]
    section = None
    for setting in settings():
        head, _, key = setting.key.rpartition(".")
        if head != section:
            section = head
            lines += ["", f"## {head or 'Top level'}", ""]
            lines += ["| key | default | values | meaning |", "|---|---|---|---|"]
        default = "" if setting.default is None else f"`{_text(setting.default)}`"
        needs = f" Needs {', '.join(f'`{one}`' for one in setting.conditions)}."
        cells = [
            f"`{key}`",
            default,
            setting.values,
            setting.meaning + (needs if setting.conditions else ""),
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _text(default) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)
