"""A pair (P, Q) outcome by outcome: the numbers from which every divergence's terms are made.

For one outcome these are p, q, their difference p − q, their log-ratio log(p/q), the terms of KL and of JS, and the
same for the pair of P and a mixture of the two, each right in *relative* terms also where p and q nearly agree; that,
and not the formula summed afterwards, decides how many digits survive. A pair is laid out with its outcomes along the
last axis. It is built from probabilities, from log-probabilities or from logits, and each of the three has its own way
of keeping the digits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from dkl._array import Array, Namespace, expm1_minus, log_softmax, tree_sum


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The outcomes that both P and Q can have; elsewhere the harmless pair p = q = 1 stands in."""

    xp: Namespace
    p: Array
    q: Array
    log_ratio: Array
    from_logs: bool
    _log_p: Array | None = None
    _log_q: Array | None = None
    _difference: Array | None = None

    @property
    def difference(self) -> Array:
        """P − q, to full relative precision."""
        if self._difference is not None:
            return self._difference
        if not self.from_logs:
            return self.p - self.q
        # p − q = −p·expm1(−L) = q·expm1(L): take the form whose exponential is at most 1.
        L = self.log_ratio
        p_larger = L > 0
        return self.xp.where(
            p_larger,
            -self.p * self.xp.expm1(-self.xp.where(p_larger, L, 0.0)),
            self.q * self.xp.expm1(self.xp.where(p_larger, 0.0, L)),
        )

    @property
    def kl_terms(self) -> Array:
        """p·log(p/q) − p + q = p·(exp(u) − 1 − u) with u = log(q/p)."""
        near = self.log_ratio > -1
        u = -self.xp.where(near, self.log_ratio, 0.0)
        far = (self.q - self.p) + self.p * self.xp.where(near, 0.0, self.log_ratio)
        return self.xp.where(near, self.p * expm1_minus(self.xp, u), far)

    @property
    def js_terms(self) -> Array:
        """½·(p·log(p/m) + q·log(q/m)) with m = (p + q)/2: half of the terms of KL to the midpoint, from each side."""
        return 0.5 * (self.mixed(0.5, 0.5).kl_terms + self.swapped.mixed(0.5, 0.5).kl_terms)

    @property
    def log_p(self) -> Array:
        """Log p; right also where p itself underflows, if the pair came from logs."""
        return self.xp.log(self.p) if self._log_p is None else self._log_p

    @property
    def log_q(self) -> Array:
        """Log q; right also where q itself underflows, if the pair came from logs."""
        return self.xp.log(self.q) if self._log_q is None else self._log_q

    @property
    def swapped(self) -> Outcomes:
        """The pair (Q, P)."""
        turned = None if self._difference is None else -self._difference
        return Outcomes(self.xp, self.q, self.p, -self.log_ratio, self.from_logs, self._log_q, self._log_p, turned)

    def mixed(self, share: float, rest: float) -> Outcomes:
        """The pair (P, M) with M = rest·P + share·Q; both shares given, since 1 − share would lose digits."""
        log_ratio = -_log_mixture(self.xp, -self.log_ratio, share, rest)
        mixture = rest * self.p + share * self.q
        log_m = None if self._log_p is None else self._log_p - log_ratio
        apart = share * self.difference
        return Outcomes(self.xp, self.p, mixture, log_ratio, self.from_logs, self._log_p, log_m, apart)


def _log_mixture(xp: Namespace, log_ratio: Array, share: float, rest: float) -> Array:
    """log(share·p/q + rest) from log(p/q), for two shares that sum to 1."""
    if rest == 0:
        return log_ratio
    # 1 + share·expm1(L) is a sum that does not cancel unless it falls towards rest, nor overflow before exp(L).
    near = log_ratio < 0.5 * math.log(float(xp.finfo(log_ratio.dtype).max))
    if share > 0.5:
        near = near & (log_ratio > -1)
    close = xp.log1p(share * xp.expm1(xp.where(near, log_ratio, 0.0)))
    L = xp.where(near, 1.0, log_ratio)
    decay = xp.exp(-xp.abs(L))
    rising = L > 0
    scaled = xp.where(rising, share + rest * decay, rest + share * decay)
    return xp.where(near, close, xp.where(rising, L, 0.0) + xp.log(scaled))


