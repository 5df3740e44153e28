"""One outcome of a pair of probabilities."""

from __future__ import annotations

from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float32 import INFINITY, ONE, PITCH, ZERO
from dkl.kernels.loops.primitives import edge, finite, select
from dkl.kernels.loops.traced import log_gradient, term

STATISTICS = 0


@inline
def measure(p, q, work, at, c):
    """The term of one outcome, p, q, and the lower of the two: NaN and inf show in their sums, a negative one there."""
    inside = term(p, q, ZERO, ZERO, ZERO, c)
    in_p, in_q = p > ZERO, q > ZERO
    outside = select(in_q, edge(q, c[0]), select(in_p, edge(p, c[1]), ZERO))
    return select(in_p & in_q, inside, outside), p, q, select(p < q, p, q)


@inline
def measure_gradient(p, q, work, at, c):
    """The derivatives with respect to p and q of the row's result, through the term and through both masses."""
    in_log_p, in_log_q = log_gradient(p, q, ZERO, ZERO, ZERO, c)
    in_p, in_q = p > ZERO, q > ZERO
    both = in_p & in_q
    slope_p = select(in_q, finite(c[2]), select(in_p, finite(c[1]), ZERO))
    slope_q = select(in_p, finite(c[3]), select(in_q, finite(c[0]), ZERO))
    gradient_p = select(both, in_log_p / select(in_p, p, ONE), slope_p)
    gradient_q = select(both, in_log_q / select(in_q, q, ONE), slope_q)
    # An entry at which the true derivative is infinite, or of which nothing depends, is left alone altogether.
    alive_p, alive_q = in_p | (in_q & (abs(c[2]) < INFINITY)), in_q | (in_p & (abs(c[3]) < INFINITY))
    passed, through_p, through_q = work[at], work[at + PITCH], work[at + 2 * PITCH]
    return (
        passed * gradient_p + select(alive_p, through_p, ZERO),
        passed * gradient_q + select(alive_q, through_q, ZERO),
    )
