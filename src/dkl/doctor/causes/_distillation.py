"""What the causes of distillation share: by which factor the loss differs from the KL that was measured beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from itertools import product
from typing import Literal

import numpy as np

from dkl.doctor.case import Case
from dkl.doctor.series import Numbers

Direction = Literal["forward", "reverse"]

# A quotient of two logged numbers of single precision, or of four printed digits, is constant to this.
_CONSTANT = 2e-3
# A factor is taken for a product of known numbers if it is within this of it.
_SAME = 0.01
# So many steps tell a law from chance.
_ENOUGH = 5
# KLs below this share of their largest drown in rounding and in the noise of a batch.
_SHARE = 1e-3
# So near to that of a uniform distribution is the entropy of a student that has learned nothing.
_UNIFORM = 0.9
# A mean over so many rows at least is what a batch has.
_ROWS = 8


@dataclass(frozen=True)
class Law:
    """The logged divergence is a constant times a measured KL: which, and of what the constant is made.

    Attributes
    ----------
    direction : {"forward", "reverse"}
        KL(teacher ‖ student) or KL(student ‖ teacher).
    factor : float
        The constant, after the share of the rows that count where that is part of it.
    steps : int
        At how many steps it held.
    explained : bool
        Whether the parts below make the factor.
    squared, padded, per_class, summed : bool
        Whether T² is in it, the share of rows that count, 1/classes, the number of rows.
    sure : float
        How sure the parts are, between 0 and 1.
    """

    direction: Direction
    factor: float
    steps: int
    explained: bool = False
    squared: bool = False
    padded: bool = False
    per_class: bool = False
    summed: bool = False
    sure: float = 0.0

    @property
    def kl(self) -> str:
        """The KL as it is written."""
        return "KL(teacher‖student)" if self.direction == "forward" else "KL(student‖teacher)"


def known_number(case: Case, *names: str) -> float | None:
    """A fact that is known, or logged at the last step under that role."""
    for name in names:
        if name in case.known:
            return float(case.known[name])
        if name in case and len(case[name].finite):
            return float(case[name].finite.values[-1])
    return None


def temperature(case: Case) -> float:
    """T; 1 where nothing is said of it."""
    return known_number(case, "temperature") or 1.0


def classes(case: Case) -> float | None:
    """How many outcomes a row has."""
    return known_number(case, "classes", "vocabulary")


def together(case: Case, *roles: str) -> list[Numbers]:
    """The values of these at the steps at which all of them were logged."""
    series = [case[role].finite for role in roles]
    steps = reduce(np.intersect1d, [s.steps for s in series])
    return [s.at(steps) for s in series]


def law(case: Case) -> Law | None:
    """The constant by which the divergence in the loss is a KL that was measured on the same rows, if there is one."""
    directions: tuple[tuple[Direction, str], ...] = (("forward", "forward_kl"), ("reverse", "reverse_kl"))
    for padded, (direction, role) in product((False, True), directions):
        if role not in case or (padded and "kept" not in case):
            continue
        soft, kl, *kept = together(case, "kl", role, *(["kept"] if padded else []))
        told = kl > _SHARE * max(float(np.max(kl, initial=0.0)), 1e-6)
        if told.sum() < _ENOUGH:
            continue
        quotient = (soft / kl / (kept[0] if kept else 1.0))[told]
        factor = float(np.median(quotient))
        if factor > 0 and np.ptp(quotient) <= _CONSTANT * factor:
            return _explained(case, Law(direction, factor, len(quotient), padded=padded))
    return None


def _explained(case: Case, found: Law) -> Law:
    """Of what the factor is made: the square of the temperature, the numbers of classes and of rows, of padding."""
    square = temperature(case) ** 2
    outcomes, rows = classes(case), known_number(case, "batch_size")
    kept = float(np.mean(case["kept"].finite.values)) if "kept" in case and len(case["kept"].finite) else 1.0
    # The usual first: the square is there, and nothing else.
    parts = product(
        (False, True) if rows else (False,),
        (False, True) if outcomes else (False,),
        (False, True) if kept < 1 - _SAME and not found.padded else (False,),
        (True, False) if square != 1 else (False,),
    )
    for summed, per_class, padded, squared in parts:
        made = (square if squared else 1.0) * (kept if padded else 1.0)
        made *= (1 / outcomes if per_class and outcomes else 1.0) * (rows if summed and rows else 1.0)
        if abs(found.factor / made - 1) <= _SAME:
            # The sum over the rows that count is the number of all rows times their share: no padding is counted.
            counted = (padded or found.padded) and not summed
            sure = 0.9 if padded else 0.97
            return Law(found.direction, found.factor, found.steps, True, squared, counted, per_class, summed, sure)
    return _guessed(case, found, square)


def _guessed(case: Case, found: Law, square: float) -> Law:
    """Whether a whole number that nobody has named explains the factor."""
    widest = math.exp(float(np.max(case["student_entropy"].finite.values))) if "student_entropy" in case else 2.0
    for squared in (True, False) if square != 1 else (False,):
        factor = found.factor / (square if squared else 1.0)
        for number, per_class in ((1 / factor, True), (factor, False)):
            whole = abs(number / round(number) - 1) <= _SAME / 10 if number > 1.5 else False
            # An entropy of H needs exp(H) classes at least.
            if whole and number >= ((1 - _SAME) * widest if per_class else _ROWS):
                told = (per_class and classes(case) is None) or (not per_class and "batch_size" not in case.known)
                if told:
                    return Law(
                        found.direction, found.factor, found.steps, True, squared, False, per_class, not per_class, 0.6
                    )
    return found


def rough_share(case: Case) -> tuple[float, str] | None:
    """How large the divergence in the loss is beside KL(teacher‖student) at temperature 1, and how that was judged.

    By the KL measured on other rows where it is logged; else by the cross-entropy with the labels less the teacher's
    entropy, which it is for a teacher that is calibrated; else by the first step, where the student is still uniform.
    Only the first third of the run is looked at: later a student knows the rows that it was trained on better.
    """
    soft = case["kl"].finite
    if not len(soft):
        return None
    if "forward_kl" in case:
        value, expected = together(case, "kl", "forward_kl")
        how = f"beside {case['forward_kl'].name!r}"
    elif "cross_entropy" in case and "teacher_entropy" in case:
        value, hard, unsure = together(case, "kl", "cross_entropy", "teacher_entropy")
        expected = np.where(hard > 2 * unsure, hard - unsure, np.nan)
        how = "beside the cross-entropy with the labels less the teacher's entropy"
    else:
        first = _from_uniform(case)
        if first is None:
            return None
        value, expected = soft.values[:1], np.array([first])
        how = "beside log(classes) − H(teacher), which KL(teacher‖student) is for a student that knows nothing"
    early = slice(0, max(1, len(value) // 3))
    with np.errstate(divide="ignore", invalid="ignore"):
        quotient = (value / expected)[early]
    quotient = quotient[np.isfinite(quotient)]
    return (float(np.median(quotient)), how) if quotient.size else None


def _from_uniform(case: Case) -> float | None:
    outcomes = classes(case)
    if outcomes is None or "student_entropy" not in case or "teacher_entropy" not in case:
        return None
    student, teacher = case["student_entropy"].finite.values, case["teacher_entropy"].finite.values
    if not (len(student) and len(teacher)) or student[0] < _UNIFORM * math.log(outcomes):
        return None
    expected = math.log(outcomes) - float(teacher[0])
    return expected if expected > 0 else None
