"""What may be asked of dkl.fit, and what it says of anything else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import dkl
from dkl.families import Gamma, MultivariateNormal, Normal, StudentT
from dkl.supports import Vectors

TWO = dkl.Mixture(Normal([-3.0, 3.0], [1.0, 1.0]), [0.5, 0.5])


@pytest.mark.parametrize("target", [None, "abc", 5, 2.5, True, Normal])
def test_what_is_no_target(target: Any) -> None:
    with pytest.raises(TypeError, match=r"target must be a distribution, dkl\.Density"):
        dkl.fit(Normal, target)


def test_arrays_and_functions_must_be_wrapped() -> None:
    with pytest.raises(TypeError, match=r"a raw array is no target: wrap it, dkl\.Samples"):
        dkl.fit(Normal, np.ones(3))
    with pytest.raises(TypeError, match=r"a function is no target: wrap it, dkl\.Density"):
        dkl.fit(Normal, lambda x: x)


def test_outcomes_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match=r"is a number, and one of MultivariateNormal a vector"):
        dkl.fit(MultivariateNormal, dkl.Density(lambda x: -(x**2)), dkl.reverse_kl)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((Normal(0.0, 1.0), TWO), {}, TypeError, "give its class, Normal"),
        ((Normal, TWO, "kl"), {}, TypeError, r"divergence must be a member of the family such as dkl\.reverse_kl"),
        ((Normal, TWO), {"method": "em"}, ValueError, "method = 'em' is not one of moment matching"),
        ((dkl.Mixture, TWO), {}, TypeError, r"the mixtures of so many members of one, such as dkl\.Mixture\.of"),
        ((dkl.Density, TWO), {}, TypeError, "family must be a class of dkl.families"),
        ((Normal, TWO), {"stars": 3}, TypeError, "^dkl.fit takes no stars; its methods take alpha, "),
        ((Normal, TWO), {"stars": 3, "method": "moment matching"}, TypeError, "^moment matching takes no stars"),
        ((Normal, TWO), {"seed": 3}, TypeError, "^dkl.fit takes no seed: write rng=$"),
        ((Normal, TWO), {"loc": 3.0}, TypeError, "^dkl.fit takes no loc: Normal has it fitted, and only what a family"),
        ((Normal, TWO), {"rng": -1}, TypeError, "rng must be a seed"),
        ((Normal, TWO), {"progress": 5}, TypeError, "progress must be a function"),
        ((Normal, dkl.Samples(np.zeros((0, 5)))), {}, ValueError, "an empty batch"),
    ],
)
def test_arguments(arguments: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dkl.fit(*arguments, **options)


def test_a_column_is_no_batch_of_single_observations() -> None:
    message = r"^target\[0\] .* of samples of shape \(4, 1\) each target has one: are they all of one target\?.* 1$"
    with pytest.raises(ValueError, match=message):
        dkl.fit(Normal, dkl.Samples(np.arange(4.0)[:, None]))
    with pytest.raises(ValueError, match=r"^target\[0\] has no best member: .*; fit it alone to see$"):
        dkl.fit(Normal, dkl.Samples(np.ones((3, 4))))


def test_samples_are_told_by_their_shape() -> None:
    message = r"^nothing fits Gamma to Samples of shape \(3,\) by reverse_kl: .*; of samples dkl\.kl, which is"
    with pytest.raises(TypeError, match=message):
        dkl.fit(Gamma, dkl.Samples(np.array([1.0, 2.0, 3.0])), dkl.reverse_kl)


@pytest.mark.parametrize(("divergence", "options"), [(dkl.kl, {}), (dkl.reverse_kl, {"starts": 1})])
def test_a_density_on_a_line_may_be_written_in_pytorch(divergence: Any, options: Any) -> None:
    import torch

    written = dkl.Density(lambda x: 3.0 * x - torch.exp(x) - 0.5 * (x - 1.0).pow(2))
    same = dkl.Density(lambda x: 3.0 * x - np.exp(x) - 0.5 * (x - 1.0) ** 2)
    found, other = (dkl.fit(Normal, target, divergence, **options) for target in (written, same))
    np.testing.assert_allclose(found.distribution.mean(), other.distribution.mean(), rtol=1e-9)
    np.testing.assert_allclose(float(found.normaliser), float(other.normaliser), rtol=1e-12)


def test_a_log_density_that_fails_says_what_it_was_asked() -> None:
    import math

    for wrong in (lambda x: -math.cosh(x), lambda x: -(x @ np.ones(7))):
        with pytest.raises((TypeError, ValueError)) as caught:
            dkl.fit(Normal, dkl.Density(wrong))
        (note,) = caught.value.__notes__
        assert "log_prob was asked with numpy.ndarray of float64, of shape (" in note


def test_known_parameters_are_asked_for() -> None:
    from dkl.families import Binomial

    with pytest.raises(TypeError, match="Binomial keeps total_count fixed: give total_count="):
        dkl.fit(Binomial, dkl.Counts([1.0, 2.0]))


def test_an_option_chooses_the_methods_that_take_it() -> None:
    assert dkl.fit(Normal, TWO).method == "moment matching"
    assert dkl.fit(Normal, TWO, starts=1).method == "direct minimisation"
    with pytest.raises(TypeError, match="with starts and weights"):
        dkl.fit(Gamma, TWO, dkl.js, starts=1, weights=[1.0])


def test_a_batch_is_fitted_target_by_target() -> None:
    batch = dkl.Mixture(Normal(np.array([[-3.0, 3.0], [0.0, 1.0]]), np.ones((2, 2))), [0.5, 0.5])
    fit = dkl.fit(Normal, batch, dkl.reverse_kl, starts=3)
    assert fit.distribution.batch_shape == (2,)
    assert [len(each) for each in fit.dropped] == [1, 0]
    assert "2 targets" in repr(fit)
    assert json.loads(json.dumps(fit.to_dict(), allow_nan=False))["dropped"][0][0]["of"] == 0.5
    for k, one in enumerate(fit.details["fits"]):
        assert float(fit.distribution.loc[k]) == float(one.distribution.loc)
    with pytest.raises(ValueError, match="a batch has no path of its own"):
        fit.path([0.0, 1.0])


def test_every_answer_is_json() -> None:
    for fit in (
        dkl.fit(Normal, dkl.Samples([1.0])),
        dkl.fit(MultivariateNormal, dkl.Density(lambda x: -(x**2).sum(-1), support=Vectors(3)), dkl.reverse_kl),
        dkl.fit(Normal, TWO, dkl.reverse_kl, starts=2),
    ):
        json.dumps(fit.to_dict(), allow_nan=False)


def test_a_density_without_samples_in_high_dimension_drops_nothing_that_is_known() -> None:
    fit = dkl.fit(MultivariateNormal, dkl.Density(lambda x: -(x**2).sum(-1), support=Vectors(3)), dkl.reverse_kl)
    assert fit.dropped == ()


def test_where_nothing_fits_every_method_says_why() -> None:
    with pytest.raises(TypeError) as told:
        dkl.fit(StudentT, dkl.Samples([0.1, 0.7, 2.0]), dkl.Renyi(2.0))
    reasons = str(told.value)
    assert (
        "moment matching, maximum likelihood, expectation maximisation (each minimises KL(target‖fit) alone)" in reasons
    )
    assert "direct minimisation needs a density, a list of outcomes or counts" in reasons
    assert "stochastic gradient, variational bound (each is for normal families alone)" in reasons
