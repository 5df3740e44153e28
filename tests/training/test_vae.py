"""The loss of a variational autoencoder: its parts by hand, free bits, masks, reductions, and mistakes it names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dkl.training import gaussian_kl, negative_log_likelihood, vae_loss


def batch(rows: int = 6, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(rows, 2, 3, dtype=dtype, generator=generator)
    made = (torch.randn(shape, dtype=dtype, generator=generator) for shape in ((rows, 2, 3), (rows, 4), (rows, 4)))
    logits, mu, log_var = (y.requires_grad_() for y in made)
    return x, logits, mu * torch.tensor([1.0, 0.01, 2.0, 0.1], dtype=dtype), log_var * 0.3


def test_its_parts_are_sums_over_dimensions_and_means_over_rows() -> None:
    x, logits, mu, log_var = batch()
    loss = vae_loss(x, logits, mu, log_var, beta=0.7, likelihood="bernoulli_logits")
    cost = torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / 6
    kl = 0.5 * (mu**2 + log_var.exp() - 1 - log_var)
    torch.testing.assert_close(loss.reconstruction, cost)
    torch.testing.assert_close(loss.kl, kl.sum() / 6)
    torch.testing.assert_close(loss.kl_per_dim, kl.mean(0))
    torch.testing.assert_close(loss.total, cost + 0.7 * kl.sum() / 6)
    assert loss.beta == 0.7
    assert loss.total.requires_grad
    assert not any(x.requires_grad for x in loss.detach() if isinstance(x, Tensor))
    assert loss.detach().total == loss.total
    assert int(loss.active_units) == int((mu.var(0, correction=0) > 0.01).sum())


def test_reductions_are_of_one_loss() -> None:
    given = batch()
    kinds = {kind: vae_loss(*given, likelihood="gaussian", scale=0.5, free_bits=0.3, reduction=kind)
             for kind in ("mean", "sum", "none")}  # fmt: skip
    for field in ("total", "reconstruction", "kl"):
        each = getattr(kinds["none"], field)
        assert each.shape == (6,)
        torch.testing.assert_close(getattr(kinds["sum"], field), each.sum())
        torch.testing.assert_close(getattr(kinds["mean"], field), each.mean())


def test_free_bits_floor_the_mean_of_each_dimension() -> None:
    x, logits, mu, log_var = batch()
    mu, log_var = mu.detach().requires_grad_(), log_var.detach().requires_grad_()
    free = 0.2
    loss = vae_loss(x, logits, mu, log_var, likelihood="bernoulli_logits", free_bits=free, beta=2.0)
    per_dim = gaussian_kl(mu, log_var).mean(0)
    assert 0 < (per_dim < free).sum() < 4  # some are floored
    torch.testing.assert_close(loss.total - loss.reconstruction, 2.0 * per_dim.clamp(min=free).sum())
    torch.testing.assert_close(loss.kl, per_dim.sum())  # raw
    got = torch.autograd.grad(loss.total, (mu, log_var), retain_graph=True)
    expected = torch.autograd.grad(2.0 * per_dim.clamp(min=free).sum(), (mu, log_var))
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)
        assert (one[:, per_dim < free] == 0).all()


@pytest.mark.parametrize("likelihood", ["bernoulli", "bernoulli_logits", "gaussian", "categorical_logits"])
def test_what_a_mask_hides_is_not_seen(likelihood: Any) -> None:
    x, logits, mu, log_var = (y.detach() for y in batch())
    output = torch.sigmoid(logits) if likelihood == "bernoulli" else logits
    if likelihood == "categorical_logits":
        x, output = (x > 0.5).long(), torch.stack([logits, -logits], -1)
    mask = torch.tensor([1, 1, 0, 1, 0, 1])
    kept = mask.bool()
    expected = vae_loss(x[kept], output[kept], mu[kept], log_var[kept], likelihood=likelihood, free_bits=0.1)
    hidden = [y.clone() for y in (x, output, mu, log_var)]
    for y in hidden:
        y[~kept] = torch.nan if y.dtype.is_floating_point else 99
    leaves = [y.requires_grad_() for y in hidden[1:]]
    got = vae_loss(hidden[0], *leaves, likelihood=likelihood, free_bits=0.1, mask=mask)
    for field in ("total", "reconstruction", "kl", "kl_per_dim", "active_units"):
        torch.testing.assert_close(getattr(got, field), getattr(expected, field))
    for slope in torch.autograd.grad(got.total, leaves):
        assert torch.isfinite(slope).all()
        assert (slope[~kept] == 0).all()


def test_elbo_bounds_the_evidence_of_a_linear_model() -> None:
    # x|z ~ N(w·z, s²): with the exact posterior, the mean loss over z is −log p(x).
    w, s, x = 1.3, 0.8, torch.tensor([[0.4]], dtype=torch.float64)
    var = 1 / (1 + w**2 / s**2)
    mean = var * w / s**2 * x
    # Gauss-Hermite nodes in place of samples of z.
    nodes, weights = (torch.tensor(a) for a in np.polynomial.hermite_e.hermegauss(20))
    z = mean + var**0.5 * nodes[:, None]
    rows = [y.expand(20, 1) for y in (x, mean, torch.log(torch.tensor([[var]], dtype=torch.float64)))]
    each = vae_loss(rows[0], w * z, rows[1], rows[2], likelihood="gaussian", scale=s, reduction="none").total
    loss = float((weights / weights.sum()) @ each)
    evidence = torch.distributions.Normal(0.0, (w**2 + s**2) ** 0.5).log_prob(x)
    assert loss == pytest.approx(-float(evidence), rel=1e-7)


def test_weight_zero_of_an_infinite_kl_costs_nothing() -> None:
    x, logits, mu, _ = batch(dtype=torch.float32)
    loss = vae_loss(x, logits, mu, torch.full_like(mu, 200.0), beta=0.0, likelihood="bernoulli_logits")
    assert loss.kl == torch.inf
    assert loss.total == loss.reconstruction
    weighted = vae_loss(x, logits, mu, torch.zeros_like(mu), beta=torch.tensor(0.5), likelihood="bernoulli_logits")
    torch.testing.assert_close(weighted.total, weighted.reconstruction + 0.5 * weighted.kl)


def test_priors_and_half_precision() -> None:
    x, logits, mu, log_var = batch()
    prior = (torch.ones(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64))
    loss = vae_loss(x, logits, mu, log_var, likelihood="bernoulli_logits", prior=prior)
    torch.testing.assert_close(loss.kl, gaussian_kl(mu - 1.0, log_var).sum(-1).mean())
    halves = [y.detach().bfloat16() for y in (x, logits, mu, log_var)]
    assert vae_loss(*halves, likelihood="bernoulli_logits").total.dtype == torch.float32


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # by the compiler itself
def test_under_the_compiler() -> None:
    given = [y.detach() for y in batch()]

    def loss(*args: Tensor) -> Tensor:
        return vae_loss(*args, likelihood="gaussian", free_bits=0.1).total

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), loss(*given))


def test_reconstruction_is_the_likelihood_s() -> None:
    x, logits, mu, log_var = batch()
    loss = vae_loss(x, torch.sigmoid(logits), mu, log_var)
    torch.testing.assert_close(
        loss.reconstruction, negative_log_likelihood(x, logits, "bernoulli_logits").sum() / len(x)
    )


X, LOGITS, MU, LOG_VAR = (y.detach() for y in batch())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vae_loss(X, LOGITS.flatten(1), MU, LOG_VAR, likelihood="gaussian"), "x_recon (6, 6)"),
        (lambda: vae_loss(X, LOGITS[:5], MU, LOG_VAR), "the first axis holds the rows of the batch"),
        (lambda: vae_loss(X, LOGITS, MU[:5], LOG_VAR), "mu (5, 4)"),
        (lambda: vae_loss(X, LOGITS, MU, LOG_VAR), "use likelihood='bernoulli_logits'"),
        (lambda: vae_loss(X, LOGITS, MU, LOG_VAR, beta=-1.0, likelihood="gaussian"), "beta = -1.0 must be at least 0"),
        (lambda: vae_loss(X, LOGITS, MU, LOG_VAR, free_bits=-1.0), "free_bits = -1.0 must be at least 0"),
        (lambda: vae_loss(X, LOGITS, MU, LOG_VAR, mask=torch.ones(5)), "mask has shape (5,), but there are 6 rows"),
        (
            lambda: vae_loss(X, LOGITS, MU, LOG_VAR, likelihood="gaussian", reduction="batch"),
            "reduction = 'batch' is none of",
        ),
        (lambda: vae_loss(X, LOGITS, MU * torch.nan, LOG_VAR, likelihood="gaussian"), "mu[0, 0] is NaN"),
    ],
)
def test_errors_name_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is compared below
        call()
    assert message in str(caught.value)
