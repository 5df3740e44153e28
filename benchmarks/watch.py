"""What `dkl.doctor.Watch` costs: its share of the time of the steps of the digits example.

``python -m benchmarks.watch`` trains the example's model on one thread, times every step and every call of the watch
in it, its diagnoses included, and prints the share for each of several runs.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter

import torch

from dkl.doctor import Watch
from examples.vae_digits import Autoencoder, Settings, digits


def share(steps: int, seed: int) -> tuple[float, float]:
    """The seconds of a step, and the share of it that the watch took."""
    settings = Settings(seed=seed)
    torch.manual_seed(seed)
    model = Autoencoder(settings)
    optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
    generator = torch.Generator().manual_seed(seed)
    images = digits()
    watch = Watch("vae", latent_dim=settings.latent_dims)
    training = watching = 0.0
    for step in range(steps):
        began = perf_counter()
        x = images[torch.randint(len(images), (settings.batch_size,), generator=generator)]
        made = model(x, generator)
        loss = model.loss(x, made, 1.0)
        optimiser.zero_grad()
        loss.total.backward()
        optimiser.step()
        trained = perf_counter()
        watch(step, mu=made.mu, log_var=made.log_var, reconstruction=loss.reconstruction, beta=1.0)
        training += trained - began
        watching += perf_counter() - trained
    return training / steps, watching / training


def main() -> None:
    """Print the share of several runs and their median."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [share(options.steps, seed) for seed in range(options.runs)]
    for seed, (step, part) in enumerate(found):
        print(f"run {seed}: a step takes {1e3 * step:.2f} ms, the watch {100 * part:.2f} % of it")
    print(f"median: {100 * median(part for _, part in found):.2f} %")


if __name__ == "__main__":
    main()
