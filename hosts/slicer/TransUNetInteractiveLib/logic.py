"""Segments volume nodes and writes the result into segmentation nodes. Needs VTK and MRML, no Qt and no application."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import dicom_source, grid, preview, segments
from .grid import Refused
from .job import Job
from .library import transunet


@dataclass(frozen=True)
class Result:
    """Labels [k, j, i] on `grid`, which is one slice of the volume's for a preview."""

    source: grid.Source
    model_name: str
    labels: tuple
    voxels: np.ndarray
    grid: grid.Grid
    statistics: list  # of Row; empty for a preview
    exact: bool  # False for a preview that the whole result may differ from
    labelmap: object  # transunet.Labelmap; None for a preview
    no_dicom_seg: str  # why no DICOM SEG can be written; empty if it can


@dataclass(frozen=True)
class Row:
    """A line of the statistics table. `mean` is in modality units, None for a label without voxels."""

    name: str
    rgb: tuple
    volume_ml: float
    mean: float


class Logic:
    """Keeps the runtime and the model of the last call. One job at a time."""

    def __init__(self):
        self._device = None
        self._runtime = None
        self._model_key = None
        self._model = None

    def models(self):
        """What can be chosen: (id, name, tooltip) of each model in the searched folders; and reasons for those that fail."""
        listing = transunet.models()
        choices = [
            (model["id"], model.get("name") or model["id"], model.get("intended_use") or "")
            for model in listing["models"]
        ]
        return choices, [f"{bad['path']}: {bad['reason']}" for bad in listing["unreadable"]]

    def start(self, source, model, device="auto", batch=0):
        """A Job whose result is the Result for the whole volume. `model` is an id of `models()` or a path."""
        return Job(
            lambda progress, cancel: self._segment(source, model, device, batch, progress, cancel), transunet.Cancel()
        )

    def start_preview(self, source, model, point_ras, device="auto"):
        """A Job whose result is the Result for the slice through `point_ras` (mm, the volume's own frame)."""
        return Job(
            lambda progress, cancel: self._preview(source, model, point_ras, device, progress, cancel),
            transunet.Cancel(),
        )

    def _load(self, model, device):
        if device != self._device:
            self._model = self._model_key = None
            self._runtime = None
            self._runtime = transunet.Runtime(device=device)
            self._device = device
        path = Path(model)
        key = (model, path.stat().st_mtime_ns if path.is_file() else None)
        if key != self._model_key:
            self._model = self._model_key = None
            self._model = self._runtime.load(model)
            self._model_key = key
        return self._model

    def _segment(self, source, model, device, batch, progress, cancel):
        model = self._load(model, device)
        volume, no_dicom_seg = dicom_source.volume(source, progress, cancel)
        labelmap = model.segment(volume, batch=batch, progress=progress, cancel=cancel)
        rows = table(labelmap)
        return Result(
            source,
            _name(model),
            tuple(labelmap.labels),
            labelmap.array,
            source.grid,
            rows,
            True,
            labelmap,
            no_dicom_seg,
        )

    def _preview(self, source, model, point_ras, device, progress, cancel):
        model = self._load(model, device)
        description = model.describe()
        slab = preview.slab(description, source.grid, point_ras)
        volume = source.grid.part(slab.axis, slab.first, slab.count).volume(slab.cut(source.voxels))
        labelmap = model.segment(volume, progress=progress, cancel=cancel)
        return Result(
            source,
            _name(model),
            tuple(labelmap.labels),
            slab.keep(labelmap.array),
            source.grid.part(slab.axis, slab.kept, 1),
            [],
            preview.is_exact(description),
            None,
            "a preview is not saved",
        )


def _name(model):
    return model.describe().get("name") or "model"


def table(labelmap):
    """Rows of the statistics table, in order of the labels."""
    colors = {label.value: tuple(label.rgb) for label in labelmap.labels}
    rows = []
    for entry in labelmap.statistics()["labels"]:
        intensity = entry["intensity"]
        rows.append(Row(entry["name"], colors[entry["value"]], entry["volume_ml"], intensity and intensity["mean"]))
    return rows


def check(result, volume_node):
    """Refuses a result that is no longer of this volume."""
    if not result.source.is_still(grid.source(volume_node)):
        raise Refused(f"{volume_node.GetName()} was changed while it was segmented. Run again.")


def show(result, volume_node, segmentation_node=None):
    """Writes a result into a segmentation node, which it returns: a new one if none is given. If it refuses, the scene stays
    as it is."""
    check(result, volume_node)
    if segmentation_node is not None:
        segments.check_target(segmentation_node, volume_node)
    else:
        name = f"{volume_node.GetName()} {'TransUNet' if result.labelmap else 'TransUNet preview'}"
        segmentation_node = segments.new_segmentation(volume_node.GetScene(), volume_node, name)
    segments.put(segmentation_node, result.model_name, result.labels, result.voxels, result.grid)
    return segmentation_node


def explain(error):
    """What a person reads when something failed: what happened, and what to do where we know."""
    if isinstance(error, Refused):
        return str(error)
    if isinstance(error, transunet.Cancelled):
        return "Cancelled; nothing was changed."
    if isinstance(error, transunet.Error):
        advice = _ADVICE.get(error.name, "")
        return f"{error}. {advice}".strip() if advice else str(error)
    return f"{type(error).__name__}: {error}"


_ADVICE = {
    "DEVICE_UNAVAILABLE": "Choose another device; 'auto' takes the GPU only if there is one.",
    "DEVICE_LOST": "The GPU failed and this program cannot use it again: choose 'cpu', or start the program again.",
    "OUT_OF_MEMORY": "Crop the volume (module Crop Volume), or close other data.",
    "CONFIG": "The model's description does not fit: choose another model file.",
    "WEIGHTS_FORMAT": "This is not a model: choose a .safetensors bundle, or a .pth or .npz checkpoint.",
    "WEIGHTS_MISMATCH": "The weights do not fit the description beside them: choose another model file.",
    "IO": "Check that the file exists and can be read.",
}
