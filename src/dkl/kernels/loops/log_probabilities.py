"""One outcome of a pair of log-probabilities."""

from __future__ import annotations

from dkl.kernels.intrinsics import select
from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float32 import INFINITY, ONE, ZERO
from dkl.kernels.loops.primitives import edge, finite, pair_from_logs
from dkl.kernels.loops.traced import log_gradient, term


@inline
def outcome(a, b):
    """p, q, p − q, log(p/q), log p and log q, and in whose support it is."""
    in_p, in_q = a > -INFINITY, b > -INFINITY
    both = in_p & in_q
    log_p, log_q = select(both, a, ZERO), select(both, b, ZERO)
    log_ratio = log_p - log_q
    p, q, difference = pair_from_logs(a, b, select(both, log_ratio, select(in_p, INFINITY, -INFINITY)))
    return p, q, difference, log_ratio, log_p, log_q, in_p, in_q


@inline
def take_sums(a, b, known, c):
    """For the sums: the term, p, q, and a 1 for what is no log-probability."""
    p, q, difference, log_ratio, log_p, log_q, in_p, in_q = outcome(a, b)
    inside = term(p, q, difference, log_ratio, log_p, log_q, c)
    outside = select(in_q, edge(q, c[0]), select(in_p, edge(p, c[1]), ZERO))
    return select(in_p & in_q, inside, outside), p, q, select((a < INFINITY) & (b < INFINITY), ZERO, ONE)


@inline
def take_gradient(a, b, known, c):
    """The derivatives with respect to log p and log q of the row's result, through the term and through both masses."""
    p, q, difference, log_ratio, log_p, log_q, in_p, in_q = outcome(a, b)
    in_log_p, in_log_q = log_gradient(p, q, difference, log_ratio, log_p, log_q, c)
    both = in_p & in_q
    gradient_p = select(both, in_log_p, select(in_p, p * finite(c[1]), ZERO))
    gradient_q = select(both, in_log_q, select(in_q, q * finite(c[0]), ZERO))
    passed, through_p, through_q = known[0], known[1], known[2]
    return passed * gradient_p + through_p * p, passed * gradient_q + through_q * q
