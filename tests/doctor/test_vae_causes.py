"""Each cause of a VAE's runs, on logs of a few lines made for it; and what is not to be taken for it."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import dkl
from dkl.doctor import Diagnosis, Finding, diagnose
from dkl.doctor.case import CAUSES, Case
from dkl.doctor.causes import load
from dkl.doctor.causes._vae import reading
from dkl.doctor.series import Series
from dkl.training import vae_loss
from scripts import make_doctor_runs

load()
VAE = [known for known, _ in CAUSES if known.kind == "vae"]

STEPS = np.arange(40.0)
RISING = 1 - np.exp(-STEPS / 5)


def healthy(**changes: Any) -> dict[str, Any]:
    """A log of ten latent dimensions with a KL of 3 nats and a reconstruction that it pays for; what is None is "
    "left out."""
    kl_dims = {f"kl_dim/{i}": 0.05 + RISING * 0.25 for i in range(10)}
    kl = np.sum(list(kl_dims.values()), axis=0)
    log: dict[str, Any] = {
        "step": STEPS,
        "loss": 44.0 - 22 * RISING + kl,
        "reconstruction": 44.0 - 22 * RISING,
        "reconstruction_shuffled": 44.0 - 10 * RISING,
        "kl": kl,
        "beta": np.ones(40),
        "learning_rate": np.full(40, 1e-3),
        "mu_squared": 5 * RISING,
        "log_var_max": 0.3 * RISING,
        "log_var_min": -1.5 * RISING,
        "mutual_information": 2.5 * RISING,
        **kl_dims,
    }
    return {name: values for name, values in {**log, **changes}.items() if values is not None}


def without_dimensions(**changes: Any) -> dict[str, Any]:
    return healthy(**{f"kl_dim/{i}": None for i in range(10)}, **changes)


def flat(kl: float, **changes: Any) -> dict[str, Any]:
    """A log whose ten dimensions have the same KL throughout."""
    dims = {f"kl_dim/{i}": np.full(40, kl / 10) for i in range(10)}
    return healthy(kl=np.full(40, kl), loss=None, **dims, **changes)


def found(diagnosis: Diagnosis) -> dict[str, Finding]:
    return {finding.name: finding for finding in diagnosis.findings}


def said(finding: Finding) -> str:
    return " ".join(evidence.text for evidence in finding.evidence)


def exploded(**changes: Any) -> dict[str, Any]:
    kl = np.where(STEPS < 3, 0.1, 4000.0)
    return without_dimensions(**{"kl": kl, "loss": None, "learning_rate": np.full(40, 0.2), **changes})


def test_a_healthy_run_has_no_finding() -> None:
    for log in (healthy(), without_dimensions(), healthy(beta=None), healthy(loss=None, beta=np.full(40, 0.5))):
        diagnosis = diagnose(log, kind="vae")
        assert diagnosis.status == "healthy"
        assert diagnosis.findings == []


def test_an_exploding_kl_is_no_collapse_and_a_lower_beta_treats_the_symptom() -> None:
    diagnosis = diagnose(exploded(mutual_information=np.full(40, 4.8)), kind="vae")
    first = diagnosis.findings[0]
    assert first.name == "learning rate too large"
    assert first.severity == "error"
    assert first.confidence >= 0.9
    assert "This is no posterior collapse" in said(first)
    assert "0.2" in said(first)
    assert not any("collapse" in name for name in found(diagnosis))
    assert any("Lowering β: treats the symptom" in reason for reason in first.cause.not_helping)


def test_an_explosion_without_a_learning_rate_is_less_sure_and_with_a_small_one_is_not_laid_to_it() -> None:
    name = "learning rate too large"
    unknown = found(diagnose(exploded(learning_rate=None), kind="vae", latent_dim=10))[name]
    usual = found(diagnose(exploded(learning_rate=np.full(40, 3e-3)), kind="vae", latent_dim=10))[name]
    assert usual.confidence < unknown.confidence < 0.9
    assert name not in found(diagnose(exploded(learning_rate=np.full(40, 1e-4)), kind="vae", latent_dim=10))


