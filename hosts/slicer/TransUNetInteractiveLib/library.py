"""Finds transunet.py, the library's Python face: beside this file, or in ../../python as in the source and install trees."""

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent

for _folder in (_HERE, _HERE.parent.parent / "python"):
    if (_folder / "transunet.py").is_file() and str(_folder) not in sys.path:
        sys.path.append(str(_folder))

import transunet  # noqa: E402, F401
