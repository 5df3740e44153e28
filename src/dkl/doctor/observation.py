"""What is seen in the tensors of one batch: figures by their role, made on the tensors' own device without waiting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dkl._array import namespace_of, real_floating
from dkl.divergences import kl
from dkl.pairs import from_logits
from dkl.training.reduction import reduced, visible

#: The names of the tensors that are read, by the kind of training.
TENSORS: Mapping[str, tuple[str, ...]] = {
    "vae": ("mu", "log_var", "mask"),
    "policy": ("logits", "old_logits", "reference_logits", "log_prob", "old_log_prob", "mask"),
    "distillation": ("student_logits", "teacher_logits", "mask"),
    "gan": ("real_logits", "fake_logits"),
}

# Logits are read in parts of so many numbers, so that memory is not what watching costs.
_HELD = 1 << 22
# The variance of a mean from which its dimension is active: as in dkl.training.active_units.
_ACTIVE = 0.01

Figures = dict[str, Tensor]


def check(kind: str, tensors: Mapping[str, Any]) -> None:
    """Whether the tensors of one batch are what can be read.

    Raises
    ------
    TypeError
        If one is no tensor of floats.
    ValueError
        If those that belong together do not fit, or one is missing.
    """
    for name, x in tensors.items():
        if not isinstance(x, Tensor) or (name != "mask" and not x.dtype.is_floating_point):
            raise TypeError(f"{name} must be a tensor of floats, got {getattr(x, 'dtype', type(x).__name__)}")
    if kind == "vae":
        mu, _ = _together(tensors, "mu", "log_var")
        mask = tensors.get("mask")
        if mu.ndim < 2:
            raise ValueError(f"mu has shape {tuple(mu.shape)}: give rows first, then the latent dimensions")
        if mask is not None and mask.shape != mu.shape[:1]:
            raise ValueError(
                f"mask has shape {tuple(mask.shape)}, but there are {len(mu)} rows: give a number for each"
            )


def observed(
    kind: str, batches: Sequence[Mapping[str, Tensor]], known: Mapping[str, Any]
) -> tuple[tuple[str, ...], Tensor]:
    """The figures of some batches, all of the same shapes.

    Parameters
    ----------
    kind : {"vae", "policy", "distillation", "gan"}
    batches : sequence of mapping of str to Tensor
        Each by the names of ``TENSORS``, and checked.
    known : mapping
        Of it, ``clamp`` is used.

    Returns
    -------
    names : tuple of str
        Roles.
    values : Tensor
        Of shape (batches, names), on the tensors' device. What is NaN in the tensors is NaN here.

    Raises
    ------
    ValueError
        If tensors that belong together do not fit, or one is missing.
    """
    with torch.no_grad():
        if kind == "vae":
            return _vae({name: torch.stack([batch[name] for batch in batches]) for name in batches[0]}, known)
        made = [_READ[kind](batch) for batch in batches]
        return tuple(made[0]), torch.stack([torch.stack(list(figures.values())) for figures in made])


def _vae(tensors: Mapping[str, Tensor], known: Mapping[str, Any]) -> tuple[tuple[str, ...], Tensor]:
    """Of tensors of the shape (batches, rows, dimensions, …)."""
    mu, log_var = (_wide(tensors[name]).flatten(2) for name in ("mu", "log_var"))
    kept = None
    if "mask" in tensors:
        kept = (tensors["mask"] != 0)[..., None]
        mu, log_var = visible(mu, kept), visible(log_var, kept)
    squares = mu.square()
    means = _mean(mu, kept)
    kl_of_each = _mean((squares + (torch.expm1(log_var) - log_var)).mul_(0.5), kept)
    # What does not count is 0 now, which is no greatest |μ| but might be an extreme of log σ².
    low, high = (log_var, log_var) if kept is None else (torch.where(kept, log_var, x) for x in (math.inf, -math.inf))
    spread = _mean((mu - means[:, None]).square(), kept)
    made = {
        "kl": kl_of_each.sum(-1),
        "mu_squared": _mean(squares, kept).sum(-1),
        "mu_max": squares.flatten(1).amax(-1).sqrt(),
        "log_var_max": high.flatten(1).amax(-1),
        "log_var_min": low.flatten(1).amin(-1),
        "log_var_mean": _mean(log_var, kept).mean(-1),
        "active_units": (spread > _ACTIVE).sum(-1).to(mu.dtype),
    }
    if "clamp" in known:
        least, greatest = known["clamp"]
        made["clamped"] = _mean(((log_var <= least) | (log_var >= greatest)).to(mu.dtype), kept).mean(-1)
    dimensions = tuple(f"kl_dim/{i}" for i in range(kl_of_each.shape[-1]))
    return (*made, *dimensions), torch.cat([torch.stack(list(made.values()), -1), kl_of_each], -1)


def _mean(values: Tensor, kept: Tensor | None) -> Tensor:
    """Over the rows that count, which are the second axis."""
    return values.mean(1) if kept is None else (values * kept).sum(1) / kept.sum(1).clamp(min=1)


def _policy(tensors: Mapping[str, Tensor]) -> Figures:
    mask = tensors.get("mask")
    made: Figures = {}
    others = [name for name in ("reference_logits", "old_logits") if name in tensors]
    if "logits" in tensors:
        rows = _rows(tensors, ("logits", *others))
        made["entropy"] = _mean_of(_entropy, rows[:1], mask)
        if "reference_logits" in tensors:
            made["kl"] = _mean_of(_kl, [rows[0], rows[1]], mask)
        if "old_logits" in tensors:
            made["kl" if "kl" not in made else "update_kl"] = _mean_of(_kl, [rows[-1], rows[0]], mask)
    elif others:
        raise ValueError(f"{others[0]} are given without logits, those of the policy that is trained: give both")
    if "log_prob" in tensors or "old_log_prob" in tensors:
        new, old = _together(tensors, "log_prob", "old_log_prob")
        d = _wide(new) - _wide(old)
        ratio = d.exp()
        counted = torch.ones_like(d) if mask is None else torch.broadcast_to(mask != 0, d.shape)
        made["ratio_mean"] = reduced(ratio, mask=mask)
        made["ratio_max"] = torch.where(counted != 0, ratio, -math.inf).amax()
        made["kl_k1"] = reduced(-d, mask=mask)
        made["kl_k2"] = reduced(0.5 * d.square(), mask=mask)
        made["kl_k3"] = reduced(torch.expm1(d) - d, mask=mask)
    return made


def _distillation(tensors: Mapping[str, Tensor]) -> Figures:
    mask = tensors.get("mask")
    teacher, student = _rows(tensors, ("teacher_logits", "student_logits"))
    agreement = (teacher.argmax(-1) == student.argmax(-1)).to(torch.float32)
    return {
        "kl": _mean_of(_kl, [teacher, student], mask),
        "student_entropy": _mean_of(_entropy, [student], mask),
        "teacher_entropy": _mean_of(_entropy, [teacher], mask),
        "agreement": _wide(reduced(agreement, mask=mask)),
    }


def _gan(tensors: Mapping[str, Tensor]) -> Figures:
    real, fake = _together(tensors, "real_logits", "fake_logits", same_shape=False)
    right = torch.cat([(real > 0).reshape(-1), (fake < 0).reshape(-1)])
    return {
        "score_real": torch.sigmoid(_wide(real)).mean(),
        "score_fake": torch.sigmoid(_wide(fake)).mean(),
        "discriminator_accuracy": right.to(_wide(real).dtype).mean(),
    }


_READ: Mapping[str, Callable[[Mapping[str, Tensor]], Figures]] = {
    "policy": _policy,
    "distillation": _distillation,
    "gan": _gan,
}


def _together(
    tensors: Mapping[str, Tensor], first: str, second: str, *, same_shape: bool = True
) -> tuple[Tensor, Tensor]:
    for name, other in ((first, second), (second, first)):
        if name not in tensors:
            raise ValueError(f"{other} is given without {name}: give both")
    one, two = tensors[first], tensors[second]
    if same_shape and one.shape != two.shape:
        raise ValueError(
            f"{first} has shape {tuple(one.shape)} and {second} {tuple(two.shape)}: they must be one shape"
        )
    return one, two


def _rows(tensors: Mapping[str, Tensor], names: tuple[str, ...]) -> list[Tensor]:
    found = [tensors[name] for name in names if name in tensors]
    for name in names:
        if name not in tensors:
            raise ValueError(f"{name} are missing beside {', '.join(n for n in names if n in tensors) or 'the mask'}")
        if not tensors[name].ndim or tensors[name].shape != found[0].shape:
            shapes = ", ".join(f"{n} {tuple(tensors[n].shape)}" for n in names if n in tensors)
            raise ValueError(f"logits must be of one shape, with the outcomes along the last axis: got {shapes}")
    return found


def _mean_of(of: Callable[..., Tensor], sides: list[Tensor], mask: Tensor | None) -> Tensor:
    """The mean over the rows that count of what is made of their logits, part by part."""
    shape = sides[0].shape
    if mask is not None and mask.shape != shape[:-1]:
        raise ValueError(
            f"mask has shape {tuple(mask.shape)} and the rows {tuple(shape[:-1])}: give one number for each row"
        )
    flat = [x.reshape(-1, shape[-1]) for x in sides]
    values = torch.cat([of(*part) for part in _parts(flat, shape[-1])])
    return reduced(values, mask=None if mask is None else mask.reshape(-1)).to(_wide(values).dtype)


def _parts(sides: list[Tensor], outcomes: int) -> Iterator[list[Tensor]]:
    rows = max(1, _HELD // max(outcomes, 1))
    yield from ([x[start : start + rows] for x in sides] for start in range(0, max(len(sides[0]), 1), rows))


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL of each row, by the sum that does not cancel, without the checks, each of which would wait for the device."""
    xp = namespace_of(p=p)
    made: Tensor = kl.total(from_logits(xp, *real_floating(xp, p, q)))
    return made


def _entropy(logits: Tensor) -> Tensor:
    log_p = torch.log_softmax(logits.float() if logits.dtype != torch.float64 else logits, -1)
    p = log_p.exp()
    return -torch.where(p > 0, p * log_p, p).sum(-1)


def _wide(x: Tensor) -> Tensor:
    """In float64, where the device has it."""
    return x if x.dtype == torch.float64 or x.device.type == "mps" else x.double()
