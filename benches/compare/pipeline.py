"""A DICOM series to a DICOM SEG in Python, with the same preprocessing as ours: pydicom, scipy, a runtime, highdicom. One process."""

import argparse
import json
from pathlib import Path

import runtimes

# As in make.py.
LOW, HIGH = -125, 275


def prepared(dataset):
    """The slice in HU, its window scaled to 0..1, resized by cubic splines as the original does."""
    hu = dataset.pixel_array * np.float32(dataset.RescaleSlope) + np.float32(dataset.RescaleIntercept)
    scaled = (np.clip(hu, LOW, HIGH) - np.float32(LOW)) / np.float32(HIGH - LOW)
    return zoom(scaled, [runtimes.SIDE / side for side in scaled.shape], order=3)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("series", type=Path)
parser.add_argument("model", type=Path, help="folder that make.py filled")
parser.add_argument("out", type=Path)
parser.add_argument("--runtime", choices=runtimes.RUNTIMES, default="torch")
parser.add_argument("--batch", type=int, default=1, help="must divide the number of slices, unless the runtime takes any")
parser.add_argument("--threads", type=int, default=2)
options = parser.parse_args()
runtimes.fix_threads(options.threads)

import numpy as np
import pydicom
from scipy.ndimage import zoom

import segmentation

run = runtimes.RUNTIMES[options.runtime](options.model, options.batch, options.threads)
datasets = [pydicom.dcmread(path) for path in options.series.iterdir()]
datasets.sort(key=lambda dataset: dataset.ImagePositionPatient[2])
size = datasets[0].Rows, datasets[0].Columns
labels = np.empty((len(datasets), *size), np.uint8)
for first in range(0, len(datasets), options.batch):
    slices = np.stack([prepared(dataset) for dataset in datasets[first : first + options.batch]])
    classes = run(slices[:, None]).argmax(1).astype(np.uint8)
    for k, one in enumerate(classes, first):
        labels[k] = zoom(one, [side / runtimes.SIDE for side in size], order=0)
segmentation.write(datasets, labels, runtimes.CLASSES - 1, options.out)
print(json.dumps({"slices": len(datasets)}))
