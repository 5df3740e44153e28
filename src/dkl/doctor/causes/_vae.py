"""What the causes of a variational autoencoder's runs have in common: its KL without β, and how large that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dkl.doctor.case import Case
from dkl.doctor.finding import Evidence
from dkl.doctor.series import Numbers, Series
from dkl.doctor.words import figure

#: The last part of a run, which counts as its end.
LATE = 0.8
#: In nats for each latent dimension: 14 bits. Latent variables near their prior carry a few; more than this is paid for
#: nothing.
EXPLODED = 10.0
#: In nats, where the number of dimensions is unknown.
EXPLODED_WHOLE = 100.0
#: Of all dimensions together, in nats: a seventh of a bit.
COLLAPSED = 0.1
#: Fewer values than these have no end: a KL near 0 may be one that has not begun to rise.
ENOUGH = 5
#: Adam moves every weight by about its learning rate at each step, and a log-variance by that times the width of the
#: layer before it. Autoencoders are trained with 1e-4 to 3e-3; steps from here on can throw the encoder, and the
#: decoder out of reach of z.
FAST = 0.01
#: In nats: a KL that is worth asking what it is made of.
SOME = 0.5
# Without the number of dimensions, a KL that costs this many times what the reconstruction has gained is too large.
_UNPAID = 3.0


@dataclass(frozen=True)
class Reading:
    """The KL of a run.

    Attributes
    ----------
    kl : Series
        Summed over the latent dimensions, without β, nats: as far as the log tells.
    said : str
        How it comes from what is logged, where it is not what is logged; empty otherwise.
    """

    case: Case
    kl: Series
    said: str

    @property
    def latent_dim(self) -> int | None:
        """How many latent dimensions there are, if that is known."""
        known = self.case.known.get("latent_dim")
        return None if known is None else int(known)

    @property
    def first(self) -> float:
        """The first value; infinite where it is NaN."""
        value = float(self.kl.values[0])
        return value if np.isfinite(value) else np.inf

    @property
    def late(self) -> float:
        """The median of the end; infinite where a value there is not finite."""
        return late(self.kl)

    @property
    def large(self) -> float:
        """From what on a KL has exploded, nats."""
        return EXPLODED_WHOLE if self.latent_dim is None else EXPLODED * self.latent_dim

    @property
    def peak(self) -> tuple[float, float]:
        """The largest value and its step; infinite where a value is not finite."""
        broken = self.kl.first_broken
        if broken is not None:
            return np.inf, broken
        at = int(np.argmax(self.kl.values))
        return float(self.kl.values[at]), float(self.kl.steps[at])

    @property
    def end(self) -> tuple[float, float]:
        """The first and the last step of the end."""
        part = self.kl.part(LATE, 1.0)
        return float(part.steps[0]), float(part.steps[-1])

    @property
    def exploded(self) -> bool:
        """Whether the KL is far larger than anything it could be worth, at the end or in the whole second half."""
        settled = max(self.late, _median(self.kl.part(0.5, 1.0)))
        if self.latent_dim is not None or not np.isfinite(settled):
            return settled > self.large
        paid = self.gain
        return settled > self.large and (paid is None or settled * (self.beta or 1.0) > _UNPAID * paid)

    @property
    def collapsed(self) -> bool:
        """Whether the KL is near 0 at the end."""
        return len(self.kl) >= ENOUGH and self.late < COLLAPSED

    @property
    def beta(self) -> float | None:
        """β at the end, if that is known."""
        return late_of(self.case, "beta")

    @property
    def gain(self) -> float | None:
        """How many nats the reconstruction has gained since the start, at least 0; None where it is not logged."""
        if "reconstruction" not in self.case:
            return None
        reconstruction = self.case["reconstruction"].finite
        if not len(reconstruction):
            return None
        return max(0.0, float(reconstruction.values[0]) - _median(reconstruction.part(LATE, 1.0)))

    def seen(self) -> Evidence:
        """The KL at the end, as evidence."""
        value = "not finite" if np.isinf(self.late) else f"{figure(self.late)} nats"
        return Evidence(f"The KL is {value} at the end{self.said}.", (self.kl,), self.end)


def reading(case: Case) -> Reading | None:
    """The KL of a case; None where it has none."""
    made = _raw(case)
    if made is None or not len(made[0]):
        return None
    return Reading(case, *made)


def late(series: Series) -> float:
    """The median of a series' end; infinite where a value there is not finite."""
    return _median(series.part(LATE, 1.0))


def late_of(case: Case, role: str) -> float | None:
    """The end of a role's series, or what is known under its name; None where there is neither."""
    if role in case and len(case[role].finite):
        return late(case[role].finite)
    known = case.known.get(role)
    return None if known is None else float(known)


def largest_rate(case: Case) -> float | None:
    """The largest learning rate; None where it is not logged."""
    if "learning_rate" not in case or not len(case["learning_rate"].finite):
        return None
    return float(case["learning_rate"].finite.values.max())


def late_dimensions(case: Case) -> Numbers:
    """The KL of each latent dimension at the end; empty where they are not logged."""
    return np.array([late(series) for series in case.many("kl_dim") if len(series)])


def eigenvalues(case: Case) -> Numbers | None:
    """The eigenvalues of the data's covariance, the largest first; None where they are not known."""
    if "data_eigenvalues" in case.known:
        return np.sort(np.asarray(case.known["data_eigenvalues"], dtype=np.float64).ravel())[::-1]
    if "data_covariance" in case.known:
        return np.linalg.eigvalsh(np.asarray(case.known["data_covariance"], dtype=np.float64))[::-1]
    return None


def used_in_theory(case: Case, beta: float | None) -> tuple[int, float, float] | None:
    """How many directions have λ > β·σ², the largest λ, and β·σ²; None where any of them is unknown."""
    found, noise = eigenvalues(case), case.known.get("noise_variance")
    if found is None or noise is None or beta is None or not found.size:
        return None
    least = beta * float(noise)
    latent = case.known.get("latent_dim", found.size)
    return int((found[: int(latent)] > least).sum()), float(found[0]), least


def _median(series: Series) -> float:
    if not len(series) or not np.isfinite(series.values).all():
        return np.inf
    # Halved first, as the median of two large numbers is their mean.
    return float(2 * np.median(series.values / 2))


def _raw(case: Case) -> tuple[Series, str] | None:
    weighted = case.known.get("kl_is") == "weighted"
    if "kl" in case and not weighted:
        kl = case["kl"]
        latent = case.known.get("latent_dim")
        if case.known.get("kl_reduction") == "mean" and latent is not None:
            return _scaled(kl, np.full(len(kl), float(latent))), f", {figure(latent)} times the mean that is logged"
        return kl, ""
    dimensions = case.many("kl_dim")
    if dimensions:
        steps = dimensions[0].steps
        total = np.sum([series.at(steps) for series in dimensions], axis=0)
        return Series("the sum of kl_dim", steps, total), ", as the sum of its dimensions"
    found = case.roles.get("kl", case.roles.get("kl_weighted"))
    if found is None:
        return None
    beta = case["beta"].at(found.steps) if "beta" in case else np.full(len(found), case.known.get("beta", np.nan))
    told = np.isfinite(beta) & (beta > 0)
    return _scaled(found.where(told), 1 / beta[told]), ", what is logged divided by β"


def _scaled(series: Series, factor: Numbers) -> Series:
    with np.errstate(over="ignore", invalid="ignore"):
        values = series.values * factor
    return Series(series.name, series.steps, values, series.restarts, series.duplicates)
