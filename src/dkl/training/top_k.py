"""KL from the largest log-probabilities alone, as servers of language models give them: what it must be, and may be.

The outcomes that are not listed have a known total and unknown parts. The least KL over all parts is a lower bound.
Where both sides list an outcome it is settled; one that only P lists has an unknown q of at most Q's kth value, one
that only Q lists a p of at most P's kth value. At the least, every unknown that is not at its limit has the same ratio
p/q = λ: one number for each row, found by bisection, for the problem is convex. Nothing listed says that the q of an
outcome is not 0, so without a floor an upper bound does not exist.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from dkl._array import compiling, first_failing, namespace_of, real_number
from dkl.divergences import kl
from dkl.pairs import from_log_probabilities
from dkl.training.ratios import check_entries
from dkl.training.reduction import Reduction, reduced, visible

# How far from its true value a listed log-probability may be, in units of its dtype's ε at its own size: a few
# roundings of the softmax that made it.
_ROUNDINGS = 4.0
# Halvings of the interval of log λ, nearly float64's range, down to rounding.
_HALVINGS = 62
_WIDEST = 700.0
# Below this log λ is 0 but for the rounding of the halvings.
_EQUAL = 1e-12


class KLBounds(NamedTuple):
    """What KL(P‖Q) must be, in nats.

    Attributes
    ----------
    lower, upper : Tensor
        KL(P‖Q) lies between them; ``upper`` is inf where nothing limits it.
    p_listed, q_listed : Tensor
        The mass that each side lists, without gradients; the means over rows that count if ``lower`` is reduced.
    """

    lower: Tensor
    upper: Tensor
    p_listed: Tensor
    q_listed: Tensor


class _Rest(NamedTuple):
    """What each side leaves open, row by row: its mass outside its list, and what the other's list says of the parts.

    An outcome that only P lists has an unknown q, and the other way round; the last axis of ``p`` and ``q`` holds those
    outcomes' known side, 0 for an outcome that both list.
    """

    p_mass: Tensor
    q_mass: Tensor
    p: Tensor
    q: Tensor
    p_most: Tensor
    q_most: Tensor
    p_slack: Tensor
    q_slack: Tensor
    others: Tensor  # whether there are outcomes that neither lists

    def q_parts(self, log_ratio: Tensor) -> Tensor:
        """The unknown q at a ratio p/q, or at their limit."""
        return torch.minimum(self.q_most[..., None], self.p * (-log_ratio[..., None]).exp())

    def p_parts(self, log_ratio: Tensor) -> Tensor:
        """The unknown p at a ratio p/q, or at their limit."""
        return torch.minimum(self.p_most[..., None], self.q * log_ratio[..., None].exp())

    # A mass is known within its slack. Less of P's makes the KL smaller where p/q is above 1, and more of it below.

    def p_left(self, log_ratio: Tensor) -> Tensor:
        """What P has left for outcomes that neither lists; falling in the ratio."""
        mass = (self.p_mass - log_ratio.sign() * self.p_slack).clamp(min=0.0)
        return mass - self.p_parts(log_ratio).sum(-1)

    def q_left(self, log_ratio: Tensor) -> Tensor:
        """What Q has left for them; rising in the ratio."""
        mass = (self.q_mass + log_ratio.sign() * self.q_slack).clamp(min=0.0)
        return mass - self.q_parts(log_ratio).sum(-1)

    def least_kl(self) -> Tensor:
        """The least that the open outcomes add, over all ways to divide the masses."""
        with torch.no_grad():
            low, high = torch.full_like(self.p_mass, -_WIDEST), torch.full_like(self.p_mass, _WIDEST)
            # Neither side can give more than it has.
            q_ratio = _last_positive(lambda r: -self.q_left(r), low, high)
            p_ratio = _last_positive(self.p_left, low, high)
            common = _last_positive(lambda r: self.p_left(r) - r.exp() * self.q_left(r), q_ratio, p_ratio)
            shared = self.others & (q_ratio <= p_ratio)
            q_ratio, p_ratio = torch.where(shared, common, q_ratio), torch.where(shared, common, p_ratio)
        # Where the two ratios cannot be one, both sides have given all they have to the outcomes that are listed.
        p_over, q_over = self.p_left(p_ratio), self.q_left(q_ratio)
        q_left = torch.where(shared, q_over, 0.0)
        p_left = torch.where(q_left > 0, p_over, 0.0)
        # Within the slack the two can be equal.
        p_left = torch.where(p_ratio.abs() < _EQUAL, q_left, p_left)
        pairs = (
            (self.p, self.q_parts(q_ratio)),
            (self.p_parts(p_ratio), self.q),
            (p_left[..., None], q_left[..., None]),
        )
        total: Tensor = sum(_terms(_log(p), _log(q)).sum(-1) for p, q in pairs)
        # There the ratios are the multipliers of what the masses leave, which is 0 but has a slope.
        for slope, over in ((p_ratio, p_over), (-torch.expm1(q_ratio), q_over)):
            total = total + torch.where(shared, 0.0, slope * (over - over.detach()))
        return total

    def most_kl(self, p_open: Tensor, q_open: Tensor) -> Tensor:
        """The most that it adds where each mass is that of one outcome, and known but for its slack."""
        p_ends, q_ends = (
            ((mass - slack).clamp(min=0.0), mass + slack)
            for mass, slack in ((self.p_mass, self.p_slack), (self.q_mass, self.q_slack))
        )
        # The terms are convex: they are largest at an end.
        of_neither = [_terms(_log(p), _log(q)) for p in p_ends for q in q_ends]
        of_p = [_terms(_log(self.p.sum(-1)), _log(q)) for q in q_ends]
        of_q = [_terms(_log(p), _log(self.q.sum(-1))) for p in p_ends]
        apart, of_p, of_q = (torch.stack(ends).amax(0) for ends in (of_neither, of_p, of_q))
        return torch.where(self.others, apart, torch.where(p_open, of_p, 0.0) + torch.where(q_open, of_q, 0.0))


def _last_positive(falling: Callable[[Tensor], Tensor], low: Tensor, high: Tensor) -> Tensor:
    """Up to where a falling function of log λ is positive, by halving."""
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        positive = falling(middle) > 0
        low, high = torch.where(positive, middle, low), torch.where(positive, high, middle)
    return 0.5 * (low + high)


def topk_kl(
    p_log_probs: Tensor,
    p_indices: Tensor,
    q_log_probs: Tensor,
    q_indices: Tensor | None = None,
    *,
    vocabulary: int | None = None,
    floor: float | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> KLBounds:
    """Bound KL(P‖Q) from P's k largest log-probabilities and Q's.

    Parameters
    ----------
    p_log_probs, p_indices : Tensor
        The k largest log-probabilities of P and which outcomes they are, shape (…, k), in any order. A sampled token
        that is listed beside the k largest does not belong here.
    q_log_probs : Tensor
        Q's log-probabilities of the same outcomes; or with ``q_indices`` Q's own largest, shape (…, n).
    q_indices : Tensor, optional
        Which outcomes those are.
    vocabulary : int, optional
        The number of outcomes there are; it decides whether any is listed by neither.
    floor : float, optional
        A log-probability that no outcome of Q is below. Only with it is there an upper bound, unless at most one
        outcome is open on each side.
    mask, reduction
        Which rows count, and the mean or the sum over rows, or each.

    Returns
    -------
    KLBounds
        ``lower, upper, p_listed, q_listed``, in float64. The gradient of ``lower`` is right almost everywhere.

    Raises
    ------
    ValueError
        For shapes that do not fit, entries that are no log-probability, lists whose mass is above 1, a vocabulary
        smaller than the lists, a floor above what is listed; on the CPU only, and there also for an index that is
        listed twice.

    Notes
    -----
    With q of the same outcomes, ``lower`` is the KL of the listed outcomes and one bucket for all others, which no
    coarsening can raise (data processing). With Q's own list it is the least KL that fits both lists, as if outcomes
    listed by neither were without number; it is never below that of the bucket.

    ``upper`` takes every outcome of P's rest to have P's kth value and Q's ``floor``. The mass that is not listed is 1
    less what is, known only to the rounding of the dtype; ``lower`` takes the least within that, ``upper`` the most.

    O(rows·k·n) memory.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import topk_kl
    >>> p, q = torch.log(torch.tensor([0.5, 0.3])), torch.log(torch.tensor([0.6, 0.1]))
    >>> made = topk_kl(p, torch.tensor([7, 2]), q)
    >>> round(float(made.lower), 4), float(made.upper)
    (0.1573, inf)
    >>> round(float(topk_kl(p, torch.tensor([7, 2]), q, floor=-12.0).upper), 4)
    2.3165
    """
    rows = None if mask is None else mask[..., None]
    _check_list("p", p_log_probs, p_indices, rows)
    _check_list("q", q_log_probs, p_indices if q_indices is None else q_indices, rows)
    q_indices = p_indices if q_indices is None else q_indices
    if p_indices.shape[:-1] != q_indices.shape[:-1]:
        raise ValueError(
            f"P's lists of shape {tuple(p_indices.shape)} and Q's of shape {tuple(q_indices.shape)} must have the "
            "same rows"
        )
    if floor is not None and not math.isfinite(floor := real_number(floor, "floor")):
        raise ValueError(f"floor = {floor:g} must be finite; None says that there is none")
    eps = [torch.finfo(x.dtype).eps for x in (p_log_probs, q_log_probs)]
    log_p, log_q = (visible(x, rows, -math.inf).double() for x in (p_log_probs, q_log_probs))
    for name, x, e in (("p_log_probs", log_p, eps[0]), ("q_log_probs", log_q, eps[1])):
        check_entries(name, x, x <= _ROUNDINGS * e, "at most 0, the logarithm of a probability")

    p, q = log_p.exp(), log_q.exp()
    p_slack, q_slack = (
        _ROUNDINGS * e * (z * x.clamp(min=-_WIDEST).abs().clamp(min=1.0)).sum(-1).detach()
        for e, z, x in zip(eps, (p, q), (log_p, log_q), strict=True)
    )
    p_mass, q_mass = (
        _unlisted(name, z, slack) for name, z, slack in (("p_log_probs", p, p_slack), ("q_log_probs", q, q_slack))
    )

    same = p_indices[..., :, None] == q_indices[..., None, :]
    p_shared, q_shared = same.any(-1), same.any(-2)
    partner = log_q.gather(-1, same.to(torch.int8).argmax(-1))
    shared = (torch.where(p_shared, x, -math.inf) for x in (log_p, partner))
    listed = _terms(*shared).sum(-1)

    p_open, q_open = (~p_shared).sum(-1), (~q_shared).sum(-1)
    neither = None if vocabulary is None else vocabulary - p_indices.shape[-1] - q_open
    if neither is not None:
        check_entries(
            "vocabulary less the outcomes listed, of which", neither, visible(neither, mask) >= 0, "at least 0"
        )
    rest = _Rest(
        p_mass,
        q_mass,
        torch.where(p_shared, 0.0, p),
        torch.where(q_shared, 0.0, q),
        p.amin(-1),
        q.amin(-1),
        p_slack,
        q_slack,
        torch.ones_like(p_open, dtype=torch.bool) if neither is None else neither > 0,
    )
    lower = listed + rest.least_kl()

    upper = torch.full_like(lower, math.inf)
    if floor is not None:
        lowest = visible(log_q.amin(-1), mask, floor)
        check_entries("q_log_probs' least of the row, ", lowest, lowest >= floor, f"at least floor = {floor:g}")
        at_least = torch.where(p_shared, partner, floor)
        known = torch.where(p > 0, p * (torch.where(p > 0, log_p, 0.0) - at_least), 0.0).sum(-1)
        most = p_mass + p_slack
        upper = known + most * (torch.log(torch.minimum(p.amin(-1), most)) - floor).clamp(min=0.0)
    if neither is not None:
        settled = (p_open + neither <= 1) & (q_open + neither <= 1)
        upper = torch.where(settled, listed + rest.most_kl(p_open > 0, q_open > 0), upper)
    return KLBounds(
        reduced(lower, reduction, mask),
        reduced(torch.maximum(lower, upper), reduction, mask),
        *(reduced(1.0 - z.detach(), "none" if reduction == "none" else "mean", mask) for z in (p_mass, q_mass)),
    )


def _terms(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p·log(p/q) − p + q ≥ 0."""
    value: Tensor = kl.terms(from_log_probabilities(namespace_of(p=log_p), log_p, log_q))
    return value


