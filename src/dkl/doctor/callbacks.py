"""A watch as the training frameworks call it: each callback is made in the framework's own class, where it is there."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dkl.doctor.watch import Watch


def lightning(watch: Watch) -> Any:
    """A ``lightning.pytorch.Callback``; under the name ``pytorch_lightning`` where that is what is installed."""
    base = _module("lightning.pytorch", "lightning", instead="pytorch_lightning").Callback

    class WatchCallback(base):  # type: ignore[misc, valid-type]
        """Takes what the module logged, after each step that is sampled and after each validation."""

        def __init__(self) -> None:
            self.watch = watch
            self._next = 0

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            """The step that was taken; what validation and whole epochs left behind is not logged again."""
            step = trainer.global_step
            if step < self._next:
                return
            self._next = step + watch.sample_every
            logged = trainer.callback_metrics
            now = {name: x for name, x in logged.items() if not _of_an_epoch(name)}
            watch.record(step, now)

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """The metrics of validation, once for each."""
            if not trainer.sanity_checking:
                logged = {name: x for name, x in trainer.callback_metrics.items() if _is_held_out(name)}
                watch.record(trainer.global_step, logged)

    return WatchCallback()


def hugging_face(watch: Watch) -> Any:
    """A ``transformers.TrainerCallback``."""
    base = _module("transformers", "transformers").TrainerCallback

    class WatchCallback(base):  # type: ignore[misc, valid-type]
        """Takes every log of the trainer."""

        def __init__(self) -> None:
            self.watch = watch

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **others: Any) -> None:
            """What was logged at this step."""
            if state.is_world_process_zero:
                watch.record(state.global_step, logs or {})

    return WatchCallback()


def stable_baselines3(watch: Watch) -> Any:
    """A ``stable_baselines3.common.callbacks.BaseCallback``."""
    base = _module("stable_baselines3.common.callbacks", "stable-baselines3").BaseCallback

    class WatchCallback(base):  # type: ignore[misc, valid-type]
        """Takes what the logger holds of the last update, before it is written and forgotten."""

        def __init__(self) -> None:
            super().__init__()
            self.watch = watch

        def _on_rollout_start(self) -> None:
            self._take()

        def _on_training_end(self) -> None:
            self._take()

        def _on_step(self) -> bool:
            return True

        def _take(self) -> None:
            logged = dict(self.logger.name_to_value)
            episodes = [float(episode["r"]) for episode in self.model.ep_info_buffer or ()]
            if episodes:
                logged["rollout/ep_rew_mean"] = sum(episodes) / len(episodes)
            watch.record(self.num_timesteps, logged)

    return WatchCallback()


def _module(name: str, package: str, instead: str | None = None) -> Any:
    for known in (name, instead):
        if known is not None:
            try:
                return import_module(known)
            except ModuleNotFoundError as error:
                # Only what is not there at all; what is there and fails is its own error.
                if error.name is None or error.name.partition(".")[0] != known.partition(".")[0]:
                    raise
    raise ImportError(f"this callback is one of {package}, which is not installed: pip install {package}")


def _is_held_out(name: str) -> bool:
    return name.lower().startswith(("val", "eval", "test"))


def _of_an_epoch(name: str) -> bool:
    return name.endswith("_epoch") or _is_held_out(name)