@pytest.mark.parametrize("information", [3.0, 0.0])
@pytest.mark.parametrize("high", [4000.0, 60.0])
def test_an_explosion_that_has_passed_and_left_a_decoder_out_of_reach(high: float, information: float) -> None:
    kl = np.where(STEPS < 3, 0.1, np.where(STEPS < 10, high, 8.0))
    left = {"kl": kl, "mutual_information": np.full(40, information), "reconstruction": np.full(40, 27.2)}
    log = exploded(**left, reconstruction_shuffled=np.full(40, 27.2))
    diagnosis = diagnose(log, kind="vae", latent_dim=10)
    assert [finding.name for finding in diagnosis.findings] == ["learning rate too large"]
    text = said(diagnosis.findings[0])
    assert f"to {high:,.0f} nats at step 3" in text
    assert "it is worth nothing" in text
    assert "posterior collapse" not in text
    # At a usual rate, or without a KL that had been larger, the decoder has another reason.
    other = "decoder ignores z" if information else "no mutual information"
    for change in ({"learning_rate": np.full(40, 1e-3)}, {"kl": np.where(STEPS < 3, 0.1, 8.0)}):
        assert list(found(diagnose({**log, **change}, kind="vae", latent_dim=10))) == [other]
    # Nor where the decoder needs the row's own sample: the run has come back.
    well = {"reconstruction_shuffled": np.full(40, 40.0), "mutual_information": np.full(40, 3.0)}
    assert diagnose({**log, **well}, kind="vae", latent_dim=10).findings == []


def test_a_large_kl_that_the_reconstruction_pays_for_has_not_exploded() -> None:
    deep = without_dimensions(
        kl=2000 * RISING, loss=None, reconstruction=9000.0 - 5000 * RISING, reconstruction_shuffled=None
    )
    assert diagnose(deep, kind="vae").status == "healthy"
    # The same with ten dimensions is 200 nats each: no latent variable holds that.
    assert "learning rate too large" in found(diagnose(deep, kind="vae", latent_dim=10))


def test_variances_that_are_astronomic_from_the_start() -> None:
    widest = np.linspace(90, 80, 40)
    with np.errstate(over="ignore"):
        kl = np.exp(widest.astype(np.float32)).astype(np.float64)
    log = exploded(kl=kl, log_var_max=widest, log_var_min=widest - 1, learning_rate=np.full(40, 1e-3))
    diagnosis = diagnose(log, kind="vae", latent_dim=10)
    first = diagnosis.findings[0]
    assert first.name == "log-variance overflow"
    assert "more than float32 holds" in said(first)
    assert "not finite already" in said(first)
    assert "This is no posterior collapse" in said(first)


def test_variances_that_grow_at_a_small_learning_rate() -> None:
    widest = np.linspace(0, 12, 40)
    log = exploded(kl=0.1 + np.exp(widest), log_var_max=widest, learning_rate=np.full(40, 5e-4))
    first = diagnose(log, kind="vae", latent_dim=10).findings[0]
    assert first.name == "log-variance overflow"
    assert first.confidence < 0.9


def test_means_that_drift_where_the_kl_costs_nothing() -> None:
    log = without_dimensions(
        kl=80 * RISING, loss=None, mu_squared=100 * RISING, beta=np.zeros(40), reconstruction=44 - 28 * RISING
    )
    first = diagnose(log, kind="vae", latent_dim=10).findings[0]
    assert first.name == "mean drift"
    assert "Σμ² is 99.9 at the end, 9.99 for each of 10" in said(first)
    # Means that fill the prior, however large the KL, have not drifted.
    log["mu_squared"] = 10 * RISING
    assert "mean drift" not in found(diagnose(log, kind="vae", latent_dim=10))


def test_means_that_drift_without_a_known_beta_are_told_from_steps_that_throw_them_by_their_course() -> None:
    smooth = exploded(kl=150 * RISING + 0.1, mu_squared=200 * RISING, beta=None, learning_rate=None)
    assert diagnose(smooth, kind="vae", latent_dim=10).findings[0].name == "mean drift"
    rough = {**smooth, "kl": smooth["kl"] * np.where(STEPS % 2, 6.0, 1.0), "mu_squared": 900 * RISING}
    assert diagnose(rough, kind="vae", latent_dim=10).findings[0].name == "learning rate too large"


