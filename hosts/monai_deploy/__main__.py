"""Runs the application: `python hosts/monai_deploy`, as MONAI Deploy does with the folder of an application."""

import ctypes
import importlib.util
import logging
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def find_cudart() -> None:
    """Loads libcudart from the package nvidia-cuda-runtime, where pip put it beside the loader's path.

    Holoscan links to it even where all data stays on the CPU.
    """
    package = importlib.util.find_spec("nvidia")
    for folder in package.submodule_search_locations if package else ():
        for library in Path(folder).glob("cu*/lib/libcudart.so.*"):
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)


def main() -> int:
    # Installed and in the source tree, transunet.py lies in the folder beside this one.
    sys.path.append(str(HERE.parent / "python"))
    find_cudart()
    try:
        from app import TransUNetApp

        app = TransUNetApp()
        app.config(os.environ.get("HOLOSCAN_CONFIG_PATH", str(HERE / "app.yaml")))
        app.run()
    except Exception as error:  # whatever it is, the host sees a message and an exit code
        logging.debug("", exc_info=True)
        print(f"TransUNet failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
