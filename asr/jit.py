"""The numba settings with which the loops of the decoders are compiled."""

import math

import numba

# `_nrt=False` turns off numba's reference counting, whose atomic operations (one for each array
# that a loop reads) took more than half of the time. Such a function cannot create arrays.
compiled = numba.njit(cache=True, nogil=True, _nrt=False)

# For functions that are called once per candidate: passing their many arrays takes longer than
# their work, so they are inlined.
inlined = numba.njit(cache=True, nogil=True, _nrt=False, inline="always")


@inlined
def log_add(a, b):
    """ln(e^a + e^b)."""
    high, low = (a, b) if a >= b else (b, a)
    if low - high > -40.0:  # a smaller addend does not change a float64; false for -inf twice
        return high + math.log1p(math.exp(low - high))
    return high
