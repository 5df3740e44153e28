"""What goes wrong between a teacher and its student: the direction of the KL, and by what it is divided."""

from __future__ import annotations

import numpy as np

from dkl.doctor.case import Case, Symptom, cause
from dkl.doctor.causes._distillation import classes, known_number, law, rough_share, temperature, together
from dkl.doctor.finding import Cause, Evidence, Fix, Severity
from dkl.doctor.words import figure

# Sums of bfloat16 round to no more below 0 than this, in nats.
_ROUNDING = 1e-2
# KL(student‖teacher) of a uniform student is so many times KL(teacher‖student) at least where the teacher is sure.
_OTHER_WAY = 1.7
# … and a loss so many times larger is a sum over rows rather.
_OTHER_WAY_AT_MOST = 30
# A divergence below this share of KL(teacher‖student) is not felt beside anything else in the loss.
_FAINT = 0.05
# A β so near to 0 or 1 makes the loss so many times weaker than KL.
_NEAR_AN_END = 0.05
# Below this temperature its square is no matter.
_WARM = 1.2
# From this temperature on it can be told roughly whether the square is there: T² ≥ 4 lies between, while softening
# itself makes KL smaller than at temperature 1, and by no more than about T².
_HOT = 2.0
# How far a factor that was judged by other rows may be off.
_ROUGH = 0.35
# Fewer rows than these are missing to so little effect that it is none.
_KEPT = 0.95
_KEPT_ROUGHLY = 0.8

_KL_DIV = "PyTorch's documentation of torch.nn.functional.kl_div"
_HINTON = (
    "G. Hinton, O. Vinyals, J. Dean, Distilling the knowledge in a neural network, arXiv:1503.02531 (2015), section 2"
)

_LOSS = Fix(
    "Take dkl's loss, whose divergence says its direction, and which is a mean over rows and a sum over classes.",
    "from dkl.training import distillation_loss\n\n"
    "loss = distillation_loss(student_logits, teacher_logits, dkl.kl, temperature=T, mask=mask)",
)


@cause(
    Cause(
        "F.kl_div without logarithms",
        "distillation",
        "F.kl_div takes the logarithms of the student's probabilities as its first argument, and was given "
        "probabilities or logits. The number is then no divergence: it is negative, and its minimum is no student that "
        "agrees with its teacher.",
        (
            _LOSS,
            Fix(
                "Give F.kl_div logarithms.",
                "loss = F.kl_div(student_logits.log_softmax(-1), teacher_logits.softmax(-1), reduction='batchmean')",
            ),
        ),
        (
            "Taking the absolute value, or clamping at 0: the gradient is still that of something else.",
            "A smaller learning rate: the loss has no minimum where the student should be.",
        ),
        _KL_DIV,
        ("kl",),
    )
)
def without_logarithms(case: Case) -> Symptom | None:
    """The divergence is negative."""
    soft = case["kl"].finite
    low = float(np.median(soft.values)) if len(soft) else 0.0
    if low >= -_ROUNDING or np.mean(soft.values < -_ROUNDING) < 0.5:
        return None
    last = float(soft.values[-1])
    text = f"{soft.name!r} is negative, {figure(last)} nats at the end, which no KL can be"
    evidence = [Evidence(text, (soft,), level=("0", 0.0))]
    if "teacher_entropy" not in case or not len(case["teacher_entropy"].finite):
        return Symptom("error", 0.9, tuple(evidence))
    unsure = float(np.median(case["teacher_entropy"].finite.values))
    bound = -unsure - 1
    within = bool(np.min(soft.values) >= bound - _ROUNDING)
    evidence.append(
        Evidence(
            f"it stays above −H(teacher) − 1 = {figure(bound)}, as −H(teacher) − Σ p·q does: "
            "F.kl_div was given the student's probabilities"
            if within
            else f"it falls below −H(teacher) − 1 = {figure(bound)}, where nothing stops it: "
            "F.kl_div was given the student's logits",
            (soft, case["teacher_entropy"]),
            level=("−H(teacher) − 1", bound),
        )
    )
    return Symptom("error", 0.95, tuple(evidence))


