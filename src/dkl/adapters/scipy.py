"""Distributions of SciPy: frozen ones, those of the newer infrastructure, and the multivariate.

A shift or stretch that a family has no parameter for is kept beside it: of two sides with the same one the divergences
are those of the family, any other pair is measured by its densities.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from dkl import families
from dkl.adapters import Adapter, adapted, adapter, fields, known_as, member
from dkl.adapters.derived import Affine, Relocated
from dkl.families.base import Distribution
from dkl.mixture import Mixture
from dkl.representations import Representation

Made = Callable[..., Representation | None]


def _at(base: Distribution, loc: Any, scale: Any = 1.0) -> Distribution:
    """The base shifted and stretched, if that is anything."""
    unmoved = Affine(np.zeros(()), np.ones(()))
    moved = Relocated(base, loc, scale)
    return base if moved.change == unmoved else moved


def _wrapped_scale(kappa: Any, loc: Any, scale: Any) -> Representation | None:
    # With another scale SciPy's distribution is of no angle.
    return member("VonMises", loc=loc, concentration=kappa) if np.all(np.asarray(scale) == 1) else None


def _failures(n: Any, p: Any, loc: Any) -> Representation | None:
    return _at(member("NegativeBinomial", total_count=n, probs=p), loc)


#: How a class of SciPy's is made of shapes, loc and scale.
_CONTINUOUS: dict[str, Made] = {
    "beta": lambda a, b, loc, scale: _at(member("Beta", a=a, b=b), loc, scale),
    "cauchy": lambda loc, scale: member("Cauchy", loc=loc, scale=scale),
    "chi2": lambda df, loc, scale: _at(
        member("ChiSquared", df=df)
        if np.all(np.asarray(scale) == 1)
        else member("Gamma", shape=0.5 * np.asarray(df), scale=2.0 * np.asarray(scale)),
        loc,
    ),
    "expon": lambda loc, scale: _at(member("Gamma", shape=1.0, scale=scale), loc),
    "gamma": lambda a, loc, scale: _at(member("Gamma", shape=a, scale=scale), loc),
    "gennorm": lambda beta, loc, scale: member("GeneralizedNormal", loc=loc, scale=scale, shape=beta),
    "gumbel_l": lambda loc, scale: _at(member("Gumbel", loc=-np.asarray(loc), scale=scale), 0.0, -1.0),
    "gumbel_r": lambda loc, scale: member("Gumbel", loc=loc, scale=scale),
    "halfnorm": lambda loc, scale: _at(member("HalfNormal", scale=scale), loc),
    "invgamma": lambda a, loc, scale: _at(member("InverseGamma", shape=a, scale=scale), loc),
    "invgauss": lambda mu, loc, scale: _at(
        member("InverseGaussian", mean=np.asarray(mu) * np.asarray(scale), shape=scale), loc
    ),
    "laplace": lambda loc, scale: member("Laplace", loc=loc, scale=scale),
    # One over the square of a normal number.
    "levy": lambda loc, scale: _at(member("InverseGamma", shape=0.5, scale=0.5 * np.asarray(scale)), loc),
    "levy_l": lambda loc, scale: _at(member("InverseGamma", shape=0.5, scale=0.5 * np.asarray(scale)), loc, -1.0),
    "lognorm": lambda s, loc, scale: _at(member("LogNormal", loc=np.log(scale), scale=s), loc),
    "maxwell": lambda loc, scale: _at(member("Maxwell", scale=scale), loc),
    "norm": lambda loc, scale: member("Normal", loc=loc, scale=scale),
    "pareto": lambda b, loc, scale: _at(member("Pareto", scale=scale, alpha=b), loc),
    "rayleigh": lambda loc, scale: _at(member("Rayleigh", scale=scale), loc),
    "t": lambda df, loc, scale: member("StudentT", df=df, loc=loc, scale=scale),
    "uniform": lambda loc, scale: member("Uniform", low=loc, high=np.asarray(loc) + np.asarray(scale)),
    "vonmises": lambda kappa, loc, scale: _wrapped_scale(kappa, loc, scale),
    "weibull_min": lambda c, loc, scale: _at(member("Weibull", scale=scale, concentration=c), loc),
}
_DISCRETE: dict[str, Made] = {
    "bernoulli": lambda p, loc: _at(member("Bernoulli", probs=p), loc),
    "binom": lambda n, p, loc: _at(member("Binomial", total_count=n, probs=p), loc),
    # SciPy counts the trials, dkl the failures before the success.
    "geom": lambda p, loc: _at(member("Geometric", probs=p), np.asarray(loc) + 1),
    "nbinom": _failures,
    "poisson": lambda mu, loc: _at(member("Poisson", rate=mu), loc),
}


def _shapes(generator: Any) -> list[str]:
    return [name.strip() for name in (generator.shapes or "").split(",") if name.strip()]


def _parameters(x: Any) -> dict[str, Any]:
    """The shapes, loc and scale of a frozen distribution by name."""
    ends: dict[str, Any] = {"loc": 0} if hasattr(x.dist, "logpmf") else {"loc": 0, "scale": 1}
    by_place: dict[str, Any] = dict(zip([*_shapes(x.dist), *ends], x.args, strict=False))
    return {**ends, **by_place, **x.kwds}


def _of_shapes(make: Made) -> Adapter:
    def read(x: Any) -> Representation | None:
        return make(**_parameters(x)) if hasattr(x, "dist") else _unfrozen(x)

    return read


for _module, _table in (("_continuous_distns", _CONTINUOUS), ("_discrete_distns", _DISCRETE)):
    for _name, _make in _table.items():
        adapter(f"scipy.stats.{_module}.{_name}_gen")(_of_shapes(_make))


@adapter("scipy.stats._distn_infrastructure.rv_frozen")
def _frozen(x: Any) -> Representation | None:
    return known_as(type(x.dist), x)


@adapter("scipy.stats._distn_infrastructure.rv_generic")
def _unfrozen(x: Any) -> Representation | None:
    if hasattr(x, "dist"):
        return None  # what was frozen has no adapter of its own
    if x.numargs:
        raise TypeError(f"scipy.stats.{x.name} is a family: give its parameters, {x.name}({x.shapes}, …)")
    return adapted(x())


@adapter("scipy.stats._kde.gaussian_kde")
def _kernels(x: Any) -> Representation | None:
    # A normal distribution around each point.
    if x.d == 1:
        each = member("Normal", loc=x.dataset[0], scale=np.sqrt(x.covariance[0, 0]))
    else:
        each = member("MultivariateNormal", loc=x.dataset.T, covariance=x.covariance)
    return Mixture(each, x.weights)


_NEW = "scipy.stats._distribution_infrastructure"

adapter("scipy.stats._new_distributions.Normal")(fields("Normal", "loc=mu scale=sigma"))
adapter("scipy.stats._new_distributions.Uniform")(fields("Uniform", "low=a high=b"))
adapter("scipy.stats._new_distributions.Binomial")(fields("Binomial", "total_count=n probs=p"))


@adapter(f"{_NEW}._make_distribution_rv_generic.<locals>.CustomDistribution")
def _made(x: Any) -> Representation | None:
    frozen = _frozen_like(x)
    return None if frozen is None else _frozen(frozen)


def _frozen_like(x: Any, **moved: Any) -> Any:
    """The older frozen distribution from whose class one of the newer kind was made; None if it was not."""
    # The class keeps what it was made of only as the owner of its methods.
    owners = (method.__self__ for method in vars(type(x)).values() if inspect.ismethod(method))
    generator: Any = next((owner for owner in owners if hasattr(owner, "shapes")), None)
    if generator is None:
        return None
    return generator(**{name: getattr(x, name) for name in _shapes(generator)}, **moved)


@adapter(f"{_NEW}.ShiftedScaledDistribution")
def _shifted(x: Any) -> Representation | None:
    loc, scale = np.asarray(x.loc, float), np.asarray(x.scale, float)
    if np.all(scale > 0):
        frozen = _frozen_like(x._dist, loc=loc, scale=scale)
        if frozen is not None:
            return _frozen(frozen)
    base = adapted(x._dist)
    if type(base) is families.Normal:
        return families.Normal(loc + scale * base.loc, np.abs(scale) * base.scale)
    return _at(base, loc, scale) if isinstance(base, Distribution) and base.event_ndim == 0 else None


@adapter(f"{_NEW}.Mixture")
def _mixture(x: Any) -> Representation | None:
    components = [adapted(component) for component in x.components]
    known = [component for component in components if isinstance(component, Distribution)]
    return Mixture(known, x.weights) if len(known) == len(components) else None


_MULTI = "scipy.stats._multivariate"

adapter(f"{_MULTI}.dirichlet_frozen")(fields("Dirichlet", "concentration=alpha"))
adapter(f"{_MULTI}.invwishart_frozen")(fields("InverseWishart", "df scale"))
adapter(f"{_MULTI}.matrix_normal_frozen")(
    fields("MatrixNormal", "loc=mean row_covariance=rowcov column_covariance=colcov")
)
adapter(f"{_MULTI}.multinomial_frozen")(fields("Multinomial", "total_count=n probs=p"))
adapter(f"{_MULTI}.vonmises_fisher_frozen")(fields("VonMisesFisher", "mean_direction=mu concentration=kappa"))
adapter(f"{_MULTI}.wishart_frozen")(fields("Wishart", "df scale"))


@adapter(f"{_MULTI}.multivariate_normal_frozen")
def _multivariate_normal(x: Any) -> Representation | None:
    if x.cov_object.rank < x.dim:
        return None  # it has a density on a subspace alone
    made: Representation = member("MultivariateNormal", loc=x.mean, covariance=x.cov_object.covariance)
    return made
