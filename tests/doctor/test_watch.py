"""The live watch: what it makes of tensors, what it keeps, when it warns, and how frameworks call it."""

from __future__ import annotations

import math
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from dkl.doctor import Diagnosis, DoctorWarning, Watch
from dkl.doctor import watch as watching
from dkl.training import active_units, kl_estimate, policy_kl

from .diagnoses import EXPLODING, HEALTHY, WARNED


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _values(watch: Watch) -> dict[str, Any]:
    return {name: series.values for name, series in watch.log.series.items()}


def _last(watch: Watch) -> dict[str, float]:
    return {name: float(values[-1]) for name, values in _values(watch).items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("masked", [False, True])
def test_the_figures_of_a_vae(dtype: torch.dtype, masked: bool) -> None:
    watch = Watch("vae", every=0, sample_every=1, clamp=(-1.0, 0.5))
    g = _generator()
    for step in range(40):
        mu, log_var = torch.randn(7, 3, generator=g).to(dtype), torch.randn(7, 3, generator=g).to(dtype)
        mask = torch.tensor([1, 0, 1, 1, 1, 1, 0]) if masked else None
        if masked:
            mu[1], log_var[6] = torch.nan, torch.inf
        watch(step, mu=mu.requires_grad_(), log_var=log_var, mask=mask)
    kept = slice(None) if mask is None else mask.bool()
    m, v = mu.detach().double()[kept], log_var.double()[kept]
    of_each = kl_divergence(Normal(m, (0.5 * v).exp()), Normal(0.0, 1.0))
    seen = _last(watch)
    assert seen["kl"] == pytest.approx(float(of_each.sum(-1).mean()), rel=1e-12)
    for i in range(3):
        assert seen[f"kl_dim/{i}"] == pytest.approx(float(of_each[:, i].mean()), rel=1e-12)
    assert seen["mu_squared"] == pytest.approx(float(m.square().sum(-1).mean()), rel=1e-12)
    assert seen["mu_max"] == pytest.approx(float(m.abs().max()))
    assert (seen["log_var_min"], seen["log_var_max"]) == (float(v.min()), float(v.max()))
    assert seen["log_var_mean"] == pytest.approx(float(v.mean()), rel=1e-12)
    assert seen["active_units"] == int(active_units(m))
    assert seen["clamped"] == pytest.approx(float(((v <= -1) | (v >= 0.5)).double().mean()))
    assert len(watch.log.series["kl"]) == 40


def test_a_unit_that_does_not_vary_is_not_active() -> None:
    watch = Watch("vae", every=0)
    mu = torch.randn(50, 4, generator=_generator()) * torch.tensor([1.0, 0.02, 0.2, 0.0])
    watch(0, mu=mu, log_var=torch.zeros(50, 4))
    assert _last(watch)["active_units"] == int(active_units(mu)) == 2


def test_what_is_no_number_is_kept_and_raises_nothing() -> None:
    watch = Watch("vae", every=0, sample_every=1)
    watch(0, mu=torch.full((2, 2), torch.nan), log_var=torch.zeros(2, 2), loss=torch.tensor(torch.nan))
    watch(1, mu=torch.zeros(2, 2), log_var=torch.full((2, 2), 1e4), loss=math.inf)
    seen = _values(watch)
    assert np.isnan(seen["kl"][0])
    assert seen["kl"][1] == math.inf
    assert seen["log_var_max"][1] == 1e4
    assert np.isnan(seen["loss"][0])
    assert seen["loss"][1] == math.inf


def test_tensors_that_change_in_place_later_and_batches_of_other_sizes() -> None:
    watch = Watch("vae", every=0, sample_every=1)
    shared = torch.zeros(4, 2)
    for step in range(3):
        shared.fill_(step)
        watch(step, mu=shared, log_var=torch.zeros(4, 2))
    watch(3, mu=torch.ones(2, 2), log_var=torch.zeros(2, 2))
    np.testing.assert_allclose(_values(watch)["kl"], [0, 1, 4, 1])
    np.testing.assert_array_equal(watch.log.series["kl"].steps, [0, 1, 2, 3])


def test_many_dimensions_and_convolutions_are_flattened() -> None:
    watch = Watch("vae", every=0)
    mu = torch.randn(3, 2, 4, generator=_generator())
    watch(0, mu=mu, log_var=torch.zeros(3, 2, 4))
    assert _last(watch)["kl"] == pytest.approx(float(0.5 * mu.double().square().sum() / 3), rel=1e-12)
    assert "kl_dim/7" in watch.log.series


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_figures_of_a_policy(dtype: torch.dtype) -> None:
    g = _generator(1)
    new, old, reference = (torch.randn(2, 5, 11, generator=g).to(dtype) for _ in range(3))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    watch = Watch("policy", every=0)
    new[0, 4] = torch.nan
    watch(0, logits=new, old_logits=old, reference_logits=reference, mask=mask)
    seen, kept = _last(watch), mask.bool()
    p, q, r = (Categorical(logits=x[kept].double()) for x in (new, old, reference))
    assert seen["entropy"] == pytest.approx(float(p.entropy().mean()), rel=1e-6)
    assert seen["kl"] == pytest.approx(float(kl_divergence(p, r).mean()), rel=1e-6)
    assert seen["update_kl"] == pytest.approx(float(kl_divergence(q, p).mean()), rel=1e-6)
    alone = Watch("policy", every=0)
    alone(0, logits=new, old_logits=old, mask=mask)
    assert _last(alone)["kl"] == seen["update_kl"]
    assert "update_kl" not in alone.log.series


def test_policies_that_nearly_agree_and_actions_that_are_forbidden() -> None:
    old = torch.randn(64, 9, generator=_generator(2))
    old[:, 3] = -torch.inf
    new = old + 1e-5 * torch.randn(64, 9, generator=_generator(3))
    watch = Watch("policy", every=0)
    watch(0, logits=new, old_logits=old)
    seen = _last(watch)
    assert seen["kl"] == pytest.approx(float(policy_kl(old, new)), rel=1e-5)
    assert 0 < seen["kl"] < 1e-9
    assert math.isfinite(seen["entropy"])


def test_logits_are_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    new, old = (torch.randn(50, 6, generator=_generator(k)) for k in (4, 5))
    mask = torch.rand(50, generator=_generator(6)) < 0.5
    seen = []
    for held in (1 << 22, 40):
        monkeypatch.setattr("dkl.doctor.observation._HELD", held)
        watch = Watch("policy", every=0)
        watch(0, logits=new, old_logits=old, mask=mask)
        seen.append(_last(watch))
    assert seen[0] == pytest.approx(seen[1], rel=1e-6)


def test_the_ratios_of_actions_taken() -> None:
    g = _generator(7)
    new, old = (-torch.rand(30, generator=g) for _ in range(2))
    mask = torch.arange(30) < 20
    watch = Watch("policy", every=0)
    watch(0, log_prob=new, old_log_prob=old, mask=mask)
    seen = _last(watch)
    n, o = new[:20].double(), old[:20].double()
    assert seen["ratio_mean"] == pytest.approx(float((n - o).exp().mean()), rel=1e-12)
    assert seen["ratio_max"] == pytest.approx(float((n - o).exp().max()), rel=1e-12)
    for estimator in ("k1", "k2", "k3"):
        # The samples are the old policy's.
        known = kl_estimate(o, n, estimator=estimator).value
        assert seen[f"kl_{estimator}"] == pytest.approx(float(known), rel=1e-12, abs=1e-15)


def test_the_figures_of_distillation_and_of_a_gan() -> None:
    teacher, student = (torch.randn(20, 4, generator=_generator(k)) for k in (8, 9))
    watch = Watch("distillation", every=0)
    watch(0, teacher_logits=teacher, student_logits=student, accuracy=0.5)
    seen = _last(watch)
    p, q = Categorical(logits=teacher.double()), Categorical(logits=student.double())
    assert seen["kl"] == pytest.approx(float(kl_divergence(p, q).mean()), rel=1e-6)
    assert seen["teacher_entropy"] == pytest.approx(float(p.entropy().mean()), rel=1e-6)
    assert seen["student_entropy"] == pytest.approx(float(q.entropy().mean()), rel=1e-6)
    assert seen["agreement"] == pytest.approx(float((teacher.argmax(-1) == student.argmax(-1)).double().mean()))
    assert seen["accuracy"] == 0.5
    watch = Watch("gan", every=0)
    real, fake = torch.tensor([2.0, 1.0, -1.0]), torch.tensor([-3.0, 1.0])
    watch(0, real_logits=real, fake_logits=fake, discriminator_loss=torch.tensor(1.3))
    seen = _last(watch)
    assert seen["score_real"] == pytest.approx(float(torch.sigmoid(real.double()).mean()), rel=1e-12)
    assert seen["score_fake"] == pytest.approx(float(torch.sigmoid(fake.double()).mean()), rel=1e-12)
    assert seen["discriminator_accuracy"] == pytest.approx(3 / 5)


def test_a_number_given_stands_in_place_of_the_one_that_tensors_give() -> None:
    watch = Watch("vae", every=0, sample_every=1)
    for step in range(3):
        watch(step, mu=torch.ones(4, 2), log_var=torch.zeros(4, 2), kl=torch.tensor(7.0 + step), free_bits=None)
    np.testing.assert_array_equal(_values(watch)["kl"], [7, 8, 9])
    np.testing.assert_array_equal(_values(watch)["mu_squared"], [2, 2, 2])
    assert "free_bits" not in watch.log.series


def test_between_two_looks_nothing_is_read() -> None:
    watch = Watch("vae", every=0, sample_every=10)

    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"{name} was asked of a tensor that is not due")

    for step in range(35):
        mu: Any = torch.zeros(2, 1) if step % 10 == 0 else Untouchable()
        watch(step, mu=mu, log_var=torch.zeros(2, 1))
    np.testing.assert_array_equal(watch.log.series["kl"].steps, [0, 10, 20, 30])
    watch(5, mu=torch.ones(2, 1), log_var=torch.zeros(2, 1))  # the run goes back to a checkpoint
    np.testing.assert_array_equal(watch.log.series["kl"].steps, [0, 5])
    assert watch.log.series["kl"].restarts == (5.0,)


