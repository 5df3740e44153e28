"""Controllers of β: the weight of a KL term that follows the KL measured, so that the KL reaches a target."""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal, get_args

from dkl._array import real_number

Rule = Literal["ppo", "ziegler"]
Unit = Literal["token", "sequence", "state"]
Side = Literal["low", "high"]

# Schulman et al. 2017, section 4: the band around the target, and the step of β outside it.
_BAND, _FACTOR = 1.5, 2.0
# Ziegler et al. 2019, section 2.2: the largest relative error that counts.
_CLIP = 0.2


class _Controller:
    """β between two bounds, and for how long it has stood at one of them against the rule's will."""

    _state: ClassVar[tuple[str, ...]] = ("beta", "saturated", "saturated_updates")

    def __init__(self, target: float, beta: float | None, bounds: tuple[float, float]) -> None:
        self.target = real_number(target, "target")
        if not 0 < self.target < math.inf:
            raise ValueError(f"target = {target!r} is no KL to reach: it is positive and finite, in nats")
        try:
            low, high = (real_number(bound, "bounds") for bound in bounds)
        except (TypeError, ValueError):
            raise ValueError(f"bounds = {bounds!r} is no pair of numbers (lowest β, highest β)") from None
        if not 0 <= low < high < math.inf:
            raise ValueError(f"bounds = {bounds!r} does not hold 0 <= lowest < highest < inf")
        self.bounds = (low, high)
        self.beta = low if beta is None else self._within(real_number(beta, "beta"), "beta")
        #: At which bound the last update cut β, or None.
        self.saturated: Side | None = None
        #: How many updates in a row, up to the last, were cut at that bound.
        self.saturated_updates = 0

    def _within(self, beta: float, name: str) -> float:
        low, high = self.bounds
        if not low <= beta <= high:
            raise ValueError(f"{name} = {beta!r} lies outside its bounds {self.bounds}: change one of them")
        return beta

    def _move(self, wanted: float) -> float:
        low, high = self.bounds
        side: Side | None = "low" if wanted < low else "high" if wanted > high else None
        self.saturated_updates = 0 if side is None else 1 + (self.saturated_updates if side == self.saturated else 0)
        self.saturated = side
        self.beta = min(max(wanted, low), high)
        return self.beta

    def state_dict(self) -> dict[str, Any]:
        """What the updates have changed, for a checkpoint: not what the controller was made with."""
        return {name: getattr(self, name) for name in self._state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave.

        Raises
        ------
        ValueError
            If names are missing or unknown, β lies outside this controller's bounds, or another value is none that an
            update leaves; nothing is then changed.
        TypeError
            If the state is no dictionary, or a value of it no number.
        """
        if not isinstance(state, dict):
            raise TypeError(f"state must be the dictionary that state_dict gave, got {type(state).__name__}")
        if set(state) != set(self._state):
            given = sorted(map(str, state))
            raise ValueError(f"the state of a {type(self).__name__} has {list(self._state)}, got {given}")
        self._check(state)
        for name in self._state:
            setattr(self, name, state[name])

    def _check(self, state: dict[str, Any]) -> None:
        self._within(real_number(state["beta"], "the state's beta"), "the state's beta")
        side, updates = state["saturated"], state["saturated_updates"]
        if side is not None and side not in get_args(Side):
            raise ValueError(f"the state's saturated = {side!r} is none of None, 'low', 'high'")
        if isinstance(updates, bool) or not isinstance(updates, int):
            raise TypeError(f"the state's saturated_updates must be an integer, got {updates!r}")
        if updates < 0 or (updates > 0) != (side is not None):
            raise ValueError(
                f"the state's saturated_updates = {updates} does not go with saturated = {side!r}: it counts the "
                "updates at that bound, and is 0 for None"
            )


class AdaptiveKL(_Controller):
    """The weight β of a policy's KL penalty, adapted so that KL(old‖new) or KL(policy‖reference) reaches a target.

    Parameters
    ----------
    target : float
        The KL to reach, in nats for each ``unit``.
    beta : float
        Where β starts, within the bounds.
    unit : {"token", "sequence", "state"}
        What the target counts by: a sequence's KL is the sum over its tokens, so that the same number is a hundred
        times stricter for a sequence of a hundred tokens. Every update states its own unit.
    rule : {"ppo", "ziegler"}
        ``"ppo"``: β doubles where the KL is above 1.5·target and halves where it is below target/1.5 [1].
        ``"ziegler"``: β·(1 + gain·e·n/horizon), with e = kl/target − 1 cut at ±0.2 [2].
    bounds : (float, float)
        The lowest and the highest β. A rule that multiplies cannot leave a β of 0: the lowest is positive.
    gain, horizon : float
        Of Ziegler's rule: in [2], gain 0.1 for each update; in later code, gain 1 over a horizon of 10,000 episodes,
        of which an update has seen n.

    Attributes
    ----------
    beta : float
        The weight to use now.
    saturated : {"low", "high", None}
        At which bound the last update cut β: the target is then out of reach of this controller.
    saturated_updates : int
        How many updates in a row were cut there.

    Raises
    ------
    ValueError
        If a number lies outside its domain, or a rule or unit has no such name.

    References
    ----------
    .. [1] J. Schulman et al., "Proximal policy optimization algorithms", arXiv:1707.06347 (2017), section 4.
    .. [2] D. M. Ziegler et al., "Fine-tuning language models from human preferences", arXiv:1909.08593 (2019),
       section 2.2.

    Examples
    --------
    >>> from dkl.training import AdaptiveKL
    >>> controller = AdaptiveKL(target=0.01, beta=1.0, unit="state")
    >>> controller.update(0.016, unit="state"), controller.update(0.006, unit="state")
    (2.0, 1.0)
    >>> controller.update(0.6, unit="sequence")
    Traceback (most recent call last):
    ValueError: kl is for each sequence, the target of 0.01 for each state: a sequence's is the sum over its tokens
    """

    _state = (*_Controller._state, "unit")

    def __init__(
        self,
        target: float,
        beta: float = 1.0,
        *,
        unit: Unit,
        rule: Rule = "ppo",
        bounds: tuple[float, float] = (1e-6, 1e6),
        gain: float = 0.1,
        horizon: float = 1.0,
    ) -> None:
        if rule not in get_args(Rule):
            raise ValueError(f"rule = {rule!r} is none of {', '.join(map(repr, get_args(Rule)))}")
        if unit not in get_args(Unit):
            raise ValueError(f"unit = {unit!r} is none of {', '.join(map(repr, get_args(Unit)))}")
        super().__init__(target, beta, bounds)
        if self.bounds[0] == 0:
            raise ValueError(f"bounds = {bounds!r} lets beta reach 0, which no factor leaves: give a positive lowest")
        self.gain, self.horizon = real_number(gain, "gain"), real_number(horizon, "horizon")
        for name, value in (("gain", self.gain), ("horizon", self.horizon)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} = {value!r} must be positive and finite")
        self.rule, self.unit = rule, unit

    def update(self, kl: Any, *, unit: Unit, n: float = 1.0) -> float:
        """Move β by one KL measured, and return it.

        Parameters
        ----------
        kl : float or one-element tensor
            Nats for each unit. An estimate may be negative, and counts as one below the target; of a mean over rows of
            which some are infinite it may be infinite.
        unit : {"token", "sequence", "state"}
            What this KL counts by: the target's own.
        n : float
            What the update has seen of Ziegler's horizon, such as the number of episodes.

        Raises
        ------
        ValueError
            If the KL is NaN, its unit is not the target's, or n times gain over horizon is so large that β would
            become 0 or negative.
        """
        if unit != self.unit:
            raise ValueError(
                f"kl is for each {unit}, the target of {self.target:g} for each {self.unit}: a sequence's is "
                "the sum over its tokens"
            )
        return self._move(self.beta * self._factor(_measured(kl) / self.target, n))

    def _factor(self, ratio: float, n: float) -> float:
        if self.rule == "ppo":
            return _FACTOR if ratio > _BAND else 1.0 / _FACTOR if ratio < 1.0 / _BAND else 1.0
        step = self.gain * n / self.horizon
        if not 0 <= step * _CLIP < 1:
            raise ValueError(
                f"gain·n/horizon = {step:g} lets one update turn beta to 0 or below: it lies from 0 to less than "
                f"{1 / _CLIP:g}; with n = {n:g}, raise the horizon"
            )
        return 1.0 + step * min(max(ratio - 1.0, -_CLIP), _CLIP)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what :meth:`state_dict` gave.

        Raises
        ------
        ValueError
            If names are missing or unknown, β lies outside this controller's bounds, or the unit is another.
        """
        super().load_state_dict(state)

    def _check(self, state: dict[str, Any]) -> None:
        super()._check(state)
        if state["unit"] != self.unit:
            raise ValueError(f"the state counts KL by the {state['unit']}, this controller by the {self.unit}")

    def __repr__(self) -> str:
        return f"AdaptiveKL(target={self.target:g}, beta={self.beta:g}, unit={self.unit!r}, rule={self.rule!r})"


class TargetKL(_Controller):
    """The weight β of a variational autoencoder's KL, by ControlVAE's PI controller of a target KL.

    With the error e = target − kl of an update, β = lowest + proportional/(1 + exp(e)) + I, and the integral I falls by
    integral·e [1, algorithm 1]. Where that leaves the bounds, β is cut and I is set to what gives the bound: it does
    not wind up, and β leaves the bound as soon as the error changes its sign.

    Parameters
    ----------
    target : float
        The KL to reach: nats for each row, summed over latent dimensions, averaged over the batch.
    beta : float, optional
        Where β starts; the lowest if not given.
    bounds : (float, float)
        The lowest and the highest β.
    proportional, integral : float
        The gains K_p and K_i. A KL of hundreds of nats asks for a smaller ``integral`` than one of ten.

    Attributes
    ----------
    beta : float
        The weight to use now.
    integral_part : float
        I.
    saturated : {"low", "high", None}
        At which bound the last update cut β. At ``"low"`` the KL stays below its target with the smallest weight that
        is allowed: the decoder does not use the latent variables; at ``"high"`` no weight allowed holds the KL down.
    saturated_updates : int
        How many updates in a row were cut there.

    Raises
    ------
    ValueError
        If a number lies outside its domain.

    References
    ----------
    .. [1] H. Shao et al., "ControlVAE: Controllable variational autoencoder", ICML (2020), arXiv:2004.05988.

    Examples
    --------
    >>> from dkl.training import TargetKL
    >>> controller = TargetKL(target=20.0)
    >>> for kl in (300.0, 120.0, 60.0):
    ...     beta = controller.update(kl)
    >>> round(beta, 4), controller.saturated
    (0.052, None)
    """

    _state = (*_Controller._state, "integral_part")

    def __init__(
        self,
        target: float,
        beta: float | None = None,
        *,
        bounds: tuple[float, float] = (0.0, 1.0),
        proportional: float = 0.01,
        integral: float = 0.0001,
    ) -> None:
        super().__init__(target, beta, bounds)
        self.proportional, self.integral = real_number(proportional, "proportional"), real_number(integral, "integral")
        if not 0 <= self.proportional < math.inf:
            raise ValueError(f"proportional = {proportional!r} must be finite and not negative")
        if not 0 < self.integral < math.inf:
            raise ValueError(f"integral = {integral!r} must be positive and finite: without it no target is reached")
        self.integral_part = self.beta - self.bounds[0]

    def update(self, kl: Any) -> float:
        """Move β by the KL of one batch, and return it.

        Parameters
        ----------
        kl : float or one-element tensor
            Nats for each row; it may be infinite.

        Raises
        ------
        ValueError
            If the KL is NaN.
        """
        error = self.target - _measured(kl)
        # 1/(1 + exp(e)), which does not overflow in this form.
        proportional = self.proportional * 0.5 * (1.0 - math.tanh(0.5 * error))
        without = self.bounds[0] + proportional
        self.integral_part -= self.integral * error
        beta = self._move(without + self.integral_part)
        if self.saturated is not None:
            self.integral_part = beta - without
        return beta

    def _check(self, state: dict[str, Any]) -> None:
        super()._check(state)
        if not math.isfinite(part := real_number(state["integral_part"], "the state's integral_part")):
            raise ValueError(f"the state's integral_part = {part!r} must be finite")

    def __repr__(self) -> str:
        return f"TargetKL(target={self.target:g}, beta={self.beta:g}, bounds={self.bounds})"


def _measured(kl: Any) -> float:
    if isinstance(kl, str | bytes | bool):  # which float() would read
        raise TypeError(f"kl must be a number or a one-element tensor, got {kl!r}")
    value = float(kl.detach() if hasattr(kl, "detach") else kl)
    if math.isnan(value):
        raise ValueError("kl = nan: no controller can answer to it; find where the loss became NaN first")
    return value
