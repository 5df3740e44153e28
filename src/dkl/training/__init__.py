"""Training with a KL term: variational autoencoders, policies, distillation, adversarial networks; in PyTorch.

One convention holds everywhere: the direction is in the name; nats; sums over outcomes and latent dimensions, means
over the rows of the batch unless ``reduction`` says otherwise; a mask wherever there are rows.
"""

try:
    import torch as _torch  # noqa: F401  the message belongs here, before any other import of it
except ImportError as error:
    raise ImportError("dkl.training needs PyTorch: pip install 'dkl[torch]'") from error
