"""Fills the contours of an RT Structure Set with pydicom and numpy, independently of the library under test.

usage: read_structures.py STRUCTURES SERIES_FOLDER

Prints a JSON list of [ROI number, x, y, z]: every pixel whose centre the region's contours wind around, and its patient position
in mm. The slice of a contour is the image that it refers to; winding numbers are sums of the angles at the pixel's centre, and
those of all contours of a region in a slice together are odd inside.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pydicom


def main():
    structures = pydicom.dcmread(sys.argv[1])
    images = [pydicom.dcmread(path) for path in Path(sys.argv[2]).iterdir()]
    images = {image.SOPInstanceUID: image for image in images}
    found = []
    for region in structures.ROIContourSequence:
        turns = {}
        for contour in region.get("ContourSequence", []):
            uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            turns[uid] = turns.get(uid, 0) + winding(images[uid], points)
        for uid, count in turns.items():
            for position in centres(images[uid])[count % 2 == 1]:
                found.append([int(region.ReferencedROINumber), *position])
    print(json.dumps(found))


def centres(image):
    right, down = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    row_apart, column_apart = map(float, image.PixelSpacing)
    i, j = np.meshgrid(np.arange(image.Columns), np.arange(image.Rows))
    origin = np.array(image.ImagePositionPatient, float)
    return origin + (i * column_apart)[..., None] * right + (j * row_apart)[..., None] * down


def winding(image, points):
    axes = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    offsets = (points - centres(image)[:, :, None, :]) @ axes.T
    corners = offsets[..., 0] + 1j * offsets[..., 1]
    angles = np.angle(np.roll(corners, -1, axis=-1) / corners)
    return np.rint(angles.sum(axis=-1) / (2 * np.pi)).astype(int)


main()
