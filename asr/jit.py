"""How the loops of the beam search are compiled."""

import numba

# Without numba's reference counts: they are atomic, one for every array that a loop looks at, and
# took more than half of the time. The price is that such a function cannot make an array.
compiled = numba.njit(cache=True, nogil=True, _nrt=False)

# For what is called once a candidate: to hand the many arrays over takes longer than the work.
inlined = numba.njit(cache=True, nogil=True, _nrt=False, inline="always")