@cause(
    Cause(
        "F.kl_div with a teacher's logarithms",
        "distillation",
        "F.kl_div takes probabilities as its second argument unless log_target=True, and was given logarithms. It "
        "takes "
        "the logarithm of these negative numbers, which is NaN.",
        (
            _LOSS,
            Fix(
                "Say that the target is a logarithm.",
                "loss = F.kl_div(student_logits.log_softmax(-1), teacher_logits.log_softmax(-1),\n"
                "                reduction='batchmean', log_target=True)",
            ),
        ),
        (
            "Gradient clipping, a smaller learning rate, float32 instead of float16: the value itself is NaN, "
            "at the first step already.",
            "nan_to_num: it makes a loss of 0 that trains nothing.",
        ),
        _KL_DIV,
        ("kl",),
    )
)
def with_logarithms(case: Case) -> Symptom | None:
    """The divergence is NaN from the first step on, and the networks are not."""
    soft = case["kl"]
    if not len(soft) or not np.isnan(soft.values).all():
        return None
    first = soft.steps[0]
    told = [
        case[role]
        for role in ("forward_kl", "reverse_kl", "cross_entropy", "student_entropy")
        if role in case and len(case[role]) and np.isfinite(case[role].at(np.array([first]))[0])
    ]
    if not told:
        return None
    names = " and ".join(repr(series.name) for series in told[:2])
    text = f"{soft.name!r} is NaN from its first entry on, at step {first:g}, where {names} is still a number"
    return Symptom("error", 0.7, (Evidence(text, (soft, *told[:2]), steps=(first, first)),))


@cause(
    Cause(
        "KL in the other direction",
        "distillation",
        "Teacher and student have changed places: the loss is the KL of the other direction than the one that is "
        "meant. "
        "KL(teacher‖student) makes the student cover all that the teacher may say, KL(student‖teacher) lets it keep to "
        "a part of it; the values differ many times over.",
        (
            Fix(
                "Let the divergence say its direction; the student is the first argument whatever it is.",
                "from dkl.training import distillation_loss\n\n"
                "loss = distillation_loss(student_logits, teacher_logits, dkl.kl)          # KL(teacher‖student)\n"
                "loss = distillation_loss(student_logits, teacher_logits, dkl.reverse_kl)  # KL(student‖teacher)",
            ),
            Fix(
                "With F.kl_div, the first argument is the second side: this is KL(teacher‖student).",
                "loss = F.kl_div(student_logits.log_softmax(-1), teacher_logits.softmax(-1), reduction='batchmean')",
            ),
        ),
        (
            "A higher temperature: it brings the two directions nearer to each other, and changes the target with "
            "them.",
            "Training longer: a student that is too small goes to another place by each of them.",
        ),
        "Y. Gu et al., MiniLLM: knowledge distillation of large language models, ICLR (2024), section 2.1; " + _KL_DIV,
        ("kl",),
    )
)
def other_direction(case: Case) -> Symptom | None:
    """The divergence is a KL, and of the other direction than the one that is meant."""
    soft, wanted = case["kl"], case.known.get("direction")
    found = law(case)
    if found is not None:
        times = "" if abs(found.factor - 1) < 1e-2 else f"{figure(found.factor)} times "
        text = f"{soft.name!r} is {times}{found.kl} at all {found.steps} steps"
        role = f"{found.direction}_kl"
        other = "forward_kl" if found.direction == "reverse" else "reverse_kl"
        shown = (soft, case[role], *((case[other],) if other in case else ()))
        if wanted is not None and wanted != found.direction:
            return Symptom("error", 0.97, (Evidence(f"{text}, and KL({_written(wanted)}) is meant", shown),))
        if wanted is None and found.direction == "reverse":
            return Symptom("note", 0.9, (Evidence(f"{text}: right if that is meant", shown),))
        return None
    rough = rough_share(case)
    if rough is None or wanted != "forward" or temperature(case) != 1 or known_number(case, "batch_size") == rough[0]:
        return None
    share, how = rough
    if not _OTHER_WAY < share < _OTHER_WAY_AT_MOST:
        return None
    text = f"{soft.name!r} is {figure(share)} times what KL(teacher‖student) must be, judged {how}"
    return Symptom("error", 0.7, (Evidence(text, (soft,)),))


def _written(direction: str) -> str:
    return "teacher‖student" if direction == "forward" else "student‖teacher"


