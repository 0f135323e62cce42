"""The numba settings with which the loops of the beam search are compiled."""

import numba

# `_nrt=False` turns off numba's reference counting, whose atomic operations (one for each array
# that a loop reads) took more than half of the time. Such a function cannot create arrays.
compiled = numba.njit(cache=True, nogil=True, _nrt=False)

# For functions that are called once per candidate: passing their many arrays takes longer than
# their work, so they are inlined.
inlined = numba.njit(cache=True, nogil=True, _nrt=False, inline="always")
