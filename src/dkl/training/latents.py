"""What the latent variables of an autoencoder hold: which are active, how much they tell, what theory says of both."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

import dkl
from dkl._array import first_failing, real_number
from dkl.training.gaussian import beside, gaussian_kl
from dkl.training.reduction import visible

# Numbers held at a time for the densities of samples under all rows.
_HELD = 1 << 22


def active_units(mu: Tensor, threshold: float = 0.01, *, mask: Tensor | None = None) -> Tensor:
    """How many latent dimensions have a posterior mean that varies over the data by more than a threshold.

    Parameters
    ----------
    mu : Tensor
        The encoder's means, shape (rows, …): the rows are the sample over which the variance is taken.
    threshold : float
        Of the variance; 0.01 in [1].
    mask : Tensor, optional
        Which rows count, of shape (rows,).

    Returns
    -------
    Tensor
        An integer. A single row has no variance, and so no active dimension. An estimate from a small batch has its
        sampling error: use some hundred rows.

    Raises
    ------
    ValueError
        If there are no rows, or the threshold is not a number at least 0.

    References
    ----------
    .. [1] Y. Burda, R. Grosse, R. Salakhutdinov, "Importance weighted autoencoders", ICLR (2016), section 5.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import active_units
    >>> active_units(torch.tensor([[1.0, 0.05], [-1.0, 0.0]]))
    tensor(1)
    """
    if mu.ndim == 0:
        raise ValueError("mu is a single number: its first axis holds the rows")
    if mu.shape[0] == 0:
        raise ValueError(f"mu of shape {tuple(mu.shape)} has no rows over which its means could vary")
    if not real_number(threshold, "threshold") >= 0:
        raise ValueError(f"threshold = {threshold!r} is no variance: it is at least 0")
    means = mu.detach().to(torch.promote_types(mu.dtype, torch.float32))
    kept = beside(mask, mu)
    count = mu.shape[0] if mask is None else (mask != 0).sum().clamp(min=1)
    centre = visible(means, kept).sum(0) / count
    variance = (visible(means - centre, kept) ** 2).sum(0) / count
    return (variance > threshold).sum()


class LatentInformation(NamedTuple):
    """A divergence of the aggregate posterior, estimated by samples, in nats.

    Attributes
    ----------
    value : Tensor
        The estimate: one number in float64, without a gradient.
    stderr : Tensor
        Its standard error, for these rows.
    """

    value: Tensor
    stderr: Tensor


def mutual_information(
    mu: Tensor, log_var: Tensor, z: Tensor | None = None, *, samples: int = 8, generator: torch.Generator | None = None
) -> LatentInformation:
    """The mutual information of row and latent variable: KL(q(z|x) ‖ q(z)) averaged over rows, q(z) being their mean.

    Parameters
    ----------
    mu, log_var : Tensor
        The encoder's means and log-variances of the rows, shape (rows, dimensions).
    z : Tensor, optional
        Samples to use instead of new ones, shape (rows, dimensions) or (samples, rows, dimensions): z[…, n, :] drawn
        from row n's distribution.
    samples : int
        How many to draw for each row.
    generator : torch.Generator, optional
        Of the samples.

    Returns
    -------
    LatentInformation
        Between 0 and log(rows), in every sample. It is that of the rows given: near log(rows), the latent variable
        names the row, and more rows would give more. No gradient.

    Raises
    ------
    ValueError
        If shapes do not fit, numbers are not finite, or a sample given is none of its row's distribution.

    Notes
    -----
    The average over samples z of q(z) of KL(w ‖ uniform), w the posterior probabilities of the rows given z: the same
    expectation as of log q(z|x)/q(z), with less variance, and no sample of it is negative [1]. Cost: samples·rows²
    densities, calculated in float64. Every finite log-variance will do, also where the variance itself leaves the
    range of float64: distances are measured in standard deviations of the row that they are compared with.

    References
    ----------
    .. [1] M. D. Hoffman, M. J. Johnson, "ELBO surgery: yet another way to carve up the variational evidence lower
       bound", NeurIPS workshop on advances in approximate Bayesian inference (2016).

    Examples
    --------
    >>> import torch
    >>> from dkl.training import mutual_information
    >>> mu = torch.tensor([[-50.0], [0.0], [50.0]])                # three rows that nobody takes for each other
    >>> mutual_information(mu, torch.zeros(3, 1)).value            # log 3
    tensor(1.0986, dtype=torch.float64)
    """
    means, log_variances = _rows_of(mu, log_var)
    if z is None:
        noise = _noise(means, samples, generator)
        per_sample = _code_information(means, log_variances, means.expand_as(noise), noise)
    else:
        per_sample = _code_information(means, log_variances, _given(means, log_variances, z), None)
    return LatentInformation(per_sample.mean(), _stderr(per_sample))


def aggregate_posterior_kl(
    mu: Tensor,
    log_var: Tensor,
    z: Tensor | None = None,
    *,
    prior: Any = None,
    samples: int = 8,
    generator: torch.Generator | None = None,
) -> LatentInformation:
    """KL(q(z) ‖ prior) of the aggregate posterior, the mean of the rows' distributions.

    Parameters
    ----------
    mu, log_var, z, samples, generator
        As for :func:`mutual_information`.
    prior : (Tensor, Tensor) or Normal, optional
        As for :func:`dkl.training.gaussian_kl`; N(0, 1) if not given.

    Returns
    -------
    LatentInformation
        What the KL term of the ELBO holds beyond the mutual information: the exact mean of the rows' KL, less an
        estimate of that. From the same samples, the two add up to the mean KL to the last digit. Where the true value
        is smaller than the standard error, the estimate may be below 0. No gradient.

    Raises
    ------
    ValueError
        As for :func:`mutual_information`.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import aggregate_posterior_kl
    >>> aggregate_posterior_kl(torch.full((5, 1), 2.0), torch.zeros(5, 1)).value  # rows all alike
    tensor(2., dtype=torch.float64)
    """
    information = mutual_information(mu, log_var, z, samples=samples, generator=generator)
    means, log_variances = _rows_of(mu, log_var)
    with torch.no_grad():
        mean_kl = gaussian_kl(means, log_variances, prior).sum(-1).mean()
    return LatentInformation(mean_kl - information.value, information.stderr)


def _rows_of(mu: Tensor, log_var: Tensor) -> tuple[Tensor, Tensor]:
    if mu.ndim != 2 or mu.shape != log_var.shape or 0 in mu.shape:
        raise ValueError(
            f"mu has shape {tuple(mu.shape)} and log_var {tuple(log_var.shape)}: both hold (rows, dimensions)"
        )
    rows = mu.detach().double(), log_var.detach().double()
    for name, x in zip(("mu", "log_var"), rows, strict=True):
        _hold_finite(name, x)
    return rows


def _hold_finite(name: str, x: Tensor) -> None:
    good = torch.isfinite(x)
    if not good.all():
        at, value = first_failing(x, good)
        raise ValueError(f"{name}{at} = {value:g} must be finite: the encoder has diverged, or its input is not finite")


def _noise(mu: Tensor, samples: int, generator: torch.Generator | None) -> Tensor:
    if samples < 1:
        raise ValueError(f"samples = {samples} must be at least 1")
    return torch.randn((samples, *mu.shape), dtype=mu.dtype, generator=generator, device=mu.device)


def _given(mu: Tensor, log_var: Tensor, z: Tensor) -> Tensor:
    """The caller's samples, in the shape (samples, rows, dimensions)."""
    if z.shape[-2:] != mu.shape or z.ndim not in (2, 3) or 0 in z.shape:
        raise ValueError(
            f"z has shape {tuple(z.shape)}: it holds (rows, dimensions) = {tuple(mu.shape)}, or (samples, …) of them"
        )
    drawn = z.detach().double()
    _hold_finite("z", drawn)
    likely = torch.isfinite((((drawn - mu) * _bounded_exp(-0.5 * log_var)) ** 2).sum(-1))
    if not likely.all():
        at = (~likely).nonzero()[0].tolist()
        raise ValueError(
            f"z{at} lies more than 1e150 standard deviations from its own row's mean: draw it from that row"
        )
    return drawn.reshape(-1, *mu.shape)