@pytest.mark.parametrize(
    ("changes", "known", "confidence"),
    [
        ({"clamped": np.ones(40)}, {}, 0.95),
        ({"log_var_max": np.full(40, -10.0), "log_var_min": np.full(40, -10.0)}, {"clamp": (-10, 10)}, 0.95),
        ({"log_var_max": np.full(40, 10.0), "log_var_min": np.full(40, 10.0)}, {"clamp": (-10, 10)}, 0.95),
        ({"log_var_max": np.full(40, 8.0), "log_var_min": np.full(40, 8.0)}, {}, 0.8),
    ],
)
def test_log_variances_at_their_clamp(changes: dict[str, Any], known: dict[str, Any], confidence: float) -> None:
    log = without_dimensions(kl=np.full(40, 110_000.0), loss=None, **changes)
    diagnosis = diagnose(log, kind="vae", latent_dim=10, **known)
    assert [finding.name for finding in diagnosis.findings] == ["clamp saturation"]
    assert diagnosis.findings[0].severity == "error"
    assert diagnosis.findings[0].confidence == confidence


@pytest.mark.parametrize(
    ("changes", "known"),
    [
        ({"clamped": np.full(40, 0.3)}, {}),
        ({"log_var_max": np.full(40, 10.0)}, {"clamp": (-10, 10)}),
        ({"log_var_max": np.zeros(40), "log_var_min": np.zeros(40)}, {}),
    ],
)
def test_log_variances_inside_their_clamp(changes: dict[str, Any], known: dict[str, Any]) -> None:
    assert "clamp saturation" not in found(diagnose(healthy(**changes), kind="vae", **known))


def test_collapse_by_design_or_by_optimisation_is_decided_by_theory_where_it_is_known() -> None:
    for beta, noise, name in ((1.0, 1.0, "by design"), (1.0, 0.5, "by optimisation"), (8.0, 0.05, "by optimisation")):
        log = flat(1e-3, beta=np.full(40, beta))
        diagnosis = diagnose(log, kind="vae", data_eigenvalues=[0.2, 0.7], noise_variance=noise)
        assert list(found(diagnosis)) == [f"posterior collapse {name}"]
        assert diagnosis.findings[0].confidence >= 0.9
        assert "λ = 0.7" in said(diagnosis.findings[0])
    covariance = [[0.7, 0.0], [0.0, 0.2]]
    diagnosis = diagnose(flat(1e-3), kind="vae", data_covariance=covariance, noise_variance=1.0)
    assert list(found(diagnosis)) == ["posterior collapse by design"]


def test_collapse_by_design_or_by_optimisation_is_decided_by_beta_otherwise() -> None:
    for beta, name in ((30.0, "by design"), (4.0, "by design"), (2.0, "by optimisation"), (1.0, "by optimisation")):
        diagnosis = diagnose(flat(1e-3, beta=np.full(40, beta)), kind="vae")
        assert list(found(diagnosis)) == [f"posterior collapse {name}"]
        assert diagnosis.findings[0].severity == "error"
    unknown = diagnose(flat(1e-3, beta=None), kind="vae").findings[0]
    assert unknown.name == "posterior collapse by optimisation"
    assert unknown.confidence == 0.5
    assert "β is unknown" in said(unknown)
    assert list(found(diagnose(flat(1e-3, beta=None), kind="vae", beta=9))) == ["posterior collapse by design"]


def test_a_kl_that_has_not_risen_yet_has_not_collapsed() -> None:
    short = {name: values[:4] for name, values in flat(1e-3).items()}
    assert found(diagnose(short, kind="vae")) == {}


def test_collapse_tells_where_the_kl_fell_from_and_a_large_learning_rate() -> None:
    kl = np.where(STEPS == 4, 50.0, 1e-4)
    log = without_dimensions(kl=kl, loss=None, learning_rate=np.full(40, 0.05))
    text = said(diagnose(log, kind="vae").findings[0])
    assert "The KL was 50 nats at step 4, and fell." in text
    assert "The learning rate is 0.05" in text