@dataclass(frozen=True, eq=False)
class Pair:
    """P and Q over the same outcomes, with their supports and the ``shared`` outcomes where both are positive."""

    xp: Namespace
    p: Array
    q: Array
    in_p: Array
    in_q: Array
    shared: Outcomes

    @property
    def in_both(self) -> Array:
        """Where p > 0 and q > 0."""
        return self.in_p & self.in_q

    def rows(self, kept: Array) -> Pair:
        """The pair with every row that is not ``kept`` emptied: no outcome is in either support."""
        xp, keep = self.xp, kept[..., None]
        o = self.shared
        shared = Outcomes(
            xp,
            xp.where(keep, o.p, 1.0),
            xp.where(keep, o.q, 1.0),
            xp.where(keep, o.log_ratio, 0.0),
            o.from_logs,
            xp.where(keep, o.log_p, 0.0),
            xp.where(keep, o.log_q, 0.0),
        )
        p, q = xp.where(keep, self.p, 0.0), xp.where(keep, self.q, 0.0)
        return Pair(xp, p, q, self.in_p & keep, self.in_q & keep, shared)

    def assemble(self, inside: Array, at_p_zero: tuple[float, float], at_q_zero: tuple[float, float]) -> Array:
        """Terms that are ``inside`` on the shared outcomes and linear in the one positive probability elsewhere.

        ``at_p_zero = (a, b)`` makes the term a·q + b·p where p = 0 < q, and ``at_q_zero`` the term a·p + b·q where
        q = 0 < p. The second coefficient multiplies a zero: it is there for its gradient alone. An infinite first
        coefficient gives an infinite term with gradient 0.
        """
        xp = self.xp
        edge = xp.where(self.in_q, self._edge(self.q, self.p, at_p_zero), self._edge(self.p, self.q, at_q_zero))
        edge = xp.where(self.in_p | self.in_q, edge, 0.0 * (self.p + self.q))
        return xp.where(self.in_both, inside, edge)

    def _edge(self, positive: Array, zero: Array, coefficients: tuple[float, float]) -> Array:
        value, slope = coefficients
        if math.isinf(value):
            return self.xp.full_like(positive, value)
        edge = value * positive
        return edge if math.isinf(slope) else edge + slope * zero