def _code_information(mu: Tensor, log_var: Tensor, centres: Tensor, noise: Tensor | None) -> Tensor:
    """KL(w ‖ uniform) of the rows' posterior probabilities w given each sample, in the shape (samples, rows).

    A sample of row n is its centre plus noise in units of that row's standard deviation. The two are kept apart, for
    the small noise of a narrow row is lost in their sum.
    """
    rows, dimensions = mu.shape
    half = 0.5 * log_var
    inverse = _bounded_exp(-half)
    columns = []
    for own in torch.arange(rows, device=mu.device).split(max(1, _HELD // (rows * dimensions))):
        log_ratio = half[own, None] - half
        log_scale = log_ratio.sum(-1)
        spread = None if noise is None else _bounded_exp(log_ratio)
        pieces = []
        for some in torch.arange(len(centres), device=mu.device).split(max(1, _HELD // log_ratio.numel())):
            apart = (centres[some][:, own, None] - mu).mul_(inverse)
            if noise is not None and spread is not None:
                apart.addcmul_(noise[some][:, own, None], spread)
            distance = apart.square_().sum(-1)
            # Infinite, or the sum of two infinite parts: the row has no share in the sample, however narrow it is, for
            # its density at the mean grows by a logarithm only.
            log_density = torch.where(distance < math.inf, log_scale - 0.5 * distance, -math.inf)
            pieces.append(dkl.kl(dkl.Logits(log_density), dkl.Logits(torch.zeros_like(log_density))))
        columns.append(torch.cat(pieces))
    return torch.cat(columns, 1)


def _bounded_exp(x: Tensor) -> Tensor:
    """exp, but the largest float where that is infinite: times a difference of 0 it must be 0."""
    return torch.exp(x).clamp(max=torch.finfo(x.dtype).max)


def _stderr(per_sample: Tensor) -> Tensor:
    """Of the mean over samples and rows, in the shape (samples, rows)."""
    samples, rows = per_sample.shape
    if samples > 1:
        # The rows are given: only what varies within one is noise.
        return (per_sample.var(0).sum() / samples).sqrt() / rows
    # One sample of each row cannot tell the two: the variance over rows bounds that within them.
    return per_sample.std() / math.sqrt(rows) if rows > 1 else per_sample.new_zeros(())


class PredictedLatents(NamedTuple):
    """The optimum of a linear variational autoencoder, direction by direction.

    Attributes
    ----------
    eigenvalues : Tensor
        Of the data's covariance, descending: as many as there can be latent dimensions.
    active : Tensor
        Which directions are used: λ > β·σ².
    kl_per_dim : Tensor
        The mean KL of each, ½·log(λ/(β·σ²)), or 0, in nats.
    kl : float
        Their sum.
    active_units : int
        How many are active.
    """

    eigenvalues: Tensor
    active: Tensor
    kl_per_dim: Tensor
    kl: float
    active_units: int


def predicted_active_dims(
    data_covariance: Any, beta: float, noise_variance: float, *, latent_dims: int | None = None
) -> PredictedLatents:
    """Which latent dimensions a linear β-VAE uses at its optimum, and at what KL: the rest collapses by design.

    Parameters
    ----------
    data_covariance : array_like or Tensor
        Shape (n, n), symmetric and positive semi-definite.
    beta : float
        The weight of the KL, positive.
    noise_variance : float
        σ² of the decoder N(W·z + b, σ²), held fixed; positive.
    latent_dims : int, optional
        How many latent dimensions there are; n if not given. The directions of the largest eigenvalues come first.

    Returns
    -------
    PredictedLatents
        ``eigenvalues, active, kl_per_dim, kl, active_units``, tensors in float64.

    Raises
    ------
    ValueError
        If the covariance is none, or a number lies outside its domain.

    Notes
    -----
    The decoder N(W·z + b, σ²), its log-likelihood divided by β, is that of noise βσ² but for constants. The β-ELBO is
    then β times the ELBO of probabilistic principal components with that noise, whose optimum explains eigenvalue λ by
    a column of squared length λ − βσ², if that is positive [1]. There, the posterior has variance v = βσ²/λ and means
    of variance 1 − v, so that its mean KL is −½·log v. For β = 1 this is the optimum of [2]; each direction with
    λ ≤ βσ² collapses, whatever the optimiser.

    References
    ----------
    .. [1] M. E. Tipping, C. M. Bishop, "Probabilistic principal component analysis", Journal of the Royal Statistical
       Society B 61 (1999), section 3.2.
    .. [2] J. Lucas, G. Tucker, R. Grosse, M. Norouzi, "Don't blame the ELBO! A linear VAE perspective on posterior
       collapse", NeurIPS (2019).

    Examples
    --------
    >>> import numpy as np
    >>> from dkl.training import predicted_active_dims
    >>> for beta in (1, 2, 8):
    ...     predicted = predicted_active_dims(np.diag([4, 2, 1, 0.5, 0.25]), beta, noise_variance=0.75)
    ...     print(predicted.active_units, round(predicted.kl, 4))
    3 1.4712
    2 0.6343
    0 0.0
    """
    given = data_covariance if isinstance(data_covariance, Tensor) else torch.as_tensor(np.asarray(data_covariance))
    covariance = given.detach().double()
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1] or not covariance.numel():
        raise ValueError(f"data_covariance has shape {tuple(covariance.shape)}: it is a square matrix")
    if not torch.isfinite(covariance).all() or not torch.allclose(covariance, covariance.T, rtol=1e-6, atol=0.0):
        raise ValueError("data_covariance is not a symmetric matrix of finite numbers")
    noise, weight = real_number(noise_variance, "noise_variance"), real_number(beta, "beta")
    for name, value in (("noise_variance", noise), ("beta", weight)):
        if not 0 < value < math.inf:
            raise ValueError(f"{name} = {value!r} must be positive and finite")
    n = covariance.shape[0]
    if latent_dims is not None and latent_dims < 1:
        raise ValueError(f"latent_dims = {latent_dims} must be at least 1")
    found = torch.linalg.eigvalsh(covariance).flip(0)
    if found[-1] < -1e-9 * found[0].abs():
        raise ValueError(f"data_covariance has the eigenvalue {float(found[-1]):g}: it must be positive semi-definite")
    eigenvalues = found[: n if latent_dims is None else min(latent_dims, n)]
    active = eigenvalues > weight * noise
    ratio = torch.where(active, eigenvalues, weight * noise) / (weight * noise)
    kl_per_dim = 0.5 * torch.log(ratio)
    return PredictedLatents(eigenvalues, active, kl_per_dim, float(kl_per_dim.sum()), int(active.sum()))
