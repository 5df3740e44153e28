"""What the trace of a divergence becomes, with KL as the example: functions of one outcome and the tuple of constants.

The first four constants belong to the edges of the supports: f(0), lim f(t)/t, and the derivative of a term with
respect to a p or a q that is 0.
"""

from __future__ import annotations

from dkl.kernels.loops.decorators import inline
from dkl.kernels.loops.primitives import kl_term, log_quotient


@inline
def term(p, q, difference, log_ratio, log_p, log_q, c):
    """q·f(p/q), where p > 0 and q > 0."""
    return kl_term(p, q, difference)


@inline
def log_gradient(p, q, difference, log_ratio, log_p, log_q, c):
    """Its derivatives with respect to log p and log q."""
    return p * log_quotient(p, q, difference), -difference
