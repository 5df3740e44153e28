"""How the functions of the loops are compiled."""

from __future__ import annotations

from numba import njit

# No flag that drops inf, NaN or the order of additions: the loops rely on all three. FMA only makes products sharper.
inline = njit(nogil=True, error_model="numpy", fastmath={"contract"}, forceinline=True)
# Compensated sums must be rounded as they are written.
exact = njit(nogil=True, error_model="numpy", forceinline=True)
# What is merged along a row may be merged in any order, so that many outcomes go into one instruction.
in_any_order = njit(nogil=True, error_model="numpy", fastmath={"reassoc", "nsz"}, forceinline=True)
kernel = njit(nogil=True, error_model="numpy")
# What is called from Python, and kept on disk with all that it calls.
entry = njit(nogil=True, error_model="numpy")
