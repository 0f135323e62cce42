"""The numba settings with which the loops of the decoders are compiled.

Compiled code is cached on disk: beside its source if this folder can be written, otherwise in the
user's cache folder; the environment variable NUMBA_CACHE_DIR names another folder.

Without numba, importing this module raises `UserError`. Modules with compiled loops are therefore
imported inside functions: recognition with the greedy decoder works without numba.
"""

import logging
import math
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from asr.errors import UserError

try:
    import numba
except ModuleNotFoundError as error:
    if error.name != "numba":
        raise
    raise UserError(
        "numba is not installed, and beam search, language models, grammars and alignment need it: "
        "pip install 'asr[decode]', or decode greedily (decoder.beam=1)"
    ) from None

log = logging.getLogger("asr")


def _compile(function: Callable, **settings: Any) -> Callable:
    try:
        return numba.njit(cache=True, nogil=True, **settings)(function)
    except RuntimeError as error:  # no folder for the cache can be written
        if "no locator" not in str(error):
            raise
        _warn_of_no_cache()
        return numba.njit(nogil=True, **settings)(function)


@cache
def _warn_of_no_cache() -> None:
    log.warning(
        "numba has no folder for its cache, so that each process compiles its loops again (about "
        "30 s): set NUMBA_CACHE_DIR to a folder that can be written"
    )


# For functions that create arrays.
allocating = _compile

# `_nrt=False` turns off numba's reference counting, whose atomic operations (one for each array
# that a loop reads) took more than half of the time. Such a function cannot create arrays.
compiled = partial(_compile, _nrt=False)

# For functions that are called once per candidate: passing their many arrays takes longer than
# their work, so they are inlined.
inlined = partial(_compile, _nrt=False, inline="always")


@inlined
def log_add(a, b):
    """ln(e^a + e^b)."""
    high, low = (a, b) if a >= b else (b, a)
    if low - high > -40.0:  # a smaller addend does not change a float64; false for -inf twice
        return high + math.log1p(math.exp(low - high))
    return high
