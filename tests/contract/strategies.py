"""Hypothesis strategies for pairs of distributions, from ordinary to degenerate."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st


@st.composite
def weights(draw: st.DrawFn, n: int) -> np.ndarray:
    """Non-negative numbers of very different sizes, at least one of them positive."""
    sizes = st.one_of(
        st.floats(1e-3, 1.0),
        st.floats(1e-3, 1.0),
        st.sampled_from([0.0, 1e-300, 1e-30, 1e-9, 1.0]),
        st.floats(0.0, 1.0),
    )
    x = np.array(draw(st.lists(sizes, min_size=n, max_size=n)))
    x[draw(st.integers(0, n - 1))] += 0.5
    return x


@st.composite
def pairs(
    draw: st.DrawFn, min_size: int = 2, max_size: int = 6, positive: bool = False, least: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Two distributions over the same outcomes; one time in four nearly equal. Weights below ``least`` become 0."""
    n = draw(st.integers(min_size, max_size))
    p, q = (np.where(x < least, 0.0, x) for x in (draw(weights(n)), draw(weights(n))))
    if positive:
        p, q = p + 1e-3, q + 1e-3
    if draw(st.integers(0, 3)) == 0:
        q = p * (1 + draw(st.sampled_from([1e-3, 1e-7, 1e-12])) * (q / q.max()))
    return p / p.sum(), q / q.sum()


@st.composite
def triples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three distributions over the same outcomes."""
    n = draw(st.integers(2, 5))
    p, q, r = (draw(weights(n)) for _ in range(3))
    return p / p.sum(), q / q.sum(), r / r.sum()
