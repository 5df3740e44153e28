"""Time of closed forms beside PyTorch's: batches of distributions, with and without gradients, and single pairs.

``python -m benchmarks.distributions`` prints, for each work, the medians and how many times as long each contestant
takes as dkl, from rounds in which all take turns. All answers of a work must agree.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from . import machine, timing

Work = dict[str, Callable[[], Any]]


def works() -> dict[str, Work]:
    """Each work's contestants, dkl first; each returns its answer, or the gradients."""
    return {
        "1,000,000 normal distributions": _normals(),
        "KL to N(0, 1) by log-variance, value + gradient, 1024 × 256": _latents(),
        "100,000 gamma distributions": _gammas(),
        "one pair of normal distributions": _single(),
    }


def _normals() -> Work:
    import torch
    from torch import distributions

    import dkl
    from dkl.families import Normal

    rng = np.random.default_rng(0)
    loc, other = rng.normal(size=(2, 1_000_000))
    scale, wider = rng.uniform(0.5, 2.0, (2, 1_000_000))
    m, n, s, w = map(torch.from_numpy, (loc, other, scale, wider))
    return {
        "dkl": lambda: dkl.kl(Normal(loc, scale), Normal(other, wider)),
        "dkl, torch's objects": lambda: dkl.kl(distributions.Normal(m, s), distributions.Normal(n, w)),
        "torch by hand": lambda: (w / s).log() + 0.5 * ((s / w) ** 2 + ((m - n) / w) ** 2 - 1),
        "torch.distributions": lambda: distributions.kl_divergence(
            distributions.Normal(m, s), distributions.Normal(n, w)
        ),
    }


def _latents() -> Work:
    import torch

    from dkl.training import gaussian_kl

    torch.manual_seed(0)
    mu, log_var = torch.randn(1024, 256, requires_grad=True), torch.randn(1024, 256, requires_grad=True)

    def with_gradient(formula: Callable[[Any, Any], Any]) -> Any:
        return torch.cat(torch.autograd.grad(formula(mu, log_var).sum(), (mu, log_var)))

    return {
        "dkl.training.gaussian_kl": lambda: with_gradient(gaussian_kl),
        "torch by hand": lambda: with_gradient(lambda m, v: -0.5 * (1 + v - m**2 - v.exp())),
    }


def _gammas() -> Work:
    import torch
    from torch import distributions

    import dkl
    from dkl.families import Gamma

    rng = np.random.default_rng(0)
    a, b, c, d = rng.uniform(0.5, 5.0, (4, 100_000))
    p, q = (distributions.Gamma(torch.from_numpy(x), torch.from_numpy(y)) for x, y in ((a, b), (c, d)))
    return {
        "dkl": lambda: dkl.kl(Gamma(a, b), Gamma(c, d)),
        "torch.distributions": lambda: distributions.kl_divergence(p, q),
    }


def _single() -> Work:
    import torch
    from torch import distributions

    import dkl
    from dkl.families import Normal

    p, q = Normal(0.0, 1.0), Normal(1.0, 2.0)
    one, other = distributions.Normal(0.0, 1.0), distributions.Normal(1.0, 2.0)
    m, s, n, w = torch.tensor([0.0, 1.0, 1.0, 2.0])
    return {
        "dkl": lambda: dkl.kl(p, q),
        "dkl, torch's objects": lambda: dkl.kl(one, other),
        "torch.distributions": lambda: distributions.kl_divergence(one, other),
        "torch by hand": lambda: (w / s).log() + 0.5 * ((s / w) ** 2 + ((m - n) / w) ** 2 - 1),
        "floats by hand": lambda: math.log(2.0) + 0.5 * (0.25 + 0.25 - 1),
    }


def main() -> None:
    """Measure all works and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="at most, for each work")
    parser.add_argument("--rounds", type=int, default=7, help="in which all take turns, at most")
    chosen = parser.parse_args()
    budget = timing.Budget(chosen.rounds, min(chosen.rounds, 3), chosen.seconds)
    machine.let_threads_sleep()
    print(", ".join(f"{name}: {value}" for name, value in machine.describe().items()))
    for title, work in works().items():
        truth, *others = (np.asarray(call()) for call in work.values())
        for name, answer in zip(list(work)[1:], others, strict=True):
            np.testing.assert_allclose(answer, truth, rtol=1e-3, atol=1e-4, err_msg=f"{title}: {name}")
        times = timing.alternate(work, budget)
        ours = times[next(iter(work))]
        print(f"\n{title}")
        for name, taken in times.items():
            print(f"  {name:26} {taken.median * 1e6:12,.1f} µs  {taken.over(ours):6.2f} ×")


if __name__ == "__main__":
    main()
