"""The MONAI Deploy application: a folder of DICOM in, a DICOM SEG for each series out."""

from __future__ import annotations

from pathlib import Path

import transunet
from monai.deploy.conditions import CountCondition
from monai.deploy.core import Application

from transunet_operator import TransUNetOperator

OPTIONS = ("device", "batch", "threads", "modality", "series")


class TransUNetApp(Application):
    """Input, output and model as MONAI Deploy says them (HOLOSCAN_INPUT_PATH or -i, ...), the rest from app.yaml.

    A model that is named by its id brings its modality along, unless app.yaml says another.
    """

    def compose(self):
        context = Application.init_app_context(self.argv)
        options = self.kwargs("transunet")
        unknown = [key for key in options if key not in OPTIONS]
        if unknown:
            raise ValueError(f"app.yaml: transunet: unknown {', '.join(unknown)}, expected {', '.join(OPTIONS)}")
        model = find_model(context.model_path)
        bundled = transunet.manifest()["models"]["bundled"]
        modality = next((entry["modality"] for entry in bundled if entry["id"] == model), "")
        options["modality"] = options.get("modality") or modality
        operator = TransUNetOperator(
            self,
            CountCondition(self, 1),
            input_path=Path(context.input_path),
            output_folder=Path(context.output_path),
            model=model,
            name="transunet",
            **options,
        )
        self.add_operator(operator)


def find_model(path: str | Path) -> str:
    """What Runtime.load takes (a file, a folder with one bundle, an id) for a model path of MONAI Deploy.

    Packages lay models out as models/NAME/FILE: a folder with nothing but another is looked into.
    """
    path = Path(path)
    while path.is_dir():
        inside = list(path.iterdir())
        if len(inside) != 1 or not inside[0].is_dir():
            break
        path = inside[0]
    return str(path)
