"""A training run watched while it goes on: fed with its tensors, warning where its KL term goes wrong."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("dkl.doctor.Watch needs PyTorch: pip install 'dkl[torch]'") from error
from torch import Tensor

from dkl.doctor.diagnose import checked, diagnose
from dkl.doctor.finding import Diagnosis, Finding
from dkl.doctor.observation import TENSORS, check, observed
from dkl.doctor.readers.gathering import Column, Log, UnreadableLogError, is_number
from dkl.doctor.roles import KINDS, ROLES, is_role, may_have_a_role
from dkl.doctor.series import Series
from dkl.doctor.words import fixes

# Keeps watching below 1 % of a step of two milliseconds, the smallest that anybody would watch.
_SAMPLE_EVERY = 20
#: Entries of a series that are kept at most; beyond that it is thinned, extremes kept.
LONGEST = 1 << 12
#: Figures that wait, where their tensors lie, until they are fetched together.
_WAITING = 256
#: A small batch's tensors are copied and wait to be read together, as one reading costs hardly less than thirty; so
#: many batches and numbers of them at most.
_HELD, _HELD_NUMBERS = 32, 1 << 18


class DoctorWarning(UserWarning):
    """The doctor has found what makes a training run fail, while it is running."""


class Watch:
    """Watches the KL term of a training run.

    Parameters
    ----------
    kind : {"vae", "policy", "distillation", "gan"}, optional
        What is trained. Without it tensors cannot be read, and numbers are understood by their names.
    every : int
        Steps from one diagnosis to the next: so often the observations are fetched from the device, and a
        `DoctorWarning` tells of each cause, the first time that it is found at level "error". 0 for never, until
        :meth:`diagnosis` is called.
    sample_every : int
        Steps from one look at the tensors to the next; in between, a call returns at once. 20 if not given, or
        ``every`` where that is less.
    **known
        What is known beside the tensors, such as ``latent_dim=10`` or ``target_kl=0.02``: see :data:`dkl.doctor.KNOWN`.

    Attributes
    ----------
    found : dict of str to Finding
        What was warned of, by its name.

    Notes
    -----
    Call it as ``watch(step, …)`` with tensors and numbers. Tensors are of one batch, rows first, and a graph that hangs
    on them is not touched:

    - vae: ``mu`` and ``log_var`` give ``kl``, ``kl_dim/<i>``, ``mu_squared``, ``mu_max``, ``log_var_max`` and its kin,
      ``active_units``, and with ``clamp`` known ``clamped``.
    - policy: ``logits`` give ``entropy``; with ``reference_logits`` ``kl``, that of the policy to the reference; with
      ``old_logits`` ``update_kl``, KL(old‖new), which is ``kl`` where there is no reference; ``log_prob`` with
      ``old_log_prob`` of the actions taken give ``ratio_mean``, ``ratio_max``, ``kl_k1``, ``kl_k2`` and ``kl_k3``.
    - distillation: ``student_logits`` and ``teacher_logits`` give ``kl``, both entropies and ``agreement``.
    - gan: ``real_logits`` and ``fake_logits`` of the discriminator give ``score_real``, ``score_fake`` and
      ``discriminator_accuracy``.

    ``mask`` says which rows (or tokens) count. Everything else is a number by its role, as in
    :data:`dkl.doctor.ROLES`, and stands in place of one that tensors give.

    Cost: a few dozen small operations at each look, on the device, without waiting for it, and for logits as much
    memory as one chunk of them. No series is longer than 4,096 entries.

    Examples
    --------
    >>> import torch
    >>> from dkl.doctor import Watch
    >>> watch = Watch("vae", sample_every=1, every=0, latent_dim=2)
    >>> for step in range(5):
    ...     watch(step, mu=torch.ones(4, 2), log_var=torch.zeros(4, 2), reconstruction=90.0 - step, beta=1.0)
    >>> watch.log.series["kl"].values.tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    >>> watch.diagnosis().kind
    'vae'
    """

    def __init__(
        self, kind: str | None = None, *, every: int = 1000, sample_every: int | None = None, **known: Any
    ) -> None:
        if kind is not None and kind not in KINDS:
            raise ValueError(f"kind={kind!r} is none of {', '.join(map(repr, KINDS))}")
        for name, value, least in (("every", every, 0), ("sample_every", sample_every, 1)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < least):
                raise ValueError(f"{name}={value!r} must be a whole number of steps, {least} or more")
        checked(known)
        self.kind, self.every, self.known = kind, every, known
        self.sample_every = min(_SAMPLE_EVERY, every or _SAMPLE_EVERY) if sample_every is None else sample_every
        self.found: dict[str, Finding] = {}
        self._columns: dict[str, Column] = {}
        self._numbers: list[tuple[str, float, float]] = []
        self._held: list[tuple[float, dict[str, Tensor]]] = []
        self._waiting: list[tuple[tuple[float, ...], tuple[str, ...], Tensor, bool]] = []
        self._is_tensor: dict[str, bool] = {}
        self._given: set[str] = set()
        self._next_sample = self._next_diagnosis = -math.inf
        self._last = -math.inf

    def __call__(self, step: float, **seen: Any) -> None:
        """Look at one step, unless the last look is less than ``sample_every`` steps ago.

        Parameters
        ----------
        step : int
            The step, update or number of samples, as the run counts it.
        **seen : Tensor or float
            Tensors and numbers by their names, as the class lists them; None stands for nothing.

        Raises
        ------
        TypeError
            If there is no such name in this kind of training, or a value that is no number.
        ValueError
            If tensors that belong together do not fit, or one of a pair is missing.
        """
        if self._last <= step < self._next_sample:
            self._last = step
            return
        self._last, self._next_sample = step, step + self.sample_every
        tensors: dict[str, Any] = {}
        numbers: dict[str, Any] = {}
        for name, value in seen.items():
            if name not in self._is_tensor:
                self._is_tensor[name] = self._sorted(name)
            if value is not None:
                (tensors if self._is_tensor[name] else numbers)[name] = value
        if tensors:
            self._hold(step, tensors)
        self._note(step, numbers)
        self._given.update(numbers)
        self._diagnose_if_due(step)

    def record(self, step: float, logged: Mapping[str, Any]) -> None:
        """Take what a framework logged, by its own names; what has no meaning for the doctor is left out.

        Parameters
        ----------
        step : int
        logged : mapping of str to float or Tensor
            Entries that are no single number are left out too.
        """
        self._last = step
        meant = {name: x for name, x in logged.items() if may_have_a_role(name) and _is_single(x)}
        self._note(step, meant)
        self._diagnose_if_due(step)

    @property
    def log(self) -> Log:
        """Everything that was seen until now."""
        self._fetch()
        series = {name: Series.ordered(name, *column.entries()) for name, column in self._columns.items()}
        thinned = ", ".join(name for name, column in self._columns.items() if column.thinned)
        notes = [f"longer than {LONGEST:,} entries and thinned, extremes kept: {thinned}"] if thinned else []
        return Log("the run that is watched", "tensors", series, notes=notes)

    def diagnosis(self) -> Diagnosis:
        """Diagnose the run as it stands; "cannot tell" where nothing that decides was seen yet."""
        log = self.log
        # Named by their role already, though a log would not call all of them so.
        names = {} if self.kind is None else {name: name for name in log.series if is_role(name, self.kind)}
        try:
            return diagnose(log, kind=self.kind, names=names, **self.known)
        except UnreadableLogError as error:
            return Diagnosis(self.kind, [], "cannot tell", [], {}, log.series, [*log.notes, str(error)])

    def lightning(self) -> Any:
        """A callback for Lightning's Trainer, which takes what the module logs.

        ``Trainer(callbacks=[watch.lightning()])``; the tensors themselves are given in ``training_step`` by calling
        ``watch(self.global_step, mu=mu, log_var=log_var)``.
        """
        from dkl.doctor.callbacks import lightning

        return lightning(self)

    def hugging_face(self) -> Any:
        """A callback for the Trainer of transformers and those of TRL, which takes what they log.

        ``Trainer(callbacks=[watch.hugging_face()])``.
        """
        from dkl.doctor.callbacks import hugging_face

        return hugging_face(self)

    def stable_baselines3(self) -> Any:
        """A callback for Stable-Baselines3, which takes what its logger holds after each update.

        ``model.learn(100_000, callback=watch.stable_baselines3())``.
        """
        from dkl.doctor.callbacks import stable_baselines3

        return stable_baselines3(self)

    def _sorted(self, name: str) -> bool:
        """Whether a name is that of a tensor, and not of a number by its role."""
        takes = TENSORS.get(self.kind or "", ())
        if name in takes:
            return True
        if is_role(name, self.kind) and name != "kl_dim":
            return False
        fitting = " or ".join(f"kind={kind!r}" for kind, tensors in TENSORS.items() if name in tensors)
        if self.kind is None and fitting:
            raise TypeError(
                f"watch cannot read the tensor {name!r} without the kind of training: make it by Watch({fitting})"
            )
        roles = [role for kind in KINDS if self.kind in (None, kind) for role in ROLES[kind]]
        close = get_close_matches(name, [*takes, *roles], n=1, cutoff=0.6)
        meant = f"do you mean {close[0]!r}?" if close else f"tensors are {', '.join(takes)}, numbers are named by role"
        raise TypeError(f"watch takes nothing named {name!r}; {meant}")

    def _hold(self, step: float, tensors: dict[str, Any]) -> None:
        """Copies of small tensors, which may be changed in place later, to be read together; figures of large ones."""
        assert self.kind is not None  # or there would be no name of tensors
        check(self.kind, tensors)
        if self.kind != "vae":
            self._observe([(step, {name: x.detach() for name, x in tensors.items()})])
            return
        if self._held and any(_form(tensors.get(name)) != _form(x) for name, x in self._held[0][1].items()):
            self._observe_held()
        self._held.append((step, {name: x.detach().clone() for name, x in tensors.items()}))
        if len(self._held) >= _HELD or len(self._held) * tensors["mu"].numel() >= _HELD_NUMBERS:
            self._observe_held()

    def _observe_held(self) -> None:
        held, self._held = self._held, []
        if held:
            self._observe(held)

    def _observe(self, batches: list[tuple[float, dict[str, Tensor]]]) -> None:
        assert self.kind is not None
        names, values = observed(self.kind, [tensors for _, tensors in batches], self.known)
        self._wait(tuple(float(step) for step, _ in batches), names, values)

    def _note(self, step: float, numbers: Mapping[str, Any]) -> None:
        """Numbers at once; those on an accelerator wait, as fetching one would make it wait."""
        for name, value in numbers.items():
            if isinstance(value, Tensor):
                if value.numel() != 1:
                    raise TypeError(
                        f"{name} has shape {tuple(value.shape)}: give one number, such as its mean over the batch"
                    )
                if value.device.type == "cpu":
                    self._numbers.append((name, step, value.item()))
                else:
                    self._wait((float(step),), (name,), value.detach().reshape(1, 1).clone(), given=True)
            elif is_number(value):
                self._numbers.append((name, step, float(value)))
            else:
                raise TypeError(f"{name}={value!r} is a {type(value).__name__} and no number")
        if len(self._numbers) >= _WAITING:
            self._fetch_numbers()

    def _wait(self, steps: tuple[float, ...], names: tuple[str, ...], values: Tensor, *, given: bool = False) -> None:
        self._waiting.append((steps, names, values, given))
        if len(self._waiting) >= _WAITING:
            self._fetch()

    def _fetch(self) -> None:
        """Enter everything that waits, what has the same names by one transfer."""
        self._observe_held()
        self._fetch_numbers()
        together: dict[tuple[tuple[str, ...], torch.device, bool], list[tuple[tuple[float, ...], Tensor]]] = {}
        for steps, names, values, given in self._waiting:
            together.setdefault((names, values.device, given), []).append((steps, values))
        self._waiting = []
        for (names, _, given), entries in together.items():
            rows = torch.cat([values for _, values in entries]).cpu().numpy().astype(np.float64)
            at = np.array([step for steps, _ in entries for step in steps])
            for name, column in zip(names, rows.T, strict=True):
                # A figure that the caller gives stands in place of the one that tensors give.
                if given or name not in self._given:
                    self._column(name).add(at, column)

    def _fetch_numbers(self) -> None:
        together: dict[str, list[tuple[float, float]]] = {}
        for name, step, value in self._numbers:
            together.setdefault(name, []).append((step, value))
        self._numbers = []
        for name, entries in together.items():
            self._column(name).add(*np.array(entries).T)

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            self._columns[name] = Column(LONGEST, together=_WAITING)
        return self._columns[name]

    def _diagnose_if_due(self, step: float) -> None:
        if not self.every:
            return
        if self._next_diagnosis == -math.inf or step + self.every < self._next_diagnosis:
            # The first step, or a run that went back.
            self._next_diagnosis = step + self.every
        if step < self._next_diagnosis:
            return
        self._next_diagnosis = step + self.every
        self._warn(step)

    def _warn(self, step: float) -> None:
        """Warn of each cause that is found at level "error" for the first time."""
        for finding in self.diagnosis().findings:
            if finding.severity == "error" and finding.name not in self.found:
                self.found[finding.name] = finding
                first = fixes(finding)[0].text
                warnings.warn(
                    f"step {step:g}: {finding.name} ({finding.sure}). {finding.evidence[0].text} "
                    f"{finding.cause.because} What to do: {first}",
                    DoctorWarning,
                    stacklevel=4,
                )


def _is_single(value: Any) -> bool:
    return (isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex()) or is_number(value)


def _form(x: Any) -> tuple[Any, ...]:
    """What two tensors must have in common to be read together."""
    return () if x is None else (x.shape, x.dtype, x.device)
