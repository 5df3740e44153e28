"""Distributions of NumPyro, whose parameters are JAX's arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from dkl.adapters import Adapter, adapted, adapter, fields, member
from dkl.adapters.derived import Transformed
from dkl.adapters.products import independent
from dkl.adapters.protocol import image
from dkl.density import Density
from dkl.families.base import Distribution
from dkl.mixture import Mixture
from dkl.representations import Representation

#: Classes whose attributes are a family's parameters.
_SAME = {
    "continuous.Beta": ("Beta", "a=concentration1 b=concentration0"),
    "continuous.Cauchy": ("Cauchy", "loc scale"),
    "continuous.Chi2": ("ChiSquared", "df"),
    "continuous.Dirichlet": ("Dirichlet", "concentration"),
    "continuous.Exponential": ("Exponential", "rate"),
    "continuous.Gamma": ("Gamma", "shape=concentration rate"),
    "continuous.Gumbel": ("Gumbel", "loc scale"),
    "continuous.HalfNormal": ("HalfNormal", "scale"),
    "continuous.InverseGamma": ("InverseGamma", "shape=concentration scale=rate"),
    "continuous.InverseWishart": ("InverseWishart", "df=concentration scale=scale_matrix"),
    "continuous.Kumaraswamy": ("Kumaraswamy", "a=concentration1 b=concentration0"),
    "continuous.Laplace": ("Laplace", "loc scale"),
    "continuous.LogNormal": ("LogNormal", "loc scale"),
    "continuous.LowRankMultivariateNormal": ("LowRankNormal", "loc factor=cov_factor diagonal=cov_diag"),
    "continuous.Normal": ("Normal", "loc scale"),
    "continuous.Pareto": ("Pareto", "scale alpha"),
    "continuous.StudentT": ("StudentT", "df loc scale"),
    "continuous.Uniform": ("Uniform", "low high"),
    "continuous.Weibull": ("Weibull", "scale concentration"),
    "continuous.Wishart": ("Wishart", "df=concentration scale=scale_matrix"),
    "directional.VonMises": ("VonMises", "loc concentration"),
    "discrete.BernoulliLogits": ("Bernoulli", "logits"),
    "discrete.BernoulliProbs": ("Bernoulli", "probs"),
    "discrete.BinomialLogits": ("Binomial", "total_count logits"),
    "discrete.BinomialProbs": ("Binomial", "total_count probs"),
    "discrete.CategoricalLogits": ("Categorical", "logits"),
    "discrete.CategoricalProbs": ("Categorical", "probs"),
    "discrete.GeometricLogits": ("Geometric", "logits"),
    "discrete.GeometricProbs": ("Geometric", "probs"),
    "discrete.MultinomialLogits": ("Multinomial", "total_count logits"),
    "discrete.MultinomialProbs": ("Multinomial", "total_count probs"),
    "discrete.Poisson": ("Poisson", "rate"),
}
#: Transforms that are one to one; NumPyro does not say which are.
_ONE_TO_ONE = {
    "AffineTransform", "CholeskyTransform", "CorrCholeskyTransform", "CorrMatrixCholeskyTransform",
    "DiscreteCosineTransform", "ExpTransform", "HaarTransform", "IdentityTransform", "LowerCholeskyAffine",
    "LowerCholeskyTransform", "OrderedTransform", "PermuteTransform", "PowerTransform", "ReshapeTransform",
    "ScaledUnitLowerCholeskyTransform", "SigmoidTransform", "SoftplusLowerCholeskyTransform", "SoftplusTransform",
    "StickBreakingTransform",
}  # fmt: skip


def _named(name: str) -> Callable[[Adapter], Adapter]:
    return adapter(f"numpyro.distributions.{name}")


def _arrays(parameters: dict[str, Any]) -> dict[str, Any]:
    """NumPyro keeps a number as NumPy's array: all as JAX's, numbers in the precision of the arrays beside them."""
    import jax
    import jax.numpy

    dtypes = (x.dtype for x in parameters.values() if isinstance(x, jax.Array))
    dtype = next((dtype for dtype in dtypes if jax.numpy.issubdtype(dtype, jax.numpy.floating)), None)
    return {
        name: x if isinstance(x, jax.Array) else jax.numpy.asarray(x, dtype=dtype) for name, x in parameters.items()
    }


for _name, _of in _SAME.items():
    _named(_name)(fields(*_of, convert=_arrays))


@_named("continuous.MultivariateNormal")
def _multivariate_normal(x: Any) -> Representation | None:
    known = {"covariance_matrix": "covariance", "precision_matrix": "precision", "scale_tril": "cholesky"}
    given = next(name for name in known if name in vars(x))
    return fields("MultivariateNormal", f"loc {known[given]}={given}", _arrays)(x)


@_named("continuous.MatrixNormal")
def _matrix_normal(x: Any) -> Representation | None:
    given = _arrays({"loc": x.loc, "row": x.scale_tril_row, "column": x.scale_tril_column})
    row, column = given["row"], given["column"]
    made: Representation = member(
        "MatrixNormal", loc=given["loc"], row_covariance=row @ row.mT, column_covariance=column @ column.mT
    )
    return made


@_named("conjugate.GammaPoisson")
def _gamma_poisson(x: Any) -> Representation | None:
    import jax.numpy

    given = _arrays({"total_count": x.concentration, "rate": x.rate})
    made: Representation = member(
        "NegativeBinomial", total_count=given["total_count"], logits=jax.numpy.log(given["rate"])
    )
    return made


@_named("conjugate.NegativeBinomialProbs")
def _negative_binomial_probs(x: Any) -> Representation | None:
    import jax.numpy

    given = _arrays({"total_count": x.total_count, "probs": x.probs})
    logits = jax.numpy.log1p(-given["probs"]) - jax.numpy.log(given["probs"])
    made: Representation = member("NegativeBinomial", total_count=given["total_count"], logits=logits)
    return made


@_named("conjugate.NegativeBinomialLogits")
def _negative_binomial_logits(x: Any) -> Representation | None:
    # NumPyro counts the successes before failures.
    given = _arrays({"total_count": x.total_count, "logits": x.logits})
    made: Representation = member("NegativeBinomial", total_count=given["total_count"], logits=-given["logits"])
    return made


@_named("distribution.ExpandedDistribution")
def _expanded(x: Any) -> Representation | None:
    base = adapted(x.base_dist)
    if not isinstance(base, Distribution) or isinstance(base, Density):
        return None
    return None if hasattr(base, "_member") else _wide(base, tuple(x.batch_shape))


def _wide(base: Distribution, batch: tuple[int, ...]) -> Distribution:
    """The same with its parameters repeated over a larger batch."""
    wide = {}
    for name, x in base.given.items():
        event = tuple(x.shape)[len(x.shape) - base.constraints[name].ndim :]
        wide[name] = base.xp.broadcast_to(x, (*batch, *event))
    return type(base)(**wide)


@_named("distribution.Independent")
def _independent(x: Any) -> Representation | None:
    return independent(adapted(x.base_dist), x.reinterpreted_batch_ndims)


@_named("distribution.TransformedDistribution")
def _transformed(x: Any) -> Representation | None:
    one_to_one = all(type(change).__name__ in _ONE_TO_ONE for change in x.transforms)
    return image(x, adapted(x.base_dist), x.transforms) if one_to_one else None


@_named("mixtures.MixtureSameFamily")
def _mixture(x: Any) -> Representation | None:
    components = adapted(x.component_distribution)
    if not isinstance(components, Distribution) or isinstance(components, Transformed | Density):
        return None
    return Mixture(components, _weights(x))


@_named("mixtures.MixtureGeneral")
def _mixture_of_kinds(x: Any) -> Representation | None:
    components = [adapted(component) for component in x.component_distributions]
    if not all(isinstance(c, Distribution) and not isinstance(c, Transformed | Density) for c in components):
        return None
    return Mixture(cast("list[Distribution]", components), _weights(x))


def _weights(x: Any) -> Any:
    """Those of a mixture; NumPyro's sum to 1 as single precision does."""
    probs = x.mixing_distribution.probs
    return probs / probs.sum(-1, keepdims=True)
