"""The time that a browser takes to open the report of many utterances (Debian's chromium, Linux).

    python tools/bench_report.py [--utterances 10000] [--rounds 5]

The report has random texts of about ten words, each word with times and a confidence, and noise as
recordings, which is embedded for the utterances with the most errors. The time is measured by the
page itself, from the start of navigation until the table is complete, in a new browser each time.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from asr.data.manifest import Utterance
from asr.scoring.report import RATE_HZ, write_report
from asr.scoring.wer import Pair, score
from asr.transcript import Word

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
CLOCK = """
<script>
requestAnimationFrame(() => { document.title = "took " + performance.now(); });
</script>
"""


def make(folder: Path, utterances: int) -> Path:
    draw = np.random.default_rng(0)
    words = ["".join(draw.choice(list("etaoinshrdlu"), 5)) for _ in range(3000)]
    sound = folder / "noise.wav"
    soundfile.write(sound, 0.1 * draw.standard_normal(5 * RATE_HZ), RATE_HZ)
    pairs, recordings, times = [], {}, {}
    for i in range(utterances):
        reference = draw.choice(words, size=int(draw.integers(5, 16))).tolist()
        hypothesis = [
            word if draw.random() > 0.2 else str(draw.choice(words)) for word in reference
        ]
        id = f"u{i:06d}"
        pairs.append(Pair(id, " ".join(reference), " ".join(hypothesis), f"s{i % 50}"))
        recordings[id] = Utterance(id, str(sound), duration_s=5.0)
        sure = draw.random(len(hypothesis)).tolist()
        times[id] = [
            Word(hypothesis[k], 0.3 * k, 0.3 * k + 0.25, sure[k]) for k in range(len(hypothesis))
        ]
    page = write_report(folder, "bench", pairs, score(pairs).to_dict(), recordings, times)
    page.write_text(page.read_text().replace("</body>", f"{CLOCK}</body>"))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--utterances", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        sys.exit("no chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder:
        page = make(Path(folder), options.utterances)
        print(f"{options.utterances} utterances, {page.stat().st_size / 2**20:.1f} MiB")
        times = []
        for i in range(options.rounds):
            profile = f"--user-data-dir={folder}/profile-{i}"
            done = subprocess.run(
                [browser, *FLAGS, profile, "--dump-dom", page.as_uri()],
                capture_output=True,
                text=True,
                check=True,
            )
            times.append(float(done.stdout.split("<title>took ")[1].split("<")[0]) / 1000)
        print(
            f"open after {statistics.median(times):.2f} s ({', '.join(f'{t:.2f}' for t in times)})"
        )


if __name__ == "__main__":
    main()
