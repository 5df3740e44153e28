"""The Wasserstein critic: its loss, and a gradient penalty whose own gradient is right, also where a critic is flat."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import dkl
from dkl.training import gradient_penalty, wgan_critic_loss, wgan_generator_loss


def rows(*numbers: float) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float64)[:, None]


def test_the_critic_of_a_shift_measures_w1() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=50), rng.normal(size=50) + 4.0
    loss = wgan_critic_loss(-torch.from_numpy(x), -torch.from_numpy(y))
    # All of y lies above its partner in x, so that c(x) = −x is the best critic.
    assert (np.sort(y) > np.sort(x)).all()
    assert -loss.item() == pytest.approx(float(dkl.wasserstein(dkl.Samples(x), dkl.Samples(y))), rel=1e-12)
    assert wgan_generator_loss(-torch.from_numpy(y)).item() == pytest.approx(y.mean(), rel=1e-12)


def test_reductions_masks_and_half_precision() -> None:
    real, fake = torch.tensor([1.0, 2.0, math.nan]), torch.tensor([4.0, 8.0, 6.0])
    seen = torch.tensor([True, True, False])
    assert wgan_critic_loss(real, fake, real_mask=seen).item() == 6 - 1.5
    torch.testing.assert_close(
        wgan_critic_loss(real, fake, reduction="none", real_mask=seen), torch.tensor([3.0, 6.0, 6.0])
    )
    assert wgan_generator_loss(fake, reduction="sum", mask=seen).item() == -12
    # 2,000 scores of 40 sum to 80,000, beyond float16.
    large = torch.full((2000,), 40.0, dtype=torch.float16)
    assert wgan_generator_loss(large).item() == -40
    with pytest.raises(ValueError, match=r"real_scores\[2\] is not a number"):
        wgan_critic_loss(real, fake)


@pytest.mark.parametrize("one_sided", [False, True])
def test_a_linear_critic_pays_for_its_slope(one_sided: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    real, fake = torch.randn(5, 3, generator=generator), torch.randn(5, 3, generator=generator)
    for slope in (rows(0.3, 0.0, 0.4).float(), rows(3.0, 0.0, 4.0).float()):
        norm = float(slope.norm())
        excess = max(norm - 1, 0) if one_sided else norm - 1
        got = gradient_penalty(lambda x, w=slope: x @ w, real, fake, weight=2.0, one_sided=one_sided)
        assert got.item() == pytest.approx(2 * excess**2, rel=1e-6)


def test_its_gradient_reaches_the_parameters_through_the_slope() -> None:
    """Of c(x) = a·x²/2 with slope a·x at x between real and fake, which are equal here: 2λ(|a·x| − 1)·|x|."""
    x = rows(0.5, -2.0, 3.0)
    a = torch.tensor(0.8, dtype=torch.float64, requires_grad=True)
    loss = gradient_penalty(lambda z: (a * z**2 / 2)[:, 0], x, x.clone(), weight=10.0)
    steep = (a.detach() * x).abs()
    torch.testing.assert_close(loss.detach(), (10 * (steep - 1) ** 2).mean())
    (gradient,) = torch.autograd.grad(loss, a)
    torch.testing.assert_close(gradient, (20 * (steep - 1) * x.abs()).mean())


def test_double_backward_of_a_network() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).double()
    parameters = tuple(network.parameters())
    real, fake = torch.randn(3, 2, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)

    def penalty(*values: torch.Tensor) -> torch.Tensor:
        named = dict(zip((name for name, _ in network.named_parameters()), values, strict=True))
        return gradient_penalty(
            lambda x: torch.func.functional_call(network, named, (x,)),
            real,
            fake,
            generator=torch.Generator().manual_seed(1),
        )

    assert torch.autograd.gradcheck(penalty, parameters)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("start", [0.5, -0.5])
def test_two_sides_hold_a_critic_that_starts_in_the_wrong_direction(one_sided: bool, start: float) -> None:
    """Descent on −d·m + λ·(|m| − 1)² with d = 4, λ = 10: to 1 + d/2λ = 1.2, or with a barrier at 0 to −0.8."""
    m = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    real, fake = rows(4.0, 4.0), rows(0.0, 0.0)

    def critic(x: torch.Tensor) -> torch.Tensor:
        return m * x

    for _ in range(200):
        penalty = gradient_penalty(critic, real, fake, one_sided=one_sided)
        loss = wgan_critic_loss(critic(real), critic(fake)) + penalty
        (gradient,) = torch.autograd.grad(loss, m)
        with torch.no_grad():
            m -= 0.02 * gradient
    assert m.item() == pytest.approx(-0.8 if start < 0 and not one_sided else 1.2, rel=1e-6)


def test_a_flat_critic_has_a_gradient() -> None:
    """The norm has a kink at 0: 0, and not the NaN of √0."""
    w = torch.zeros(2, 1, dtype=torch.float64, requires_grad=True)
    loss = gradient_penalty(lambda x: x @ w, torch.ones(4, 2, dtype=torch.float64), torch.zeros(4, 2).double())
    assert loss.item() == 10
    assert torch.autograd.grad(loss, w)[0].tolist() == [[0.0], [0.0]]


def test_a_critic_that_ignores_its_input_is_refused() -> None:
    constant = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match="do not depend on its input"):
        gradient_penalty(lambda x: constant.expand(len(x)), torch.ones(3, 2), torch.zeros(3, 2))


@pytest.mark.parametrize("one_sided", [False, True])
def test_a_critic_that_diverged_does_not_pass_for_a_flat_one(one_sided: bool) -> None:
    rows = torch.ones(3, 2), torch.zeros(3, 2)
    for slope in (math.nan, math.inf):
        broken = torch.tensor([slope, 1.0])
        assert math.isnan(gradient_penalty(lambda x, w=broken: x @ w, *rows, one_sided=one_sided))


def test_a_steep_critic_does_not_overflow() -> None:
    w = torch.full((2, 1), 1e15, requires_grad=True)
    loss = gradient_penalty(lambda x: x @ w, torch.ones(3, 2), torch.zeros(3, 2), weight=1e-30)
    assert loss.item() == pytest.approx(2.0, rel=1e-5)
    tiny = torch.full((2, 1), 1e-30, requires_grad=True)
    (gradient,) = torch.autograd.grad(gradient_penalty(lambda x: x @ tiny, torch.ones(3, 2), torch.zeros(3, 2)), tiny)
    # d λ(|w| − 1)²/dw = −2λ·w/|w|.
    torch.testing.assert_close(gradient, torch.full((2, 1), -20 / math.sqrt(2)))


def test_the_points_lie_between_the_rows() -> None:
    seen: list[torch.Tensor] = []

    def critic(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach())
        return x.sum(dim=(1, 2))

    real, fake = torch.zeros(200, 2, 3), torch.ones(200, 2, 3)
    gradient_penalty(critic, real, fake, generator=torch.Generator().manual_seed(3))
    gradient_penalty(critic, real, fake, generator=torch.Generator().manual_seed(3))
    assert torch.equal(seen[0], seen[1])
    shares = seen[0][:, 0, 0]
    assert (seen[0] == shares[:, None, None]).all()  # one share for the whole row
    assert ((shares >= 0) & (shares <= 1)).all()
    assert abs(shares.mean() - 0.5) < 4 / math.sqrt(12 * 200)


def test_masked_rows_leak_nothing() -> None:
    real, fake = torch.ones(3, 2), torch.zeros(3, 2)
    real[1] = math.nan
    fake[1] = math.inf
    w = torch.tensor([[3.0], [4.0]], requires_grad=True)
    mask = torch.tensor([1, 0, 1])
    loss = gradient_penalty(lambda x: x @ w, real, fake, mask=mask)
    assert loss.item() == pytest.approx(160)
    assert torch.autograd.grad(loss, w)[0].isfinite().all()
    each = gradient_penalty(lambda x: x @ w, real, fake, mask=mask, reduction="none")
    assert each.detach().tolist() == pytest.approx([160, 0, 160])


def test_under_no_grad_and_in_half_precision() -> None:
    w = torch.tensor([[3.0], [4.0]], requires_grad=True)
    with torch.no_grad():
        loss = gradient_penalty(lambda x: x @ w, torch.ones(3, 2), torch.zeros(3, 2))
    assert loss.item() == pytest.approx(160)
    assert not loss.requires_grad
    half = gradient_penalty(lambda x: x @ w.bfloat16(), torch.ones(3, 2).bfloat16(), torch.zeros(3, 2).bfloat16())
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(160)


def test_the_rows_get_no_gradient() -> None:
    real = torch.ones(3, 2, requires_grad=True)
    w = torch.tensor([[3.0], [4.0]], requires_grad=True)
    gradient_penalty(lambda x: (x @ w) ** 2, real, torch.zeros(3, 2)).backward()
    assert real.grad is None
    assert w.grad is not None


def test_errors() -> None:
    ones, w = torch.ones(3, 2), torch.ones(2, 1)
    with pytest.raises(ValueError, match=r"real of shape \(3, 2\) and fake of shape \(4, 2\) must have one shape"):
        gradient_penalty(lambda x: x @ w, ones, torch.ones(4, 2))
    with pytest.raises(ValueError, match=r"must have one shape, \(rows, …\)"):
        gradient_penalty(lambda x: x, torch.ones(3), torch.ones(3))
    with pytest.raises(TypeError, match=r"fake must be a tensor of floating numbers, got torch.int64"):
        gradient_penalty(lambda x: x @ w, ones, torch.ones(3, 2, dtype=torch.int64))
    with pytest.raises(TypeError, match="real must be a tensor of floating numbers, got list"):
        gradient_penalty(lambda x: x @ w, [[1.0]], ones)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"the critic gave scores of shape \(3, 2\) for 3 rows"):
        gradient_penalty(lambda x: x, ones, ones)
    with pytest.raises(ValueError, match="the critic does not depend on its input by differentiable operations"):
        gradient_penalty(lambda x: x.detach() @ w, ones, ones)
    with pytest.raises(ValueError, match=r"mask of shape \(3, 1\) must be of shape \(3,\)"):
        gradient_penalty(lambda x: x @ w, ones, ones, mask=torch.ones(3, 1))
    with pytest.raises(ValueError, match=r"weight = -1 must be a non-negative finite number"):
        gradient_penalty(lambda x: x @ w, ones, ones, weight=-1)
