"""Another runtime's side of `compare.py`: a pass for each line that it reads. Arguments: folder, runtime, batch, threads.

An empty line is a pass over the first slices; a line with a path writes the logits there too.
"""

import json
import os
import sys
import time
from pathlib import Path

import runtimes


def tell(**answer):
    print(json.dumps(answer), flush=True)


folder, name, batch, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
runtimes.fix_threads(threads)
run = runtimes.RUNTIMES[name](folder, batch, threads)
slices = runtimes.read_slices(folder, batch)
tell(pid=os.getpid(), version=runtimes.version(name))
for line in sys.stdin:
    began = time.perf_counter()
    logits = run(slices)
    seconds = time.perf_counter() - began
    if line.strip():
        logits.tofile(line.strip())
    tell(seconds=seconds)