def _log(x: Tensor) -> Tensor:
    return torch.where(x > 0, torch.where(x > 0, x, 1.0).log(), -math.inf)


def _unlisted(name: str, listed: Tensor, slack: Tensor) -> Tensor:
    """1 less the mass of a list."""
    rest = 1.0 - listed.sum(-1)
    check_entries(f"1 less the sum of exp({name})", rest, rest >= -slack, "at least 0: are these normalised?")
    return rest.clamp(min=0.0)


def _check_list(name: str, log_probs: Tensor, indices: Tensor, rows: Tensor | None) -> None:
    if indices.is_floating_point() or indices.dtype == torch.bool:
        raise TypeError(f"{name}_indices must be integers, got {indices.dtype}")
    if log_probs.ndim == 0 or log_probs.shape[-1] == 0 or log_probs.shape != indices.shape:
        raise ValueError(
            f"{name}_log_probs of shape {tuple(log_probs.shape)} and indices of shape {tuple(indices.shape)} must have "
            "the same shape (…, k), one index for each log-probability"
        )
    if compiling() or indices.device.type != "cpu":
        return
    ordered = indices.sort(-1).values
    twice = visible(ordered[..., 1:] == ordered[..., :-1], rows, False)
    if bool(twice.any()):
        at, index = first_failing(ordered[..., 1:], ~twice)
        raise ValueError(
            f"an index, {index:.0f}, is listed twice in row {at.rpartition(',')[0].strip('[') or '0'} of {name}_indices"
        )
