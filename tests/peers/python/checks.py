"""What the checks of transunet.py share: where things are, refusals, and a runner that reports every failure."""

import os
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "hosts/python"))

import transunet  # noqa: E402

MODEL = ROOT / "models/phantom.safetensors"
DEMO = Path(os.environ["TRANSUNET_DEMO"])  # a finished `transunet demo`
COMMAND = os.environ["TRANSUNET_COMMAND"]


def same(got, want):
    assert got == want, f"got {repr(got):.2000}, expected {repr(want):.2000}"


def raises(kind, text, call, *arguments, **named):
    """The call must raise `kind` with `text` in its message; returns what it raised."""
    try:
        result = call(*arguments, **named)
    except kind as error:
        assert text in str(error), f"{text!r} is not in {error!r}"
        return error
    raise AssertionError(f"{call} gave {result!r}, expected {kind.__name__}: {text}")


def refused(text, call, *arguments, status=100, **named):
    """The call must raise a transunet.Error of that status."""
    error = raises(transunet.Error, text, call, *arguments, **named)
    same(error.status, status)
    return error


def main(checks):
    """Runs the functions check_... with a folder of their own each."""
    import tempfile

    failed, names = 0, [name for name in checks if name.startswith("check_")]
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            try:
                checks[name](Path(folder))
            except Exception:  # every check is reported, not only the first
                failed += 1
                print(f"{name}: {traceback.format_exc()}")
    print(f"{len(names)} checks, {failed} failures")
    sys.exit(1 if failed or not names else 0)
