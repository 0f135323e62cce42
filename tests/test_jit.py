"""Compiled loops are cached on disk, and a folder that cannot be written is no error."""

import os
import subprocess
import sys

PROGRAM = """
from asr.lm.walk import find_arc
import numpy as np
assert find_arc(np.array([0, 1]), np.array([7]), 0, 7) == 0
print(sum(find_arc.stats.cache_hits.values()), sum(find_arc.stats.cache_misses.values()))
"""


def compile_in_a_process(**environment):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.split(), done.stderr


def test_a_second_process_reads_what_the_first_has_compiled(tmp_path):
    folder = str(tmp_path / "cache")
    assert compile_in_a_process(NUMBA_CACHE_DIR=folder) == (["0", "1"], "")
    assert compile_in_a_process(NUMBA_CACHE_DIR=folder) == (["1", "0"], "")


def test_without_a_folder_for_the_cache_one_warning_is_shown():
    _, said = compile_in_a_process(
        NUMBA_CACHE_LOCATOR_CLASSES="UserProvidedCacheLocator", NUMBA_CACHE_DIR="/proc/none"
    )
    assert said.count("NUMBA_CACHE_DIR") == said.count("\n") == 1, said
