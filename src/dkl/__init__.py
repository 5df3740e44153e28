"""dkl: how far is Q from P, why, and what to do about it.

A divergence is defined once, and measured on any representation of a pair (P, Q).

>>> import dkl
>>> float(dkl.kl([0.9, 0.1], [0.5, 0.5]))
0.3680642071684971
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dkl._version import __version__ as __version__

if TYPE_CHECKING:
    from dkl.comparison import compare as compare
    from dkl.comparison import save_reference as save_reference
    from dkl.density import Density as Density
    from dkl.divergences import (
        JS as JS,
    )
    from dkl.divergences import (
        Alpha as Alpha,
    )
    from dkl.divergences import (
        Divergence as Divergence,
    )
    from dkl.divergences import (
        FDivergence as FDivergence,
    )
    from dkl.divergences import (
        Renyi as Renyi,
    )
    from dkl.divergences import (
        SkewKL as SkewKL,
    )
    from dkl.divergences import (
        Tsallis as Tsallis,
    )
    from dkl.divergences import (
        bhattacharyya as bhattacharyya,
    )
    from dkl.divergences import (
        chi2 as chi2,
    )
    from dkl.divergences import (
        hellinger as hellinger,
    )
    from dkl.divergences import (
        jeffreys as jeffreys,
    )
    from dkl.divergences import (
        js as js,
    )
    from dkl.divergences import (
        kl as kl,
    )
    from dkl.divergences import (
        neyman_chi2 as neyman_chi2,
    )
    from dkl.divergences import (
        reverse_kl as reverse_kl,
    )
    from dkl.divergences import (
        squared_hellinger as squared_hellinger,
    )
    from dkl.divergences import (
        triangular as triangular,
    )
    from dkl.divergences import (
        tv as tv,
    )
    from dkl.entropies import cross_entropy as cross_entropy
    from dkl.entropies import entropy as entropy
    from dkl.estimate import Estimate as Estimate
    from dkl.fitting import fit as fit
    from dkl.inequalities import bounds as bounds
    from dkl.methods import measure as measure
    from dkl.mixture import Mixture as Mixture
    from dkl.representations import (
        Counts as Counts,
    )
    from dkl.representations import (
        Logits as Logits,
    )
    from dkl.representations import (
        LogProbs as LogProbs,
    )
    from dkl.representations import (
        Probs as Probs,
    )
    from dkl.representations import (
        Samples as Samples,
    )
    from dkl.smoothing import smooth as smooth
    from dkl.transport import wasserstein as wasserstein

# Where each public name lives; nothing is imported before it is used.
_HOMES = {
    "divergences": "kl reverse_kl jeffreys js tv hellinger squared_hellinger bhattacharyya chi2 neyman_chi2 triangular "
    "JS SkewKL Renyi Tsallis Alpha FDivergence Divergence",
    "representations": "Probs LogProbs Logits Counts Samples",
    "entropies": "entropy cross_entropy",
    "estimate": "Estimate",
    "methods": "measure",
    "smoothing": "smooth",
    "transport": "wasserstein",
    "inequalities": "bounds",
    "comparison": "compare save_reference",
    "fitting": "fit",
    "density": "Density",
    "mixture": "Mixture",
    "adapters": "",
    "doctor": "",
    "families": "",
    "plots": "",
    "training": "",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}

__all__ = ["__version__", *_HOME_OF, "adapters", "doctor", "families", "fitting", "plots", "training"]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(import_module(f"dkl.{_HOME_OF[name]}"), name)
        # Now rather than at the first measurement, which torch.compile may be tracing.
        import_module("dkl.rules").load()
    elif name in _HOMES:
        value = import_module(f"dkl.{name}")
        import_module("dkl.rules").load()
    else:
        raise AttributeError(f"module 'dkl' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
