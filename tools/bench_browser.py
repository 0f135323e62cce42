"""The page of an exported model in Chromium: its speed, and its texts beside the command line's.

    python tools/bench_browser.py MODEL RECORDING ...

The page is written with `asr export MODEL --browser`, and served from this machine. Each recording
is transcribed by the page, and by `recognizer.transcribe` with the greedy decoder. Loading the page
is not part of the times. WAV files at the rate of the model need no resampling, in which browsers
differ from asr.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from selenium import webdriver

import asr

FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking".split()
LIMIT_S = 300.0  # of waiting for the page


class Files(SimpleHTTPRequestHandler):
    """Serves a folder without a log."""

    def log_message(self, *_: object) -> None:
        pass


def wait_for(browser: webdriver.Chrome, pattern: str) -> re.Match:
    """The status of the page, as soon as it matches."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        status = browser.find_element("id", "status").text
        if found := re.fullmatch(pattern, status):
            return found
        if fault := browser.find_element("id", "fault").text:
            sys.exit(f"the page: {fault}")
        time.sleep(0.05)
    sys.exit(f"the page: {status!r} for {LIMIT_S:.0f} s")


def in_browser(folder: Path, recordings: list[Path]) -> list[tuple[str, float, float]]:
    """The text of each recording, its seconds, and the seconds of computation."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("chromium-browser") or ""
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get(f"http://127.0.0.1:{server.server_port}/")
        wait_for(browser, "Ready")
        found = []
        for path in recordings:
            browser.find_element("id", "file").send_keys(str(path))
            name = re.escape(path.name)
            timed = wait_for(browser, rf"{name}: ([\d.]+) s of audio in ([\d.]+) s")
            text = browser.find_elements("css selector", "#texts .text")[-1].text
            found.append((text, float(timed[1]), float(timed[2])))
        return found
    finally:
        browser.quit()
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("recordings", type=Path, nargs="+")
    given = parser.parse_args()
    recordings = [path.resolve() for path in given.recordings]
    recognizer = asr.load(given.model, "cpu").with_decoder(beam=1)
    texts = [recognizer.transcribe(str(path)).text or "(no words)" for path in recordings]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "asr.cli", "export", str(given.model)]
        subprocess.run([*command, "--browser", folder], check=True)
        found = in_browser(Path(folder), recordings)
    audio_s, seconds = (sum(values) for values in list(zip(*found, strict=True))[1:])
    same = sum(one[0] == text for one, text in zip(found, texts, strict=True))
    print(f"{same} of {len(texts)} texts are those of the greedy decoder of asr")
    print(f"{audio_s:.1f} s of audio in {seconds:.2f} s: {audio_s / seconds:.1f} times real time")
    for path, one, text in zip(recordings, found, texts, strict=True):
        if one[0] != text:
            print(f"  {path.name}: {one[0]!r}, asr {text!r}")


if __name__ == "__main__":
    main()
