"""From a log to a diagnosis: what is known, inferred, found, and what cannot be told."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dkl
from dkl.doctor import KNOWN, Cause, Evidence, Fix, Log, Series, UnreadableLogError, diagnose, diagnose_all
from dkl.doctor import case as cases
from dkl.doctor.causes import load
from dkl.doctor.readers import gathering

LOGS = Path(__file__).parent / "peer_logs"


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The causes are those that the test registers; what each saw is kept."""
    load()
    causes: list[Any] = []
    monkeypatch.setattr(cases, "CAUSES", causes)
    return causes


def register(causes: list[Any], name: str, look: Any, needs: tuple[str, ...] = ("kl",), kind: str = "vae") -> None:
    causes.append((Cause(name, kind, "Because. So.", (Fix("do"),), (), "a book", needs), look))


def symptom(severity: Any, confidence: float) -> Any:
    return lambda case: cases.Symptom(severity, confidence, (Evidence("seen", (case["kl"],)),))


def vae(beta: float = 1.0, **columns: Any) -> dict[str, Any]:
    n = 20
    rng = np.random.default_rng(0)
    kl, reconstruction = rng.uniform(3, 9, n), rng.uniform(50, 90, n)
    made = {
        "step": np.arange(n) * 10,
        "loss": np.float32(reconstruction + beta * kl),
        "reconstruction_loss": np.float32(reconstruction),
        "kl_loss": np.float32(kl),
    }
    return {**made, **columns}


# What is found


def test_findings_are_ranked_and_the_rest_is_missing(only: list[Any]) -> None:
    register(only, "mild", symptom("warning", 0.9))
    register(only, "unsure", symptom("error", 0.5))
    register(only, "sure", symptom("error", 0.8))
    register(only, "absent", lambda case: None)
    register(only, "blind", symptom("error", 1.0), needs=("kl", "mu_squared", "kl_dim"))
    register(only, "of another kind", symptom("error", 1.0), kind="gan")
    diagnosis = diagnose(vae())
    assert [f.name for f in diagnosis.findings] == ["sure", "unsure", "mild"]
    assert diagnosis.status == "findings"
    assert diagnosis.worst == "error"
    assert diagnosis.missing == {"blind": ["mu_squared", "kl_dim"]}
    assert json.loads(json.dumps(diagnosis.to_dict()))["findings"][0]["name"] == "sure"


def test_a_note_alone_is_healthy(only: list[Any]) -> None:
    register(only, "note", symptom("note", 0.9))
    diagnosis = diagnose(vae())
    assert diagnosis.status == "healthy"
    assert len(diagnosis.findings) == 1


def test_what_is_known_reaches_the_causes(only: list[Any]) -> None:
    seen: list[dict[str, Any]] = []
    register(only, "looks", lambda case: seen.append(dict(case.known)))
    diagnose(vae(beta=0.3), latent_dim=7, beta=0.3)
    assert seen == [{"latent_dim": 7, "beta": 0.3, "kl_is": "raw"}]


def test_nothing_can_be_told_without_the_decisive_series(only: list[Any]) -> None:
    diagnosis = diagnose({"reward": [1.0] * 5, "entropy": [1.0] * 5})
    assert (diagnosis.kind, diagnosis.status) == ("policy", "cannot tell")
    assert diagnosis.notes == ["Nothing can be told without kl or kl_k1 or kl_k2 or kl_k3 or kl_loss: log one of them."]
    short = diagnose({"kl": [1.0, 2.0, np.nan, np.nan], "recon": [1.0] * 4})
    assert short.status == "cannot tell"
    assert short.notes[-1] == "Nothing can be told from 2 values of 'kl': log more of them."


def test_a_run_that_breaks_is_never_called_healthy(only: list[Any]) -> None:
    broken = vae()
    broken["kl_loss"] = np.r_[broken["kl_loss"][:15], [np.nan] * 5]
    diagnosis = diagnose(broken)
    assert diagnosis.status == "cannot tell"
    assert "kl_loss: NaN or infinite at 5 of 20 steps, the first of them step 150" in diagnosis.notes
    assert diagnosis.notes[-1] == "'kl_loss' is not finite at its end, and these series do not tell why."
    # A NaN in between, and a cell left empty, are noted and no more.
    gap = vae(kl_loss=[None, *([1.0] * 18), None], reconstruction_loss=[np.nan, *([1.0] * 19)])
    assert diagnose(gap).status == "healthy"