def test_graphs_and_gradients_are_left_alone() -> None:
    weight = torch.ones(2, requires_grad=True)
    mu, log_var = weight * torch.ones(4, 2), weight * torch.zeros(4, 2)
    watch = Watch("vae", every=0)
    watch(0, mu=mu, log_var=log_var, loss=mu.sum())
    assert all(not x.requires_grad for _, held in watch._held for x in held.values())
    mu.sum().backward()
    assert torch.equal(weight.grad, torch.full((2,), 4.0))


def test_memory_is_bounded_and_extremes_are_kept() -> None:
    watch = Watch("vae", every=0, sample_every=1)
    values = np.random.default_rng(0).normal(size=30_000)
    values[12_345], values[23_456] = 1e6, np.nan
    for step, value in enumerate(values):
        watch(step, loss=float(value))
    seen = watch.log.series["loss"]
    assert len(seen) <= watching.LONGEST
    assert seen.finite.values.max() == 1e6
    assert np.isnan(seen.values).sum() == 1
    assert seen.steps[-1] == 29_999
    assert "longer than 4,096 entries and thinned, extremes kept: loss" in watch.log.notes[0]


def test_a_diagnosis_of_what_was_watched() -> None:
    watch = Watch("vae", every=0, sample_every=1, latent_dim=2)
    empty = watch.diagnosis()
    assert empty.status == "cannot tell"
    g = _generator(3)
    for step in range(300):
        mu = torch.randn(64, 2, generator=g)
        watch(step, mu=mu, log_var=torch.full((64, 2), -1.0), loss=90.0, reconstruction=85.0, beta=1.0)
    assert {"kl", "kl_dim", "mu_squared"} <= {role.partition("/")[0] for role in watch.diagnosis().roles}
    policy = Watch("policy", every=0, sample_every=1, target_kl=0.01)
    for step in range(5):
        policy(step, logits=torch.zeros(2, 2), old_logits=torch.zeros(2, 2), updates=3.0, epochs=4.0)
    assert {"updates", "epochs"} <= set(policy.diagnosis().roles)


