"""What the causes of a policy's runs have in common: which KL is which, and how it lies to its target."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dkl.doctor.case import Case
from dkl.doctor.finding import Evidence
from dkl.doctor.series import Numbers, Series
from dkl.doctor.words import figure

#: Schulman et al. 2017, section 4: β doubles above 1.5 times the target, and halves below the target over 1.5.
BAND = 1.5
#: How much a coefficient that is the same is allowed to differ: logs round.
SAME = 1e-3
#: Fewer values than these show no course.
ENOUGH = 5
# The KL to the reference grows while each update's stays as small: a typical one is so many times larger at least. The
# same KL, measured by two estimators, differs by less.
_FARTHER = 3.0
# An estimate so many standard errors below zero is not negative by chance.
_ERRORS = 3.0
# Without a standard error: a KL that is negative at so many of its steps is not so by chance, for an unbiased estimate
# of what is positive is negative less than half the time.
_MOSTLY = 0.6


@dataclass(frozen=True)
class Controlled:
    """A KL, its target and the weight of its penalty, at the steps where all of them are known."""

    kl: Series
    coefficient: Series
    target: float

    @property
    def over(self) -> Numbers:
        """Where the KL is above the band."""
        return self.kl.values > BAND * self.target

    @property
    def under(self) -> Numbers:
        """Where it is below the band."""
        return self.kl.values < self.target / BAND

    @property
    def is_constant(self) -> bool:
        """Whether the coefficient is the same all along."""
        beta = self.coefficient.values
        return bool(beta.max() - beta.min() <= SAME * abs(beta.max()))

    @property
    def answers(self) -> Numbers:
        """How log β changes after each KL but the last."""
        return np.diff(np.log(np.maximum(self.coefficient.values, np.finfo(float).tiny)))


def controlled(case: Case) -> Controlled | None:
    """The KL beside its coefficient and its target; None where there is no target, or too little of them."""
    target = target_kl(case)
    if target is None or "kl" not in case or "kl_coef" not in case:
        return None
    kl = case["kl"].finite
    weight = case["kl_coef"].finite.at(kl.steps)
    told = np.isfinite(weight) & (weight >= 0)
    if told.sum() < ENOUGH or not weight[told].max() > 0:
        return None
    kl = kl.where(told)
    return Controlled(kl, Series(case["kl_coef"].name, kl.steps, weight[told]), target)


def target_kl(case: Case) -> float | None:
    """The KL that is aimed at; None where none is."""
    target = case.known.get("target_kl")
    return None if target is None or not float(target) > 0 else float(target)


def to_reference(case: Case) -> bool:
    """Whether ``kl`` is to a reference, as far as is known or its size beside an update's tells."""
    told = case.known.get("kl_to")
    if told is not None:
        return bool(told == "reference")
    if case.known.get("policy_is_reference") or "score" in case:
        return True
    if "kl" not in case or "update_kl" not in case or case["kl"] is case["update_kl"]:
        return False
    kl = case["kl"].finite
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = kl.values / case["update_kl"].finite.at(kl.steps)
    ratio = ratio[np.isfinite(ratio)]
    return bool(ratio.size and np.median(ratio) > _FARTHER)


def update_kl(case: Case) -> Series | None:
    """The KL between the policy that acted and the new one."""
    for role in ("update_kl", "kl"):
        if role in case and not (role == "kl" and to_reference(case)) and len(case[role].finite) >= ENOUGH:
            return case[role].finite
    return None


def update_target(case: Case) -> float | None:
    """The target of an update's KL; None where there is none, or it is that of the KL to the reference."""
    return None if to_reference(case) else target_kl(case)


def signed_kl(case: Case) -> Series | None:
    """The KL to the reference by an estimate that may be negative."""
    for role in ("kl_k1", "kl"):
        if role in case and to_reference(case) and len(case[role].finite) >= ENOUGH:
            return case[role].finite
    return None


def negative(case: Case, kl: Series) -> Evidence | None:
    """Evidence that a KL is below zero by more than chance."""
    values = kl.values
    if "kl_stderr" in case:
        error = case["kl_stderr"].at(kl.steps)
        below = values < -_ERRORS * error
        if below.sum() < max(3, 0.1 * values.size):
            return None
        worst = int(np.argmin(np.where(below, values, np.inf)))
        by = f"{-values[worst] / error[worst]:.0f} standard errors below 0" if error[worst] > 0 else "with no error"
    else:
        below = values < 0
        # Somewhere, not everywhere: a run may begin well.
        late = below[below.size // 2 :]
        if late.mean() < _MOSTLY:
            return None
        worst = int(np.argmin(values))
        by = f"and {late.mean():.0%} of the second half's values are below 0"
    steps = kl.steps[below]
    return Evidence(
        f"{kl.name} is negative, which no KL is: {figure(values[worst])} at step {figure(kl.steps[worst])}, {by}.",
        (kl,),
        (float(steps[0]), float(steps[-1])),
        ("0", 0.0),
    )


def share(condition: Numbers) -> float:
    """Of true entries; 0 of none."""
    return float(condition.mean()) if condition.size else 0.0


def middle(values: Numbers) -> float:
    """The median of the finite values; NaN of none."""
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else float("nan")


def risen(series: Series) -> tuple[float, float]:
    """The means of the first and of the last third."""
    finite = series.finite
    return float(finite.part(0.0, 1 / 3).values.mean()), float(finite.part(2 / 3, 1.0).values.mean())
