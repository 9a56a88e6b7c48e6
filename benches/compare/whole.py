"""Whole processes: from a DICOM series to a DICOM SEG with our command, and with Python."""

import os
import statistics
import sys

from forward import NAMES
from measure import OTHERS, Side, heading, machine, measured, row, spread

# Share of the voxels that both sides must label alike.
EQUAL = 0.999


def rounds_of(bench, commands, count, threads, after=lambda: {}):
    """`count` measurements of each command in turn, the answer of `after` at the end of each round, and how many rounds were disturbed."""
    rounds, disturbed, allowed = [], 0, os.cpu_count() - threads + OTHERS
    while len(rounds) < count and disturbed < bench.options.patience:
        round_ = [measured(command) for command in commands]
        extra = after()
        quiet = all(run["others"] < allowed for run in round_)
        print(", ".join(f"{run['wall']:.2f} s" for run in round_), "" if quiet else "disturbed: not counted", file=sys.stderr)
        if quiet:
            rounds.append((round_, extra))
        else:
            disturbed += 1
    if not rounds:
        sys.exit("other programs kept the cores busy: nothing was measured")
    return rounds, disturbed


def check_labels(bench, series, ours, theirs):
    """The share of voxels that both label alike; ends where it is too small."""
    equal = measured(bench.python("agreement.py", series, ours, theirs))["equal"]
    if not equal >= EQUAL:
        sys.exit(f"{equal:.3%} of the voxels have the same label: this is not the same work")
    return equal


def first_mask(bench):
    """From `exec` to the DICOM SEG of a series of one slice."""
    options = bench.options
    series, model = bench.series(1), bench.model("--batches", *options.batches)
    # torch.compile would take minutes.
    runtimes = [name for name in options.runtimes if name != "compiled"]
    outs = [bench.folder / f"{name}.dcm" for name in ("transunet", *runtimes)]
    commands = [bench.segment(series, model, outs[0], options.threads)]
    for name, out in zip(runtimes, outs[1:]):
        commands.append(bench.python("pipeline.py", series, model, out, "--runtime", name, "--threads", options.threads))
    for command in commands:
        measured(command)
    equal = min(check_labels(bench, series, outs[0], out) for out in outs[1:])
    rounds, disturbed = rounds_of(bench, commands, options.rounds or 11, options.threads)
    print(
        f"{machine()}; one slice of 512 x 512 to a DICOM SEG, {options.threads} threads, all files in the page cache, "
        f"{len(rounds)} processes of each in turn ({disturbed} rounds not counted); the same label on {equal:.3%} of the voxels\n"
    )
    values = lambda side, key: [round_[side][key] for round_, _ in rounds]
    sides = range(len(commands))
    heading("from `exec` to the DICOM SEG", "transunet", *(f"pydicom, {NAMES[name]}, highdicom" for name in runtimes))
    row("seconds, median", *(f"{statistics.median(values(side, 'wall')):.2f}" for side in sides))
    row("smallest to largest", *(spread(values(side, "wall")) for side in sides))
    ratios = [statistics.median(a / b for a, b in zip(values(0, "wall"), values(side, "wall"))) for side in sides[1:]]
    row("transunet / this", "", *(f"**{ratio:.2f}**" for ratio in ratios))
    row("peak memory, MB", *(f"{statistics.median(values(side, 'peak')) / 1e6:.0f}" for side in sides))
    print(flush=True)


def end_to_end(bench):
    """A longer series; our network's passes alone beside it, to see how much of the rest is hidden behind them."""
    options = bench.options
    slices = (options.slices or [100])[0]
    series, model = bench.series(slices), bench.model("--batches", 1)
    outs = [bench.folder / "ours.dcm", bench.folder / "theirs.dcm"]
    batch = ["--batch", options.peer_batch, "--threads", options.threads]
    commands = [bench.segment(series, model, outs[0], options.threads), bench.python("pipeline.py", series, model, outs[1], *batch)]
    network = Side("transunet", [bench.program, "forward", model, 1, options.threads])
    network.step()
    passes = lambda: {"forward": sum(network.step()["seconds"] for _ in range(slices))}
    rounds, disturbed = rounds_of(bench, commands, options.rounds or 3, options.threads, passes)
    network.end()
    equal = check_labels(bench, series, *outs)
    print(
        f"{machine()}; {slices} slices of 512 x 512 to a DICOM SEG of 8 labels, R50-ViT-B_16, {options.threads} threads, "
        f"{len(rounds)} processes of each in turn ({disturbed} rounds not counted), from `exec` to exit; the same label on "
        f"{equal:.3%} of the voxels\n"
    )
    values = lambda side, key: [round_[side][key] for round_, _ in rounds]
    ratio = lambda key: [a / b for a, b in zip(values(0, key), values(1, key))]
    heading("", "transunet", f"pydicom, PyTorch (batch {options.peer_batch}), highdicom", "transunet / Python")
    for name, key, unit, digits in ("seconds", "wall", 1, 1), ("CPU seconds", "cpu", 1, 1), ("peak memory, MB", "peak", 1e6, 0):
        medians = [f"{statistics.median(values(side, key)) / unit:.{digits}f}" for side in (0, 1)]
        row(f"{name}, median", *medians, f"**{statistics.median(ratio(key)):.2f}** ({spread(ratio(key))})")
    row("seconds, smallest to largest", *(spread(values(side, "wall"), 1) for side in (0, 1)), "")
    alone = [extra["forward"] for _, extra in rounds]
    overhead = [round_[0]["wall"] / extra["forward"] for round_, extra in rounds]
    print(
        f"\nOur passes of {slices} prepared slices alone: {statistics.median(alone):.1f} s; all of the command / its passes: "
        f"**{statistics.median(overhead):.2f}** ({spread(overhead)})\n"
    )
