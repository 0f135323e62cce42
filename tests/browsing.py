"""Chromium for the tests of pages: without a window, and without requests of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--autoplay-policy=no-user-gesture-required"
).split()


@contextmanager
def chromium(profile: Path, *flags: str, downloads: Path | None = None) -> Iterator[Any]:
    """A running browser with a console log; the test is skipped where there is none.

    profile: an empty folder for its data; flags: more switches of Chromium; downloads: the folder
    for what pages offer to download.
    """
    selenium = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    driver = shutil.which("chromedriver")
    if program is None or driver is None:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    if downloads is not None:
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = selenium.Chrome(options, selenium.ChromeService(driver))
    try:
        yield running
    finally:
        running.quit()