def _warned(monkeypatch: pytest.MonkeyPatch, watch: Watch, steps: range, answers: list[Diagnosis]) -> list[str]:
    asked = iter(answers)
    monkeypatch.setattr(watching, "diagnose", lambda log, **known: next(asked))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in steps:
            watch(step, kl=1.0)
    assert all(one.category is DoctorWarning and one.filename == __file__ for one in caught)
    return [str(one.message) for one in caught]


def test_it_warns_once_of_each_error(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch("vae", every=10)
    said = _warned(monkeypatch, watch, range(51), [HEALTHY, WARNED, EXPLODING, EXPLODING, HEALTHY])
    assert said == [
        "step 30: explosion by mean drift (almost certain). The KL rises from 1 to 3,835 nats. The means have left the "
        "prior. Their squares are the KL. What to do: Take smaller steps."
    ]
    assert list(watch.found) == ["explosion by mean drift"]


def test_it_warns_again_after_a_run_goes_back_and_never_without_every(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch("vae", every=100, sample_every=10)
    watch(10_000, kl=1.0)
    assert len(_warned(monkeypatch, watch, range(200), [EXPLODING])) == 1
    silent = Watch("vae", every=0)
    assert _warned(monkeypatch, silent, range(5000), []) == []


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"kind": "van"}, ValueError, "kind='van' is none of 'vae', 'policy', 'distillation', 'gan'"),
        ({"kind": "vae", "every": -1}, ValueError, "every=-1 must be a whole number of steps, 0 or more"),
        ({"kind": "vae", "sample_every": 0}, ValueError, "sample_every=0 must be a whole number of steps, 1 or more"),
        ({"kind": "vae", "bta": 1}, TypeError, "nothing named 'bta'; do you mean 'beta'"),
        ({"kind": "vae", "beta": -1}, ValueError, "beta=-1 is negative"),
    ],
)
def test_what_a_watch_cannot_be(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Watch(**arguments)


_MU = torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("kind", "seen", "error", "message"),
    [
        ("vae", {"log_vra": _MU}, TypeError, "takes nothing named 'log_vra'; do you mean 'log_var'"),
        ("vae", {"qqq": 1.0}, TypeError, "takes nothing named 'qqq'; tensors are mu, log_var, mask, numbers are named"),
        (None, {"mu": _MU}, TypeError, r"cannot read the tensor 'mu' without .*: make it by Watch\(kind='vae'\)"),
        ("vae", {"mu": _MU}, ValueError, "mu is given without log_var: give both"),
        ("vae", {"mu": _MU, "log_var": _MU[:2]}, ValueError, r"mu has shape \(4, 2\) and log_var \(2, 2\)"),
        ("vae", {"mu": _MU[0], "log_var": _MU[0]}, ValueError, "give rows first, then the latent dimensions"),
        ("vae", {"mu": _MU, "log_var": _MU, "mask": _MU}, ValueError, r"mask has shape \(4, 2\), but there are 4 rows"),
        ("vae", {"mu": _MU.int(), "log_var": _MU}, TypeError, "mu must be a tensor of floats, got torch.int32"),
        ("vae", {"mu": [1.0], "log_var": _MU}, TypeError, "mu must be a tensor of floats, got list"),
        ("vae", {"loss": _MU}, TypeError, r"loss has shape \(4, 2\): give one number"),
        ("vae", {"loss": "low"}, TypeError, "loss='low' is a str and no number"),
        ("policy", {"old_logits": _MU}, ValueError, "old_logits are given without logits"),
        ("policy", {"logits": _MU, "old_logits": _MU[:, :1]}, ValueError, "logits must be of one shape"),
        ("policy", {"logits": _MU, "mask": _MU}, ValueError, r"mask has shape \(4, 2\) and the rows \(4,\)"),
        ("policy", {"log_prob": _MU}, ValueError, "log_prob is given without old_log_prob: give both"),
        ("distillation", {"student_logits": _MU}, ValueError, "teacher_logits are missing beside student_logits"),
        ("gan", {"real_logits": _MU}, ValueError, "real_logits is given without fake_logits: give both"),
    ],
)
def test_what_cannot_be_watched_is_named(
    kind: str | None, seen: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Watch(kind, every=0)(0, **seen)


def test_what_a_framework_logs_is_taken_by_its_names() -> None:
    watch = Watch(every=0)
    for step in range(5):
        logged = {"objective/kl": 0.1 * step, "objective/entropy": torch.tensor(2.0), "epoch_time": 3.0}
        watch.record(step, logged | {"lr": 1e-3, "kl_texts": "no", "val_loss": torch.zeros(3)})
    assert {"objective/kl", "objective/entropy", "lr"} <= set(watch.log.series)
    assert not {"epoch_time", "kl_texts", "val_loss"} & set(watch.log.series)
    assert watch.diagnosis().kind == "policy"


def test_lightning_calls_it(tmp_path: Any) -> None:
    import lightning

    class Autoencoder(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder = torch.nn.Linear(6, 4), torch.nn.Linear(2, 6)

        def _step(self, x: torch.Tensor, prefix: str) -> torch.Tensor:
            mu, log_var = self.encoder(x).chunk(2, -1)
            if prefix == "train_":
                watch(self.global_step, mu=mu, log_var=log_var)
            cost = (self.decoder(mu) - x).square().sum(-1).mean()
            kl = 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(-1).mean()
            self.log_dict({f"{prefix}recon_loss": cost, f"{prefix}kl_loss": kl})
            return cost + kl

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            return self._step(batch[0], "train_")

        def validation_step(self, batch: list[torch.Tensor], _: int) -> None:
            self._step(batch[0], "val_")

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    watch = Watch("vae", every=0, sample_every=1)
    data = torch.utils.data.TensorDataset(torch.randn(24, 6, generator=_generator()))
    trainer = lightning.Trainer(
        max_epochs=2,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
        default_root_dir=tmp_path,
        callbacks=[watch.lightning()],
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's own, about workers and lengths
        trainer.fit(Autoencoder(), torch.utils.data.DataLoader(data, 4), torch.utils.data.DataLoader(data, 24))
    seen = watch.log.series
    np.testing.assert_array_equal(seen["train_kl_loss"].steps, np.arange(1, 13))
    np.testing.assert_array_equal(seen["val_kl_loss"].steps, [6, 12])
    # What the module gave before the step is what it logged after it.
    np.testing.assert_allclose(seen["kl"].values, seen["train_kl_loss"].values, rtol=1e-4)
    assert isinstance(watch.lightning(), lightning.pytorch.Callback)


def test_stable_baselines_calls_it() -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback

    watch = Watch("policy", every=0)
    callback = watch.stable_baselines3()
    assert isinstance(callback, BaseCallback)
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=32, batch_size=32, n_epochs=2, seed=0, device="cpu")
    model.learn(96, callback=callback)
    seen = watch.log.series
    np.testing.assert_array_equal(seen["train/approx_kl"].steps, [32, 64, 96])
    assert (seen["train/approx_kl"].values >= 0).all()
    assert "rollout/ep_rew_mean" in seen
    assert watch.diagnosis().roles["kl"].name == "train/approx_kl"


def test_hugging_face_calls_it() -> None:
    from transformers import TrainerCallback, TrainerControl, TrainerState
    from transformers.trainer_callback import CallbackHandler

    watch = Watch("policy", every=0)
    callback = watch.hugging_face()
    assert isinstance(callback, TrainerCallback)
    state, control = TrainerState(is_world_process_zero=True), TrainerControl()
    handler = CallbackHandler([callback], None, None, None, None)
    for step in range(4):
        state.global_step = 10 * step
        handler.on_log(None, state, control, {"objective/kl": 0.5 * step, "train_runtime": 3.2})
    np.testing.assert_array_equal(watch.log.series["objective/kl"].steps, [0, 10, 20, 30])
    other = TrainerState(is_world_process_zero=False, global_step=50)
    handler.on_log(None, other, control, {"objective/kl": 9.0})
    assert len(watch.log.series["objective/kl"]) == 4


@pytest.mark.parametrize(
    ("name", "absent", "package"),
    [
        ("lightning", ("lightning", "lightning.pytorch", "pytorch_lightning"), "lightning"),
        ("hugging_face", ("transformers",), "transformers"),
        ("stable_baselines3", ("stable_baselines3", "stable_baselines3.common.callbacks"), "stable-baselines3"),
    ],
)
def test_a_framework_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, absent: tuple[str, ...], package: str
) -> None:
    for module in absent:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=f"one of {package}, which is not installed: pip install {package}"):
        getattr(Watch("vae"), name)()


