"""Times R50-ViT-B_16 on the CPU with our library, ONNX Runtime, OpenVINO and PyTorch, in turn, and prints the tables of
docs/performance.md.

All sides have the same weights and the same slices; their logits must agree, or nothing is measured.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import forward
import scale
import whole
from measure import measured, programs

HERE = Path(__file__).parent


class Bench:
    """The options, the programs, and a folder for what they work on."""

    def __init__(self, options, folder):
        self.options, self.folder = options, folder
        built = programs("compare")
        self.program, self.command = built["compare"], built["transunet"]

    def python(self, script, *arguments):
        return [sys.executable, HERE / script, *arguments]

    def model(self, *arguments):
        """A folder with a model as make.py leaves it, made on the first call."""
        folder = self.folder / "-".join(["model", *map(str, arguments)])
        if not folder.exists():
            measured(self.python("make.py", folder, *arguments))
        return folder

    def series(self, slices):
        """The folder of a CT series, made on the first call."""
        folder = self.folder / f"series-{slices}"
        if not folder.exists():
            measured([self.program, "make", folder, slices])
        return folder

    def segment(self, series, model, out, threads):
        """The command that makes a DICOM SEG of a series."""
        weights = model / "weights.safetensors"
        choices = ["--device", "cpu", "--threads", threads, "--seg-type", "binary", "--json"]
        return [self.command, "segment", series, "--model", weights, "--output", out, *choices]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--end-to-end", action="store_true", help="a CT series to a DICOM SEG, against a pipeline in Python")
    mode.add_argument("--scale", action="store_true", help="our command with more slices, classes and pixels, and fewer threads")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, help="measurements of each side: 11 by default, 3 with --end-to-end, 1 with --scale")
    parser.add_argument("--warm-up", type=int, default=2, help="passes of each side before them")
    parser.add_argument("--patience", type=int, default=30, help="disturbed rounds before it gives up")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--runtimes", nargs="+", choices=forward.NAMES, default=list(forward.NAMES), help="the other sides")
    parser.add_argument("--slices", type=int, nargs="+", help="of the series: 100 by default, with --scale 1, 10, 100 and 1,000")
    parser.add_argument("--peer-batch", type=int, default=1, help="slices that the pipeline in Python passes at once")
    options = parser.parse_args()
    if options.runtimes == ["compiled"]:
        parser.error("torch.compile is left out where it does not work: name another runtime beside it")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(options, Path(folder))
        if options.end_to_end:
            whole.end_to_end(bench)
        elif options.scale:
            scale.table(bench)
        else:
            forward.tables(bench)
            whole.first_mask(bench)


main()
