"""Posterior moments of a probit regression by NUTS, written to probit_reference.json: run by hand, once.

Wisconsin's breast cancer data as scikit-learn ships them, 569 rows of 30 standardised columns; the weights are N(0, 1)
beforehand, and P(y | x, w) = Φ(y·wᵀx) with y = ±1. Four chains of 20,000 draws after 2,000 of warm-up. The standard
error of each mean is sd/√ESS, that of each standard deviation the delta method's from the ESS of the squared distance.

    python tests/fitting/make_probit_reference.py
"""

from __future__ import annotations

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.distributions import Normal
from numpyro.infer import MCMC, NUTS
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

PLACE = Path(__file__).with_name("probit_reference.json")


def data() -> tuple[np.ndarray, np.ndarray]:
    """The standardised columns and the classes as ±1."""
    x, y = load_breast_cancer(return_X_y=True)
    return StandardScaler().fit_transform(x), 2.0 * y - 1.0


def model(signed: jnp.ndarray) -> None:
    weights = numpyro.sample("weights", Normal(jnp.zeros(signed.shape[1]), 1.0).to_event(1))
    numpyro.factor("likelihood", jax.scipy.special.log_ndtr(signed @ weights).sum())


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    x, y = data()
    sampler = MCMC(
        NUTS(model), num_warmup=2_000, num_samples=20_000, num_chains=4, chain_method="sequential", progress_bar=False
    )
    sampler.run(jax.random.key(20_240_607), jnp.asarray(y[:, None] * x))
    draws = np.asarray(sampler.get_samples(group_by_chain=True)["weights"])
    mean, sd = draws.mean(axis=(0, 1)), draws.std(axis=(0, 1), ddof=1)
    squares = (draws - mean) ** 2
    of_mean = sd / np.sqrt(effective_sample_size(draws))
    of_sd = squares.std(axis=(0, 1), ddof=1) / np.sqrt(effective_sample_size(squares)) / (2.0 * sd)
    made = {
        "draws": draws.shape[0] * draws.shape[1],
        "rhat": float(split_gelman_rubin(draws).max()),
        "mean": mean.tolist(),
        "mean_stderr": of_mean.tolist(),
        "sd": sd.tolist(),
        "sd_stderr": of_sd.tolist(),
    }
    PLACE.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