def test_a_mean_over_pixels_is_a_beta_of_their_number() -> None:
    reconstruction = 0.43 + 0.26 * np.exp(-STEPS)
    log = without_dimensions(
        kl=np.full(40, 1e-4), loss=None, reconstruction=reconstruction, reconstruction_shuffled=None
    )
    diagnosis = diagnose(log, kind="vae", data_dim=784, latent_dim=20)
    assert list(found(diagnosis)) == ["reduction mismatch"]
    assert "β_eff = 1 · D_x = 784" in said(diagnosis.findings[0])
    assert diagnosis.findings[0].severity == "error"
    # log 2 tells without the number of pixels; another start tells with it alone.
    assert "β_eff = 1 · D_x." in said(diagnose(log, kind="vae").findings[0])
    log["reconstruction"] = reconstruction + 1.0
    assert list(found(diagnose(log, kind="vae"))) == ["posterior collapse by optimisation"]
    assert list(found(diagnose(log, kind="vae", data_dim=784))) == ["reduction mismatch"]
    assert list(found(diagnose(log, kind="vae", reduction="mean"))) == ["reduction mismatch"]
    # Data of two numbers cost as little when they are summed.
    log["reconstruction"] = reconstruction
    assert list(found(diagnose(log, kind="vae", data_dim=2))) == ["posterior collapse by optimisation"]


def test_means_over_both_are_a_beta_of_their_ratio() -> None:
    dims = {f"kl_dim/{i}": np.full(40, 1e-3 + 1e-4 * i) for i in range(10)}
    kl = np.mean(list(dims.values()), axis=0)
    reconstruction = 0.43 + 0.26 * np.exp(-STEPS)
    log = healthy(kl=kl, reconstruction=reconstruction, loss=reconstruction + kl, reconstruction_shuffled=None, **dims)
    finding = diagnose(log, kind="vae", data_dim=64).findings[0]
    assert finding.name == "reduction mismatch"
    assert "β_eff = 1 · D_x / D_z = 6.4" in said(finding)


def test_means_that_beta_undoes_are_no_fault() -> None:
    dims = {f"kl_dim/{i}": np.full(40, 0.3) for i in range(10)}
    reconstruction = 0.43 + 0.26 * np.exp(-STEPS)
    log = healthy(
        kl=np.full(40, 0.3),
        beta=np.full(40, 10 / 64),
        reconstruction=reconstruction,
        reconstruction_shuffled=reconstruction + 0.15,
        loss=reconstruction + 0.3 * 10 / 64,
        **dims,
    )
    assert diagnose(log, kind="vae", data_dim=64).findings == []
    # Without the number of pixels they may be one, and what another row's sample costs in all cannot be told.
    assert list(found(diagnose(log, kind="vae"))) == ["reduction mismatch"]
    # A tenth of a nat a pixel would be as much as nothing for one pixel.
    log["reconstruction_shuffled"] = reconstruction + 0.01
    assert list(found(diagnose(log, kind="vae", data_dim=64))) == ["decoder ignores z"]


def test_a_mean_over_latent_dimensions_in_the_loss_and_not_in_the_log_alone() -> None:
    log = healthy()
    mean = log["kl"] / 10
    entered = {**log, "kl": mean, "loss": log["reconstruction"] + mean}
    finding = found(diagnose(entered, kind="vae"))["reduction mismatch"]
    assert finding.severity == "warning"
    assert "β_eff = 1 / D_z = 0.1" in said(finding)
    logged = {**log, "kl": mean}
    assert diagnose(logged, kind="vae").status == "healthy"


