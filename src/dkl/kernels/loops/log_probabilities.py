"""One outcome of a pair of log-probabilities."""

from __future__ import annotations

from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float32 import INFINITY, ONE, PITCH, ZERO
from dkl.kernels.loops.primitives import edge, exp, finite, select
from dkl.kernels.loops.traced import log_gradient, term

STATISTICS = 0


@inline
def measure(a, b, work, at, c):
    """The term of one outcome, p, q, and a number below 0 if either is no log-probability."""
    p, q = exp(a), exp(b)
    in_p, in_q = a > -INFINITY, b > -INFINITY
    both = in_p & in_q
    log_p, log_q = select(both, a, ZERO), select(both, b, ZERO)
    inside = term(p, q, log_p - log_q, log_p, log_q, c)
    outside = select(in_q, edge(q, c[0]), select(in_p, edge(p, c[1]), ZERO))
    return select(both, inside, outside), p, q, select((a < INFINITY) & (b < INFINITY), ZERO, -ONE)


@inline
def measure_gradient(a, b, work, at, c):
    """The derivatives with respect to log p and log q of the row's result, through the term and through both masses."""
    p, q = exp(a), exp(b)
    in_p, in_q = a > -INFINITY, b > -INFINITY
    both = in_p & in_q
    log_p, log_q = select(both, a, ZERO), select(both, b, ZERO)
    in_log_p, in_log_q = log_gradient(p, q, log_p - log_q, log_p, log_q, c)
    gradient_p = select(both, in_log_p, select(in_p, p * finite(c[1]), ZERO))
    gradient_q = select(both, in_log_q, select(in_q, q * finite(c[0]), ZERO))
    passed, through_p, through_q = work[at], work[at + PITCH], work[at + 2 * PITCH]
    return passed * gradient_p + through_p * p, passed * gradient_q + through_q * q
