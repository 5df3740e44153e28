"""One outcome of a pair of logits, from the statistics that :mod:`dkl.kernels.loops.logits` made of its row."""

from __future__ import annotations

from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float32 import INFINITY, PITCH, ZERO
from dkl.kernels.loops.logits import FARTHEST, offset_free
from dkl.kernels.loops.primitives import bounded_exp, edge, exp, finite, select
from dkl.kernels.loops.traced import log_gradient, term

STATISTICS = 9
# Whether the sums to be made are those of the gradient, which a softmax passes on, and not those of the terms.
PULLED = False
# Whether P's or Q's entries were loaded as logarithms of probabilities, with respect to which the gradient is asked.
OF_LOG_X = False
OF_LOG_Y = False


@inline
def outcome(a, b, work, at):
    """p, q, log(p/q), log p and log q, and in whose support it is."""
    in_p, in_q = a > -INFINITY, b > -INFINITY
    both = in_p & in_q
    log_p, log_q = (a - work[at]) - work[at + 2 * PITCH], (b - work[at + PITCH]) - work[at + 3 * PITCH]
    d = offset_free(a, b, work[at + 4 * PITCH], work[at + 5 * PITCH])
    p, q = bounded_exp(log_p), bounded_exp(log_q)
    log_p, log_q = select(both, log_p, ZERO), select(both, log_q, ZERO)
    # Far apart, or where the difference had to be bounded, the two logarithms themselves.
    close = (work[at + 8 * PITCH] > ZERO) & (abs(d) < FARTHEST)
    log_ratio = select(close, work[at + 7 * PITCH] + (d - work[at + 6 * PITCH]), log_p - log_q)
    return p, q, select(both, log_ratio, ZERO), log_p, log_q, in_p, in_q


@inline
def pull(a, b, work, at, c):
    """The derivatives of the term of one outcome with respect to log p and log q."""
    p, q, log_ratio, log_p, log_q, in_p, in_q = outcome(a, b, work, at)
    in_log_p, in_log_q = log_gradient(p, q, log_ratio, log_p, log_q, c)
    both = in_p & in_q
    pull_p = select(both, in_log_p, select(in_p, p * finite(c[1]), ZERO))
    pull_q = select(both, in_log_q, select(in_q, q * finite(c[0]), ZERO))
    return pull_p, pull_q, p, q


@inline
def measure(a, b, work, at, c):
    """The term of one outcome, or what pulls at log p and log q."""
    if PULLED:
        pull_p, pull_q, _, _ = pull(a, b, work, at, c)
        return pull_p, pull_q, ZERO, ZERO
    p, q, log_ratio, log_p, log_q, in_p, in_q = outcome(a, b, work, at)
    inside = term(p, q, log_ratio, log_p, log_q, c)
    outside = select(in_q, edge(q, c[0]), select(in_p, edge(p, c[1]), ZERO))
    return select(in_p & in_q, inside, outside), ZERO, ZERO, ZERO


@inline
def measure_gradient(a, b, work, at, c):
    """The derivatives of the row's result with respect to the two entries, through the softmax of each side."""
    pull_p, pull_q, p, q = pull(a, b, work, at + 3 * PITCH, c)
    passed = work[at]
    gradient_a = passed * (pull_p - p * work[at + PITCH])
    gradient_b = passed * (pull_q - q * work[at + 2 * PITCH])
    if OF_LOG_X:
        gradient_a = select(a > -INFINITY, gradient_a * exp(-a), ZERO)
    if OF_LOG_Y:
        gradient_b = select(b > -INFINITY, gradient_b * exp(-b), ZERO)
    return gradient_a, gradient_b