def test_dimensions_that_are_dead_behind_a_kl_that_looks_well() -> None:
    dims = {f"kl_dim/{i}": np.full(40, 1e-4 if i < 8 else 1.5) for i in range(10)}
    log = healthy(kl=np.full(40, 3.0008), loss=None, **dims)
    finding = found(diagnose(log, kind="vae"))["collapse hidden by a mean"]
    assert "8 of 10 latent dimensions" in said(finding)
    assert finding.severity == "warning"
    # As many as theory leaves are no fault; fewer are.
    known = {"noise_variance": 1.0, "data_eigenvalues": [9, 8, 0.5, *[0.1] * 7]}
    assert found(diagnose(log, kind="vae", **known))["collapse hidden by a mean"].severity == "note"
    known["data_eigenvalues"] = [9, 8, 7, 6, *[0.1] * 6]
    assert found(diagnose(log, kind="vae", **known))["collapse hidden by a mean"].severity == "warning"
    # A larger β is meant to do it, and theory that is known is believed before it.
    wanted = {**log, "beta": np.full(40, 2.0)}
    (note,) = diagnose(wanted, kind="vae").findings
    assert (note.name, note.severity) == ("collapse hidden by a mean", "note")
    assert "λ ≤ β·σ² die by design" in said(note)
    assert found(diagnose(wanted, kind="vae", **known))["collapse hidden by a mean"].severity == "warning"
    # A half is not most.
    log.update({f"kl_dim/{i}": np.full(40, 0.1) for i in range(3)})
    assert "collapse hidden by a mean" not in found(diagnose(log, kind="vae"))


@pytest.mark.parametrize("floor", [{"free_bits": 0.3}, {"free_bits": 0.31}])
def test_a_kl_at_its_floor(floor: dict[str, float]) -> None:
    name = "KL at the free-bits floor"
    assert found(diagnose(flat(3.0), kind="vae", **floor))[name].severity == "warning"
    logged = flat(3.0, free_bits=np.full(40, floor["free_bits"]))
    assert name in found(diagnose(logged, kind="vae"))
    assert name not in found(diagnose(flat(3.0), kind="vae", free_bits=0.0))
    assert name not in found(diagnose(flat(3.0), kind="vae", free_bits=0.05))
    one_above = flat(3.0)
    one_above["kl_dim/0"] = np.full(40, 2.0)
    assert name not in found(diagnose(one_above, kind="vae", **floor))
    alone = without_dimensions(kl=np.full(40, 3.0), loss=None)
    assert name in found(diagnose(alone, kind="vae", latent_dim=10, **floor))
    assert name not in found(diagnose(alone, kind="vae", latent_dim=40, **floor))


def test_a_kl_that_is_logged_times_beta() -> None:
    beta = np.linspace(0.01, 0.5, 40)
    log = healthy(beta=beta)
    raw = log["kl"]
    log["loss"] = log["reconstruction"] + beta * raw
    log["kl"] = beta * raw
    finding = diagnose(log, kind="vae").findings[0]
    assert finding.name == "β multiplied before logging"
    assert finding.severity == "warning"
    assert "the KL is 3 nats there, and 1.37 is logged" in said(finding)
    log["kl"] = raw
    assert diagnose(log, kind="vae").findings == []
    # Under its own name it is what it says.
    named = {**log, "kl_weighted": beta * raw}
    assert diagnose(named, kind="vae").findings == []
    # What the caller says is believed, and no fault where the loss does not show it.
    assert diagnose(healthy(loss=None), kind="vae", kl_is="weighted").findings == []


def test_a_decoder_that_ignores_z() -> None:
    log = healthy(reconstruction_shuffled=healthy()["reconstruction"] + 0.1)
    diagnosis = diagnose(log, kind="vae")
    assert list(found(diagnosis)) == ["decoder ignores z"]
    assert "0.1 nats apart" in said(diagnosis.findings[0])
    log["mutual_information"] = None
    log = {name: values for name, values in log.items() if values is not None}
    assert list(found(diagnose(log, kind="vae"))) == ["decoder ignores z"]
    # Where there is no KL, nothing is paid for, and it is a collapse.
    nothing = flat(1e-3, reconstruction_shuffled=healthy()["reconstruction"])
    assert list(found(diagnose(nothing, kind="vae"))) == ["posterior collapse by optimisation"]


def test_a_kl_without_information() -> None:
    log = healthy(mutual_information=np.zeros(40), reconstruction_shuffled=healthy()["reconstruction"])
    diagnosis = diagnose(log, kind="vae")
    assert list(found(diagnosis)) == ["no mutual information"]
    assert diagnosis.findings[0].severity == "error"