@cause(
    Cause(
        "divided by the number of classes",
        "distillation",
        "The mean is taken over rows and classes, as F.kl_div and nn.KLDivLoss do unless told otherwise, while KL is a "
        "sum over classes. The loss is as many times too small as there are classes, 32,000 times for a language "
        "model, "
        "and beside labels it is not felt.",
        (
            _LOSS,
            Fix(
                "Sum over classes, and take the mean over rows.",
                "loss = F.kl_div(student_logits.log_softmax(-1), teacher_logits.softmax(-1), reduction='batchmean')",
            ),
        ),
        (
            "A larger learning rate: Adam takes no notice of the loss's scale, and labels beside it would grow too.",
            "A higher temperature: it makes the divergence smaller still, unless its square is there.",
        ),
        _KL_DIV,
        ("kl",),
    )
)
def divided_by_classes(case: Case) -> Symptom | None:
    """The divergence is KL divided by the number of classes."""
    soft, found, outcomes = case["kl"], law(case), classes(case)
    if found is not None:
        if not found.per_class:
            return None
        whole = outcomes or round(temperature(case) ** 2 / found.factor if found.squared else 1 / found.factor)
        square = " times T²" if found.squared and temperature(case) != 1 else ""
        text = f"{soft.name!r} is {found.kl}{square} divided by {whole:,.0f} at all {found.steps} steps, " + (
            "the number of classes" if outcomes else "a whole number that may be that of classes"
        )
        return Symptom("error", found.sure, (Evidence(text, (soft, case[f"{found.direction}_kl"])),))
    rough = rough_share(case)
    if rough is None or outcomes is None or temperature(case) != 1:
        return None
    share, how = rough
    if abs(share * outcomes - 1) > _ROUGH:
        return None
    text = (
        f"{soft.name!r} is {figure(share)} of what KL(teacher‖student) must be, judged {how}: "
        f"that is one in {outcomes:,.0f}, the number of classes"
    )
    return Symptom("error", 0.75, (Evidence(text, (soft,)),))


@cause(
    Cause(
        "temperature squared is missing",
        "distillation",
        "Logits are divided by a temperature T, and the gradient of the divergence shrinks as 1/T². Without the factor "
        "T² the share of the labels, and the step, change with the temperature.",
        (
            Fix(
                "Multiply the divergence by T²; dkl does it unless told not to.",
                "from dkl.training import distillation_loss\n\n"
                "loss = distillation_loss(student_logits, teacher_logits, temperature=T, labels=labels, "
                "label_weight=w)",
            ),
        ),
        (
            "A larger learning rate: it moves the labels' share of the step along.",
            "A lower temperature: it hides the factor, and gives up what the temperature is for.",
        ),
        _HINTON,
        ("kl", "temperature"),
    )
)
def square_missing(case: Case) -> Symptom | None:
    """The divergence is KL at a temperature, without its square."""
    heat, soft = temperature(case), case["kl"]
    if heat < _WARM:
        return None
    found, weight = law(case), known_number(case, "weight")
    if found is not None:
        if not found.explained or found.squared:
            return None
        text = (
            f"at temperature {heat:g}, {soft.name!r} is {found.kl} without T² = {heat**2:g}, at all {found.steps} steps"
        )
        sure, shown = found.sure, [soft, case[f"{found.direction}_kl"]]
    else:
        rough = rough_share(case)
        if rough is None or heat < _HOT or not (1 - _ROUGH) / heat**2 < rough[0] < 1:
            return None
        text = (
            f"at temperature {heat:g}, {soft.name!r} is {figure(rough[0])} of KL(teacher‖student) at temperature 1, "
            "judged "
            f"{rough[1]}; with T² = {heat**2:g} it would be more than that"
        )
        sure, shown = 0.7, [soft]
    evidence = [Evidence(text, tuple(shown))]
    severity: Severity = "note"
    if weight is not None and 0 < weight < 1:
        severity = "warning"
        real = weight / (weight + (1 - weight) / heat**2)
        evidence.append(Evidence(f"the labels' share of {weight:g} weighs as {figure(real)} would with T²", (soft,)))
    return Symptom(severity, sure, tuple(evidence))


@cause(
    Cause(
        "padding is counted",
        "distillation",
        "Rows (tokens) that are padding add nothing to the sum, but are counted in the number by which it is divided. "
        "The loss is too small by the share of rows that count, and another one in every batch.",
        (
            Fix(
                "Give the mask to the loss: it is taken out of the number as well as of the sum.",
                "from dkl.training import distillation_loss\n\n"
                "loss = distillation_loss(student_logits, teacher_logits, mask=mask)",
            ),
            Fix("Divide by the number of rows that count.", "loss = (each * mask).sum() / mask.sum()"),
        ),
        (
            "A larger weight of the loss: the share of padding differs from batch to batch.",
            "Longer batches: they hold more padding still, unless texts are sorted by their length.",
        ),
        "docs/training-distillation.md, What the names prevent",
        ("kl", "kept"),
    )
)
def padding_counted(case: Case) -> Symptom | None:
    """The divergence is KL times the share of the rows that count."""
    kept, soft = case["kept"].finite, case["kl"]
    if not len(kept) or float(np.mean(kept.values)) > _KEPT:
        return None
    found, share = law(case), float(np.mean(kept.values))
    if found is not None:
        if not found.padded:
            return None
        text = (
            f"{soft.name!r} is {found.kl} times the share of rows that count, {figure(share)} on average, "
            f"at all {found.steps} steps"
        )
        return Symptom("warning", found.sure, (Evidence(text, (soft, case[f"{found.direction}_kl"], kept)),))
    rough = rough_share(case)
    if rough is None or temperature(case) != 1 or share > _KEPT_ROUGHLY or abs(rough[0] / share - 1) > _ROUGH / 2:
        return None
    text = (
        f"{soft.name!r} is {figure(rough[0])} of what KL(teacher‖student) must be, judged {rough[1]}; "
        f"a share of {figure(share)} of the rows counts"
    )
    return Symptom("warning", 0.6, (Evidence(text, (soft, kept)),))


