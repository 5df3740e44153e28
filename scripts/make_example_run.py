"""Train the run that ``dkl doctor --example exploding-vae`` looks at, and write its metrics into the package.

Run by hand from the repository's root, with the ``examples`` extra installed:
``python -m scripts.make_example_run``. It is the exploding scene of ``examples/vae_digits.py``, its figures cut to
six digits.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from examples.vae_digits import SCENES, run

TARGET = Path(__file__).parent.parent / "src" / "dkl" / "data" / "exploding_vae.jsonl"
EVERY = 10


def main() -> None:
    """Train, cut and write."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "exploding"
        run(replace(SCENES["exploding"], every=EVERY), out)
        lines = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    with TARGET.open("w", encoding="utf-8") as file:
        for line in lines:
            short = {
                name: float(f"{value:.6g}") if isinstance(value, float) else value
                for name, value in json.loads(line).items()
            }
            file.write(json.dumps(short, separators=(",", ":")) + "\n")
    print(f"{TARGET.name}: {len(lines)} lines, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
