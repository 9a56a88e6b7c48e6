"""Times reading and writing of a long series with our library and with pydicom and highdicom, in turn.

Each measurement is a process of its own: its wall time from start to end, and its peak memory as the kernel counts it.
Both sides must give the same positions, the same sum of all voxels and as many frames, or nothing is reported.
"""

import argparse
import datetime
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PLAIN, JPEG_LS = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"
COMPRESSED = {JPEG_LS: "JPEG-LS lossless"}


def cargo_program():
    """The benchmark's program, which `run` has built."""
    command = ["cargo", "bench", "--locked", "--bench", "dicom_scale", "--no-run", "--message-format", "json"]
    lines = subprocess.run(command, cwd=HERE.parent.parent, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    found = [json.loads(line).get("executable") for line in lines.splitlines() if '"dicom_scale"' in line]
    return next(path for path in found if path)


def measured(command):
    """What the command answers, the seconds it took and its peak memory in MB.

    The kernel counts what a child had of its parent's memory before it became another program: this one stays small.
    """
    began = time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return {**json.loads(answer), "wall": time.monotonic() - began, "peak": usage.ru_maxrss / 1000, "cpu": usage.ru_utime + usage.ru_stime}


def close(a, b):
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-6)


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "an unknown processor")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each, in turn")
    parser.add_argument("--syntax", default=JPEG_LS, help="transfer syntax of the compressed series")
    options = parser.parse_args()
    ours, theirs = [cargo_program()], [sys.executable, HERE / "theirs.py"]
    print(
        f"{os.cpu_count()} cores of {processor()}, {datetime.date.today()}, load {os.getloadavg()[0]:.1f} before; "
        f"{options.slices} slices of 512 x 512, pydicom {version('pydicom')}, highdicom {version('highdicom')}, medians of {options.rounds} "
        "(files in the page cache)\n"
    )
    print("| | seconds, ours | theirs | ours / theirs | peak MB, ours | theirs |\n|---|---|---|---|---|---|")
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
        f"| **{statistics.median(ratios):.3f}** ({min(ratios):.3f} to {max(ratios):.3f}) | {median(0, 'peak'):.0f} | {median(1, 'peak'):.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
