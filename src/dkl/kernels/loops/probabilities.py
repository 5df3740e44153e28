"""One outcome of a pair of probabilities."""

from __future__ import annotations

from dkl.kernels.intrinsics import select
from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float32 import INFINITY, ONE, ZERO
from dkl.kernels.loops.primitives import edge, finite
from dkl.kernels.loops.traced import log_gradient, term


@inline
def take_sums(p, q, known, c):
    """For the sums: the term, p, q, and a 1 for a negative one; NaN and inf show in the sums of p and q."""
    inside = term(p, q, p - q, ZERO, ZERO, ZERO, c)
    in_p, in_q = p > ZERO, q > ZERO
    outside = select(in_q, edge(q, c[0]), select(in_p, edge(p, c[1]), ZERO))
    return select(in_p & in_q, inside, outside), p, q, select(select(p < q, p, q) < ZERO, ONE, ZERO)


@inline
def take_gradient(p, q, known, c):
    """The derivatives with respect to p and q of the row's result, through the term and through both masses."""
    in_log_p, in_log_q = log_gradient(p, q, p - q, ZERO, ZERO, ZERO, c)
    in_p, in_q = p > ZERO, q > ZERO
    both = in_p & in_q
    slope_p = select(in_q, finite(c[2]), select(in_p, finite(c[1]), ZERO))
    slope_q = select(in_p, finite(c[3]), select(in_q, finite(c[0]), ZERO))
    gradient_p = select(both, in_log_p / select(in_p, p, ONE), slope_p)
    gradient_q = select(both, in_log_q / select(in_q, q, ONE), slope_q)
    # An entry at which the true derivative is infinite, or of which nothing depends, is left alone altogether.
    alive_p, alive_q = in_p | (in_q & (abs(c[2]) < INFINITY)), in_q | (in_p & (abs(c[3]) < INFINITY))
    passed, through_p, through_q = known[0], known[1], known[2]
    return (
        passed * gradient_p + select(alive_p, through_p, ZERO),
        passed * gradient_q + select(alive_q, through_q, ZERO),
    )