@pytest.mark.parametrize(
    "name",
    [
        "sb3-fast/progress.csv",
        "sb3-fast/log.txt",
        "sb3-fast/progress.json",
        "sb3-fast/events.out.tfevents.0",
        "trl-grpo/trainer_state.json",
        "",
    ],
)
def test_how_far_the_reading_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gathering, "_HEARD", 1000)
    told: list[tuple[int, int]] = []
    answered = [len(told) for _ in diagnose_all(LOGS / name, progress=lambda *far: told.append(far))]
    done = [far for far, _ in told]
    # Each run in its turn: what is said of one is said before the next is read.
    assert len(set(answered)) == len(answered)
    assert done == sorted(done)
    (total,) = {of for _, of in told}
    if name:
        assert total == (LOGS / name).stat().st_size
    assert 0.97 * total <= done[-1] <= total


def test_every_kind_of_run_with_the_causes_that_there_are() -> None:
    for log in LOGS.rglob("*.csv"):
        diagnosis = diagnose(log)
        assert diagnosis.kind == ("vae" if "lightning" in str(log) else "policy")
        assert diagnosis.roles["kl"].name in ("train_kl_loss", "train/approx_kl")
        json.dumps(diagnosis.to_dict())


# What is inferred


def test_kl_raw_or_weighted(only: list[Any]) -> None:
    ramp = np.linspace(0, 4, 20)
    raw = diagnose({**vae_of(ramp, False), "beta": ramp})
    assert "loss is reconstruction + β·kl at every step: kl is logged without β." in raw.statements
    weighted = diagnose({**vae_of(ramp, True), "beta": ramp})
    assert "loss is reconstruction + kl though β is not 1: kl is logged times β already." in weighted.statements
    neither = diagnose({**vae_of(ramp, False), "beta": ramp[::-1]})
    assert not any("loss is" in s for s in neither.statements)


def vae_of(beta: Any, logged_times_beta: bool) -> dict[str, Any]:
    made = vae()
    kl, reconstruction = made["kl_loss"], made["reconstruction_loss"]
    return {**made, "loss": reconstruction + beta * kl, "kl_loss": kl * beta if logged_times_beta else kl}


def test_beta_from_the_loss(only: list[Any]) -> None:
    seen: list[dict[str, Any]] = []
    register(only, "looks", lambda case: seen.append(dict(case.known)))
    diagnosis = diagnose(vae(beta=0.25))
    assert "loss is reconstruction + 0.25·kl at every step: β is 0.25." in diagnosis.statements
    assert seen[0]["beta"] == pytest.approx(0.25, rel=1e-4)
    assert seen[0]["kl_is"] == "raw"
    unweighted = diagnose(vae())
    assert any(s.startswith("loss is reconstruction + kl at every step: β is 1, or") for s in unweighted.statements)
    assert "beta" not in seen[1]
    # A KL whose share of the loss is below its rounding tells nothing.
    tiny = vae()
    tiny["kl_loss"] = tiny["kl_loss"] * 1e-6
    assert not any("loss is" in s for s in diagnose(tiny).statements)


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 1.0), ("mean", 1 / 3)])
def test_kl_and_its_dimensions(only: list[Any], reduction: str, factor: float) -> None:
    seen: list[dict[str, Any]] = []
    register(only, "looks", lambda case: seen.append(dict(case.known)))
    dims = {f"kl_per_dim/{k}": np.arange(1.0, 21) * (k + 1) for k in range(3)}
    log = {"kl": factor * np.sum(list(dims.values()), axis=0), "recon": np.ones(20), **dims}
    diagnosis = diagnose(log)
    assert f"kl is the {reduction} of the 3 kl_dim, at every step." in diagnosis.statements
    assert (seen[0]["kl_reduction"], seen[0]["latent_dim"]) == (reduction, 3)
    diagnose({**log, "kl": np.full(20, 5.0)})
    assert "kl_reduction" not in seen[1]


def test_a_constant_target(only: list[Any]) -> None:
    seen: list[dict[str, Any]] = []
    register(only, "looks", lambda case: seen.append(dict(case.known)), kind="policy")
    log = {"kl": [0.1] * 9, "reward": [1.0] * 9}
    diagnose({**log, "target_kl": [0.02] * 9})
    diagnose({**log, "target_kl": [0.02] * 9}, target_kl=0.5)
    diagnose({**log, "target_kl": np.linspace(0.01, 0.02, 9)})
    assert seen == [{"target_kl": 0.02}, {"target_kl": 0.5}, {}]


# What is out of order