def from_probabilities(xp: Namespace, p: Array, q: Array) -> Pair:
    """A pair from its probabilities.

    Where p and q are within a factor of 2 their difference is exact (Sterbenz), so log(p/q) = log1p((p − q)/q) has
    all its digits; further apart the logarithm of the ratio has them, and where that might leave the floating range,
    the difference of the logarithms.
    """
    in_p, in_q = p > 0, q > 0
    both = in_p & in_q
    p_in, q_in = xp.where(both, p, 1.0), xp.where(both, q, 1.0)
    difference = p_in - q_in
    near = xp.abs(difference) < 0.5 * q_in
    q_far = xp.where(near, 1.0, q_in)
    p_far = xp.where(near, 1.0, p_in)
    # The ratio itself where it stays well inside the floating range. A small pair is first scaled up by a power of 2,
    # which is exact, so that the derivative ratio/q stays there too.
    reach = 2.0 ** (math.frexp(float(xp.finfo(p.dtype).max))[1] // 2 - 1)
    representable = (p_far < q_far * reach) & (q_far < p_far * reach)
    scale = xp.where(q_far * reach < 1, reach * reach, xp.ones_like(q_far))
    ratio = xp.where(representable, p_far * scale, 1.0) / xp.where(representable, q_far * scale, 1.0)
    # The guarded copies keep the gradient of the branch not taken finite.
    by_logs = xp.log(xp.where(representable, 1.0, p_far)) - xp.log(xp.where(representable, 1.0, q_far))
    far = xp.log(ratio) + by_logs
    close = xp.log1p(xp.where(near, difference, 0.0) / xp.where(near, q_in, 1.0))
    return Pair(xp, p, q, in_p, in_q, Outcomes(xp, p_in, q_in, xp.where(near, close, far), from_logs=False))


def from_log_probabilities(xp: Namespace, log_p: Array, log_q: Array) -> Pair:
    """A pair from its log-probabilities; −inf is probability 0. The log-ratio is their difference."""
    in_p, in_q = log_p > -math.inf, log_q > -math.inf
    both = in_p & in_q
    log_p_in, log_q_in = xp.where(both, log_p, 0.0), xp.where(both, log_q, 0.0)
    shared = Outcomes(
        xp, xp.exp(log_p_in), xp.exp(log_q_in), log_p_in - log_q_in, True, _log_p=log_p_in, _log_q=log_q_in
    )
    return Pair(xp, xp.exp(log_p), xp.exp(log_q), in_p, in_q, shared)


def from_logits(xp: Namespace, a: Array, b: Array) -> Pair:
    """A pair from unnormalised log-probabilities; −inf is probability 0.

    Where P and Q differ, log(p/q) is the difference of the two log-softmaxes. Where they nearly agree it is
    d − log(Z_a/Z_b) with d = a − b, and the normalisers are never subtracted from each other: with c = E[d] under P
    restricted to the shared outcomes S and u = c − d, so that E[u] = 0,

        log(Z_b/Z_a) on S = −c + κ,   κ = log E[exp(u)] = log1p(E[exp(u) − 1 − u]) ≥ 0,

    every term of which is non-negative. κ is KL(P‖Q) itself where the supports agree. Mass outside S enters as log1p.
    """
    log_p, log_q = log_softmax(xp, a), log_softmax(xp, b)
    p, q = xp.exp(log_p), xp.exp(log_q)
    in_p, in_q = log_p > -math.inf, log_q > -math.inf
    both = in_p & in_q
    log_p_in, log_q_in = xp.where(both, log_p, 0.0), xp.where(both, log_q, 0.0)
    p_in, q_in = xp.where(both, p, 0.0), xp.where(both, q, 0.0)

    inside, outside = _share(xp, p_in), _share(xp, xp.where(both, 0.0, p))
    weights = p_in / xp.where(inside > 0, inside, 1.0)
    d = _offset_free_difference(xp, xp.where(both, a, 0.0), xp.where(both, b, 0.0), both)
    c = _share(xp, weights * d)
    u = _bounded(xp, c - d)
    # exp(u) may overflow where its weight is tiny; together they are q, rescaled to P's centre, and taken from log q so
    # that two large numbers need not cancel. Where even that exceeds e, or u is beyond all reason, the pair does not
    # nearly agree, and a 1 says so without a number that could overflow.
    modest = u < 1.0
    log_inside = xp.log(xp.where(inside > 0, inside, 1.0))
    far_exponent = xp.where(modest, 0.0, log_q_in + ((c - log_inside) + _top_difference(xp, log_p_in, log_q_in, both)))
    steep = (far_exponent > 1.0) | (u > math.sqrt(float(xp.finfo(u.dtype).max)))
    far = xp.where(steep, 1.0, xp.exp(xp.where(steep, 0.0, far_exponent)) - xp.where(steep, 0.0, weights * (1.0 + u)))
    near = weights * expm1_minus(xp, xp.where(modest, u, 0.0))
    moment = _share(xp, xp.where(both, xp.where(modest, near, far), 0.0))
    inside_q, outside_q = _share(xp, q_in), _share(xp, xp.where(both, 0.0, q))
    # Where next to nothing is shared, the ratios below would overflow, and there is nothing to agree about.
    least = float(xp.finfo(u.dtype).smallest_normal) ** 0.5
    agree = (moment < 1.0) & (inside > least) & (inside_q > least)
    kappa = xp.log1p(xp.where(agree, moment, 0.0))
    # From the shared outcomes to all of them: Z = Z_S · (1 + mass outside / mass inside).
    gain = xp.log1p(_ratio(xp, outside_q, inside_q, agree)) - xp.log1p(_ratio(xp, outside, inside, agree))
    log_ratio = xp.where(agree, (kappa - u) + gain, log_p_in - log_q_in)
    shared = Outcomes(
        xp,
        xp.where(both, p, 1.0),
        xp.where(both, q, 1.0),
        xp.where(both, log_ratio, 0.0),
        True,
        _log_p=log_p_in,
        _log_q=log_q_in,
    )
    return Pair(xp, p, q, in_p, in_q, shared)


def _top_difference(xp: Namespace, a: Array, b: Array, both: Array) -> Array:
    """The difference of the largest shared entries; 0 where none is shared."""
    top_a, top_b = (xp.max(xp.where(both, x, -math.inf), axis=-1, keepdims=True) for x in (a, b))
    none_shared = top_a == -math.inf
    return xp.where(none_shared, 0.0, top_a) - xp.where(none_shared, 0.0, top_b)


def _offset_free_difference(xp: Namespace, a: Array, b: Array, both: Array) -> Array:
    """A − b less that of the largest shared logits, rounded once.

    Logits may carry any constant. Both differences are taken with their rounding error (Knuth's two-sum), so neither a
    common constant nor opposite ones cost digits.
    """
    top_a, top_b = (xp.max(xp.where(both, x, -math.inf), axis=-1, keepdims=True) for x in (a, b))
    none_shared = top_a == -math.inf
    high, low = _two_difference(xp, a, b)
    top_high, top_low = _two_difference(xp, xp.where(none_shared, 0.0, top_a), xp.where(none_shared, 0.0, top_b))
    return _bounded(xp, (high - top_high) + (low - top_low))


def _two_difference(xp: Namespace, a: Array, b: Array) -> tuple[Array, Array]:
    """A − b as the nearest number and what that leaves out."""
    high = a - b
    whole = xp.isfinite(high)
    near = xp.where(whole, high, 0.0)
    shift = near - a
    low = (a - (near - shift)) - (b + shift)
    return _bounded(xp, high), xp.where(whole & xp.isfinite(low), low, 0.0)


def _bounded(xp: Namespace, x: Array) -> Array:
    limit = float(xp.finfo(x.dtype).max)
    return xp.clip(x, -limit, limit)


def _ratio(xp: Namespace, outside: Array, inside: Array, wanted: Array) -> Array:
    return xp.where(wanted, outside / xp.where(wanted, inside, 1.0), 0.0)


def _share(xp: Namespace, x: Array) -> Array:
    return tree_sum(xp, x)[..., None]
