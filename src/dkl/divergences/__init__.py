"""The family: each divergence defined once, by what it does to a single outcome.

``base`` says what a divergence is, ``power`` holds the relatives of ∫ p^a q^(1−a), ``mixtures`` JS and skew KL,
``symmetric`` the rest of the f-divergences, ``transformed`` functions of a sum, ``custom`` anybody's own.
"""

from __future__ import annotations

from dkl.divergences.base import Csiszar, Divergence, Edges, Member
from dkl.divergences.custom import FDivergence
from dkl.divergences.mixtures import JS, SkewKL
from dkl.divergences.power import KL, Alpha, Chi2, NeymanChi2, Power, ReverseKL, SquaredHellinger, Tsallis
from dkl.divergences.symmetric import Jeffreys, TotalVariation, Triangular
from dkl.divergences.transformed import Bhattacharyya, Hellinger, Renyi

__all__ = [
    "FAMILY", "JS", "KL", "Alpha", "Bhattacharyya", "Chi2", "Csiszar", "Divergence", "Edges", "FDivergence",
    "Hellinger",
    "Jeffreys", "Member", "NeymanChi2", "Power", "Renyi", "ReverseKL", "SkewKL", "SquaredHellinger", "TotalVariation",
    "Triangular", "Tsallis", "bhattacharyya", "chi2", "hellinger", "jeffreys", "js", "kl", "neyman_chi2", "reverse_kl",
    "squared_hellinger", "triangular", "tv",
]  # fmt: skip

kl = KL()
reverse_kl = ReverseKL()
jeffreys = Jeffreys()
js = JS()
tv = TotalVariation()
hellinger = Hellinger()
squared_hellinger = SquaredHellinger()
bhattacharyya = Bhattacharyya()
chi2 = Chi2()
neyman_chi2 = NeymanChi2()
triangular = Triangular()

#: Every ready member, in the order in which tables list them.
FAMILY: tuple[Divergence, ...] = (
    kl, reverse_kl, jeffreys, js, tv, hellinger, squared_hellinger, bhattacharyya, chi2, neyman_chi2, triangular,
)  # fmt: skip
