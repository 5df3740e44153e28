"""The f-GAN: any f-divergence of dkl as an adversarial game, by its convex conjugate.

For every T whose values lie in the domain of f*, D_f(P‖Q) ≥ E_P[T] − E_Q[f*(T)], with equality for T = f'(p/q) [1,
eq. 4 and 5; 2]. A network's score v is any real number; an output activation T = g(v), increasing, brings it into that
domain, which ends at ``slope_inf``. Tables 2 and 6 of [1] list activations. Here they are, for generators with
f'(1) = 0 as all of dkl's have:

- Powers of order 1 and above (KL, Pearson's χ²): T = v, as in the tables.
- What else is smooth: T = f'(exp v). The best score is then log(p/q), and f*(T) = t·f'(t) − f(t) at t = exp v a formula
  in v that stays right where T rounds to ``slope_inf``. For reverse KL and JS these are the tables' rows, and
  Hellinger's but for the unit of v. Jeffreys' row, T = v, would need Lambert's W. For α < 1 the tables have
  1/(1 − α) − log(1 + exp(−v)), which starts a fresh network, v = 0, at a ratio p/q that grows without bound as α → 1;
  here all start at p/q = 1.
- Powers of an order a below 0 (Neyman's χ²): 1 − exp(−v) times ``slope_inf``, as in the tables, for v ≥ 0, where v is
  (1 − a)·log(p/q); below 0 its tangent. Otherwise T and f*(T) would both overflow, to an infinity less an infinity.
- Total variation, whose f' is a step: tanh(v)/2, as in the tables.
- A divergence of one's own: slope_inf − log(1 + exp(−v)), the tables' form for a domain of which only the end is known,
  or T = v if it has no end.

References
----------
.. [1] S. Nowozin, B. Cseke, R. Tomioka, "f-GAN: Training generative neural samplers using variational divergence
   minimization", NeurIPS (2016).
.. [2] X. Nguyen, M. Wainwright, M. Jordan, "Estimating divergence functionals and the likelihood ratio by convex risk
   minimization", IEEE Transactions on Information Theory 56 (2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from dkl.divergences import (
    JS,
    Csiszar,
    Divergence,
    FDivergence,
    Jeffreys,
    Power,
    SkewKL,
    TotalVariation,
    Triangular,
)
from dkl.training.reduction import Reduction, reduced
from dkl.training.scores import of_both, read_scores

_OfScores = Callable[[Tensor], Tensor]


class _Output(NamedTuple):
    """A divergence's output: T = g(v), f*(g(v)), and the best score from log(p/q)."""

    activation: _OfScores
    conjugate: _OfScores
    best_score: _OfScores | None


