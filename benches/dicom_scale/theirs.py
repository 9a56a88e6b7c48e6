"""pydicom's and highdicom's side of `compare.py`: headers in order, pixels, a DICOM SEG. Each call is one process."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pydicom
from highdicom.spatial import get_series_volume_positions

import segmentation

BEGAN = time.perf_counter()


def headers(folder):
    """The series' files without pixels, in the order of their positions, and the distance of slices."""
    datasets = [pydicom.dcmread(path, stop_before_pixels=True) for path in (folder / "series").iterdir()]
    spacing, order = get_series_volume_positions(datasets)
    assert spacing is not None, "not a volume"
    # From the feet to the head.
    return [datasets[k] for k in np.argsort(order)[::-1]], spacing


def metadata(folder):
    datasets, spacing = headers(folder)
    place = lambda dataset: [float(x) for x in dataset.ImagePositionPatient]
    return {"check": [len(datasets), spacing, place(datasets[0]), place(datasets[-1])]}


def decode(folder):
    total = 0.0
    datasets, _ = headers(folder)
    for header in datasets:
        dataset = pydicom.dcmread(header.filename)
        pixels = dataset.pixel_array * np.float32(dataset.RescaleSlope) + np.float32(dataset.RescaleIntercept)
        total += float(pixels.sum(dtype=np.float64))
    return {"check": total}


def write(folder, out):
    datasets, _ = headers(folder)
    shape = (len(datasets), datasets[0].Rows, datasets[0].Columns)
    labels = np.fromfile(folder / "labels.raw", np.uint8).reshape(shape)
    segmentation.write(datasets, labels, 8, out)
    return {}


def frames(path):
    return {"check": int(pydicom.dcmread(path, stop_before_pixels=True).NumberOfFrames)}


task, *arguments = sys.argv[1:]
answer = {"metadata": metadata, "decode": decode, "write": write, "frames": frames}[task](*map(Path, arguments))
print(json.dumps({**answer, "seconds": time.perf_counter() - BEGAN}))
