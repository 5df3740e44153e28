"""The f-GAN: its bound is the divergence for the best critic, never more for any other, and stays a number."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import dkl
from dkl.divergences import Csiszar, Divergence
from dkl.training import FGAN, gan_discriminator_loss, gan_generator_loss

from ..contract.members import MEMBERS
from ..contract.strategies import pairs

OF_THE_FAMILY = [d for d in MEMBERS if isinstance(d, Csiszar) and not isinstance(d, dkl.FDivergence)]
OF_THE_FAMILY = [d for d in OF_THE_FAMILY if d.name != dkl.Tsallis(0).name]
HOCKEY_STICK = dkl.FDivergence(
    "hockey_stick",
    lambda t: (abs(t - 2) + (t - 2)) / 2,
    f_zero=0.0,
    slope_inf=1.0,
    conjugate=lambda u: 2 * torch.clamp(u, min=0.0),
)
OWN_CHI2 = dkl.FDivergence(
    "own_chi2",
    lambda t: (t - 1) ** 2,
    f_zero=1.0,
    slope_inf=math.inf,
    conjugate=lambda u: torch.where(u < -2, -1.0, u + u**2 / 4),
)
ALL = [*OF_THE_FAMILY, HOCKEY_STICK, OWN_CHI2]
of_the_family = pytest.mark.parametrize("d", OF_THE_FAMILY, ids=lambda d: d.name)
of_all = pytest.mark.parametrize("d", ALL, ids=lambda d: d.name)

SCORES = np.r_[-1e4, -90.0, -20.0, np.linspace(-4, 4, 17), 20.0, 90.0, 1e4]
HUGE = [0.0, 1.0, 30.0, 200.0, 1e4, 1e19, 3e38]


def vector(*numbers: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.tensor(numbers, dtype=dtype)


def expected_bound(game: FGAN, p: np.ndarray, q: np.ndarray, scores: torch.Tensor) -> float:
    """E_P[T] − E_Q[f*(T)] by enumeration."""
    in_p, in_q = torch.from_numpy(p > 0), torch.from_numpy(q > 0)
    real = torch.from_numpy(p)[in_p] * game.activation(scores[in_p])
    return float(real.sum() - (torch.from_numpy(q)[in_q] * game.conjugate(scores[in_q])).sum())


PAIRS = {
    "apart": ([0.9, 0.1], [0.5, 0.5]),
    "far": ([0.999, 0.0009, 0.0001], [0.001, 0.499, 0.5]),
    "equal": ([0.25, 0.75], [0.25, 0.75]),
    "nearly equal": ([0.25 + 1e-5, 0.75 - 1e-5], [0.25, 0.75]),
}


@pytest.mark.parametrize("pair", PAIRS)
@of_the_family
def test_the_best_critic_proves_the_whole_divergence(d: Divergence, pair: str) -> None:
    p, q = map(np.array, PAIRS[pair])
    game = FGAN(d)
    best = game.best_scores(torch.from_numpy(np.log(p) - np.log(q)))
    assert expected_bound(game, p, q, best) == pytest.approx(float(d(p, q)), rel=1e-12, abs=2e-15)


@of_the_family
def test_it_does_so_where_one_side_has_no_mass(d: Divergence) -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.75, 0.25])
    p_alone, q_alone = np.array([0.75, 0.25]), np.array([1.0, 0.0])
    game = FGAN(d)
    for left, right in ((p, q), (p_alone, q_alone)):
        with np.errstate(divide="ignore"):
            best = game.best_scores(torch.from_numpy(np.log(left) - np.log(right)))
        assert expected_bound(game, left, right, best) == pytest.approx(float(d(left, right)), rel=1e-12)


@pytest.mark.parametrize(
    ("own", "member", "best"),
    [
        (OWN_CHI2, dkl.chi2, lambda t: 2 * (t - 1)),
        # T = 1 where p > 2q, else 0: softplus(−v) is 0 and 1 there.
        (HOCKEY_STICK, HOCKEY_STICK, lambda t: torch.where(t > 2, 60.0, -math.log(math.e - 1))),
    ],
    ids=["chi2", "hockey_stick"],
)
def test_one_of_your_own_proves_its_divergence_too(own: Divergence, member: Divergence, best: object) -> None:
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.2, 0.6])
    scores = best(torch.from_numpy(p / q))  # type: ignore[operator]
    assert expected_bound(FGAN(own), p, q, scores) == pytest.approx(float(member(p, q)), rel=1e-12)


@of_all
@given(pair=pairs(), scores=st.lists(st.floats(-30.0, 30.0), min_size=6, max_size=6))
def test_no_critic_proves_more(d: Divergence, pair: tuple[np.ndarray, np.ndarray], scores: list[float]) -> None:
    p, q = pair
    bound = expected_bound(FGAN(d), p, q, vector(*scores[: len(p)]))
    assert bound <= float(d(p, q)) + 1e-12 * max(1.0, abs(bound))


@of_the_family
def test_a_critic_that_is_less_sure_proves_less(d: Divergence) -> None:
    p, q = np.array([0.6, 0.3, 0.1]), np.array([0.2, 0.3, 0.5])
    game = FGAN(d)
    best = game.best_scores(torch.from_numpy(np.log(p) - np.log(q)))
    best = best.clamp(-20, 20) if d is dkl.tv else best
    worse = expected_bound(game, p, q, 0.1 * best)
    assert worse < expected_bound(game, p, q, best) - 1e-6


@of_all
def test_the_activation_fills_the_domain_of_the_conjugate(d: Divergence) -> None:
    game = FGAN(d)
    v = vector(*SCORES)
    T = game.activation(v)
    assert (d.slope_inf >= T).all()  # type: ignore[attr-defined]
    assert (T.diff() >= 0).all()
    moderate = T[(v.abs() <= 4)]
    assert (moderate.diff() > 0).all()
    assert (moderate < d.slope_inf).all()  # type: ignore[attr-defined]
    high = float(game.activation(vector(1e4)))
    assert high == pytest.approx(min(d.slope_inf, 1e4), rel=1e-3)  # type: ignore[attr-defined]


@of_the_family
def test_the_activation_is_0_for_a_score_of_0(d: Divergence) -> None:
    """So that a fresh network starts at p/q = 1, where f' and f* are 0."""
    game = FGAN(d)
    zero = vector(0.0)
    assert (game.activation(zero).abs() < 1e-16).all()
    assert (game.conjugate(zero).abs() < 1e-15).all()
    assert game.best_scores(zero).item() == 0


