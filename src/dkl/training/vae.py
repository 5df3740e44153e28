"""The loss of a variational autoencoder: what reconstruction costs, and the weighted KL of the encoder."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dkl._array import real_number
from dkl.training.gaussian import beside, gaussian_kl
from dkl.training.latents import active_units
from dkl.training.likelihoods import Likelihood, negative_log_likelihood
from dkl.training.reduction import Reduction, reduced, visible
from dkl.training.weight import kl_weight, weighted


class VAELoss(NamedTuple):
    """A variational autoencoder's loss and its parts, in nats.

    Attributes
    ----------
    total : Tensor
        What is minimised: reconstruction + β·KL, the KL floored by the free bits.
    reconstruction : Tensor
        −log p(x|z), summed over the data's dimensions.
    kl : Tensor
        KL(q(z|x) ‖ prior) as it is, summed over the latent dimensions: no floor, no β.
    kl_per_dim : Tensor
        The same of each latent dimension, averaged over the rows.
    beta : float or Tensor
        The weight used.
    active_units : Tensor
        How many latent dimensions have means that vary by more than 0.01 over these rows
        (:func:`dkl.training.active_units`).
    """

    total: Tensor
    reconstruction: Tensor
    kl: Tensor
    kl_per_dim: Tensor
    beta: float | Tensor
    active_units: Tensor

    def detach(self) -> VAELoss:
        """The same without its graph, for a log."""
        return VAELoss(*(x.detach() if isinstance(x, Tensor) else x for x in self))


def vae_loss(
    x: Tensor,
    x_recon: Tensor,
    mu: Tensor,
    log_var: Tensor,
    *,
    beta: float | Tensor = 1.0,
    likelihood: Likelihood = "bernoulli",
    scale: float | Tensor = 1.0,
    free_bits: float = 0.0,
    prior: Any = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
) -> VAELoss:
    """The negative ELBO with a weighted KL: −log p(x|z) + β·KL(q(z|x) ‖ prior), for z drawn from q by the caller.

    By default ``x_recon`` holds *probabilities*, after the sigmoid. A decoder that gives log-odds needs
    ``likelihood="bernoulli_logits"``: log-odds that happen to lie in [0, 1] cannot be told from probabilities, and
    raise no error.

    Parameters
    ----------
    x, x_recon : Tensor
        The data and the decoder's outputs, with rows first: see
        :func:`~dkl.training.negative_log_likelihood`, also for the likelihoods and their ``scale``.
    mu, log_var : Tensor
        The encoder's means and logarithms of its variances, with rows first.
    beta : float or Tensor
        The weight of the KL; 1 gives the ELBO. Not negative. Of a schedule its value at this step, ``schedule(step)``;
        of a controller ``controller.beta``.
    likelihood : str
        One of ``"bernoulli"`` (probabilities, the default), ``"bernoulli_logits"``, ``"continuous_bernoulli_logits"``,
        ``"gaussian"``, ``"laplace"``, ``"categorical_logits"``.
    scale : float or Tensor
        Of ``"gaussian"`` and ``"laplace"``. A Gaussian of scale s weighs the squared error by 1/(2s²): leaving s at 1
        for data in [0, 1] is a β of hundreds in disguise.
    free_bits : float
        λ in nats for each latent dimension, in spite of its name: where the KL of a dimension, averaged over the rows
        first, is below λ, it costs λ and has no gradient [1].
    prior : (Tensor, Tensor) or Normal, optional
        See :func:`gaussian_kl`; N(0, 1) if not given.
    mask : Tensor, optional
        Which rows count, of shape (rows,): the others may hold anything.
    reduction : {"mean", "sum", "none"}
        Over rows. Data dimensions and latent dimensions are always summed: a mean over either would be a hidden β.

    Returns
    -------
    VAELoss
        ``total, reconstruction, kl, kl_per_dim, beta, active_units``. With ``"none"`` the first three have a number for
        each row, and the mean of the totals is still the total of the mean.

    Raises
    ------
    ValueError
        If shapes do not fit, or a name, β or λ is none; numbers inside the tensors are looked at on the CPU only.
    TypeError
        If ``beta`` is a schedule or a controller instead of a number.

    References
    ----------
    .. [1] D. P. Kingma et al., "Improved variational inference with inverse autoregressive flow", NeurIPS (2016),
       equation 15.
    .. [2] I. Higgins et al., "β-VAE: learning basic visual concepts with a constrained variational framework", ICLR
       (2017).

    Examples
    --------
    >>> import torch
    >>> from dkl.training import vae_loss
    >>> x = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]])
    >>> logits = torch.tensor([[-2.0, 3.0, 1.0], [0.0, -1.0, 4.0]], requires_grad=True)
    >>> mu, log_var = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.zeros(2, 2)
    >>> loss = vae_loss(x, logits, mu, log_var, likelihood="bernoulli_logits", beta=4.0)
    >>> print(f"{loss.total:.4f} = {loss.reconstruction:.4f} + 4·{loss.kl:.4f}, {loss.active_units} active")
    2.7567 = 0.7567 + 4·0.5000, 1 active
    >>> loss.kl_per_dim
    tensor([0.5000, 0.0000])
    """
    rows = _rows(mask, x=x, x_recon=x_recon, mu=mu, log_var=log_var)
    weight = kl_weight(beta)
    free = real_number(free_bits, "free_bits")
    if not 0 <= free < math.inf:
        raise ValueError(f"free_bits = {free_bits!r} must be at least 0 and finite, in nats for each dimension")

    # The fill is an integer, which leaves integers what they are.
    data, output = (visible(values, beside(mask, values), fill=0) for values in (x, x_recon))
    cost = negative_log_likelihood(data, output, likelihood, scale=scale).reshape(rows, -1).sum(-1)
    kl = gaussian_kl(mu, log_var, prior, mask=mask)
    count = rows if mask is None else (mask != 0).sum().clamp(min=1)
    kl_per_dim = kl.sum(0) / count
    # A row's share of the floor, so that rows add up to the floor of their mean.
    floored = torch.where(kl_per_dim > free, kl, free) if free else kl
    total = cost + weighted(weight, floored.reshape(rows, -1).sum(-1))
    return VAELoss(
        reduced(total, reduction, mask),
        reduced(cost, reduction, mask),
        reduced(kl.reshape(rows, -1).sum(-1), reduction, mask),
        kl_per_dim,
        beta,
        active_units(mu, mask=mask),
    )


def _rows(mask: Tensor | None, **inputs: Tensor) -> int:
    """The number of rows that all inputs share."""
    counts = {name: tuple(x.shape)[:1] for name, x in inputs.items()}
    if () in counts.values() or len(set(counts.values())) > 1:
        shapes = ", ".join(f"{name} {tuple(x.shape)}" for name, x in inputs.items())
        raise ValueError(f"the first axis holds the rows of the batch, as many in each: got {shapes}")
    (rows,) = counts["x"]
    if mask is not None and tuple(mask.shape) != (rows,):
        raise ValueError(f"mask has shape {tuple(mask.shape)}, but there are {rows} rows: give one number for each")
    return int(rows)