def test_what_a_log_lacks_is_said() -> None:
    missing = diagnose({"step": STEPS, "kl": 3 * RISING, "reconstruction": 44 - 22 * RISING}, kind="vae").missing
    assert missing["no mutual information"] == ["mutual_information"]
    assert missing["decoder ignores z"] == ["reconstruction_shuffled"]
    assert missing["collapse hidden by a mean"] == ["kl_dim"]
    assert missing["log-variance overflow"] == ["log_var_max"]


def test_the_kl_is_read_from_whatever_the_log_has() -> None:
    kl = Series("kl", STEPS, np.full(40, 3.0))

    def read(known: dict[str, Any] | None = None, **roles: Series) -> float:
        named = {role.replace("__", "/"): series for role, series in roles.items()}
        got = reading(Case("vae", named, known or {}))
        assert got is not None
        return got.late

    half = Series("beta", STEPS, np.full(40, 0.5))
    assert read(kl=kl) == 3
    assert read({"kl_reduction": "mean", "latent_dim": 8}, kl=kl) == 24
    assert read(kl_dim__0=kl, kl_dim__1=kl) == 6
    assert read(kl_weighted=kl, beta=half) == 6
    assert read({"kl_is": "weighted", "beta": 2.0}, kl=kl) == 1.5
    assert reading(Case("vae", {"kl_weighted": kl})) is None
    assert reading(Case("vae", {})) is None


@pytest.mark.parametrize(
    "values", [[], [np.nan], [np.inf] * 3, [0.1, np.nan, np.nan], [-1.0] * 6, [0.0] * 6, [1e308] * 6]
)
def test_nothing_breaks_on_what_a_log_may_hold(values: list[float]) -> None:
    log = {name: np.resize(values, len(values)) for name in healthy() if name != "step"}
    case = Case("vae", {name: Series(name, np.arange(float(len(values))), v) for name, v in log.items()}, {"beta": 1.0})
    for known, look in CAUSES:
        if known.kind == "vae":
            symptom = look(case)
            assert symptom is None or symptom.evidence


def test_nothing_breaks_on_real_runs_with_holes() -> None:
    rng = np.random.default_rng(0)
    for run in make_doctor_runs.stored("vae")[::7]:
        names = [name for name in run.columns if name != "step" and rng.random() < 0.7]
        columns = {
            name: np.where(rng.random(len(run.columns[name])) < 0.3, np.nan, run.columns[name]) for name in names
        }
        if any(name.startswith("kl") for name in columns):
            diagnosis = diagnose({"step": run.columns["step"], **columns}, kind="vae")
            assert all(np.isfinite(f.confidence) and f.evidence for f in diagnosis.findings)


@pytest.mark.parametrize("known", VAE, ids=lambda known: known.name)
def test_a_cause_is_told_in_two_sentences_with_fixes_and_reasons(known: Any) -> None:
    assert known.because.replace("D_x.", "D_x").count(". ") == 1
    assert known.fixes
    assert known.not_helping
    assert known.reference
    assert all(":" in reason for reason in known.not_helping)


@pytest.mark.parametrize("known", VAE, ids=lambda known: known.name)
def test_the_code_of_every_fix_and_check_runs(known: Any) -> None:
    torch.manual_seed(0)
    encoder, decoder = nn.Linear(5, 4), nn.Linear(2, 5)
    x = torch.rand(8, 5)
    mu, log_var = encoder(x).chunk(2, -1)
    for advice in (*known.fixes, *known.checks):
        ast.parse(advice.code)
        scope: dict[str, Any] = {
            "torch": torch, "nn": nn, "F": nn.functional, "dkl": dkl, "vae_loss": vae_loss,
            "encoder": encoder, "decoder": decoder, "model": nn.Sequential(encoder, decoder),
            "log_var_layer": nn.Linear(4, 2), "x": x, "mu": mu, "log_var": log_var, "z": mu,
            "x_recon": decoder(mu), "x_mean": decoder(mu), "past": torch.rand(8, 5), "beta": 1.0,
            "step": 3, "total_steps": 30, "latent_dim": 2, "data_dim": 5, "log": lambda **figures: None,
            "path": healthy(),
        }  # fmt: skip
        exec(compile(advice.code, known.name, "exec"), scope)
