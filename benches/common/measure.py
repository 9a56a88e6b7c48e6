"""What all benchmarks measure with: processes that answer in lines of JSON, and the kernel's count of their time and memory."""

import datetime
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# Share of a core that other programs may take of those that a side computes on. Threads of one computation wait for each
# other: with one of two cores taken PyTorch takes eight times as long, which would say nothing about either side.
OTHERS = 0.1


class Ended(SystemExit):
    """A process ended before it had answered; says so if nobody catches it."""


class Side:
    """A process that works once for each line that it reads, and answers in a line of JSON. Its first tells its `pid`."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        self.facts = self.answer()
        self.steps = []

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Ended(f"{self.name} ended early, status {self.process.wait()}")
        return json.loads(line)

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.facts['pid']}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def step(self, line=""):
        """What it answers, with what it and all other programs took of the cores meanwhile."""
        own, all_programs, began = self.cpu_seconds(), busy_seconds(), time.monotonic()
        print(line, file=self.process.stdin, flush=True)
        answer = self.answer()
        own, all_programs = self.cpu_seconds() - own, busy_seconds() - all_programs
        return {**answer, "cpu": own, "others": (all_programs - own) / (time.monotonic() - began)}

    def peak(self):
        """Largest resident memory so far, in bytes."""
        lines = Path(f"/proc/{self.facts['pid']}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024

    def median(self, key):
        return statistics.median(step[key] for step in self.steps)

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def measure_in_turn(sides, count, threads, patience, rest=0.0):
    """`count` steps of each side, in turn; rounds that other programs disturbed are not counted. Returns how many those were.

    `rest` are seconds before each step in which threads of the one before may stop waiting for work.
    """
    disturbed, allowed = 0, os.cpu_count() - threads + OTHERS
    while len(sides[0].steps) < count and disturbed < patience:
        round_ = []
        for side in sides:
            time.sleep(rest)
            round_.append(side.step())
        quiet = all(step["others"] < allowed for step in round_)
        times = ", ".join(f"{side.name} {step['seconds']:.3f} s" for side, step in zip(sides, round_))
        print(f"{times}{'' if quiet else '; disturbed by other programs: not counted'}", file=sys.stderr)
        if quiet:
            for side, step in zip(sides, round_):
                side.steps.append(step)
        else:
            disturbed += 1
    if not sides[0].steps:
        sys.exit("other programs kept the cores busy: nothing was measured")
    return disturbed


def measured(command):
    """What a process answers in JSON, with its seconds from start to end (`wall`), its peak memory in bytes and its CPU seconds.

    The kernel counts what a child had of its parent's memory before it became another program: this one stays small.
    """
    busy, began = busy_seconds(), time.monotonic()
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True, cwd=ROOT)
    answer = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall, busy = time.monotonic() - began, busy_seconds() - busy
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    cpu = usage.ru_utime + usage.ru_stime
    return {**json.loads(answer), "wall": wall, "peak": usage.ru_maxrss * 1024, "cpu": cpu, "others": (busy - cpu) / wall}


def programs(bench):
    """Paths of the benchmark's program and of the command, built if they are not yet: `programs("x")["x"]`, `["transunet"]`."""
    command = ["cargo", "bench", "--locked", "--bench", bench, "--no-run", "--message-format", "json"]
    output = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    messages = map(json.loads, output.splitlines())
    return {message["target"]["name"]: message["executable"] for message in messages if message.get("executable")}


def busy_seconds():
    """What all programs have used of all cores since the machine started."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    idle, waiting, stolen = fields[3], fields[4], fields[7]
    return (sum(fields) - idle - waiting - stolen) / os.sysconf("SC_CLK_TCK")


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    value = lambda key, missing: next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), missing)
    wide = "AVX-512" if "avx512f" in value("flags", "").split() else "AVX2" if "avx2" in value("flags", "").split() else "no AVX2"
    return f"{os.cpu_count()} cores of {value('model name', 'an unknown processor')} ({wide}), {datetime.date.today()}"


def spread(values, digits=2):
    return f"{min(values):.{digits}f} to {max(values):.{digits}f}"


def row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def heading(*cells):
    row(*cells)
    print("|" + "---|" * len(cells))
