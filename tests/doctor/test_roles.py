"""The names of each framework, and what is taken for what."""

from __future__ import annotations

import numpy as np
import pytest

from dkl.doctor import ROLES, Log, Series, diagnose
from dkl.doctor.names import FRAMEWORKS, roles_of
from dkl.doctor.roles import DECISIVE, KINDS, assign, is_role, may_have_a_role


def logged(*names: str) -> dict[str, Series]:
    return {name: Series(name, np.arange(10.0), np.linspace(0.1, 1, 10) + k) for k, name in enumerate(names)}


# The names that each library logs, and the role that each must have; "" is none.
LOGS: dict[str, tuple[str, str, dict[str, str]]] = {
    "Stable-Baselines3": ("policy", "Stable-Baselines3", {
        "train/approx_kl": "kl", "train/clip_fraction": "clip_fraction", "train/entropy_loss": "entropy",
        "train/policy_gradient_loss": "policy_loss", "train/value_loss": "value_loss", "train/loss": "loss",
        "train/learning_rate": "learning_rate", "rollout/ep_rew_mean": "reward", "train/n_updates": "updates",
        "train/clip_range": "", "train/explained_variance": "", "rollout/ep_len_mean": "", "time/fps": "",
    }),
    "CleanRL": ("policy", "CleanRL", {
        "losses/approx_kl": "kl", "losses/old_approx_kl": "kl_k1", "losses/clipfrac": "clip_fraction",
        "losses/entropy": "entropy", "losses/policy_loss": "policy_loss", "losses/value_loss": "value_loss",
        "charts/episodic_return": "reward", "charts/learning_rate": "learning_rate", "charts/SPS": "",
        "losses/explained_variance": "",
    }),
    "TRL PPO": ("policy", "TRL's PPOTrainer", {
        "objective/kl": "kl", "policy/approxkl_avg": "update_kl", "policy/clipfrac_avg": "clip_fraction",
        "objective/entropy": "", "policy/entropy_avg": "entropy", "objective/rlhf_reward": "reward",
        "objective/scores": "score", "loss/policy_avg": "policy_loss", "loss/value_avg": "value_loss",
        "val/ratio": "ratio_mean", "val/ratio_var": "", "val/clipfrac_avg": "", "lr": "learning_rate",
        "objective/non_score_reward": "", "val/num_eos_tokens": "",
    }),
    "TRL GRPO": ("policy", "TRL's GRPOTrainer", {
        "kl": "kl", "loss": "loss", "reward": "reward", "reward_std": "", "entropy": "entropy",
        "clip_ratio/region_mean": "clip_fraction", "clip_ratio/high_max": "", "frac_reward_zero_std": "",
        "completions/mean_length": "response_length", "completions/max_length": "", "grad_norm": "gradient_norm",
        "learning_rate": "learning_rate", "rewards/accuracy_reward/mean": "",
        "sampling/importance_sampling_ratio/mean": "importance_mean",
    }),
    "verl": ("policy", "verl", {
        "actor/ppo_kl": "kl", "actor/kl_loss": "kl_loss", "actor/kl_coef": "kl_coef", "actor/entropy": "entropy",
        "actor/pg_clipfrac": "clip_fraction", "actor/pg_clipfrac_lower": "", "actor/pg_loss": "policy_loss",
        "critic/vf_loss": "value_loss", "critic/score/mean": "score", "critic/score/max": "",
        "critic/rewards/mean": "reward", "rollout_corr/k3_kl": "rollout_kl", "rollout_corr/kl": "",
        "rollout_corr/rollout_is_mean": "importance_mean", "rollout_corr/rollout_is_eff_sample_size":
        "effective_sample_size", "rollout_corr/rollout_is_max": "", "response_length/mean": "response_length",
        "actor/grad_norm": "gradient_norm", "actor/lr": "learning_rate", "critic/vf_explained_var": "",
        "timing_s/step": "", "perf/throughput": "",
    }),
    "verl with a penalty": ("policy", "verl", {
        "actor/reward_kl_penalty": "kl", "actor/reward_kl_penalty_coeff": "kl_coef", "actor/ppo_kl": "update_kl",
        "critic/rewards/mean": "reward",
    }),
    "verl of old": ("policy", "verl", {
        "critic/kl": "kl", "critic/kl_coeff": "kl_coef", "actor/ppo_kl": "update_kl", "actor/pg_loss": "policy_loss",
    }),
    "OpenRLHF": ("policy", "OpenRLHF", {
        "train/kl": "kl", "train/ppo_kl": "update_kl", "train/vllm_kl": "rollout_kl", "train/reward": "reward",
        "train/ppo_clip_ratio": "clip_fraction", "train/policy_loss": "policy_loss",
        "train/critic_loss": "value_loss", "train/response_length": "response_length",
        "train/actor_lr": "learning_rate", "train/entropy_loss": "entropy",
    }),
    "RLlib": ("policy", "RLlib", {
        "learners/default_policy/mean_kl_loss": "kl", "learners/default_policy/curr_kl_coeff": "kl_coef",
        "learners/default_policy/entropy": "entropy", "learners/default_policy/policy_loss": "policy_loss",
        "learners/default_policy/vf_loss": "value_loss", "learners/default_policy/total_loss": "loss",
        "env_runners/episode_return_mean": "reward", "env_runners/episode_return_max": "",
        "learners/default_policy/default_optimizer_learning_rate": "learning_rate",
        "learners/default_policy/vf_explained_var": "", "num_env_steps_sampled_lifetime": "",
    }),
    "RLlib of old": ("policy", "RLlib", {
        "info/learner/default_policy/learner_stats/kl": "kl",
        "info/learner/default_policy/learner_stats/cur_kl_coeff": "kl_coef",
        "info/learner/default_policy/learner_stats/entropy": "entropy",
        "info/learner/default_policy/learner_stats/policy_loss": "policy_loss",
        "info/learner/default_policy/learner_stats/grad_gnorm": "gradient_norm",
        "info/learner/default_policy/learner_stats/cur_lr": "learning_rate",
        "episode_reward_mean": "reward", "episode_reward_min": "", "timesteps_total": "",
    }),
    "TorchRL": ("policy", "", {
        "kl_approx": "kl", "ESS": "effective_sample_size", "clip_fraction": "clip_fraction",
        "loss_objective": "policy_loss", "loss_critic": "value_loss", "entropy": "entropy", "reward": "reward",
    }),
    "pythae": ("vae", "", {"recon_loss": "reconstruction", "reg_loss": "kl", "loss": "loss"}),
    "Lightning": ("vae", "", {
        "train_loss_step": "loss", "train_loss_epoch": "", "train_kl_step": "kl", "train_kl_epoch": "",
        "train_recon_loss_step": "reconstruction", "val_loss": "validation_loss", "val_kl": "validation_kl",
        "val_recon_loss": "validation_reconstruction", "lr-Adam": "learning_rate",
        "grad_2.0_norm_total": "gradient_norm",
    }),
    "Keras": ("vae", "", {
        "loss": "loss", "kl_loss": "kl", "reconstruction_loss": "reconstruction", "val_kl_loss": "validation_kl",
        "val_reconstruction_loss": "validation_reconstruction", "val_loss": "validation_loss",
    }),
    "dkl's VAE": ("vae", "", {
        "loss": "loss", "reconstruction_loss": "reconstruction", "kl_loss": "kl", "beta": "beta",
        "active_units": "active_units", "grad_norm": "gradient_norm", "learning_rate": "learning_rate",
        "kl_per_dim/0": "kl_dim/0", "kl_per_dim/11": "kl_dim/11",
    }),
    "dkl's PPO": ("policy", "", {
        "train/kl": "kl", "train/approx_kl": "update_kl", "train/target_kl": "target_kl", "train/beta": "kl_coef",
        "train/ratio_max": "ratio_max", "actor/entropy": "entropy", "rollout/ep_rew_mean": "reward",
        "train/clip_fraction": "clip_fraction", "train/loss": "loss",
    }),
    "dkl's distillation": ("distillation", "", {
        "loss": "loss", "accuracy": "accuracy", "agreement": "agreement", "student/entropy": "student_entropy",
        "teacher/entropy": "teacher_entropy", "test/forward_kl": "forward_kl", "test/reverse_kl": "reverse_kl",
        "calibration_error": "",
    }),
    "dkl's GAN": ("gan", "", {
        "saturating/discriminator_loss": "discriminator_loss", "saturating/generator_loss": "generator_loss",
        "saturating/generator_gradient": "generator_gradient", "saturating/mean": "",
    }),
    "PyTorch's DCGAN": ("gan", "", {
        "Loss_D": "discriminator_loss", "Loss_G": "generator_loss", "D(x)": "score_real", "D(G(z))": "score_fake",
    }),
}  # fmt: skip


