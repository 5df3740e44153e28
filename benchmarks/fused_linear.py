"""Peak memory and time of ``fused_linear_divergence`` beside PyTorch's own operations, value and gradients.

``python -m benchmarks.fused_linear [--tokens N] [--words N] [--hidden N] [--dtype float32]`` distils one last layer
into another by forward KL. Each contestant runs in processes of its own, in turn: after a first call on a few tokens,
the growth of the peak resident set (getrusage) over one call is its memory, the gradients included, and the median
over some more calls its time. Printed are the medians over the processes and the ratios. The two losses must agree.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from . import machine

OURS, PLAIN = "dkl", "torch"


def contestants() -> dict[str, Callable[..., Any]]:
    """Return each contestant's loss of student and teacher, hidden states and weights."""
    import torch
    from torch.nn.functional import kl_div

    from dkl.training import fused_linear_divergence

    def plain(student: Any, student_weight: Any, teacher: Any, teacher_weight: Any) -> Any:
        # Of half precision at least the softmax in float32, as trainers have it.
        wide = torch.promote_types(student.dtype, torch.float32)
        log_p = (teacher @ teacher_weight.T).log_softmax(-1, dtype=wide)
        log_q = (student @ student_weight.T).log_softmax(-1, dtype=wide)
        return kl_div(log_q, log_p, reduction="batchmean", log_target=True)

    return {OURS: fused_linear_divergence, PLAIN: plain}


def measure(who: str, tokens: int, words: int, hidden: int, dtype: str, repeats: int) -> dict[str, float]:
    """Return loss, peak extra bytes and seconds of one contestant in this process."""
    import torch

    made = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Any:
        return torch.randn(shape, generator=made).to(getattr(torch, dtype))

    student, teacher = normal(tokens, hidden).requires_grad_(), normal(tokens, hidden)
    weights = normal(words, hidden) / hidden**0.5, normal(words, hidden) / hidden**0.5
    loss = contestants()[who]

    def call(count: int) -> Any:
        # As an optimiser leaves it: no gradient is there before the call, all of them after.
        weight, states = weights[0].requires_grad_(), student[:count]
        weight.grad = student.grad = None
        value = loss(states, weight, teacher[:count], weights[1])
        value.backward()
        return value.item()

    call(8)
    weights[0].grad = student.grad = None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    value = call(tokens)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        call(tokens)
        seconds.append(time.perf_counter() - began)
    unit = 1 if sys.platform == "darwin" else 1024
    return {"loss": value, "bytes": peak * unit, "seconds": statistics.median(seconds)}


def in_a_process(who: str, options: dict[str, Any]) -> dict[str, float]:
    """Return what ``measure`` finds in a process of its own."""
    named = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "benchmarks.fused_linear", "--alone", who, *named]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run both in turn and print the table; return 1 if their losses disagree."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fused_linear", description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--words", type=int, default=32_000)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--dtype", choices=["float32", "bfloat16", "float64"], default="float32")
    parser.add_argument("--repeats", type=int, default=3, help="timed calls in each process")
    parser.add_argument("--processes", type=int, default=3, help="processes of each contestant")
    parser.add_argument("--alone", choices=[OURS, PLAIN], help="measure this one in this process, and print JSON")
    options = vars(parser.parse_args(arguments))
    alone, processes = options.pop("alone"), options.pop("processes")
    if alone:
        print(json.dumps(measure(alone, **options)))
        return 0
    runs: dict[str, list[dict[str, float]]] = {OURS: [], PLAIN: []}
    for _ in range(processes):
        for who, found in runs.items():
            found.append(in_a_process(who, options))
    medians = {
        who: {name: statistics.median(run[name] for run in found) for name in found[0]} for who, found in runs.items()
    }
    print(
        f"{options['tokens']} tokens × {options['words']} words × {options['hidden']} hidden, {options['dtype']}; ",
        end="",
    )
    print(f"medians of {processes} processes, load {machine.load()}")
    for who, median in medians.items():
        print(f"{who:<6} {median['seconds']:8.2f} s {median['bytes'] / 2**20:9.0f} MiB   loss {median['loss']:.6f}")
    ours, plain = medians[OURS], medians[PLAIN]
    print(f"dkl/torch: time {ours['seconds'] / plain['seconds']:.2f}, memory {ours['bytes'] / plain['bytes']:.3f}")
    tolerance = 1e-2 if options["dtype"] == "bfloat16" else 1e-4
    return int(abs(ours["loss"] - plain["loss"]) > tolerance * abs(plain["loss"]))


if __name__ == "__main__":
    machine.let_threads_sleep()
    raise SystemExit(main())
