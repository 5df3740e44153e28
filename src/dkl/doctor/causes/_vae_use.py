"""Whether a VAE's decoder makes anything of its latent variables, and what an explosion that has passed has left."""

from __future__ import annotations

from dkl.doctor.case import Case
from dkl.doctor.causes._vae import FAST, SOME, Reading, largest_rate, late, late_of
from dkl.doctor.causes.vae_accounting import reductions
from dkl.doctor.finding import Evidence
from dkl.doctor.words import figure

# Another row's sample costs at least the information that the decoder uses, and mostly several times that; where it
# costs less than what there is, hardly any is used. Where the information is unknown, less than this share of the KL,
# which is never smaller.
_USED_OF_KL = 0.3
# In nats, and as a share of the KL: what counts as no information.
_NO_INFORMATION, _NO_SHARE = 0.1, 0.05
# A KL that was so many times what it is in the end has come down; the few values of an explosion are seldom logged.
_DOWN = 5.0


def unread(case: Case, found: Reading) -> Evidence | None:
    """That the decoder does as well with the sample of another row; None if it does not, or that is not logged."""
    if not all(role in case and len(case[role].finite) for role in ("reconstruction", "reconstruction_shuffled")):
        return None
    own, other = case["reconstruction"].finite, case["reconstruction_shuffled"].finite
    gap = late(other) - late(own)
    told = f"{figure(gap)} nats apart"
    reduced = reductions(case)
    if reduced is not None and reduced.pixels:
        count = case.known.get("data_dim")
        if count is None:
            return None
        gap *= float(count)
        told += f", {figure(gap)} for all numbers of a sample"
    information = late_of(case, "mutual_information")
    if gap >= (_USED_OF_KL * found.late if information is None else information):
        return None
    return Evidence(
        f"The reconstruction is {figure(late(own))} nats with one's own z and {figure(late(other))} with that of "
        f"another row: {told}.",
        (own, other),
        found.end,
    )


def uninformed(case: Case, found: Reading) -> bool:
    """Whether the KL has no mutual information of row and latent variables in it, as far as that is logged."""
    information = late_of(case, "mutual_information")
    return information is not None and information < min(_NO_INFORMATION, _NO_SHARE * found.late)


def calmed(case: Case, found: Reading) -> bool:
    """Whether steps too large threw the KL up, and it has come down to some nats of which nothing is made."""
    rate = largest_rate(case)
    if rate is None or rate < FAST or found.exploded or found.first > found.large or found.late <= SOME:
        return False
    if found.peak[0] <= min(found.large, _DOWN * found.late):
        return False
    return unread(case, found) is not None or uninformed(case, found)
