"""Training with a KL term: variational autoencoders, policies, distillation, adversarial networks; in PyTorch.

One convention holds everywhere: the direction is in the name; nats; sums over outcomes and latent dimensions, means
over the rows of the batch unless ``reduction`` says otherwise; a mask wherever there are rows.
"""

try:
    import torch as _torch  # noqa: F401  the message belongs here, before any other import of it
except ImportError as error:
    raise ImportError("dkl.training needs PyTorch: pip install 'dkl[torch]'") from error

from dkl.training.audit import EstimatorAudit, audit_estimator
from dkl.training.controllers import AdaptiveKL, TargetKL
from dkl.training.distillation import distillation_loss, generalized_jsd
from dkl.training.estimators import BiasedGradientWarning, KLEstimate, kl_estimate, kl_estimate_from_logits, kl_loss
from dkl.training.evidence import iwae_bound, renyi_bound
from dkl.training.f_gan import FGAN
from dkl.training.fused_linear import fused_linear_divergence
from dkl.training.gan import (
    discriminator_value,
    gan_discriminator_loss,
    gan_generator_loss,
    gan_value,
    optimal_discriminator,
)
from dkl.training.gaussian import gaussian_kl
from dkl.training.latents import (
    LatentInformation,
    PredictedLatents,
    active_units,
    aggregate_posterior_kl,
    mutual_information,
    predicted_active_dims,
)
from dkl.training.likelihoods import negative_log_likelihood
from dkl.training.policy import PPOClipLoss, PPOKLLoss, policy_kl, ppo_clip_loss, ppo_kl_loss
from dkl.training.schedules import Capacity, Cyclical, LinearWarmup, Sigmoid
from dkl.training.top_k import KLBounds, topk_kl
from dkl.training.trust_region import TrustRegionStep, trust_region_step
from dkl.training.vae import VAELoss, vae_loss
from dkl.training.wasserstein_gan import gradient_penalty, wgan_critic_loss, wgan_generator_loss

__all__ = [
    "FGAN",
    "AdaptiveKL",
    "BiasedGradientWarning",
    "Capacity",
    "Cyclical",
    "EstimatorAudit",
    "KLBounds",
    "KLEstimate",
    "LatentInformation",
    "LinearWarmup",
    "PPOClipLoss",
    "PPOKLLoss",
    "PredictedLatents",
    "Sigmoid",
    "TargetKL",
    "TrustRegionStep",
    "VAELoss",
    "active_units",
    "aggregate_posterior_kl",
    "audit_estimator",
    "discriminator_value",
    "distillation_loss",
    "fused_linear_divergence",
    "gan_discriminator_loss",
    "gan_generator_loss",
    "gan_value",
    "gaussian_kl",
    "generalized_jsd",
    "gradient_penalty",
    "iwae_bound",
    "kl_estimate",
    "kl_estimate_from_logits",
    "kl_loss",
    "mutual_information",
    "negative_log_likelihood",
    "optimal_discriminator",
    "policy_kl",
    "ppo_clip_loss",
    "ppo_kl_loss",
    "predicted_active_dims",
    "renyi_bound",
    "topk_kl",
    "trust_region_step",
    "vae_loss",
    "wgan_critic_loss",
    "wgan_generator_loss",
]
