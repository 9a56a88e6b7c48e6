"""Reads one volume of a DICOM series with pydicom and numpy, independently of the library under test.

usage: read_series.py OUT SERIES_UID WANTED FILE_OR_FOLDER...

WANTED names a file with a line "UID FRAME" for each slice of the volume; FRAME is 0 for single-frame images.
Writes OUT/voxels.f32 (slices in order of position along the normal, slope * stored + intercept in f64, then f32) and OUT/series.txt:
one line per slice with SOP Instance UID, frame, and the patient positions of its first and last voxel.
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


def numbers(values):
    return np.array(values, dtype=np.float64)


class Slice:
    """One image, or one frame of an enhanced one: `groups` are its functional groups, its own before the shared ones."""

    def __init__(self, image, frame, pixels, groups):
        self.uid, self.frame, self.pixels = image.SOPInstanceUID, frame, pixels

        def attribute(group, name, usual=None):
            for functional in groups:
                if group in functional:
                    return functional[group].value[0].get(name, usual)
            return image.get(name, usual)

        self.position = numbers(attribute("PlanePositionSequence", "ImagePositionPatient"))
        self.cosines = numbers(attribute("PlaneOrientationSequence", "ImageOrientationPatient"))
        self.spacing = numbers(attribute("PixelMeasuresSequence", "PixelSpacing"))
        self.slope = float(attribute("PixelValueTransformationSequence", "RescaleSlope", 1))
        self.intercept = float(attribute("PixelValueTransformationSequence", "RescaleIntercept", 0))


def slices_of(image):
    if "PerFrameFunctionalGroupsSequence" not in image:
        return [Slice(image, 0, image.pixel_array, [])]
    shared = image.SharedFunctionalGroupsSequence[0]
    pixels = image.pixel_array.reshape(-1, image.Rows, image.Columns)
    own = image.PerFrameFunctionalGroupsSequence
    return [Slice(image, n + 1, pixels[n], [group, shared]) for n, group in enumerate(own)]


def main(out, series_uid, wanted, *places):
    wanted = {tuple(line.split()) for line in Path(wanted).read_text().splitlines()}
    every = (one for image in images(places, series_uid) for one in slices_of(image))
    slices = [one for one in every if (one.uid, str(one.frame)) in wanted]
    row, column = slices[0].cosines[:3], slices[0].cosines[3:]
    normal = np.cross(row, column)
    slices.sort(key=lambda one: float(np.dot(normal, one.position)))
    with open(Path(out) / "voxels.f32", "wb") as voxels, open(Path(out) / "series.txt", "w") as lines:
        for one in slices:
            voxels.write((one.slope * one.pixels.astype(np.float64) + one.intercept).astype("<f4").tobytes())
            rows, columns = one.pixels.shape
            # PS3.3 equation C.7.6.2.1-1: PixelSpacing[1] separates columns, PixelSpacing[0] separates rows.
            last = one.position + row * one.spacing[1] * (columns - 1) + column * one.spacing[0] * (rows - 1)
            text = " ".join(repr(float(x)) for x in (*one.position, *last))
            lines.write(f"{one.uid} {one.frame} {text}\n")


main(*sys.argv[1:])