@of_all
def test_the_conjugate_is_that_of_the_member(d: Divergence) -> None:
    game = FGAN(d)
    v = vector(*np.linspace(-6, 6, 25))
    expected = torch.as_tensor(d.conjugate(game.activation(v)))  # type: ignore[attr-defined]
    torch.testing.assert_close(game.conjugate(v), expected, rtol=1e-9, atol=1e-12)


@of_the_family
def test_the_conjugate_is_the_supremum(d: Divergence) -> None:
    """Fenchel's definition, sup over t of T·t − f(t), on a fine grid of t."""
    game = FGAN(d)
    t = np.r_[0.0, np.exp(np.linspace(-25, 25, 200_001))]
    f = np.asarray(d.f(t))  # type: ignore[attr-defined]
    for v in (-2.0, -0.7, 0.3, 1.5):
        T = float(game.activation(vector(v)))
        assert float(game.conjugate(vector(v))) == pytest.approx(float(np.max(T * t - f)), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("score", [-300.0, -40.0, 40.0, 300.0])
def test_far_scores_keep_their_digits(score: float) -> None:
    """Where T rounds to the end of its domain and f*(T), from T, would be infinite."""
    with mpmath.workdps(400):
        t = mpmath.e ** mpmath.mpf(score)
        w, a = mpmath.mpf("0.3"), mpmath.mpf("0.3")
        exact = {
            "reverse_kl": (1 - 1 / t, mpmath.log(t)),
            "js": (mpmath.log(2 * t / (1 + t)) / 2, mpmath.log((1 + t) / 2) / 2),
            "js(0.3)": (w * mpmath.log(t / (w * t + 1 - w)), (1 - w) * mpmath.log(w * t + 1 - w)),
            "alpha(0.3)": ((t ** (a - 1) - 1) / (a - 1), (t**a - 1) / a),
            "squared_hellinger": ((1 - 1 / mpmath.sqrt(t)) / 2, (mpmath.sqrt(t) - 1) / 2),
            "jeffreys": (1 - 1 / t + mpmath.log(t), t - 1 + mpmath.log(t)),
            "triangular": ((t - 1) * (t + 3) / (t + 1) ** 2, (t - 1) * (3 * t + 1) / (t + 1) ** 2),
        }
    for d in (
        dkl.reverse_kl,
        dkl.js,
        dkl.JS(0.3),
        dkl.Alpha(0.3),
        dkl.squared_hellinger,
        dkl.jeffreys,
        dkl.triangular,
    ):
        T, conjugate = exact[d.name]
        game = FGAN(d)
        assert float(game.activation(vector(score))) == pytest.approx(float(T), rel=1e-12), d.name
        assert float(game.conjugate(vector(score))) == pytest.approx(float(conjugate), rel=1e-12), d.name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@of_the_family
def test_a_huge_score_has_a_loss_and_a_gradient_that_are_no_nan(d: Divergence, dtype: torch.dtype) -> None:
    game = FGAN(d)
    largest = torch.finfo(dtype).max
    scores = torch.tensor([s * x for x in HUGE for s in (1, -1) if x < largest], dtype=dtype)
    for loss in (
        lambda v: game.discriminator_loss(v, v, reduction="none"),
        lambda v: game.generator_loss(v, reduction="none"),
        lambda v: game.generator_loss(v, saturating=True, reduction="none"),
    ):
        v = scores.clone().requires_grad_(True)
        value = loss(v)
        (gradient,) = torch.autograd.grad(value.sum(), v)
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert not value.isnan().any()
        assert not gradient.isnan().any()


@of_the_family
def test_the_losses_have_the_right_gradients(d: Divergence) -> None:
    game = FGAN(d)
    real, fake = (vector(*x).requires_grad_(True) for x in ([0.3, -1.1, 2.0], [0.7, -0.4, 1.2]))
    assert torch.autograd.gradcheck(game.discriminator_loss, (real, fake))
    assert torch.autograd.gradcheck(lambda x: game.generator_loss(x, saturating=True), (fake,))


@of_the_family
def test_the_saturating_generator_descends_the_divergence(d: Divergence) -> None:
    """At the best critic, held fixed, the game's gradient is that of D_f(P‖Q) in Q (the envelope theorem)."""
    p = torch.from_numpy(np.array([0.6, 0.3, 0.1]))
    theta = vector(0.2, -0.5, 0.4).requires_grad_(True)
    q = torch.softmax(theta, 0)
    game = FGAN(d)
    best = game.best_scores(torch.log(p) - torch.log(q.detach()))
    (by_game,) = torch.autograd.grad((q * game.generator_loss(best, saturating=True, reduction="none")).sum(), theta)
    (exact,) = torch.autograd.grad(d(p, torch.softmax(theta, 0)), theta)
    torch.testing.assert_close(by_game, exact, rtol=1e-10, atol=1e-13)


def test_js_is_the_classic_game() -> None:
    real, fake = vector(0.3, -2.0, 40.0), vector(1.0, -5.0)
    game = FGAN(dkl.js)
    expected = (gan_discriminator_loss(real, fake) - math.log(4)) / 2
    torch.testing.assert_close(game.discriminator_loss(real, fake), expected, rtol=1e-14, atol=1e-14)
    for saturating in (True, False):
        ours = game.generator_loss(fake.requires_grad_(True), saturating=saturating)
        classic = gan_generator_loss(fake, saturating=saturating)
        torch.testing.assert_close(
            torch.autograd.grad(ours, fake)[0], torch.autograd.grad(classic, fake)[0] / 2, rtol=1e-13, atol=0
        )


def test_the_output_runs_through_order_1() -> None:
    v = vector(-2.0, 0.5, 3.0)
    for order in (1 - 1e-9, 1 + 1e-9):
        for ours, limit in (("activation", v), ("conjugate", torch.expm1(v))):
            torch.testing.assert_close(getattr(FGAN(dkl.Alpha(order)), ours)(v), limit, rtol=1e-7, atol=1e-7)


def test_masked_rows_count_for_nothing_and_leak_nothing() -> None:
    game = FGAN(dkl.reverse_kl)
    real = vector(0.4, math.nan, 1.0).requires_grad_(True)
    fake = vector(math.inf, -0.3).requires_grad_(True)
    real_mask, fake_mask = torch.tensor([True, False, True]), torch.tensor([0, 1])
    loss = game.discriminator_loss(real, fake, real_mask=real_mask, fake_mask=fake_mask)
    kept = game.discriminator_loss(real.detach()[[0, 2]], fake.detach()[[1]])
    assert loss.item() == kept.item()
    assert -game.bound(real, fake, real_mask=real_mask, fake_mask=fake_mask).item() == kept.item()
    gradients = torch.autograd.grad(loss, (real, fake))
    assert gradients[0][1] == 0 == gradients[1][0]
    assert all(g.isfinite().all() for g in gradients)
    assert game.generator_loss(fake, mask=fake_mask).item() == game.generator_loss(fake.detach()[[1]]).item()


def test_reductions() -> None:
    game, real, fake = FGAN(dkl.kl), vector(0.5, 1.0), vector(-0.5, 2.0)
    rows = game.discriminator_loss(real, fake, reduction="none")
    torch.testing.assert_close(rows, -real + torch.expm1(fake))
    assert game.discriminator_loss(real, fake, reduction="sum").item() == pytest.approx(rows.sum().item())
    assert game.discriminator_loss(real, fake).item() == pytest.approx(rows.mean().item())
    more = vector(-0.5, 2.0, 2.0)
    assert game.discriminator_loss(real, more).item() == pytest.approx(-0.75 + torch.expm1(more).mean().item())
    with pytest.raises(ValueError, match=r"reduction = 'none' sets .* \(2,\) and \(3,\)"):
        game.discriminator_loss(real, more, reduction="none")
    with pytest.raises(ValueError, match="reduction = 'average'"):
        game.generator_loss(fake, reduction="average")  # type: ignore[arg-type]


@pytest.mark.parametrize("d", [dkl.js, dkl.kl, dkl.chi2, dkl.jeffreys, dkl.SkewKL(0.1), dkl.tv], ids=lambda d: d.name)
def test_compiled(d: Divergence) -> None:
    game = FGAN(d)
    compiled = torch.compile(game.discriminator_loss, backend="eager", fullgraph=True)
    real, fake = vector(0.3, -1.1), vector(0.7, -0.4)
    torch.testing.assert_close(compiled(real, fake), game.discriminator_loss(real, fake), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize(
    ("divergence", "error", "message"),
    [
        ("kl", TypeError, "divergence must be a member of the family such as dkl.js, got 'kl'"),
        (dkl.Renyi(2), TypeError, r"renyi\(2\) is no f-divergence, so it has no conjugate: use Tsallis\(order=2"),
        (dkl.hellinger, TypeError, "use dkl.squared_hellinger, of which it is a function"),
        (dkl.Renyi(math.inf), TypeError, "no conjugate$"),
        (dkl.Tsallis(0), ValueError, r"tsallis\(0\) sees supports alone, which no critic can show"),
        (
            dkl.FDivergence("mine", lambda t: (t - 1) ** 2, f_zero=1.0, slope_inf=math.inf),
            TypeError,
            "mine finds its conjugate by a numerical search: give conjugate=, written in PyTorch",
        ),
    ],
    ids=["word", "renyi", "hellinger", "renyi of infinity", "tsallis of 0", "own"],
)
def test_what_makes_no_game(divergence: Divergence, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FGAN(divergence)


def test_what_is_no_score() -> None:
    game, good = FGAN(dkl.js), vector(0.0, 1.0)
    with pytest.raises(TypeError, match=r"real_scores must be a tensor of floating numbers, .* got list"):
        game.discriminator_loss([0.0], good)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"fake_scores must be .* got torch\.int64"):
        game.generator_loss(torch.tensor([1, 2]))
    with pytest.raises(ValueError, match=r"fake_scores\[1\] is not a number: the network has diverged"):
        game.bound(good, vector(0.0, math.nan))
    with pytest.raises(
        ValueError, match=r"mask of shape \(2,\) does not broadcast to the fake_scores of shape \(2, 1\)"
    ):
        game.generator_loss(good[:, None], mask=torch.tensor([True, False]))
    with pytest.raises(ValueError, match=r"mask of shape \(3,\) does not broadcast to the fake_scores"):
        game.generator_loss(good, mask=torch.tensor([True, False, True]))
    with pytest.raises(TypeError, match="the best scores of own_chi2 are not known"):
        FGAN(OWN_CHI2).best_scores(good)
    wrong = dkl.FDivergence("wrong", OWN_CHI2.f, 1.0, math.inf, conjugate=lambda u: u.sum())
    with pytest.raises(TypeError, match="the conjugate of wrong must be elementwise on PyTorch's tensors"):
        FGAN(wrong).conjugate(good)
