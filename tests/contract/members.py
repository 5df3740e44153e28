"""The members that every law is tried on: the ready ones, some of each parametrised class, and two made by hand."""

from __future__ import annotations

import math

import dkl
from dkl.divergences import FAMILY, Divergence

HOCKEY_STICK = dkl.FDivergence("hockey_stick", lambda t: (abs(t - 2) + (t - 2)) / 2, f_zero=0.0, slope_inf=1.0)
HAND_MADE_CHI2 = dkl.FDivergence("hand_made_chi2", lambda t: (t - 1) ** 2, f_zero=1.0, slope_inf=math.inf)

MEMBERS: tuple[Divergence, ...] = (
    *FAMILY,
    dkl.JS(0.3),
    dkl.SkewKL(0.1),
    dkl.SkewKL(1),
    dkl.Renyi(0),
    dkl.Renyi(0.5),
    dkl.Renyi(0.9),
    dkl.Renyi(1),
    dkl.Renyi(2),
    dkl.Renyi(math.inf),
    dkl.Tsallis(0),
    dkl.Tsallis(0.5),
    dkl.Tsallis(1),
    dkl.Tsallis(3),
    dkl.Alpha(-1.5),
    dkl.Alpha(0),
    dkl.Alpha(0.3),
    dkl.Alpha(1),
    dkl.Alpha(2.5),
    HOCKEY_STICK,
    HAND_MADE_CHI2,
)

#: These see P and Q as equal although they differ: order 0 looks at supports alone, the hockey stick only at p > 2q.
BLIND = {dkl.Renyi(0).name, dkl.Tsallis(0).name, HOCKEY_STICK.name}