@cause(
    Cause(
        "interpolation near its end",
        "distillation",
        "With β the teacher's share in the mixture, JSD(β) is about β·KL(teacher‖student) near β = 0 and "
        "(1 − β)·KL(student‖teacher) near β = 1: the loss is small because β is, not because the two agree. "
        "At the ends themselves JSD is 0 for every student, and implementations put the two KLs there by hand.",
        (
            Fix(
                "Take β well inside, or the end itself.",
                "from dkl.training import distillation_loss, generalized_jsd\n\n"
                "loss = distillation_loss(student_logits, teacher_logits, generalized_jsd(0.5))\n"
                "loss = distillation_loss(student_logits, teacher_logits, generalized_jsd(0.0))  # KL(teacher‖student)",
            ),
            Fix("Divide by β(1 − β), if it must be that β.", "loss = loss / (beta * (1 - beta))"),
        ),
        (
            "Training longer: the loss is small already.",
            "Judging by the loss that two values of β are equally good: their scales differ; compare one KL for both.",
        ),
        "R. Agarwal et al., On-policy distillation of language models, ICLR (2024), eq. 1",
        ("kl",),
    )
)
def near_an_end(case: Case) -> Symptom | None:
    """The divergence is a small share of KL, and no known number explains it."""
    soft, beta = case["kl"], case.known.get("interpolation")
    square = temperature(case) ** 2
    found = law(case)
    if found is not None and (found.explained or found.factor >= _FAINT):
        return None
    if beta is not None:
        if min(beta, 1 - beta) > _NEAR_AN_END:
            return None
        text = f"β = {beta:g} lies {figure(min(beta, 1 - beta))} from an end, and {soft.name!r} is as many times weaker"
        # The ends by hand are the KLs themselves.
        if found is not None or not 0 < beta < 1:
            rough = rough_share(case)
            if rough is None or rough[0] > _FAINT:
                return None
        return Symptom("warning", 0.95, (Evidence(text, (soft,)), *_measured(case, square)))
    measured = _measured(case, square)
    if "forward_kl" in case:
        return Symptom("warning", 0.8, measured) if measured else None
    rough, outcomes = rough_share(case), classes(case)
    if rough is None or square != 1 or not 0 <= rough[0] < _FAINT:
        return None
    if outcomes is not None and abs(rough[0] * outcomes - 1) <= _ROUGH:
        return None
    text = f"{soft.name!r} is {figure(rough[0])} of what KL(teacher‖student) must be, judged {rough[1]}"
    return Symptom("warning", 0.6, (Evidence(text, (soft,)),))


def _measured(case: Case, square: float) -> tuple[Evidence, ...]:
    """How much smaller the loss is than the KL beside it, if it is far smaller."""
    if "forward_kl" not in case:
        return ()
    soft, kl = together(case, "kl", "forward_kl")
    positive = kl > 0
    if not positive.any():
        return ()
    share = float(np.median(soft[positive] / kl[positive]))
    if not 0 <= share < _FAINT * square:
        return ()
    text = f"{case['kl'].name!r} is {figure(share)} of KL(teacher‖student), {figure(float(kl[-1]))} nats at the end"
    return (Evidence(text, (case["kl"], case["forward_kl"])),)


@cause(
    Cause(
        "summed over the batch",
        "distillation",
        "The divergence is summed over the rows of a batch, not averaged, so that it grows with the batch. Beside it "
        "the "
        "labels' mean is not felt, and a learning rate or a limit of the gradient's norm fits one batch size only.",
        (_LOSS,),
        (
            "A smaller learning rate: the labels' share of the step stays as small, and Adam takes no notice of scale.",
            "Gradient clipping: it scales both terms alike.",
        ),
        "docs/training-distillation.md",
        ("kl",),
    )
)
def summed(case: Case) -> Symptom | None:
    """The divergence is KL times the number of rows."""
    found, weight = law(case), known_number(case, "weight")
    if found is None or not found.summed:
        return None
    text = f"{case['kl'].name!r} is {figure(found.factor)} times {found.kl} at all {found.steps} steps"
    if "batch_size" in case.known:
        text += f"; a batch has {case.known['batch_size']:g} rows"
    severity: Severity = "warning" if weight is not None and 0 < weight < 1 else "note"
    return Symptom(severity, found.sure, (Evidence(text, (case["kl"], case[f"{found.direction}_kl"])),))
