"""Fit the polynomials of the fused kernels with mpmath and print src/dkl/kernels/polynomials.py.

Run as ``python scripts/fit_polynomials.py > src/dkl/kernels/polynomials.py``. Each is the Chebyshev interpolant of a
function that has no pole and hardly varies on its interval, so that its absolute error is as good as relative.
"""

from __future__ import annotations

import mpmath
import numpy as np
from mpmath import mp, mpf


def exp_remainder(f: mpf) -> mpf:
    """(exp(f) − 1 − f) / f²."""
    return mp.nsum(lambda k: f**k / mp.factorial(k + 2), [0, mp.inf]) if abs(f) < 0.01 else (mp.expm1(f) - f) / f**2


def log_remainder(y: mpf) -> mpf:
    """(y − log1p(y)) / y²."""
    if abs(y) < 0.01:
        return mp.fsum((-y) ** k / (k + 2) for k in range(30))
    return (y - mp.log1p(y)) / y**2


def atanh_remainder(z: mpf) -> mpf:
    """(2·atanh(s) − 2·s) / s³ at s² = z."""
    return 2 * mp.fsum(z**k / (2 * k + 3) for k in range(60))


def fitted(name: str, function: object, low: mpf, high: mpf, degree: int, dtype: type) -> str:
    """One polynomial's line of the module, highest power first, with the error that the fit left."""
    coefficients, error = mpmath.chebyfit(function, [low, high], degree + 1, error=True)
    numbers = "\n".join(f"    {float(dtype(float(c)))!r}," for c in coefficients)
    return f"# Largest error of the fit: {mp.nstr(error, 2)}.\n{name} = (\n{numbers}\n)"


def main() -> None:
    """Print the module."""
    mp.dps = 40
    half = mp.log(2) / 2 * (1 + mpf(2) ** -18)
    low, high = mp.sqrt(0.5) - 1, mp.sqrt(2) - 1
    widest = (mp.sqrt(2) - 1) ** 2 / (mp.sqrt(2) + 1) ** 2
    print('"""The polynomials of the fused kernels, highest power first; printed by scripts/fit_polynomials.py."""\n')
    print("# (exp(f) − 1 − f)/f² for |f| ≤ log(2)/2.")
    print(fitted("EXP_32", exp_remainder, -half, half, 5, np.float32))
    print(fitted("EXP_64", exp_remainder, -half, half, 11, np.float64))
    print("\n# (y − log(1 + y))/y² for 1 + y between √½ and √2.")
    print(fitted("LOG_32", log_remainder, low, high, 9, np.float32))
    print("\n# (2·atanh(s) − 2·s)/s³ as a function of s², for s = y/(2 + y).")
    print(fitted("ATANH_64", atanh_remainder, mpf(0), widest, 8, np.float64))


if __name__ == "__main__":
    main()
