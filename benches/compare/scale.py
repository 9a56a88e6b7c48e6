"""How our command scales: slices, threads, classes, pixels, one at a time from R50-ViT-B_16 of 9 classes at 224 x 224."""

import statistics

from measure import heading, machine, row
from whole import rounds_of

SLICES = [1, 10, 100, 1000]
# Enough to tell the time of a slice from that of the start.
FEW = 10
CLASSES = [2, 117]
SIDES = [224, 320, 384, 512]


def table(bench):
    options = bench.options
    lengths, threads = options.slices or SLICES, options.threads
    print(f"{machine()}; series of 512 x 512 to a DICOM SEG, medians of {options.rounds or 1}, seconds from `exec` to exit\n")
    heading("slices", "network's slices", "classes", "threads", "seconds", "loading", "network, ms a slice", "writing", "peak memory, MB")
    peaks = {slices: run(bench, slices, 224, 9, threads) for slices in lengths}
    for count in sorted({1, threads} - {threads}):
        run(bench, FEW, 224, 9, count)
    for classes in CLASSES:
        run(bench, FEW, 224, classes, threads)
    for side in SIDES:
        run(bench, FEW, side, 9, threads)
    first, last = sorted(lengths)[-2:] if len(lengths) > 1 else (lengths[0], lengths[0])
    print(f"\nPeak memory of {last} slices / of {first}: **{peaks[last] / peaks[first]:.2f}**\n")


def run(bench, slices, side, classes, threads):
    """A row of the table; returns the peak memory in bytes."""
    model = bench.model("--classes", classes, "--side", side)
    command = bench.segment(bench.series(slices), model, bench.folder / "out.dcm", threads)
    rounds, _ = rounds_of(bench, [command], bench.options.rounds or 1, threads)
    runs = [round_[0] for round_, _ in rounds]
    median = lambda key: statistics.median(run[key] for run in runs)
    part = lambda key: statistics.median(run["seconds"][key] for run in runs)
    row(
        slices,
        f"{side} x {side}",
        classes,
        threads,
        f"{median('wall'):.1f}",
        f"{part('load_model'):.2f}",
        f"{part('segment') / slices * 1000:.0f}",
        f"{part('write'):.2f}",
        f"{median('peak') / 1e6:.0f}",
    )
    return median("peak")