def test_a_vae_whose_steps_are_too_large_is_caught_while_it_trains() -> None:
    """The founding scene, live: the KL in the thousands is told apart from a collapse before the run ends."""
    from torch.nn import Linear, ReLU, Sequential

    said: dict[float, dict[str, Any]] = {}
    for rate in (1e-3, 0.3):
        g = _generator(1)
        data = torch.randn(64, 4, generator=g) @ torch.randn(4, 32, generator=g)
        torch.manual_seed(0)
        encoder = Sequential(Linear(32, 32), ReLU(), Linear(32, 8))
        decoder = Sequential(Linear(4, 32), ReLU(), Linear(32, 32))
        optimiser = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=rate)
        watch = Watch("vae", every=60, sample_every=2, latent_dim=4, data_dim=32)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for step in range(130):
                mu, log_var = encoder(data).chunk(2, -1)
                z = mu + (0.5 * log_var).exp() * torch.randn(mu.shape, generator=g)
                cost = 0.5 * (decoder(z) - data).square().sum(-1).mean()
                loss = cost + 0.5 * (mu.square() + log_var.exp() - 1 - log_var).sum(-1).mean()
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                watch(step, mu=mu, log_var=log_var, loss=loss, reconstruction=cost, beta=1.0, learning_rate=rate)
        said[rate] = dict(watch.found)
        assert len(caught) == len(watch.found)
    assert said[1e-3] == {}
    assert said[0.3]
    assert not any("collapse" in name for name in said[0.3])
