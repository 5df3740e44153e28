"""The game of a GAN: its value against JS by quadrature, the best discriminator, and losses that stay right far out."""

from __future__ import annotations

import math

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from scipy import integrate, stats

import dkl
from dkl.families import Normal, Uniform
from dkl.training import (
    discriminator_value,
    gan_discriminator_loss,
    gan_generator_loss,
    gan_value,
    optimal_discriminator,
)

from ..contract.strategies import pairs


def vector(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(("loc", "scale"), [(0.5, 1.0), (2.0, 0.5), (6.0, 1.5)])
def test_the_value_is_that_of_the_best_discriminator(loc: float, scale: float) -> None:
    """E_P[log D*] + E_Q[log(1 − D*)] by SciPy's quadrature, with D* written out."""
    p, q = stats.norm(0, 1), stats.norm(loc, scale)

    def at(x: float) -> float:
        a, b = p.logpdf(x), q.logpdf(x)
        m = np.logaddexp(a, b)
        return float(math.exp(a) * (a - m) + math.exp(b) * (b - m))

    expected = integrate.quad(at, -12, loc + 15, points=[0.0, loc], epsabs=1e-13, limit=400)[0]
    assert gan_value(Normal(0, 1), Normal(loc, scale)) == pytest.approx(expected, rel=1e-9)


def test_the_value_at_both_ends() -> None:
    assert gan_value([0.5, 0.5, 0.0], [0.0, 0.0, 1.0]) == 0.0
    assert gan_value(Uniform(0, 1), Uniform(2, 3)) == 0.0
    assert gan_value(Normal(0.3, 2), Normal(0.3, 2)) == -math.log(4)


@given(pair=pairs())
def test_the_value_by_enumeration(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = pair
    D = np.asarray(optimal_discriminator(p, q))
    # log D and log(1 − D) from D itself, where D rounds to neither end.
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(D), 0.0) + np.where(q > 0, q * np.log1p(-D), 0.0)
    assert np.all((D >= 0) & (D <= 1))
    if np.all(np.isfinite(terms)):
        assert float(gan_value(p, q)) == pytest.approx(float(terms.sum()), abs=1e-9)


@given(pair=pairs())
def test_no_discriminator_is_worth_more(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = pair
    logits = torch.from_numpy(np.linspace(-3.0, 2.0, len(p)))
    rows = gan_discriminator_loss(logits, logits, reduction="none")
    assert rows.shape == logits.shape
    real = gan_discriminator_loss(logits, torch.full_like(logits, -math.inf), reduction="none")
    fake = gan_discriminator_loss(torch.full_like(logits, math.inf), logits, reduction="none")
    value = -(torch.from_numpy(p) * real + torch.from_numpy(q) * fake).sum()
    assert float(value) <= float(gan_value(p, q)) + 1e-12


def test_the_generator_sees_nothing_where_p_and_q_are_far_apart() -> None:
    """The gradient of C in Q's mean, exactly: it dies as exp(−θ²/8), while W₁ = θ keeps a slope of 1."""
    slopes = []
    for far in (1.0, 4.0, 8.0, 16.0):
        theta = vector(far).requires_grad_(True)
        (slope,) = torch.autograd.grad(gan_value(Normal(0.0, 1.0), Normal(theta, 1.0)).sum(), theta)
        slopes.append(slope.item())
    assert slopes[0] > 0.1
    assert 0 <= slopes[2] < 1e-3 * slopes[0]
    assert 0 <= slopes[3] < 1e-12


def test_the_saturating_loss_has_the_vanishing_gradient_of_c() -> None:
    """d C/dθ = E[∂ log(1 − D*)(x)/∂x] for Q a location family (the envelope theorem); by the loss, and by dkl.js."""
    for far in (1.0, 3.0):
        theta = vector(far).requires_grad_(True)
        nodes, weights = (torch.from_numpy(x) for x in np.polynomial.hermite_e.hermegauss(120))
        weights = weights / weights.sum()
        x = theta + nodes
        # The logit of D* at x, with D* held fixed.
        logits = -(x**2) / 2 + (x - far) ** 2 / 2
        loss = (weights * gan_generator_loss(logits, saturating=True, reduction="none")).sum()
        (by_loss,) = torch.autograd.grad(loss, theta)
        other = vector(far).requires_grad_(True)
        (by_js,) = torch.autograd.grad(gan_value(Normal(0.0, 1.0), Normal(other, 1.0)).sum(), other)
        torch.testing.assert_close(by_loss, by_js, rtol=1e-6, atol=1e-9)


def test_the_best_discriminator_on_each_representation() -> None:
    p, q = np.array([0.75, 0.25, 0.0]), np.array([0.25, 0.25, 0.5])
    expected = [0.75, 0.5, 0.0]
    with np.errstate(divide="ignore"):
        logs = dkl.LogProbs(np.log(p)), dkl.Logits(np.log(q) + 7)
    sides = [(p, q), (logs[0], q), (p, logs[1]), logs, (dkl.Counts(4 * p), dkl.Probs(q))]
    for left, right in sides:
        np.testing.assert_allclose(optimal_discriminator(left, right), expected, rtol=1e-14)
    np.testing.assert_allclose(optimal_discriminator(torch.from_numpy(p), torch.from_numpy(q)), expected, rtol=1e-14)
    np.testing.assert_allclose(optimal_discriminator(jnp.asarray(p), jnp.asarray(q)), expected, rtol=1e-6)
    columns = optimal_discriminator(np.stack([p, q], axis=1), np.stack([q, p], axis=1), axis=0)
    np.testing.assert_allclose(columns, np.stack([expected, 1 - np.array(expected)], axis=1), rtol=1e-14)


def test_the_best_discriminator_of_distributions() -> None:
    x = np.linspace(-3, 9, 7)
    p, q = stats.norm(0, 1), stats.norm(8, 2)
    expected = p.pdf(x) / (p.pdf(x) + q.pdf(x))
    np.testing.assert_allclose(optimal_discriminator(Normal(0, 1), Normal(8, 2), at=x), expected, rtol=1e-12)
    np.testing.assert_allclose(optimal_discriminator(p, q, at=x), expected, rtol=1e-12)
    at = torch.from_numpy(x)
    mixed = optimal_discriminator(torch.distributions.Normal(vector(0.0), vector(1.0)), q, at=at)
    np.testing.assert_allclose(mixed, expected, rtol=1e-12)
    assert isinstance(optimal_discriminator(Normal(0, 1), Normal(8, 2), at=at), torch.Tensor)
    assert optimal_discriminator(Normal(0, 1), Normal(60, 1), at=60.0) == 0.0
    assert optimal_discriminator(Normal(0, 1), Normal(60, 1), at=60.0, logits=True) == -1800.0


def test_the_best_discriminator_where_a_side_has_no_mass() -> None:
    at = [0.5, 1.5, 2.5, 9.0]
    p, q = Uniform(0, 2), Uniform(1, 3)
    np.testing.assert_array_equal(optimal_discriminator(p, q, at=at), [1.0, 0.5, 0.0, 0.5])
    np.testing.assert_array_equal(optimal_discriminator(p, q, at=at, logits=True), [math.inf, 0.0, -math.inf, 0.0])
    np.testing.assert_array_equal(optimal_discriminator([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]), [1.0, 0.0, 0.5])


def test_the_gradient_of_the_best_discriminator_is_finite() -> None:
    p = vector(0.5, 0.5, 0.0, 0.0).requires_grad_(True)
    q = vector(0.5, 0.0, 0.5, 0.0).requires_grad_(True)
    D = optimal_discriminator(p, q)
    np.testing.assert_allclose(D.detach(), [0.5, 1.0, 0.0, 0.5])
    gradients = torch.autograd.grad(D[0], (p, q), retain_graph=True)
    np.testing.assert_allclose(gradients[0], [0.5, 0, 0, 0])  # q/(p + q)²
    np.testing.assert_allclose(gradients[1], [-0.5, 0, 0, 0])
    for gradient in torch.autograd.grad(D.sum(), (p, q)):
        assert gradient.isfinite().all()
    far = vector(-900.0, 0.0, 900.0).requires_grad_(True)
    D = optimal_discriminator(Normal(0.0, 1.0), Normal(1.0, 1.0), at=far)
    assert torch.autograd.grad(D.sum(), far)[0].isfinite().all()


def test_the_losses_are_cross_entropies() -> None:
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    real, fake = vector(-3.0, 0.2, 2.0), vector(1.5, -0.7)
    expected = bce(real, torch.ones_like(real)) + bce(fake, torch.zeros_like(fake))
    torch.testing.assert_close(gan_discriminator_loss(real, fake), expected)
    torch.testing.assert_close(discriminator_value(real, fake), -expected)
    torch.testing.assert_close(gan_generator_loss(fake), bce(fake, torch.ones_like(fake)))
    torch.testing.assert_close(gan_generator_loss(fake, saturating=True), -bce(fake, torch.zeros_like(fake)))
    torch.testing.assert_close(gan_generator_loss(fake, reduction="sum"), 2 * gan_generator_loss(fake))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_the_losses_far_out(dtype: torch.dtype) -> None:
    logits = torch.tensor([-6e4, -100.0, 0.0, 100.0, 6e4], dtype=dtype).requires_grad_(True)
    wide = logits.detach().double()
    for saturating in (False, True):
        loss = gan_generator_loss(logits, saturating=saturating, reduction="none")
        assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        expected = -torch.logaddexp(wide, torch.zeros(())) if saturating else torch.logaddexp(-wide, torch.zeros(()))
        torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=1e-30)
        (gradient,) = torch.autograd.grad(loss.sum(), logits)
        assert gradient.isfinite().all()
    # One learns from the rows that the discriminator is sure are generated; the other does not.
    (lively,) = torch.autograd.grad(gan_generator_loss(logits, reduction="sum"), logits)
    (dead,) = torch.autograd.grad(gan_generator_loss(logits, saturating=True, reduction="sum"), logits)
    assert lively[0] == -1
    assert dead[0] == 0


def test_masks() -> None:
    real = vector(0.4, math.nan, 1.0).requires_grad_(True)
    fake = vector(math.nan, -0.3).requires_grad_(True)
    masks = {"real_mask": torch.tensor([True, False, True]), "fake_mask": torch.tensor([0.0, 1.0])}
    kept = gan_discriminator_loss(real.detach()[[0, 2]], fake.detach()[[1]])
    loss = gan_discriminator_loss(real, fake, **masks)
    assert loss.item() == kept.item() == -discriminator_value(real, fake, **masks).item()
    for gradient in torch.autograd.grad(loss, (real, fake)):
        assert gradient.isfinite().all()
    assert gan_generator_loss(fake, mask=masks["fake_mask"]).item() == gan_generator_loss(vector(-0.3)).item()
    assert gan_generator_loss(fake, mask=torch.zeros(2)).item() == 0


def test_compiled() -> None:
    real, fake = vector(-3.0, 0.2), vector(1.5, -0.7)
    compiled = torch.compile(gan_discriminator_loss, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(real, fake), gan_discriminator_loss(real, fake))


def test_errors() -> None:
    good = vector(0.0, 1.0)
    with pytest.raises(TypeError, match="fake_logits must be a tensor of floating numbers, one score for each row"):
        gan_generator_loss(np.zeros(2))
    with pytest.raises(ValueError, match=r"real_logits\[1\] is not a number"):
        gan_discriminator_loss(vector(0.0, math.nan), good)
    with pytest.raises(ValueError, match=r"mask of shape \(3,\) does not broadcast to the real_logits of shape \(2,\)"):
        discriminator_value(good, good, real_mask=torch.ones(3))
    with pytest.raises(ValueError, match="reduction = 'none' sets real and generated rows side by side"):
        gan_discriminator_loss(good, vector(0.0), reduction="none")
    with pytest.raises(TypeError, match="distributions are evaluated at outcomes: give them as at="):
        optimal_discriminator(Normal(0, 1), Normal(1, 1))
    with pytest.raises(ValueError, match="at= belongs to distributions; p is a list of outcomes"):
        optimal_discriminator([0.5, 0.5], [0.5, 0.5], at=0)
    with pytest.raises(TypeError, match="q is a Samples, which has no density to evaluate"):
        optimal_discriminator(Normal(0, 1), dkl.Samples([1.0]), at=0.0)
    with pytest.raises(TypeError, match="q is a Probs, which has no density"):
        optimal_discriminator(Normal(0, 1), [0.5, 0.5])
    with pytest.raises(ValueError, match=r"p sums to 1\.1"):
        gan_value([0.5, 0.6], [0.5, 0.5])


@pytest.mark.parametrize("at", [math.nan, [0.0, math.nan], torch.tensor([0.0, math.nan])])
def test_what_is_no_outcome_is_refused(at: object) -> None:
    with pytest.raises(ValueError, match="is not a number, and so no outcome"):
        optimal_discriminator(Normal(0, 1), Normal(0, 1), at=at)


def test_the_logit_of_normals_where_both_densities_underflow() -> None:
    assert float(optimal_discriminator(Normal(0, 1), Normal(1, 1), at=1e200, logits=True)) == pytest.approx(-1e200)
    assert optimal_discriminator(Normal(0, 1), Normal(1, 1), at=[-1e200, 1e200]).tolist() == [1.0, 0.0]
    # No outcome lies at infinity.
    assert float(optimal_discriminator(Normal(0, 1), Normal(1, 2), at=math.inf)) == 0.5


@pytest.mark.parametrize("form", ["scale", "variance", "precision", "log_variance"])
def test_the_logit_of_normals_is_that_of_their_densities(form: str) -> None:
    p, q = Normal(0.3, **{form: 0.7}), Normal(-1.0, **{form: 1.9})
    x = np.linspace(-9.0, 9.0, 37)
    np.testing.assert_allclose(
        optimal_discriminator(p, q, at=x, logits=True), p.log_prob(x) - q.log_prob(x), rtol=1e-13, atol=1e-13
    )
    point = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(optimal_discriminator(p, q, at=point, logits=True), point)
    h = 1e-5
    two = optimal_discriminator(p, q, at=np.array([0.4 - h, 0.4 + h]), logits=True)
    assert slope.item() == pytest.approx((two[1] - two[0]) / (2 * h), rel=1e-8)
