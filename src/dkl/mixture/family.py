"""Families of mixtures: so many components, all of one family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dkl._array import real_number
from dkl.families.base import Distribution


@dataclass(frozen=True, repr=False)
class MixtureFamily:
    """The mixtures of so many members of a family, what a fit seeks the best of.

    Made by :meth:`dkl.Mixture.of <dkl.mixture.density.Mixture.of>`.

    Attributes
    ----------
    component : type
        The family of the components, a class of ``dkl.families``.
    components : int
        How many there are.

    Raises
    ------
    ValueError
        If ``components`` is no whole number of at least 1.
    TypeError
        If ``component`` is no class of distributions, or is that of mixtures.

    Examples
    --------
    >>> import dkl
    >>> family = dkl.Mixture.of(dkl.families.Normal, 3)
    >>> family, family.component.__name__, family.components
    (Mixture.of(Normal, 3), 'Normal', 3)
    """

    component: Any
    components: int

    def __post_init__(self) -> None:
        if isinstance(self.component, Distribution):
            name = type(self.component).__name__
            raise TypeError(f"Mixture.of: family = {self.component!r} is one distribution: give its class, {name}")
        if not (isinstance(self.component, type) and issubclass(self.component, Distribution)):
            raise TypeError(f"Mixture.of: family must be a class of dkl.families, got {self.component!r}")
        if not self.component.constraints:
            raise TypeError(f"Mixture.of: a {self.component.__name__} has no parameters that could be fitted")
        if "weights" in self.component.constraints:
            raise TypeError(
                "Mixture.of: a mixture of mixtures is a mixture of the inner components: give their family and how "
                "many there are in all"
            )
        count = real_number(self.components, "Mixture.of: components")
        if not count.is_integer() or count < 1:
            raise ValueError(f"Mixture.of: components = {self.components!r} must be a whole number of at least 1")
        object.__setattr__(self, "components", int(count))

    @property
    def __name__(self) -> str:
        return f"Mixture.of({self.component.__name__}, {self.components})"

    @property
    def event_ndim(self) -> int:
        """The number of axes of an outcome, that of the components."""
        return int(self.component.event_ndim)

    @property
    def known(self) -> tuple[str, ...]:
        """The parameters that the components keep fixed."""
        return tuple(getattr(self.component, "known", ()))

    def __repr__(self) -> str:
        return self.__name__
