"""Made-up diagnoses, which hold everything that a report can show."""

from __future__ import annotations

import numpy as np

from dkl.doctor import Cause, Check, Diagnosis, Evidence, Finding, Fix, Series

STEPS = np.arange(0.0, 1000.0, 10.0)
KL = Series("train/<kl> $x$", STEPS, np.exp(STEPS / 120))
BROKEN = Series("loss", STEPS, np.where(STEPS > 900, np.nan, 40 - STEPS / 50))

DRIFT = Cause(
    "explosion by mean drift",
    "vae",
    "The means have left the prior. Their squares are the KL.",
    (Fix("Take smaller steps.", "optimiser = torch.optim.Adam(parameters, lr=1e-3)\nscheduler = None"), Fix("Clip.")),
    ("Lowering β treats the symptom: the KL is large because the steps are, not because it weighs much.",),
    "D. P. Kingma, M. Welling, ICLR (2014), equation 10",
    ("kl",),
    checks=(Check("See how far the means are from 0.", "print(mu.abs().max())"), Check("Look at each dimension.")),
)
REMARK = Cause(
    "β that never rises", "vae", "It stays where it was. Nobody moved it.", (Fix("Let it rise."),), (), "-", ("beta",)
)

EXPLODING = Diagnosis(
    "vae",
    [
        Finding(
            DRIFT,
            "error",
            0.95,
            (
                Evidence("The KL rises from 1 to 3,835 nats.", (KL,), (600.0, 990.0), ("a KL that one sees", 30.0)),
                Evidence("The loss is no number from step 910 on.", (BROKEN,)),
            ),
        ),
        Finding(REMARK, "note", 0.4, (Evidence("β is 1 at every step."),)),
    ],
    "findings",
    ["kl is 'train/<kl> $x$'."],
    {"posterior collapse": ["mu_squared"], "a decoder that ignores z": ["mu_squared"], "another": ["beta", "novel"]},
    {"kl": KL, "loss": BROKEN},
    ["loss: NaN or infinite at 9 of 100 steps"],
)
WARNED = Diagnosis("vae", [Finding(DRIFT, "warning", 0.7, (Evidence("It rises."),))], "findings", [], {}, {"kl": KL})
HEALTHY = Diagnosis("vae", [], "healthy", ["β is 1."], {"posterior collapse": ["mu_squared"]}, {"kl": KL})
UNTOLD = Diagnosis(None, [], "cannot tell", ["What is trained cannot be told from x; say kind=."], {}, {})