def test_disorder_is_noted(only: list[Any]) -> None:
    steps = np.r_[np.arange(0, 100), np.arange(50, 100), 99, 5000, 5001, 5002]
    log = Log(
        "it",
        "",
        {
            "kl": Series.ordered("kl", steps, np.ones(steps.size)),
            "recon": Series.ordered("recon", steps, np.ones(steps.size)),
            "beta": Series.ordered("beta", np.arange(40), np.ones(40)),
        },
    )
    diagnosis = diagnose(log)
    assert diagnosis.notes == [
        "kl, recon: the log goes back 1 time, to step 50; what was logged later counts",
        "kl, recon: 1 value of a step logged before; the last one counts",
        "kl, recon: nothing between steps 99 and 5000",
        "beta: last logged at step 39, while the log goes on to 5002",
    ]
    assert diagnosis.status == "healthy"


# What cannot be


@pytest.mark.parametrize(
    ("known", "error", "message"),
    [
        ({"betta": 1}, TypeError, "diagnose takes nothing named 'betta'; do you mean 'beta'?"),
        ({"zzz": 1}, TypeError, "diagnose takes nothing named 'zzz'; there are beta, latent_dim"),
        ({"kl_is": "scaled"}, ValueError, "kl_is='scaled' is none of 'raw', 'weighted'"),
        ({"policy_is_reference": "yes"}, ValueError, "policy_is_reference='yes' is none of True, False"),
        ({"beta": "four"}, ValueError, "beta='four' must be numbers: the weight of the KL"),
        ({"beta": [1, 2]}, ValueError, "beta=[1, 2] must be one number"),
        ({"beta": -1.0}, ValueError, "beta=-1.0 is negative or NaN"),
        ({"beta": np.nan}, ValueError, "beta=nan is negative or NaN"),
        ({"clamp": 3.0}, ValueError, "clamp=3.0 must be two numbers: the bounds of log σ²"),
        ({"clamp": (3.0, -3.0)}, ValueError, "clamp=(3.0, -3.0): the first bound must be below the second"),
        ({"data_eigenvalues": "x"}, ValueError, "data_eigenvalues='x' must be numbers"),
    ],
)
def test_what_cannot_be_known(known: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        diagnose(vae(), **known)
    assert message in str(caught.value)


def test_everything_that_can_be_known_is_taken() -> None:
    given: dict[str, Any] = dict.fromkeys(KNOWN, 1.0) | {
        "clamp": (-5.0, 5.0), "kl_bounds": (0.0, 1.0), "data_eigenvalues": [1.0, 2.0], "data_covariance": np.eye(2),
        "reduction": "sum", "kl_reduction": "sum", "kl_is": "raw", "estimator": "k3", "unit": "token",
        "kl_to": "reference", "policy_is_reference": True, "direction": "forward",
    }  # fmt: skip
    diagnose(LOGS / "sb3-healthy", **given)


def test_a_log_without_any_kl(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,loss,accuracy_of_dog\n0,1.0,0.5\n1,0.9,0.6\n")
    with pytest.raises(UnreadableLogError) as caught:
        diagnose(path)
    assert str(caught.value) == (
        f"{path}: no KL, and nothing else that belongs to one, is among its series (loss, accuracy_of_dog); say which "
        "is, such as names={'kl': 'loss'}"
    )
    path.write_text("step,x\n0,\n")
    with pytest.raises(UnreadableLogError, match="no KL, and nothing else"):
        diagnose(path)
    path.write_text("step,kl,loss\n")
    with pytest.raises(UnreadableLogError, match="has no value of kl, loss"):
        diagnose(path)


def test_a_folder_of_runs() -> None:
    with pytest.raises(
        ValueError, match=r"holds 7 runs, such as .*version_0, .*: give one of them, or use diagnose_all"
    ):
        diagnose(LOGS)
    found = dict(diagnose_all(LOGS))
    assert [Path(source).name for source in found][:3] == ["version_0", "sb3-fast", "sb3-healthy"]
    assert [d.kind for d in found.values()] == ["vae", *["policy"] * 6]
    with pytest.raises(TypeError, match="takes nothing named 'betta'"):
        next(diagnose_all(LOGS, betta=1))
    with pytest.raises(TypeError, match="cannot read a int"):
        diagnose(3)


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "".join(f"step={k} kl=0.5 reward=1.0\n" for k in range(5))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(lines.encode())))
    assert diagnose("-").roles["kl"].steps.tolist() == [0, 1, 2, 3, 4]


def test_reading_a_log_loads_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, dkl; dkl.doctor.diagnose({'kl': [1, 2, 3], 'recon': [1, 2, 3]}); "
        "print([m for m in ('torch', 'matplotlib', 'rich', 'pandas', 'pyarrow', 'numba') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_public_names() -> None:
    assert "doctor" in dir(dkl)
    for name in set(dkl.doctor.__all__) - {"Watch"}:
        assert getattr(dkl.doctor, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'cure'"):
        dkl.doctor.cure  # noqa: B018
