"""The operator that reads DICOM series and writes DICOM SEG itself, so that codes, colours and references are kept."""

from __future__ import annotations

import logging
from pathlib import Path

import transunet
from monai.deploy.core import Operator, OperatorSpec

_LOG = logging.getLogger("transunet")
_LEVELS = {"error": logging.ERROR, "warn": logging.WARNING, "info": logging.INFO}


class TransUNetOperator(Operator):
    """Segments the series of a folder; needs a CountCondition, since nothing flows in.

    input_path: folder (any nesting) or file of DICOM. output_folder: gets transunet-SERIESUID.dcm for each series.
    model: what transunet.Runtime.load takes. device, threads: as for transunet.Runtime. batch: slices per pass.
    modality: take only series of this DICOM modality ("CT"); needed where the input has several.
    series: take only this one: Series Instance UID, Series Number, or rules such as "modality=MR,description=t1".

    Files are written once all series are segmented: a study that fails leaves none.
    """

    def __init__(
        self,
        fragment,
        *args,
        input_path: Path,
        output_folder: Path,
        model: str,
        device: str = "auto",
        batch: int = 0,
        threads: int = 0,
        modality: str = "",
        series: str = "",
        **kwargs,
    ):
        self._input = Path(input_path)
        self._output = Path(output_folder)
        self._model_path = model
        self._device = device
        self._batch = batch
        self._threads = threads
        self._modality = modality
        self._series = series
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec):
        """No ports: files in, files out."""

    def start(self):
        self._model = load_model(self._model_path, self._device, self._threads)

    def compute(self, op_input, op_output, context):
        if self._series:
            volumes = [transunet.Volume.open(self._input, str(self._series))]
        else:
            volumes = open_series(self._input, self._modality)
        labelmaps = {}
        for volume in volumes:
            uid = volume.describe()["series"]["series_uid"]
            _LOG.info("series %s: %d slices", uid, volume.geometry.size[2])
            labelmaps[uid] = self._model.segment(volume, self._batch)
        self._output.mkdir(parents=True, exist_ok=True)
        for uid, labelmap in labelmaps.items():
            path = self._output / f"transunet-{uid}.dcm"
            labelmap.write_dicom_seg(path)
            _LOG.info("series %s: wrote %s", uid, path)


def load_model(path: str, device: str, threads: int) -> transunet.Model:
    """Loads a model; the library's warnings go to the log."""

    def log(level: str, target: str, message: str) -> None:
        _LOG.log(_LEVELS.get(level, logging.DEBUG), "%s: %s", target, message)

    runtime = transunet.Runtime(device, threads, on_log=log)
    model = runtime.load(path)
    about = model.describe()
    _LOG.info("model %s on %s", about["name"], ",".join(device["id"] for device in about["devices"]))
    return model


def open_series(path: Path, modality: str = "") -> list[transunet.Volume]:
    """All series below `path` that can be opened and are of `modality`; refuses none, and several modalities."""
    listing = transunet.series(path)
    volumes, modalities = [], set()
    left = [f"{file['path']}: {file['reason']}" for file in listing["unreadable"]]
    for series in listing["series"]:
        about = f"{series['modality']} series {series['series_uid']} ({series['description'] or 'no description'})"
        if modality and series["modality"] != modality:
            left.append(f"{about}: not {modality}")
            continue
        try:
            volumes.append(transunet.Volume.open(path, series["series_uid"]))
            modalities.add(series["modality"])
        except transunet.Error as error:
            if not error.name.startswith("DICOM_"):
                raise
            left.append(f"{about}: {error}")
    if not volumes:
        raise ValueError(f"{path}: no series to segment: {'; '.join(left) or 'no DICOM images here'}")
    if len(modalities) > 1:
        raise ValueError(
            f"{path}: series of {' and '.join(sorted(modalities))}, expected one modality: choose in app.yaml"
        )
    for reason in left:
        _LOG.warning("left out: %s", reason)
    return volumes
