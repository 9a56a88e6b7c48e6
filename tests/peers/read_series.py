"""Reads one DICOM series with pydicom and numpy, independently of the library under test.

usage: read_series.py OUT SERIES_UID FILE_OR_FOLDER...

Writes OUT/voxels.f32 (slices in order of position along the normal, slope * stored + intercept in f64, then f32) and OUT/series.txt:
one line per slice with SOP Instance UID and the patient positions of its first and last voxel.
"""

import sys
from pathlib import Path

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError


def images(places, series_uid):
    for place in map(Path, places):
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.is_file():
                try:
                    dataset = pydicom.dcmread(path)
                except InvalidDicomError:
                    continue
                if dataset.get("SeriesInstanceUID") == series_uid:
                    yield dataset


def main(out, series_uid, *places):
    slices = list(images(places, series_uid))
    cosines = np.array(slices[0].ImageOrientationPatient, dtype=np.float64)
    row, column = cosines[:3], cosines[3:]
    normal = np.cross(row, column)
    slices.sort(key=lambda s: float(np.dot(normal, np.array(s.ImagePositionPatient, dtype=np.float64))))
    with open(Path(out) / "voxels.f32", "wb") as voxels, open(Path(out) / "series.txt", "w") as lines:
        for one in slices:
            slope, intercept = float(one.get("RescaleSlope", 1)), float(one.get("RescaleIntercept", 0))
            stored = one.pixel_array.astype(np.float64)
            voxels.write((slope * stored + intercept).astype("<f4").tobytes())
            first = np.array(one.ImagePositionPatient, dtype=np.float64)
            # PS3.3 equation C.7.6.2.1-1: PixelSpacing[1] separates columns, PixelSpacing[0] separates rows.
            last = first + row * float(one.PixelSpacing[1]) * (one.Columns - 1)
            last = last + column * float(one.PixelSpacing[0]) * (one.Rows - 1)
            numbers = " ".join(repr(float(x)) for x in (*first, *last))
            lines.write(f"{one.SOPInstanceUID} {numbers}\n")


main(*sys.argv[1:])