@dataclass(frozen=True)
class FGAN:
    """The adversarial game whose value at the best critic is an f-divergence D_f(P‖Q), P the data, Q the generator.

    Parameters
    ----------
    divergence : Divergence
        Any f-divergence: ``dkl.kl``, ``dkl.js``, ``dkl.JS(w)``, ``dkl.SkewKL(w)``, ``dkl.Alpha(a)``, … or a
        ``dkl.FDivergence`` of your own, with ``conjugate`` written in PyTorch.

    Raises
    ------
    TypeError
        For a divergence that is not an f-divergence (the message names the one that it is a function of), and one of
        your own without a conjugate.
    ValueError
        For Tsallis' of order 0, which sees supports alone: its generator jumps at 0, and no critic can show that.

    Notes
    -----
    Scores are what the network's last layer gives, without any activation; a large score says that the row is real.
    Calculated in float32 at least. NaN among scores is looked for on the CPU only. The loss of a finite score is never
    NaN, and infinite only where its true value exceeds the dtype's largest number, as exp(v) does for KL at v = 1,000.
    For a divergence of your own that holds as far as its conjugate does.

    For ``dkl.js`` it is the classic game: the critic's loss is that of ``gan_discriminator_loss``, less log 4, halved.

    References
    ----------
    .. [1] S. Nowozin, B. Cseke, R. Tomioka, "f-GAN: Training generative neural samplers using variational divergence
       minimization", NeurIPS (2016), eq. 6.

    Examples
    --------
    >>> import dkl, torch
    >>> from dkl.training import FGAN
    >>> game = FGAN(dkl.kl)
    >>> p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    >>> best = game.best_scores(torch.log(p / q))
    >>> (p * game.activation(best) - q * game.conjugate(best)).sum(), dkl.kl(p, q)
    (tensor(0.3681), tensor(0.3681))
    """

    divergence: Divergence
    _output: _Output = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_output", _output_of(self.divergence))

    def activation(self, scores: Tensor) -> Tensor:
        """T = g(v): scores brought into the domain of the conjugate, which ends at ``divergence.slope_inf``.

        Parameters
        ----------
        scores : Tensor
            Any real numbers, any shape.

        Returns
        -------
        Tensor
        """
        return self._output.activation(read_scores(scores, "scores"))

    def conjugate(self, scores: Tensor) -> Tensor:
        """The convex conjugate of what the scores stand for, f*(g(v)).

        Parameters
        ----------
        scores : Tensor
            Any real numbers, any shape.

        Returns
        -------
        Tensor
            Right also where g(v) rounds to the end of the domain.
        """
        return self._output.conjugate(read_scores(scores, "scores"))

    def best_scores(self, log_ratio: Tensor) -> Tensor:
        """The scores of the critic for which the bound is the divergence: T = f'(p/q).

        Parameters
        ----------
        log_ratio : Tensor
            log p − log q at the rows.

        Returns
        -------
        Tensor
            The log-ratio itself wherever T = f'(exp v); ±∞ for total variation.

        Raises
        ------
        TypeError
            For a divergence of your own, whose f' is not known.
        """
        if self._output.best_score is None:
            raise TypeError(f"the best scores of {self.divergence.name} are not known: it does not tell its derivative")
        return self._output.best_score(read_scores(log_ratio, "log_ratio"))

    def bound(
        self,
        real_scores: Tensor,
        fake_scores: Tensor,
        *,
        real_mask: Tensor | None = None,
        fake_mask: Tensor | None = None,
    ) -> Tensor:
        """The lower bound on D_f(P‖Q) that a critic proves, E_P[g(v)] − E_Q[f*(g(v))], from its scores on samples.

        Parameters
        ----------
        real_scores : Tensor
            On samples of P, any shape, one for each row.
        fake_scores : Tensor
            On samples of Q, which may be more or fewer.
        real_mask, fake_mask : Tensor, optional
            Which rows count.

        Returns
        -------
        Tensor
            Its expectation is at most D_f(P‖Q), for every critic that has not seen these samples; a poor critic's is
            below 0.

        Raises
        ------
        ValueError, TypeError
            As :meth:`discriminator_loss`.

        Examples
        --------
        >>> import dkl, torch
        >>> from dkl.training import FGAN
        >>> FGAN(dkl.js).bound(torch.tensor([50.0]), torch.tensor([-50.0]))  # told apart with certainty: log 2
        tensor(0.6931)
        """
        return -self.discriminator_loss(real_scores, fake_scores, real_mask=real_mask, fake_mask=fake_mask)

    def discriminator_loss(
        self,
        real_scores: Tensor,
        fake_scores: Tensor,
        *,
        reduction: Reduction = "mean",
        real_mask: Tensor | None = None,
        fake_mask: Tensor | None = None,
    ) -> Tensor:
        """What the critic minimises: −g(v) on real rows plus f*(g(v)) on generated rows.

        Parameters
        ----------
        real_scores : Tensor
            Any shape, one for each row.
        fake_scores : Tensor
            The same on generated rows.
        reduction : {"mean", "sum", "none"}
            Over the real and over the generated rows, each by itself; the two are added. ``"none"`` needs equal shapes.
        real_mask, fake_mask : Tensor, optional
            Which rows count.

        Returns
        -------
        Tensor
            With ``"mean"``, minus the bound.

        Raises
        ------
        ValueError
            For NaN (looked for on the CPU only), a mask that does not fit, unequal shapes with ``reduction="none"``.
        TypeError
            For what is no tensor of floating numbers.
        """
        real = read_scores(real_scores, "real_scores", real_mask)
        fake = read_scores(fake_scores, "fake_scores", fake_mask)
        return of_both(-self._output.activation(real), self._output.conjugate(fake), reduction, real_mask, fake_mask)

    def generator_loss(
        self,
        fake_scores: Tensor,
        *,
        saturating: bool = False,
        reduction: Reduction = "mean",
        mask: Tensor | None = None,
    ) -> Tensor:
        """What the generator minimises: −g(v), or with ``saturating`` the game's own −f*(g(v)).

        Parameters
        ----------
        fake_scores : Tensor
            Any shape, one for each generated row, with the generator's graph behind it.
        saturating : bool
            The game as written, whose gradient at the best critic is that of D_f(P‖Q); it may vanish where P and Q
            share little. The other loss moves the rows to where the critic's output is larger ([1], section 3.2).
        reduction : {"mean", "sum", "none"}
            Over rows.
        mask : Tensor, optional
            Which rows count.

        Returns
        -------
        Tensor

        Raises
        ------
        ValueError, TypeError
            As :meth:`discriminator_loss`.

        References
        ----------
        .. [1] S. Nowozin, B. Cseke, R. Tomioka, "f-GAN: Training generative neural samplers using variational
           divergence minimization", NeurIPS (2016).
        """
        fake = read_scores(fake_scores, "fake_scores", mask)
        loss = self._output.conjugate(fake) if saturating else self._output.activation(fake)
        return reduced(-loss, reduction, mask)


