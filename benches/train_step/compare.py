"""Times training steps of our library and of PyTorch in turn, from the same weights on the same batch.

Both sides run as processes of their own that wait while the other one works. The losses of the first two steps must
agree, or nothing is measured.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from measure import OTHERS, Side, heading, machine, measure_in_turn, programs, row, spread

HERE = Path(__file__).parent
PARTS = "forward", "backward", "update"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=7, help="timed steps of each side")
    parser.add_argument("--warm-up", type=int, default=2, help="steps before them, at least 2")
    parser.add_argument("--patience", type=int, default=30, help="disturbed pairs before it gives up")
    options = parser.parse_args()
    threads = str(options.threads)
    environment = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    os.environ.update(environment)
    with tempfile.TemporaryDirectory() as folder:
        ours = Side("transunet", [programs("train_step")["train_step"], folder, str(options.batch), threads])
        theirs = Side("PyTorch", [sys.executable, HERE / "theirs.py", folder, threads])
        for step in range(max(options.warm_up, 2)):
            losses = [side.step()["loss"] for side in (ours, theirs)]
            difference = abs(losses[0] - losses[1]) / losses[1]
            print(f"step {step + 1}: loss {losses[0]:.6f} and {losses[1]:.6f}, relative difference {difference:.1e}", file=sys.stderr)
            if step < 2 and not difference < 1e-3:
                sys.exit("the losses differ: these are not the same steps")
        disturbed = measure_in_turn([ours, theirs], options.steps, options.threads, options.patience)
        report(options, ours, theirs, disturbed)


def report(options, ours, theirs, disturbed):
    print(
        f"{machine()}; R50-ViT-B_16, 224 x 224, batch {options.batch}, "
        f"{options.threads} threads, {len(ours.steps)} steps of each in turn ({disturbed} pairs not counted because other "
        f"programs took more than {OTHERS:.0%} of one of these cores)\n"
    )
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(ours.steps, theirs.steps)]
    heading("", "transunet", f"PyTorch {theirs.facts['version'].split('+')[0]}", "transunet / PyTorch")
    sides = ours, theirs
    medians = [side.median("seconds") for side in sides]
    row("seconds a step, median", *(f"{m:.2f}" for m in medians), f"**{statistics.median(ratios):.2f}** ({spread(ratios)} over the pairs)")
    row("smallest to largest", *(spread([step["seconds"] for step in side.steps]) for side in sides), "")
    for part in (*PARTS, "cpu"):
        values = [side.median(part) for side in sides]
        name = "CPU seconds" if part == "cpu" else part
        row(name, *(f"{value:.2f}" for value in values), f"{values[0] / values[1]:.2f}")
    peaks = [side.peak() / 2**30 for side in sides]
    row("peak memory, GiB", *(f"{peak:.2f}" for peak in peaks), f"{peaks[0] / peaks[1]:.2f}")


if __name__ == "__main__":
    main()
