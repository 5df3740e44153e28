"""One outcome of a pair of logits, from what is known of its row.

That is the nine statistics that :mod:`dkl.kernels.loops.logits` made of it, and for a gradient, what the row passes
down.
"""

from __future__ import annotations

from dkl.kernels.intrinsics import select
from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.float32 import INFINITY, ZERO
from dkl.kernels.loops.logits import FARTHEST, offset_free
from dkl.kernels.loops.primitives import edge, exp, finite, pair_from_logs
from dkl.kernels.loops.traced import log_gradient, term

# Whether the sums to be made are those of the gradient, which a softmax passes on, and not those of the terms.
PULLED = False
# Whether P's or Q's entries were loaded as logarithms of probabilities, with respect to which the gradient is asked.
OF_LOG_X = False
OF_LOG_Y = False


@inline
def outcome(a, b, known):
    """p, q, p − q, log(p/q), log p and log q, and in whose support it is."""
    in_p, in_q = a > -INFINITY, b > -INFINITY
    both = in_p & in_q
    log_p, log_q = (a - known[0]) - known[2], (b - known[1]) - known[3]
    d = offset_free(a, b, known[4], known[5])
    # Far apart, or where the difference had to be bounded, the two logarithms themselves.
    close = (known[8] > ZERO) & (abs(d) < FARTHEST)
    log_ratio = select(close, known[7] + (d - known[6]), log_p - log_q)
    p, q, difference = pair_from_logs(log_p, log_q, select(both, log_ratio, select(in_p, INFINITY, -INFINITY)))
    log_p, log_q = select(both, log_p, ZERO), select(both, log_q, ZERO)
    return p, q, difference, select(both, log_ratio, ZERO), log_p, log_q, in_p, in_q


@inline
def pull(a, b, known, c):
    """The derivatives of the term of one outcome with respect to log p and log q."""
    p, q, difference, log_ratio, log_p, log_q, in_p, in_q = outcome(a, b, known)
    in_log_p, in_log_q = log_gradient(p, q, difference, log_ratio, log_p, log_q, c)
    both = in_p & in_q
    pull_p = select(both, in_log_p, select(in_p, p * finite(c[1]), ZERO))
    pull_q = select(both, in_log_q, select(in_q, q * finite(c[0]), ZERO))
    return pull_p, pull_q, p, q


@inline
def take_sums(a, b, known, c):
    """For the sums: the term, or what pulls at log p and log q."""
    if PULLED:
        pull_p, pull_q, _, _ = pull(a, b, known, c)
        return pull_p, pull_q, ZERO, ZERO
    p, q, difference, log_ratio, log_p, log_q, in_p, in_q = outcome(a, b, known)
    inside = term(p, q, difference, log_ratio, log_p, log_q, c)
    outside = select(in_q, edge(q, c[0]), select(in_p, edge(p, c[1]), ZERO))
    return select(in_p & in_q, inside, outside), ZERO, ZERO, ZERO


@inline
def take_gradient(a, b, known, c):
    """The derivatives of the row's result with respect to the two entries, through the softmax of each side."""
    pull_p, pull_q, p, q = pull(a, b, known, c)
    passed = known[9]
    gradient_a = passed * (pull_p - p * known[10])
    gradient_b = passed * (pull_q - q * known[11])
    if OF_LOG_X:
        gradient_a = select(a > -INFINITY, gradient_a * exp(-a), ZERO)
    if OF_LOG_Y:
        gradient_b = select(b > -INFINITY, gradient_b * exp(-b), ZERO)
    return gradient_a, gradient_b