def _output_of(d: Divergence) -> _Output:
    if not isinstance(d, Divergence):
        raise TypeError(f"divergence must be a member of the family such as dkl.js, got {d!r}")
    if not isinstance(d, Csiszar):
        instead = "" if d.core is None else f": use {d.core!r}, of which it is a function"
        raise TypeError(f"{d.name} is no f-divergence, so it has no conjugate{instead}")
    match d:
        case Power(scale=0):
            raise ValueError(f"{d.name} sees supports alone, which no critic can show: use an order above 0")
        case Power(order=1) | SkewKL(weight=1):
            return _Output(_same, torch.expm1, _same)
        case Power():
            return _power_output(d.scale, d.order)
        case JS():
            return _Output(partial(_js_slope, d.weight), partial(_js_conjugate, d.weight), _same)
        case SkewKL():
            return _Output(partial(_skew_slope, d.weight), partial(_skew_conjugate, d.weight), _same)
        case Jeffreys():
            return _Output(_jeffreys_slope, _jeffreys_conjugate, _same)
        case Triangular():
            return _Output(_triangular_slope, _triangular_conjugate, _same)
        case TotalVariation():
            return _Output(_half_tanh, _half_tanh, _step)
        case FDivergence() if getattr(d.conjugate, "__self__", None) is d:
            raise TypeError(f"{d.name} finds its conjugate by a numerical search: give conjugate=, written in PyTorch")
    return _Output(partial(_below, d.slope_inf), partial(_own_conjugate, d), None)


def _same(v: Tensor) -> Tensor:
    return v