@pytest.mark.parametrize("name", LOGS)
def test_the_names_of_a_framework(name: str) -> None:
    kind, wrote, names = LOGS[name]
    found = assign(logged(*names))
    assert found.kind == kind, found.statements
    taken = {series.name: role for role, series in found.roles.items()}
    assert {n: taken.get(n, "") for n in names} == names
    if wrote:
        assert f"by {wrote}" in found.statements[0]


def test_every_role_is_described_and_has_a_name() -> None:
    for kind in KINDS:
        for role, means in ROLES[kind].items():
            assert means, role
            plain = "kl_dim/0" if role == "kl_dim" else role.replace("validation_", "val_")
            assert role.replace("kl_dim", "kl_dim/0") in roles_of(plain, kind), (kind, role)
        assert all(is_role(role, kind) for role in DECISIVE[kind])


def test_facts_known_by_the_name() -> None:
    def facts(*names: str) -> dict[str, object]:
        return assign(logged(*names), kind="policy").facts

    assert facts("train/approx_kl", "train/n_updates") == {"kl_to": "old policy", "unit": "token", "estimator": "k3"}
    assert facts("objective/kl", "objective/rlhf_reward") == {"kl_to": "reference", "unit": "sequence"}
    assert facts("kl", "frac_reward_zero_std") == {"kl_to": "reference", "unit": "token", "estimator": "k3"}
    assert facts("kl", "reward") == {}
    for framework in FRAMEWORKS:
        for meaning in framework.meanings.values():
            assert set(meaning.facts) <= {"kl_to", "unit", "estimator"}


