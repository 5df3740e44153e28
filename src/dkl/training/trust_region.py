"""TRPO's step: as far up the surrogate as a bound on the policy's KL allows.

Near the policy as it is, KL(old‖new) is ½·sᵀFs for a step s, with F the Fisher matrix, which is the KL's Hessian
there. The step along F⁻¹g that reaches the bound is scaled back until the true KL holds it and the true surrogate has
risen. F is never written down: the method of conjugate gradients needs its products with vectors alone, which are two
passes of autograd.

References
----------
.. [1] J. Schulman, S. Levine, P. Moritz, M. Jordan, P. Abbeel, "Trust region policy optimization", ICML (2015),
   section 6 and appendix C.
.. [2] M. R. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems", Journal of Research of
   the National Bureau of Standards 49 (1952).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dkl._array import real_number


class TrustRegionStep(NamedTuple):
    """What a step did.

    Attributes
    ----------
    accepted : bool
        Whether the parameters moved; if not they are as they were, to the last bit.
    kl : float
        The KL after the step, at most ``max_kl``.
    improvement : float
        How much the surrogate rose.
    expected_improvement : float
        How much it would have risen were it linear: the gradient times the step taken.
    backtracks : int
        How often the step was shortened.
    cg_iterations : int
        How many products with the Fisher matrix the direction took.
    cg_residual : float
        |Fs − g| / |g| of the direction found.
    """

    accepted: bool
    kl: float
    improvement: float
    expected_improvement: float
    backtracks: int
    cg_iterations: int
    cg_residual: float


def trust_region_step(
    parameters: Iterable[Tensor],
    surrogate: Callable[[], Tensor],
    kl: Callable[[], Tensor],
    max_kl: float = 0.01,
    *,
    damping: float = 0.1,
    cg_iterations: int = 10,
    cg_tolerance: float = 1e-5,
    max_backtracks: int = 10,
    backtrack: float = 0.5,
    accept_ratio: float = 0.1,
) -> TrustRegionStep:
    """Move the parameters by one step of trust-region policy optimisation.

    Parameters
    ----------
    parameters : iterable of Tensor
        What to move, in place; those that need no gradient are left alone.
    surrogate : callable
        Gives what is to rise, with the parameters as they are when it is called: the mean of ratio·advantage.
    kl : callable
        Gives the mean KL(old‖new), differentiable twice, with the old policy held fixed as it was before the step, so
        that it is 0 when first called: ``lambda: policy_kl(old.detach(), network(states))``.
    max_kl : float
        The bound, in nats.
    damping : float
        Added to the diagonal of the Fisher matrix, ≥ 0; it shortens the step along directions that the KL hardly sees.
    cg_iterations, cg_tolerance : int, float
        When the conjugate gradients stop: after that many products, or at that residual relative to the gradient.
    max_backtracks, backtrack : int, float
        How often the step is shortened at most, and by what factor in (0, 1).
    accept_ratio : float
        The least share of the expected improvement that must come about, in [0, 1).

    Returns
    -------
    TrustRegionStep
        ``accepted, kl, improvement, expected_improvement, backtracks, cg_iterations, cg_residual``.

    Raises
    ------
    ValueError
        If there is nothing to move, or a tensor twice, a setting lies outside its domain, the KL is not 0 at the start,
        or the gradient is not finite.
    TypeError
        If ``parameters`` is a tensor by itself.

    Notes
    -----
    One gradient, up to ``cg_iterations`` Fisher products of two gradients each, and up to ``max_backtracks`` + 1
    evaluations. The control flow depends on numbers, so an accelerator is waited for. The gradients that
    ``backward`` collects are left alone.

    Examples
    --------
    >>> import torch
    >>> from dkl.training import policy_kl, trust_region_step
    >>> logits = torch.zeros(3, requires_grad=True)
    >>> advantages = torch.tensor([1.0, 0.0, -1.0])
    >>> made = trust_region_step(
    ...     [logits], lambda: logits.softmax(0) @ advantages, lambda: policy_kl(torch.zeros(3), logits), max_kl=0.01
    ... )
    >>> made.accepted, made.kl <= 0.01, made.improvement > 0
    (True, True, True)
    """
    if isinstance(parameters, Tensor):
        raise TypeError("parameters is a tensor, and would be taken apart into its rows: give a list of tensors")
    moved = [x for x in parameters if x.requires_grad]
    if not moved:
        raise ValueError("parameters holds none that needs a gradient: there is nothing to move")
    if len({id(x) for x in moved}) < len(moved):
        raise ValueError("parameters holds a tensor twice: give each of them once")
    for name, value, low, high in (
        ("max_kl", max_kl, 0.0, math.inf),
        ("cg_iterations", cg_iterations, 0, math.inf),
        ("backtrack", backtrack, 0.0, 1.0),
    ):
        if not low < real_number(value, name) < high:
            raise ValueError(f"{name} = {value!r} lies outside ({low:g}, {high:g})")
    for name, value, high in (
        ("damping", damping, math.inf),
        ("cg_tolerance", cg_tolerance, math.inf),
        ("max_backtracks", max_backtracks, math.inf),
        ("accept_ratio", accept_ratio, 1.0),
    ):
        if not 0 <= real_number(value, name) < high:
            raise ValueError(f"{name} = {value!r} lies outside [0, {high:g})")

    before = surrogate()
    gradient = _flat(torch.autograd.grad(before, moved, materialize_grads=True))
    if not bool(torch.isfinite(gradient).all()):
        raise ValueError("the gradient of the surrogate is not finite: look for an infinite ratio or advantage")
    start = kl()
    if not abs(float(start.detach())) <= 1e-3 * max_kl:
        raise ValueError(
            f"the KL is {float(start.detach()):g} before the step and not 0: the old policy must be a detached copy of "
            "the policy as it is now, on the same rows"
        )
    slope = torch.autograd.grad(start, moved, create_graph=True, materialize_grads=True)

    def fisher(v: Tensor) -> Tensor:
        along = _flat(slope) @ v
        if not along.requires_grad:
            return damping * v
        return _flat(torch.autograd.grad(along, moved, retain_graph=True, materialize_grads=True)) + damping * v

    direction, used, residual = _conjugate_gradients(fisher, gradient, cg_iterations, cg_tolerance)
    curvature = float(direction @ fisher(direction)) if used else 0.0
    if not curvature > 0:  # no gradient, or no direction in which the KL rises
        return TrustRegionStep(False, float(start.detach()), 0.0, 0.0, 0, used, residual)

    full = direction * math.sqrt(2.0 * max_kl / curvature)
    origin = [x.detach().clone() for x in moved]
    initial = float(before.detach())
    accepted = False
    try:
        with torch.no_grad():
            for backtracks in range(max_backtracks + 1):
                step = full * backtrack**backtracks
                _place(moved, origin, step)
                reached, risen, expected = float(kl()), float(surrogate()) - initial, float(gradient @ step)
                accepted = reached <= max_kl and risen > 0 and risen >= accept_ratio * expected
                if accepted:
                    return TrustRegionStep(True, reached, risen, expected, backtracks, used, residual)
    finally:
        if not accepted:
            # Not by a step of 0, which would make 0 of −0.
            with torch.no_grad():
                for x, o in zip(moved, origin, strict=True):
                    x.copy_(o)
    return TrustRegionStep(False, float(start.detach()), 0.0, 0.0, max_backtracks, used, residual)


def _conjugate_gradients(
    product: Callable[[Tensor], Tensor], target: Tensor, iterations: int, tolerance: float
) -> tuple[Tensor, int, float]:
    """Solve product(x) = target; x, how many products it took, and the residual relative to the target [2]_."""
    x = torch.zeros_like(target)
    left, along = target.clone(), target.clone()
    size = squared = float(left @ left)
    used = 0
    while used < iterations and squared > tolerance**2 * size:
        image = product(along)
        used += 1
        curvature = float(along @ image)
        if not curvature > 0:  # rounding has used up what is left
            break
        x = x + squared / curvature * along
        left = left - squared / curvature * image
        previous, squared = squared, float(left @ left)
        along = left + squared / previous * along
    return x, used, math.sqrt(squared / size) if size else 0.0


def _flat(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([x.reshape(-1) for x in parts])


def _place(moved: list[Tensor], origin: list[Tensor], step: Tensor) -> None:
    pieces = step.split([x.numel() for x in moved])
    with torch.no_grad():
        for x, o, s in zip(moved, origin, pieces, strict=True):
            x.copy_(o + s.reshape(x.shape))
