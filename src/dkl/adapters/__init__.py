"""Other libraries' distribution objects, read as distributions of this one.

An adapter is found by the qualified names of an object's classes, so that nothing here imports another library: where
an object exists, its library is loaded already. What no adapter knows is a density if it has ``log_prob`` and the like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any
from weakref import WeakKeyDictionary

from dkl import rules
from dkl.representations import Representation

__all__ = ["adapted", "adapter"]

Adapter = Callable[[Any], Representation | None]

#: The modules with the adapters for a library, imported when the first of its objects comes.
_HOMES = {library: f"dkl.adapters.{library}" for library in ("scipy", "torch", "numpyro")}
#: Methods that say what the density is: a subclass with its own is another distribution than its parent.
_DENSITY = ("log_prob", "logpdf", "logpmf", "_logpdf", "_logpmf", "_pdf", "_pmf")

_adapters: dict[str, Adapter] = {}
#: The adapters of the classes met so far.
_readers: WeakKeyDictionary[type, tuple[Adapter, ...]] = WeakKeyDictionary()


def adapter(*names: str) -> Callable[[Adapter], Adapter]:
    """Register the decorated function as the reader of objects of some classes.

    Parameters
    ----------
    *names : str
        The qualified names of the classes, such as ``"torch.distributions.normal.Normal"``. Their subclasses are read
        alike unless they have an adapter or a density method of their own. For a frozen distribution of SciPy, the
        name of the class of what was frozen, such as ``"scipy.stats._continuous_distns.norm_gen"``.

    Returns
    -------
    decorator
        For a function of the object that returns a :class:`dkl.families.Distribution` or another representation, or
        None to decline.

    Raises
    ------
    ValueError
        If a name has an adapter already.

    Notes
    -----
    A package that offers adapters names the module that registers them as an entry point of the group ``dkl.rules``.

    Examples
    --------
    >>> import dkl
    >>> class Coin:
    ...     def __init__(self, heads):
    ...         self.heads = heads
    >>> @dkl.adapters.adapter(f"{Coin.__module__}.Coin")
    ... def read(coin):
    ...     return dkl.Probs([coin.heads, 1 - coin.heads])
    >>> dkl.adapters.adapted(Coin(0.25))
    Probs(array=[0.25, 0.75], normalize=False)
    """

    def register(read: Adapter) -> Adapter:
        for name in names:
            if name in _adapters:
                raise ValueError(f"an adapter for {name} is registered already")
        _adapters.update(dict.fromkeys(names, read))
        _readers.clear()
        return read

    return register


def adapted(x: Any) -> Representation | None:
    """What an object of another library stands for, or None if it is no distribution.

    Parameters
    ----------
    x : object
        Such as a ``torch.distributions.Normal`` or a frozen ``scipy.stats.norm(0, 1)``.

    Returns
    -------
    Representation or None
        A member of ``dkl.families`` with the object's own parameters, so that gradients reach them; a
        ``dkl.Density`` where no family covers it.

    Examples
    --------
    >>> import dkl
    >>> from scipy import stats
    >>> dkl.adapters.adapted(stats.norm(1, 2))
    Normal(loc=1, scale=2)
    """
    rules.load()  # other packages' adapters
    known = known_as(type(x), x)
    if known is not None:
        return known
    from dkl.adapters.protocol import density

    return density(x)


def known_as(cls: type, x: Any) -> Representation | None:
    """What the adapter of a class or of the nearest of its parents makes of ``x``."""
    if cls not in _readers:
        readers = tuple(_readers_of(cls))  # which may import more adapters
        _readers[cls] = readers
    return next((made for read in _readers[cls] if (made := read(x)) is not None), None)


def _readers_of(cls: type) -> Iterator[Adapter]:
    """The adapters of a class and of its parents, the nearest first."""
    for place, base in enumerate(cls.__mro__):
        home = _HOMES.get(base.__module__.partition(".")[0])
        if home is not None:
            import_module(home)
        read = _adapters.get(f"{base.__module__}.{base.__qualname__}")
        replaced = any(
            hasattr(base, name) and name in vars(below) for below in cls.__mro__[:place] for name in _DENSITY
        )
        if read is not None and not replaced:
            yield read


def member(family: str, **parameters: Any) -> Any:
    """A member of a family of ``dkl.families`` by its name."""
    from dkl import families

    return getattr(families, family)(**parameters)


def fields(family: str, parameters: str, convert: Callable[[dict[str, Any]], dict[str, Any]] | None = None) -> Adapter:
    """The adapter of a class whose attributes are a family's parameters: ``"loc shape=concentration"``."""
    attributes = dict((pair if "=" in pair else f"{pair}={pair}").split("=") for pair in parameters.split())

    def read(x: Any) -> Representation | None:
        given = {name: getattr(x, attribute) for name, attribute in attributes.items()}
        made: Representation = member(family, **(given if convert is None else convert(given)))
        return made

    return read