def test_the_estimate_that_kl_is_has_its_role_too() -> None:
    found = diagnose(Log("it", "", logged("losses/approx_kl", "losses/old_approx_kl", "losses/clipfrac")))
    assert found.roles["kl_k3"] is found.roles["kl"]
    assert found.roles["kl_k1"].name == "losses/old_approx_kl"
    given = diagnose(Log("it", "", logged("kl", "reward")), estimator="k1")
    assert given.roles["kl_k1"] is given.roles["kl"]


def test_the_sign_of_the_entropy() -> None:
    negative = {"entropy_loss": Series("entropy_loss", np.arange(3.0), np.array([-0.7, -0.6, -0.5]))}
    found = assign(negative, kind="policy")
    assert found.roles["entropy"].values.tolist() == [0.7, 0.6, 0.5]
    assert "'entropy_loss' is minus the entropy; its sign was turned." in found.statements
    positive = {"entropy_loss": Series("entropy_loss", np.arange(3.0), np.array([0.7, 0.6, 0.5]))}
    found = assign(positive, kind="policy")
    assert found.roles["entropy"].values.tolist() == [0.7, 0.6, 0.5]
    # Of a Normal of small scale minus the entropy is positive, and Stable-Baselines3 turns every sign.
    theirs = assign({**logged("train/n_updates"), "train/entropy_loss": positive["entropy_loss"]}, kind="policy")
    assert theirs.roles["entropy"].values.tolist() == [-0.7, -0.6, -0.5]


def test_what_was_taken_and_not_is_stated() -> None:
    found = assign(logged("kl_step", "kl_epoch", "kl_divergence", "recon"))
    assert "kl is 'kl_step'; not taken for it: kl_divergence and kl_epoch." in found.statements
    assert "reconstruction is 'recon'." in found.statements
    # A name that says it all needs no sentence.
    assert not any(s.startswith("kl is") for s in assign(logged("kl", "recon")).statements)


def test_names_given() -> None:
    series = logged("my_term", "kl", "recon")
    found = assign(series, names={"kl": "my_term"})
    assert found.roles["kl"].name == "my_term"
    assert "kl is 'my_term'; not taken for it: kl." in found.statements
    # A role of one kind alone tells the kind.
    assert assign(logged("a", "b"), names={"discriminator_loss": "a"}).kind == "gan"
    assert assign(logged("a"), names={"kl_dim/3": "a"}, kind="vae").roles["kl_dim/3"].name == "a"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "diffusion"}, "kind='diffusion' is none of 'vae', 'policy', 'distillation', 'gan'"),
        ({"names": {"reconstuction": "a"}}, "names: 'reconstuction' is no role (do you mean 'reconstruction'?); the"),
        ({"names": {"reward": "a"}, "kind": "vae"}, "names: 'reward' is no role of kind='vae'"),
        ({"names": {"kl": "my_tern"}}, "has no series 'my_tern' for kl (do you mean 'my_term'?); it has my_term"),
    ],
)  # fmt: skip
def test_names_that_are_none(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the message is looked at below
        assign(logged("my_term"), **options)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_the_kind_is_not_guessed() -> None:
    found = assign(logged("kl", "loss", "beta"))
    assert found.kind is None
    assert found.statements == [
        "What is trained cannot be told from beta, kl and loss; say kind=, one of 'vae', 'policy', 'distillation' and "
        "'gan'."
    ]
    both = assign(logged("recon", "discriminator_loss"))
    assert both.kind is None
    assert "recon would fit a VAE, discriminator_loss a GAN; say kind='vae' or kind='gan'" in both.statements[0]


def test_a_series_without_entries_has_no_role() -> None:
    empty = Series("recon", np.empty(0), np.empty(0))
    assert assign({**logged("kl"), "recon": empty}).kind is None


@pytest.mark.parametrize("name", ["accuracy_of_dog", "time/step", "gpu", "", "/", "rewards/chosen", "system/kl"])
def test_what_means_nothing(name: str) -> None:
    assert not may_have_a_role(name)