def _power_output(scale: float, order: float) -> _Output:
    def slope(v: Tensor) -> Tensor:
        """f'(t) at t = exp v."""
        return scale * torch.expm1((order - 1) * v) / (order - 1)

    def conjugate_of_slope(v: Tensor) -> Tensor:
        """t·f'(t) − f(t) = scale·(t^a − 1)/a."""
        return scale * (torch.expm1(order * v) / order if order else v)

    def conjugate(u: Tensor) -> Tensor:
        """f* itself at an order above 1: −f(0) where f' exceeds u for every t."""
        gain = (order - 1) / scale * u  # t^(a−1) − 1
        inside = (gain > -1) & (gain < math.inf)
        log_t = torch.log1p(torch.where(inside, gain, 0.0)) / (order - 1)
        beyond = torch.full_like(gain, -1 / order).masked_fill(gain > 0, math.inf)
        return scale * torch.where(inside, torch.expm1(order * log_t) / order, beyond)

    def score(log_t: Tensor) -> Tensor:
        """At an order below 0, linear in log t above 0 and in t^(a−1) below."""
        y = (1 - order) * log_t
        return torch.where(y > 0, y, -torch.expm1(-torch.where(y > 0, 0.0, y)))

    def log_ratio(v: Tensor) -> Tensor:
        """The inverse of ``score``."""
        return torch.where(v > 0, v, -torch.log1p(-torch.where(v > 0, 0.0, v))) / (1 - order)

    def slope_of_score(v: Tensor) -> Tensor:
        """f'(t) at the t of a score."""
        return scale / (1 - order) * torch.where(v > 0, -torch.expm1(-torch.where(v > 0, v, 0.0)), v)

    if order > 1:
        return _Output(_same, conjugate, slope)
    if order >= 0:
        return _Output(slope, conjugate_of_slope, _same)
    return _Output(slope_of_score, lambda v: conjugate_of_slope(log_ratio(v)), score)


def _log_mixture(share: float, v: Tensor) -> Tensor:
    """The logarithm of share·exp(v) + 1 − share."""
    return torch.logaddexp(v + math.log(share), torch.full_like(v, math.log1p(-share)))


def _js_slope(w: float, v: Tensor) -> Tensor:
    """w·log(p/m) with m = w·p + (1 − w)·q."""
    return -w * _log_mixture(1 - w, -v)


def _js_conjugate(w: float, v: Tensor) -> Tensor:
    """(1 − w)·log(m/q)."""
    return (1 - w) * _log_mixture(w, v)


def _skew_slope(w: float, v: Tensor) -> Tensor:
    """With r = p/m and m = (1 − w)·p + w·q, log r + (1 − w)·(1 − r)."""
    log_r = -_log_mixture(w, -v)
    return log_r - (1 - w) * torch.expm1(log_r)


def _skew_conjugate(w: float, v: Tensor) -> Tensor:
    """w·(r − 1)."""
    return w * torch.expm1(-_log_mixture(w, -v))


def _jeffreys_slope(v: Tensor) -> Tensor:
    """1 − 1/t + log t."""
    return v - torch.expm1(-v)


def _jeffreys_conjugate(v: Tensor) -> Tensor:
    """T − 1 + log t."""
    return v + torch.expm1(v)


def _triangular_slope(v: Tensor) -> Tensor:
    """c·(2 − c) with c = (p − q)/(p + q)."""
    c = torch.tanh(0.5 * v)
    return c * (2 - c)


def _triangular_conjugate(v: Tensor) -> Tensor:
    """c·(2 + c)."""
    c = torch.tanh(0.5 * v)
    return c * (2 + c)


def _half_tanh(v: Tensor) -> Tensor:
    """Between −1/2 and 1/2, where f* is the identity."""
    return 0.5 * torch.tanh(v)


def _step(log_ratio: Tensor) -> Tensor:
    """−∞, 0 or ∞."""
    return torch.where(log_ratio == 0, 0.0, torch.copysign(torch.full_like(log_ratio, math.inf), log_ratio))


def _below(end: float, v: Tensor) -> Tensor:
    return v if end == math.inf else end - softplus(-v)


def _own_conjugate(d: Csiszar, v: Tensor) -> Tensor:
    value = d.conjugate(_below(d.slope_inf, v))
    if not isinstance(value, Tensor) or value.shape != v.shape:
        raise TypeError(f"the conjugate of {d.name} must be elementwise on PyTorch's tensors, got {value!r:.60}")
    return value
