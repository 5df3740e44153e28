"""The two colours of every figure: Okabe and Ito's blue and orange, apart in every colour vision and in grey."""

from __future__ import annotations

REFERENCE, CURRENT = "#0072B2", "#E69F00"
