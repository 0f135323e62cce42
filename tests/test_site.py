"""The site builds without a warning, has no broken link, and loads nothing from other hosts."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted(ROOT.glob("docs/*.md")),
    *sorted(ROOT.glob("recipes/*/README.md")),
]
FETCHED = {"img": "src", "script": "src", "iframe": "src", "link": "href"}


class Page(HTMLParser):
    """The links, the anchors and the loaded files of a page."""

    def __init__(self, path: Path):
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in FETCHED and given.get(FETCHED[tag]) and given.get("rel") != "canonical":
            self.fetched.append(given[FETCHED[tag]])


def broken(pages: dict[Path, Page], folder: Path) -> list[str]:
    """The broken links of the pages, and the files that they load from other hosts."""
    found = []
    for path, page in pages.items():
        for link in [*page.links, *page.fetched]:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.fetched and parts.scheme != "data":
                    found.append(f"{path}: fetches {link}")
                continue
            # 404.html is shown under any address, so its links begin at the root of the site
            to = folder / parts.path[1:] if parts.path.startswith("/") else path.parent / parts.path
            target = Path(os.path.normpath(unquote(str(to)))) if parts.path else path
            if target.is_dir():
                target = target / "index.html"
            if not target.is_file():
                found.append(f"{path}: no file {link}")
            elif parts.fragment and target in pages:
                if unquote(parts.fragment) not in pages[target].anchors:
                    found.append(f"{path}: no anchor {link}")
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip(
        "material", reason="mkdocs-material is not installed: pip install 'asr[docs]'"
    )
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr, done.stderr
    return folder


def test_each_link_of_the_site_leads_somewhere_and_nothing_is_fetched(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    assert len(pages) > 20
    assert sum(len(page.links) for page in pages.values()) > 500
    assert broken(pages, site) == []


def test_a_broken_link_is_found(site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    index = copy / "index.html"
    text = index.read_text(encoding="utf-8")
    bad = '<a href="none.html">a</a><a href="install.html#none">b</a><img src="https://a.b/c.png">'
    index.write_text(text.replace("</body>", bad + "</body>"), encoding="utf-8")
    found = broken({path: Page(path) for path in copy.rglob("*.html")}, copy)
    assert [line.split(": ")[1] for line in found] == [
        "no file none.html",
        "no anchor install.html#none",
        "fetches https://a.b/c.png",
    ]


def test_the_reference_has_the_docstrings_of_the_public_names(site):
    import asr

    text = (site / "reference.html").read_text(encoding="utf-8")
    for name in set(asr.__all__) - {"__version__"}:
        exported = asr._EXPORTS[name]
        assert f'id="{".".join(exported)}"' in text, name


def test_the_site_has_each_recipe_and_setting(site):
    from asr.config.settings import settings

    text = (site / "settings.html").read_text(encoding="utf-8")
    for setting in settings():
        assert f"<code>{setting.key.rpartition('.')[2]}</code>" in text
    assert {path.parent.name for path in site.glob("recipes/*/index.html")} == {
        path.parent.name for path in ROOT.glob("recipes/*/README.md")
    }


def headings(path: Path) -> set[str]:
    """The anchors that GitHub and GitLab give to the headings of a page."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    found = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


def test_each_link_of_the_pages_leads_somewhere_in_the_repository():
    checked = 0
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (page.parent / parts.path).resolve() if parts.path else page
            assert target.exists(), f"{page}: no file {link}"
            if parts.fragment:
                assert parts.fragment in headings(target), f"{page}: no heading {link}"
            checked += 1
    assert checked > 60


def test_the_architecture_names_each_folder_and_only_modules_that_exist():
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for name in re.findall(r"`(asr/[\w/.]+)`", text):
        assert (ROOT / name).exists(), name
    picture = text.split("## Folders")[1]
    for path in (ROOT / "asr").iterdir():
        if path.is_dir() and (path / "__init__.py").is_file():
            assert re.search(rf"^ {path.name} ", picture, re.M), path.name


def test_the_page_of_own_recordings_names_each_importer_and_exporter():
    from asr.data.exporters import EXPORTERS
    from asr.data.importers import IMPORTERS

    text = (ROOT / "docs/own-recordings.md").read_text(encoding="utf-8")
    assert [name for name in [*IMPORTERS, *EXPORTERS] if f"`{name}`" not in text] == []


def test_the_commands_page_names_each_command():
    from typer.main import get_command

    from asr.cli import app

    text = (ROOT / "docs/commands.md").read_text(encoding="utf-8")
    commands = [name for name, command in get_command(app).commands.items() if not command.hidden]
    assert len(commands) > 10
    assert [name for name in commands if f"`asr {name}" not in text] == []
