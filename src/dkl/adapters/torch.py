"""Distributions of PyTorch: their own tensors as the parameters, so that gradients reach whatever they came from."""

from __future__ import annotations

from typing import Any

from dkl.adapters import Adapter, adapted, adapter, fields, member
from dkl.adapters.derived import Transformed
from dkl.adapters.products import independent
from dkl.adapters.protocol import image
from dkl.density import Density
from dkl.families.base import Distribution
from dkl.families.others import Logistic
from dkl.mixture import Mixture
from dkl.representations import Representation

#: Classes whose attributes are a family's parameters.
_SAME = {
    "beta.Beta": ("Beta", "a=concentration1 b=concentration0"),
    "cauchy.Cauchy": ("Cauchy", "loc scale"),
    "chi2.Chi2": ("ChiSquared", "df"),
    "dirichlet.Dirichlet": ("Dirichlet", "concentration"),
    "exponential.Exponential": ("Exponential", "rate"),
    "gamma.Gamma": ("Gamma", "shape=concentration rate"),
    "gumbel.Gumbel": ("Gumbel", "loc scale"),
    "half_normal.HalfNormal": ("HalfNormal", "scale"),
    "inverse_gamma.InverseGamma": ("InverseGamma", "shape=concentration scale=rate"),
    "kumaraswamy.Kumaraswamy": ("Kumaraswamy", "a=concentration1 b=concentration0"),
    "laplace.Laplace": ("Laplace", "loc scale"),
    "log_normal.LogNormal": ("LogNormal", "loc scale"),
    "lowrank_multivariate_normal.LowRankMultivariateNormal": (
        "LowRankNormal",
        "loc factor=cov_factor diagonal=cov_diag",
    ),
    "normal.Normal": ("Normal", "loc scale"),
    "pareto.Pareto": ("Pareto", "scale alpha"),
    "poisson.Poisson": ("Poisson", "rate"),
    "studentT.StudentT": ("StudentT", "df loc scale"),
    "uniform.Uniform": ("Uniform", "low high"),
    "von_mises.VonMises": ("VonMises", "loc concentration"),
    "weibull.Weibull": ("Weibull", "scale concentration"),
    "wishart.Wishart": ("Wishart", "df scale=covariance_matrix"),
}
#: Classes made of either probabilities or logits, and what else.
_EITHER = {
    "bernoulli.Bernoulli": ("Bernoulli", ""),
    "binomial.Binomial": ("Binomial", "total_count"),
    "categorical.Categorical": ("Categorical", ""),
    "continuous_bernoulli.ContinuousBernoulli": ("ContinuousBernoulli", ""),
    "geometric.Geometric": ("Geometric", ""),
    "multinomial.Multinomial": ("Multinomial", "total_count"),
}


def _given(x: Any, *names: str) -> str:
    """The first of some attributes that the object was made with; PyTorch derives the others later, if asked."""
    return next(name for name in map(str, vars(x)) if name in names)


def _either(family: str, parameters: str) -> Adapter:
    def read(x: Any) -> Representation | None:
        return fields(family, f"{parameters} {_given(getattr(x, '_categorical', x), 'probs', 'logits')}")(x)

    return read


for _name, _of in _SAME.items():
    adapter(f"torch.distributions.{_name}")(fields(*_of))
for _name, _of in _EITHER.items():
    adapter(f"torch.distributions.{_name}")(_either(*_of))


@adapter("torch.distributions.multivariate_normal.MultivariateNormal")
def _multivariate_normal(x: Any) -> Representation | None:
    known = {"covariance_matrix": "covariance", "precision_matrix": "precision", "scale_tril": "cholesky"}
    given = _given(x, *known)
    return fields("MultivariateNormal", f"loc {known[given]}={given}")(x)


@adapter("torch.distributions.negative_binomial.NegativeBinomial")
def _negative_binomial(x: Any) -> Representation | None:
    # PyTorch counts the successes before failures; 1 − p would be rounded in single precision.
    rarer = {"probs": 1.0 - x.probs.double()} if _given(x, "probs", "logits") == "probs" else {"logits": -x.logits}
    made: Distribution = member("NegativeBinomial", total_count=x.total_count, **rarer)
    made.dtype = x.total_count.dtype
    return made


@adapter("torch.distributions.independent.Independent")
def _independent(x: Any) -> Representation | None:
    return independent(adapted(x.base_dist), x.reinterpreted_batch_ndims)


@adapter("torch.distributions.one_hot_categorical.OneHotCategorical")
def _one_hot(x: Any) -> Representation | None:
    return image(x, fields("Categorical", _given(x._categorical, "probs", "logits"))(x), "one-hot vectors")


@adapter("torch.distributions.transformed_distribution.TransformedDistribution")
def _transformed(x: Any) -> Representation | None:
    if not all(change.bijective for change in x.transforms):
        return None
    return image(x, adapted(x.base_dist), x.transforms)


@adapter("torch.distributions.relaxed_bernoulli.LogitRelaxedBernoulli")
def _logit_relaxed_bernoulli(x: Any) -> Representation | None:
    # PyTorch's own log_prob overflows to −∞ where exp(logits − temperature·x) does.
    return Logistic(x.logits / x.temperature, 1.0 / x.temperature)


@adapter("torch.distributions.half_cauchy.HalfCauchy")
def _half_cauchy(x: Any) -> Representation | None:
    # Folding is not one to one, but of sides that are both symmetric about 0 it loses nothing.
    return image(x, adapted(x.base_dist), "folded at 0")


@adapter("torch.distributions.mixture_same_family.MixtureSameFamily")
def _mixture(x: Any) -> Representation | None:
    components = adapted(x.component_distribution)
    if not isinstance(components, Distribution) or isinstance(components, Transformed | Density):
        return None
    # PyTorch keeps them normalised to the digits of their own dtype.
    return Mixture(components, x.mixture_distribution.logits.double().softmax(-1))
