"""The forward pass: every side a process that waits while another one works."""

import statistics
import sys

import numpy as np

from measure import OTHERS, Ended, Side, heading, machine, measure_in_turn, row, spread

NAMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torch": "PyTorch", "compiled": "PyTorch, compiled"}
# Largest difference of two sides' logits.
TOLERANCE = 1e-3
# Seconds before each pass: threads of the side before go on looking for work for some milliseconds.
REST = 0.05


def tables(bench):
    options = bench.options
    model = bench.model("--batches", *options.batches)
    for batch in options.batches:
        ours = Side("transunet", [bench.program, "forward", model, batch, options.threads])
        theirs = [
            Side(NAMES[name], bench.python("theirs.py", model, name, batch, options.threads)) for name in options.runtimes
        ]
        sides, worst, deviation = agreed([ours, *theirs], bench.folder)
        for _ in range(options.warm_up - 1):
            for side in sides:
                side.step()
        disturbed = measure_in_turn(sides, options.rounds or 11, options.threads, options.patience, REST)
        print(
            f"{machine()}; R50-ViT-B_16, 9 classes, 224 x 224, float32, batch {batch}, {options.threads} threads, "
            f"{len(ours.steps)} passes of each in turn ({disturbed} rounds not counted because other programs took more than "
            f"{OTHERS:.0%} of one of these cores); logits, whose standard deviation is {deviation:.2f}, differ by at most {worst:.1e}\n"
        )
        report(sides, batch)
        for side in sides:
            side.end()


def agreed(sides, folder):
    """The sides that work, how far their logits are apart, and how far logits are from each other."""
    logits, working = [], []
    for side in sides:
        path = folder / "logits.raw"
        try:
            side.step(str(path))
        except Ended as error:
            # It needs a compiler, which nothing else does.
            if side.name != NAMES["compiled"]:
                raise
            print(f"{error}: left out", file=sys.stderr)
            continue
        working.append(side)
        logits.append(np.fromfile(path, np.float32))
    differences = [float(np.abs(logits[0] - other).max()) for other in logits[1:]]
    for side, difference in zip(working[1:], differences):
        print(f"largest difference of logits to {side.name}: {difference:.1e}", file=sys.stderr)
        if not difference < TOLERANCE:
            sys.exit("the logits differ: this is not the same network")
    return working, max(differences), float(logits[0].std())


def report(sides, batch):
    ours, *theirs = sides
    milliseconds = lambda side, key="seconds": [step[key] / batch * 1000 for step in side.steps]
    medians = [statistics.median(milliseconds(side)) for side in sides]
    ratios = [[a["seconds"] / b["seconds"] for a, b in zip(ours.steps, side.steps)] for side in theirs]
    heading(f"batch {batch}, ms a slice", *(f"{side.name} {side.facts['version']}" for side in sides))
    row("median", *(f"{median:.0f}" for median in medians))
    row("smallest to largest", *(spread(milliseconds(side), 0) for side in sides))
    row("CPU", *(f"{side.median('cpu') / batch * 1000:.0f}" for side in sides))
    row("transunet / this", "", *(f"**{statistics.median(each):.2f}** ({spread(each)})" for each in ratios))
    row("peak memory, MB", *(f"{side.peak() / 1e6:.0f}" for side in sides))
    fastest = min(range(len(theirs)), key=lambda n: medians[n + 1])
    print(f"\ntransunet / {theirs[fastest].name}, the fastest of the others: **{statistics.median(ratios[fastest]):.2f}**\n", flush=True)
