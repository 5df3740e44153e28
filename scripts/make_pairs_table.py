"""Print docs/pairs.md: by which method KL(P‖Q) is measured for every pair of families, asked of the registry itself.

Run ``python scripts/make_pairs_table.py > docs/pairs.md`` from the root of the repository.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import dkl
from dkl import families
from dkl.expressions import parse

#: One ordinary member of each family.
MEMBERS = (
    "normal(0, 1)", "log_normal(0, 0.5)", "gamma(2, 1)", "inverse_gamma(3, 1)", "exponential(1)", "chi_squared(3)",
    "erlang(2, 1)", "beta(2, 3)", "continuous_bernoulli(0.3)", "inverse_gaussian(1, 2)", "half_normal(1)",
    "rayleigh(1)", "maxwell(1)", "pareto(1, 3)", "weibull(1, 1.5)", "laplace(0, 1)", "uniform(0, 1)", "cauchy(0, 1)",
    "gumbel(0, 1)", "generalized_normal(0, 1, 3)", "kumaraswamy(2, 3)", "student_t(4)", "von_mises(0, 2)",
    "bernoulli(0.3)", "binomial(5, 0.3)", "geometric(0.4)", "negative_binomial(3, 0.4)", "poisson(2)",
    "categorical([0.2, 0.3, 0.5])", "multinomial(4, [0.2, 0.3, 0.5])", "dirichlet([1, 2, 3])",
    "multivariate_normal([0, 0], [[1, 0.2], [0.2, 1]])", "diagonal_normal([0, 0], [1, 2])",
    "low_rank_normal([0, 0], [[1], [0.5]], [1, 1])", "von_mises_fisher([0, 1], 2)", "wishart(4, [[1, 0], [0, 1]])",
    "inverse_wishart(4, [[1, 0], [0, 1]])", "matrix_normal([[0, 0]], [[1]], [[1, 0], [0, 1]])",
)  # fmt: skip

HEAD = """# Which pair has which method

KL(P‖Q) of one ordinary member of each family with one of every other that has outcomes of the same kind, as
`dkl.measure` answers; `python scripts/make_pairs_table.py` remakes this page from the registry. A pair of members of
one family with other parameters may need another method (two Laplace distributions have a closed form for KL alone,
normal distributions for the whole power family), and divergences without a closed form, such as JS and TV, go by sums
or quadrature. A number has an outcome of no axis, a vector of one, a matrix of two. What is not listed is infinite, for
P lives where Q does not.

| P | closed form | sum over outcomes or quadrature | Monte Carlo |
|:--|:--|:--|:--|
"""


FAMILIES = """## The families

In Python they are classes of `dkl.families`; an expression on the command line spells them in small letters.

```text
"""


def page() -> str:
    """The page."""
    members: list[tuple[str, Any]] = [(text.partition("(")[0], parse(text)) for text in MEMBERS]
    lines = []
    for name, p in members:
        found: dict[str, list[str]] = defaultdict(list)
        for other, q in members:
            if p.event_shape != q.event_shape or {name, other} == {"bernoulli", "categorical"}:
                continue
            made = dkl.measure(p, q, rng=0)
            if float(made) < float("inf"):
                found[made.method].append(other)
        cells = (
            ", ".join(found["closed_form"]),
            ", ".join(found["exact"] + found["quadrature"]),
            ", ".join(found["monte_carlo"]),
        )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n\n" + FAMILIES + "\n".join(_constructors()) + "\n```\n"


def _constructors() -> Iterator[str]:
    """Each family with its parameters, as they are written in Python."""
    for name in families.__all__:
        if not inspect.isabstract(getattr(families, name)):
            given = inspect.signature(getattr(families, name))
            yield f"{name}{given}".replace(": 'Any'", "").removesuffix(" -> 'None'").replace(" = ", "=")


if __name__ == "__main__":
    print(page(), end="")
