"""Times reading and writing of a long series with our library and with pydicom and highdicom, in turn.

Each measurement is a process of its own: its wall time from start to end, and its peak memory as the kernel counts it.
Both sides must give the same positions, the same sum of all voxels and as many frames, or nothing is reported.
"""

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from measure import heading, machine, measured, programs

HERE = Path(__file__).parent
PLAIN, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"
COMPRESSED = {JPEG_LS: "JPEG-LS lossless"}


def close(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turn")
    parser.add_argument("--syntax", default=JPEG_LS, help="transfer syntax of the compressed series")
    options = parser.parse_args()
    ours, theirs = [programs("dicom_scale")["dicom_scale"]], [sys.executable, HERE / "theirs.py"]
    print(
        f"{machine()}, load {os.getloadavg()[0]:.1f} before; "
        f"{options.slices} slices of 512 x 512, pydicom {version('pydicom')}, highdicom {version('highdicom')}, medians of {options.rounds} "
        "(files in the page cache)\n"
    )
    heading("", "seconds, ours", "theirs", "ours / theirs", "peak MB, ours", "theirs")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for syntax, tasks in [(PLAIN, ["metadata", "decode", "write"]), (options.syntax, ["decode"])]:
            place = folder / syntax
            measured([*ours, "make", place, options.slices, syntax])
            for task in tasks:
                compare(task, syntax, place, ours, theirs, options)
            subprocess.run(["rm", "-r", place], check=True)


def compare(task, syntax, place, ours, theirs, options):
    rounds = []
    for _ in range(options.rounds):
        pair = []
        for name, side in (("ours", ours), ("theirs", theirs)):
            out = [place / f"{name}.dcm"] if task == "write" else []
            pair.append(measured([*side, task, place, *out]))
        if task == "write":
            for name, answer in zip(("ours", "theirs"), pair):
                answer["check"] = measured([*theirs, "frames", place / f"{name}.dcm"])["check"]
        if not close(pair[0]["check"], pair[1]["check"]):
            sys.exit(f"{task}: {pair[0]['check']} and {pair[1]['check']}: this is not the same work")
        rounds.append(pair)
    median = lambda side, key: statistics.median(pair[side][key] for pair in rounds)
    ratios = [pair[0]["wall"] / pair[1]["wall"] for pair in rounds]
    name = {"metadata": "headers, in order", "decode": "all voxels", "write": "DICOM SEG of 8 labels"}[task]
    if task == "metadata":
        name += f" ({median(0, 'wall') / options.slices * 1000:.2f} and {median(1, 'wall') / options.slices * 1000:.2f} ms a file)"
    if syntax != PLAIN:
        name += f", {COMPRESSED.get(syntax, syntax)}"
    print(
        f"| {name} | {median(0, 'wall'):.2f} ({median(0, 'cpu'):.2f} of CPU) | {median(1, 'wall'):.2f} ({median(1, 'cpu'):.2f}) "
        f"| **{statistics.median(ratios):.3f}** ({min(ratios):.3f} to {max(ratios):.3f}) | {median(0, 'peak') / 1e6:.0f} | {median(1, 'peak') / 1e6:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
