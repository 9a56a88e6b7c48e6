"""Times training steps of our library and of PyTorch in turn, from the same weights on the same batch.

Both sides run as processes of their own that wait while the other one works. The losses of the first two steps must
agree, or nothing is measured.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
# Share of a core that other programs may take of those that a side computes on. PyTorch's threads wait for each other:
# with one of two cores taken a step takes eight times as long, which would say nothing about either side.
OTHERS = 0.1
PARTS = "forward", "backward", "update"


class Side:
    """A process that makes a step for each line that it reads."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent.parent)
        self.facts = self.answer()
        self.steps = []

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} ended early, status {self.process.wait()}")
        return json.loads(line)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.facts['pid']}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def step(self):
        """A step, with what it and all other programs took of the cores meanwhile."""
        own, all_programs, began = self.cpu_seconds(), busy_seconds(), time.monotonic()
        print("step", file=self.process.stdin, flush=True)
        answer = self.answer()
        own, all_programs = self.cpu_seconds() - own, busy_seconds() - all_programs
        return {**answer, "cpu": own, "others": (all_programs - own) / (time.monotonic() - began)}

    def peak(self):
        """Largest resident memory so far, in GiB."""
        lines = Path(f"/proc/{self.facts['pid']}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20

    def median(self, key):
        return statistics.median(step[key] for step in self.steps)


def busy_seconds():
    """What all programs have used of all cores since the machine started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle, waiting, stolen = fields[3], fields[4], fields[7]
    return (sum(fields) - idle - waiting - stolen) / os.sysconf("SC_CLK_TCK")


def spread(values):
    return f"{min(values):.2f} to {max(values):.2f}"


def row(*cells):
    print("| " + " | ".join(cells) + " |")


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "an unknown processor")


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
        cargo = ["cargo", "bench", "--quiet", "--locked", "--bench", "train_step", "--"]
        ours = Side("transunet", [*cargo, folder, str(options.batch), threads])
        theirs = Side("PyTorch", [sys.executable, HERE / "theirs.py", folder, threads])
        for step in range(max(options.warm_up, 2)):
            losses = [side.step()["loss"] for side in (ours, theirs)]
            difference = abs(losses[0] - losses[1]) / losses[1]
            print(f"step {step + 1}: loss {losses[0]:.6f} and {losses[1]:.6f}, relative difference {difference:.1e}", file=sys.stderr)
            if step < 2 and not difference < 1e-3:
                sys.exit("the losses differ: these are not the same steps")
        disturbed, allowed = 0, os.cpu_count() - options.threads + OTHERS
        while len(ours.steps) < options.steps and disturbed < options.patience:
            pair = [side.step() for side in (ours, theirs)]
            quiet = all(step["others"] < allowed for step in pair)
            times = " and ".join(f"{step['seconds']:.2f} s" for step in pair)
            print(f"{times}{'' if quiet else ', disturbed by other programs: not counted'}", file=sys.stderr)
            if quiet:
                for side, step in zip((ours, theirs), pair):
                    side.steps.append(step)
            else:
                disturbed += 1
        if not ours.steps:
            sys.exit("other programs kept the cores busy: nothing was measured")
        report(options, ours, theirs, disturbed)


def report(options, ours, theirs, disturbed):
    print(
        f"{os.cpu_count()} cores of {processor()}, {datetime.date.today()}; R50-ViT-B_16, 224 x 224, batch {options.batch}, "
        f"{options.threads} threads, {len(ours.steps)} steps of each in turn ({disturbed} pairs not counted because other "
        f"programs took more than {OTHERS:.0%} of one of these cores)\n"
    )
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(ours.steps, theirs.steps)]
    row("", "transunet", f"PyTorch {theirs.facts['version'].split('+')[0]}", "transunet / PyTorch")
    row("---", "---", "---", "---")
    sides = ours, theirs
    medians = [side.median("seconds") for side in sides]
    row("seconds a step, median", *(f"{m:.2f}" for m in medians), f"**{statistics.median(ratios):.2f}** ({spread(ratios)} over the pairs)")
    row("smallest to largest", *(spread([step["seconds"] for step in side.steps]) for side in sides), "")
    for part in (*PARTS, "cpu"):
        values = [side.median(part) for side in sides]
        name = "CPU seconds" if part == "cpu" else part
        row(name, *(f"{value:.2f}" for value in values), f"{values[0] / values[1]:.2f}")
    peaks = [side.peak() for side in sides]
    row("peak memory, GiB", *(f"{peak:.2f}" for peak in peaks), f"{peaks[0] / peaks[1]:.2f}")


if __name__ == "__main__":
    main()
