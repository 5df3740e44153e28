"""What frameworks call the quantities of a training log, and what they are known to mean by it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any

# For each kind of training (None: any), the names of each role without their prefixes and suffixes, the best first.
# A name with a group is meant as it stands.
_NAMES: Mapping[str | None, Mapping[str, str]] = {
    None: {
        "loss": "loss total_loss train_loss objective/loss elbo_loss negative_elbo neg_elbo loss_total final_loss",
        "learning_rate": "learning_rate lr actor_lr policy_lr lr-adam lr-adamw lr-sgd lr_adam lr_adamw lr_sgd cur_lr "
        "lr/pg_0 learner_lr default_optimizer_learning_rate learning_rate_0",
        "gradient_norm": "gradient_norm grad_norm gradient/norm grad_norm/total grad_2.0_norm_total grad_norm_total "
        "raw_grad_norm actor_grad_norm gradients_default_optimizer_global_norm grad_gnorm policy_grad_norm",
    },
    "vae": {
        "kl": "kl kld kl_loss kld_loss kl_divergence kl_div kl_raw raw_kl reg_loss regularization_loss loss_kl "
        "loss_kld kl_latent latent_kl latent_loss kl_z kl_term rate",
        "kl_weighted": "kl_weighted weighted_kl kl_loss_weighted weighted_kl_loss weighted_kld beta_kl kl_scaled",
        "beta": "beta kl_weight kl_coef kl_coeff kl_beta beta_kl_weight kl_annealing_weight kl_anneal",
        "reconstruction": "reconstruction reconstruction_loss recon_loss recon recons_loss rec_loss "
        "reconstruction_error recon_error loss_recon loss_rec loss_reconstruction nll_loss nll bce bce_loss mse "
        "mse_loss distortion negative_log_likelihood",
        "reconstruction_shuffled": "reconstruction_shuffled shuffled_reconstruction recon_shuffled shuffled_recon",
        "mu_squared": "mu_squared mu_sq mean_squared mu2 mu_norm_squared",
        "mu_max": "mu_max max_mu mu_abs_max max_abs_mu",
        "log_var_max": "log_var_max logvar_max max_log_var max_logvar log_variance_max",
        "log_var_min": "log_var_min logvar_min min_log_var min_logvar log_variance_min",
        "log_var_mean": "log_var_mean logvar_mean mean_log_var mean_logvar log_variance_mean log_var logvar",
        "clamped": "clamped clamped_share log_var_clamped clamp_fraction",
        "active_units": "active_units au active_dims active_dimensions n_active_units num_active_units",
        "mutual_information": "mutual_information mutual_info mi mi_estimate",
        "free_bits": "free_bits free_nats",
        "capacity": "capacity kl_capacity",
    },
    "policy": {
        "kl": "objective/kl reward_kl_penalty kl kl_divergence kl_to_reference ref_kl kl_ref policy_kl mean_kl "
        "mean_kl_loss learner_stats/kl approx_kl approxkl kl_approx ppo_kl policy/approxkl_avg policy/approxkl kl_div",
        "update_kl": "update_kl policy/approxkl policy/approxkl_avg ppo_kl approx_kl approxkl kl_approx mean_kl_loss "
        "kl_old_new",
        "kl_k1": "kl_k1 k1 old_approx_kl policy/policykl",
        "kl_k2": "kl_k2 k2 kl2 objective/kl2",
        "kl_k3": "kl_k3 k3 kl3 objective/kl3",
        "kl_stderr": "kl_stderr kl_standard_error kl_se",
        "kl_loss": "kl_loss loss_kl policy_kl_loss kl_penalty_loss",
        "kl_coef": "kl_coef kl_coeff curr_kl_coeff cur_kl_coeff kl_coefficient reward_kl_penalty_coeff kl_ctl kl_beta "
        "kl_weight beta",
        "target_kl": "target_kl kl_target desired_kl",
        "reward": "objective/rlhf_reward reward rewards ep_rew episode_reward episode_return episodic_return "
        "critic/rewards mean_reward return env/reward avg_reward",
        "score": "objective/scores score scores ppo/mean_scores rm_score reward_score",
        "entropy": "entropy policy_entropy policy/entropy objective/entropy mean_entropy entropy_loss loss_entropy "
        "learner_stats/entropy",
        "clip_fraction": "clip_fraction clipfrac clip_frac policy/clipfrac policy/clipfrac_avg pg_clipfrac clip_ratio "
        "clip_ratio/region ppo_clip_ratio",
        "policy_loss": "policy_loss policy_gradient_loss pg_loss loss/policy loss_objective actor_loss loss_policy "
        "ppo/loss/policy surrogate_loss act_loss",
        "value_loss": "value_loss vf_loss v_loss loss/value loss_critic critic_loss loss_value ppo/loss/value",
        "ratio_mean": "ratio_mean ratio val/ratio importance_ratio",
        "ratio_max": "ratio_max max_ratio",
        "importance_mean": "rollout_corr/rollout_is rollout_is importance_mean is_weight is_mean "
        "sampling/importance_sampling_ratio",
        "effective_sample_size": "effective_sample_size ess rollout_is_eff_sample_size "
        "rollout_corr/rollout_is_eff_sample_size",
        "rollout_kl": "rollout_corr/k3_kl rollout_corr/kl rollout_kl vllm_kl mismatch_kl mismatch_k3_kl",
        "response_length": "response_length completions/mean_length completion_length response_len "
        "val/sequence_lengths tokens/responses_len output_length",
        "updates": "updates n_updates num_updates",
        "epochs": "epochs n_epochs_done update_epochs num_sgd_iter",
    },
    "distillation": {
        "kl": "kl kl_loss kd_loss distill_loss distillation_loss loss_kd kl_div kl_divergence loss_distill soft_loss "
        "distillation/loss",
        "forward_kl": "forward_kl kl_teacher_student test/forward_kl",
        "reverse_kl": "reverse_kl kl_student_teacher test/reverse_kl",
        "cross_entropy": "cross_entropy ce_loss ce hard_loss label_loss task_loss loss_ce student_loss",
        "student_entropy": "student_entropy student/entropy entropy_student entropy/student",
        "teacher_entropy": "teacher_entropy teacher/entropy entropy_teacher entropy/teacher",
        "agreement": "agreement top1_agreement teacher_agreement",
        "accuracy": "accuracy acc student_accuracy top1 test/accuracy",
        "temperature": "temperature kd_temperature distill_temperature",
        "weight": "label_weight kd_weight distill_weight weight alpha",
        "kept": "kept kept_share non_pad_fraction non_padding_fraction token_fraction mask_mean",
    },
    "gan": {
        "discriminator_loss": "discriminator_loss d_loss loss_d errd disc_loss loss/d loss/discriminator "
        "critic_loss dloss",
        "generator_loss": "generator_loss g_loss loss_g errg gen_loss loss/g loss/generator gloss",
        "score_real": "score_real real_score d_x d(x) d_real scores/real",
        "score_fake": "score_fake fake_score d_g_z d(g(z)) d_g_z1 d_fake scores/fake",
        "discriminator_accuracy": "discriminator_accuracy d_acc disc_accuracy d_accuracy",
        "generator_gradient": "generator_gradient g_grad_norm generator_grad_norm generator_gradient_norm",
        "wasserstein": "wasserstein wasserstein_estimate wasserstein_distance w_distance emd",
        "js": "js js_bound js_estimate jensen_shannon",
    },
}  # fmt: skip

# Roles that come once for each latent dimension.
_DIMENSIONS = re.compile(
    r"^(?:kl_dim|kl_per_dim|kl_per_dimension|kl_per_latent|dim_kl|dimension_kl|per_dim_kl|kl_z|kl_dims|kld|kl_latent|kl)"
    r"[/_\[.](\d+)\]?$"
)
_VALIDATION = re.compile(r"^(?:val|valid|validation|eval|evaluation|dev|test)[/_]")
_TRAINING = re.compile(r"^(?:(?:train|training)[/_]|(?:trainer|losses|loss|metrics|charts)/)")
_GROUP = re.compile(r"^[^/]+/")
# How much further from its name a series is for each group of no known meaning that was taken off.
_OF_A_GROUP = 8
_TRAILING = re.compile(r"[/_](?:step|epoch|mean|avg|average)$|[/_]epoch_mean$")
# What stands in these groups is no quantity of the training.
_FOREIGN = re.compile(
    r"^(?:time|timing|timing_s|timing_per_token_ms|timers|perf|system|memory|gpu|config|hparams|parameters|params)/"
)


@dataclass(frozen=True)
class Form:
    """A name as it may stand in the table: how much was taken off it, and whether it is of held-out data."""

    text: str
    #: The less, the nearer to the name as it is.
    removed: int
    held_out: bool = False


def normalised(name: str) -> str:
    """A name in lower case, its groups parted by slashes."""
    return re.sub(r"[\s.\-]+(?![0-9])", "_", name.strip().lower()).replace("\\", "/").strip("/_")


def forms(name: str) -> list[Form]:
    """What a name may be in the table: as it stands first, then without what frameworks put before and after."""
    base = normalised(name)
    if _FOREIGN.match(base):
        return []
    found = [Form(base, 0)]
    held_out = bool(_VALIDATION.match(base))
    if held_out:
        base = _VALIDATION.sub("", base)
    found.append(Form(base, 0, held_out))
    for taken, pattern in ((1, _TRAINING), (_OF_A_GROUP, _GROUP)):
        shorter = found[-1].text
        while pattern.match(shorter):
            shorter = pattern.sub("", shorter, count=1)
            found.append(Form(shorter, found[-1].removed + taken, held_out))
    ended = []
    for form in found:
        shorter = form.text
        while _TRAILING.search(shorter):
            # An epoch's mean is coarser than a step's value, and is taken where there is no other.
            coarse = 2 if shorter.endswith("epoch") else 1
            shorter = _TRAILING.sub("", shorter)
            ended.append(Form(shorter, form.removed + coarse, form.held_out))
    unique: dict[tuple[str, bool], Form] = {}
    for form in sorted([*found, *ended], key=lambda form: form.removed):
        unique.setdefault((form.text, form.held_out), form)
    return list(unique.values())


def roles_of(name: str, kind: str | None) -> dict[str, tuple[int, int, int]]:
    """Every role that a series of this name may have, and how well it fits: the less, the better."""
    found: dict[str, tuple[int, int, int]] = {}
    table = _table(kind)
    for form in forms(name):
        for role, place in table.get(form.text, ()):
            known = f"validation_{role}" if form.held_out else role
            if form.held_out and role not in ("loss", "kl", "reconstruction"):
                continue
            fit = (form.removed // _OF_A_GROUP, place, form.removed)
            found[known] = min(fit, found.get(known, fit))
        dimension = _DIMENSIONS.match(form.text) if kind == "vae" and not form.held_out else None
        if dimension:
            found[f"kl_dim/{int(dimension[1])}"] = (form.removed // _OF_A_GROUP, 0, form.removed)
        if found:
            # What is known by more of its name, such as rollout_corr/kl, is not taken for what the rest alone would be.
            break
    return found


@cache
def _table(kind: str | None) -> dict[str, list[tuple[str, int]]]:
    table: dict[str, list[tuple[str, int]]] = {}
    for roles in (_NAMES[None], _NAMES[kind] if kind is not None else {}):
        for role, names in roles.items():
            for place, name in enumerate(names.split()):
                table.setdefault(name, []).append((role, place))
    return table


def _nothing() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Meaning:
    """What is known of a series by its name: facts, and the sentence that says so."""

    says: str
    facts: Mapping[str, Any] = field(default_factory=_nothing)


@dataclass(frozen=True)
class Framework:
    """A library that writes logs: by which names one knows it, and what it means by its own.

    Attributes
    ----------
    name : str
    kind : str
        What it trains.
    marks : frozenset of str
        Names, as `normalised`, of which one is enough to know it.
    meanings : dict of str to Meaning
        By the form of the name that was taken.
    """

    name: str
    kind: str
    marks: frozenset[str]
    meanings: Mapping[str, Meaning]


_OLD = {"kl_to": "old policy", "unit": "token"}
_REFERENCE = {"kl_to": "reference"}
_TOKENS = "is a mean over the tokens, from the policy to the reference"
_EXACT = "is the exact KL between the distributions of the old and the new policy"

FRAMEWORKS = (
    Framework(
        "Stable-Baselines3",
        "policy",
        frozenset({"train/clip_range", "train/n_updates", "train/policy_gradient_loss", "time/total_timesteps"}),
        {
            "train/approx_kl": Meaning(
                "is k3, the mean of r − 1 − log r over the actions, of the policy that acted against the new one",
                {**_OLD, "estimator": "k3"},
            ),
        },
    ),
    Framework(
        "CleanRL",
        "policy",
        frozenset({"losses/approx_kl", "losses/old_approx_kl", "losses/clipfrac"}),
        {
            "losses/approx_kl": Meaning(
                "is k3 over one mini-batch, of the policy that acted against the new one", {**_OLD, "estimator": "k3"}
            ),
        },
    ),
    Framework(
        "TRL's PPOTrainer",
        "policy",
        frozenset({"objective/rlhf_reward", "objective/non_score_reward", "policy/approxkl_avg"}),
        {
            "objective/kl": Meaning(
                "is summed over the tokens of a response and averaged over responses, from the policy to the reference",
                {**_REFERENCE, "unit": "sequence"},
            ),
            "policy/approxkl_avg": Meaning(
                "is k2, ½ (log r)², over the tokens, of the policy that acted against the new one",
                {**_OLD, "estimator": "k2"},
            ),
            "objective/entropy": Meaning("is summed over the tokens of a response: −log π of what was sampled"),
        },
    ),
    Framework(
        "TRL's GRPOTrainer",
        "policy",
        frozenset({"frac_reward_zero_std", "completions/mean_length", "clip_ratio/region_mean"}),
        {
            "kl": Meaning(
                "is k3 over the tokens, from the policy to the reference",
                {**_REFERENCE, "unit": "token", "estimator": "k3"},
            )
        },
    ),
    Framework(
        "verl",
        "policy",
        frozenset({"actor/ppo_kl", "actor/pg_clipfrac", "actor/pg_loss", "critic/score/mean", "critic/rewards/mean"}),
        {
            "ppo_kl": Meaning(
                "is k1 over the tokens, of the policy before the update against the new one: it may be negative",
                {**_OLD, "estimator": "k1"},
            ),
            "reward_kl_penalty": Meaning(_TOKENS, {**_REFERENCE, "unit": "token"}),
            "critic/kl": Meaning(_TOKENS, {**_REFERENCE, "unit": "token"}),
        },
    ),
    Framework(
        "OpenRLHF",
        "policy",
        frozenset({"ppo_clip_ratio", "vllm_kl", "train/ppo_clip_ratio", "train/vllm_kl"}),
        {"kl": Meaning(_TOKENS, {**_REFERENCE, "unit": "token"})},
    ),
    Framework(
        "RLlib",
        "policy",
        frozenset({"num_env_steps_sampled", "num_env_steps_sampled_lifetime", "timesteps_total", "training_iteration"}),
        {
            "mean_kl_loss": Meaning(_EXACT, {**_OLD, "estimator": "exact"}),
            "learner_stats/kl": Meaning(_EXACT, {**_OLD, "estimator": "exact"}),
        },
    ),
)  # fmt: skip


def frameworks(names: Iterable[str]) -> list[Framework]:
    """The libraries that a log's names show, the one with the most of its marks first."""
    have = {normalised(name) for name in names}
    found = [(len(framework.marks & have), framework) for framework in FRAMEWORKS if framework.marks & have]
    return [framework for _, framework in sorted(found, key=lambda pair: -pair[0])]
