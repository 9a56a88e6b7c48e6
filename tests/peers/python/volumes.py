"""Volumes: arrays of every kind, geometry, DICOM; and what is refused, and how."""

import pickle
import tracemalloc

import numpy as np
import pydicom
from checks import DEMO, main, raises, refused, same, transunet
from transunet import Volume

SHAPE = (3, 4, 5)
KINDS = "u1 i1 u2 i2 u4 i4 f4 f8".split()


def numbers(kind):
    values = np.arange(60).reshape(SHAPE) * 2 + (0 if kind[0] == "u" else -70)
    return values.astype(kind)


def check_every_type_and_order(_):
    for kind in KINDS:
        for order in "<>":
            array = numbers(kind).astype(np.dtype(kind).newbyteorder(order))
            for view in (
                array,
                np.asfortranarray(array),
                np.repeat(array, 2, axis=2)[:, :, ::2],
                array[::-1, ::-1][::-1, ::-1],
            ):
                got = Volume.from_array(view).array()
                assert got.dtype == np.float32 and got.flags.c_contiguous and got.flags.writeable
                same(got.tolist(), array.astype(float).tolist())
    transposed = numbers("i2").transpose(2, 0, 1)
    volume = Volume.from_array(transposed)
    same(volume.geometry.size, (4, 3, 5))
    same(volume.array().tolist(), transposed.tolist())
    read_only = numbers("f4")
    read_only.setflags(write=False)
    same(Volume.from_array(read_only).array().tolist(), read_only.tolist())


def check_slices(_):
    array = numbers("i2")
    volume = Volume.from_array(array)
    for k in range(3):
        same(volume.slice(k).tolist(), array[k].tolist())
    refused("slice is 3", volume.slice, 3)
    refused("k: -1", volume.slice, -1)


def check_contiguous_arrays_are_not_copied(_):
    array = np.zeros((64, 512, 512), np.int16)
    tracemalloc.start()
    volume = Volume.from_array(array)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20, "numpy made a copy"
    tracemalloc.stop()
    array[:] = 7  # the library has its own by now
    same(float(volume.slice(63).max()), 0.0)


def check_wrong_arrays(_):
    for array, text in [
        (np.zeros((4, 5)), "shape (4, 5), expected (slices, rows, columns)"),
        (np.zeros((1, 2, 3, 4)), "shape (1, 2, 3, 4)"),
        (np.zeros((0, 4, 5)), "shape (0, 4, 5)"),
        (np.zeros(SHAPE, np.int64), "dtype int64, expected"),
        (np.zeros(SHAPE, np.float16), "dtype float16"),
        (np.zeros(SHAPE, bool), "dtype bool"),
        (np.zeros(SHAPE, complex), "dtype complex128"),
        (np.zeros(SHAPE, object), "dtype object"),
        ("voxels", "shape ()"),
    ]:
        refused(text, Volume.from_array, array)
    array = numbers("i2")
    refused("spacing", Volume.from_array, array, spacing=(1, 1))
    refused("spacing: 'wide', expected 3 numbers", Volume.from_array, array, spacing="wide")
    refused("spacing", Volume.from_array, array, spacing=(1, 0, 1))
    refused("spacing", Volume.from_array, array, spacing=(1, float("nan"), 1))
    refused("origin: (1, 2, 3, 4), expected 3 numbers", Volume.from_array, array, origin=(1, 2, 3, 4))
    refused("direction", Volume.from_array, array, direction=np.ones((3, 3)))
    refused("direction: [[1, 2]], expected 9 numbers", Volume.from_array, array, direction=[[1, 2]])


def check_geometry(_):
    c, s = np.cos(0.3), np.sin(0.3)
    direction = np.array([[c, s, 0], [0, 0, -1], [-s, c, 0]])
    volume = Volume.from_array(numbers("i2"), (0.5, 0.75, 2), (-10, 20, 30), direction)
    geometry = volume.geometry
    same((geometry.size, geometry.shape), ((5, 4, 3), SHAPE))
    same((geometry.spacing, geometry.origin), ((0.5, 0.75, 2.0), (-10.0, 20.0, 30.0)))
    same(np.array(geometry.direction).tolist(), direction.tolist())
    at = geometry.affine @ [4, 3, 2, 1]
    want = np.array([-10, 20, 30]) + 4 * 0.5 * direction[0] + 3 * 0.75 * direction[1] + 2 * 2 * direction[2]
    assert np.allclose(at[:3], want, atol=1e-12), (at, want)
    same(volume.describe()["origin"], "memory")
    same(volume.describe()["series"], None)
    raises(AttributeError, "", setattr, geometry, "size", (1, 2, 3))


def check_dicom(folder):
    """Voxels and places of a series against pydicom."""
    listing = transunet.series(DEMO / "ct")
    (series,) = listing["series"]
    same((series["modality"], series["refusal"], listing["unreadable"]), ("CT", None, []))
    volume = Volume.open(DEMO / "ct", progress=lambda event: None)
    files = [pydicom.dcmread(path) for path in sorted((DEMO / "ct").iterdir())]
    for file in files:
        place = np.array([float(x) for x in file.ImagePositionPatient])
        i, j, k, _ = np.linalg.inv(volume.geometry.affine) @ [*place, 1]
        assert abs(i) < 1e-6 and abs(j) < 1e-6 and abs(k - round(k)) < 1e-6, (i, j, k)
        want = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        assert (volume.slice(round(k)) == want.astype(np.float32)).all()
    rows, columns = (float(x) for x in files[0].PixelSpacing)
    same(volume.geometry.spacing[:2], (columns, rows))
    for choice in (series["series_uid"], "modality=CT", str(series["number"])):
        same(Volume.open(DEMO / "ct", choice).geometry, volume.geometry)
    paths = sorted((DEMO / "ct").iterdir())[:5]
    same(Volume.open_files(paths).geometry.size[2], 5)
    refused("expected at least one path", Volume.open_files, [])
    events = []
    transunet.series(DEMO / "ct", progress=events.append)
    same({event.stage for event in events}, {"read"})


def check_errors(folder):
    missing = folder / "absent"
    error = refused("absent", Volume.open, missing, status=200)
    same((error.name, error.message, type(error)), ("IO", str(error), transunet.Error))
    again = pickle.loads(pickle.dumps(error))
    same((again.status, again.name, str(again)), (error.status, error.name, str(error)))
    refused("absent", transunet.series, str(missing), status=200)
    refused("modality=MR", Volume.open, DEMO / "ct", "modality=MR", status=213)
    broken = folder / "broken.nrrd"
    broken.write_bytes(b"NRRD0004\nnonsense")
    refused("broken.nrrd", Volume.open, broken, status=220)
    refused("has a NUL in it", Volume.open, "a\0b")
    refused("cannot be written as UTF-8", Volume.open, b"caf\xe9".decode("utf-8", "surrogateescape"))
    refused("path: a int, expected a text", Volume.open, 7)
    refused("series: a int, expected a text", Volume.open, DEMO / "ct", 7)
    refused("progress: a int, expected a callable", Volume.open, DEMO / "ct", progress=7)
    refused("cancel: a int, expected a transunet.Cancel", Volume.open, DEMO / "ct", cancel=7)
    umlaut = folder / "Schädel ☃.nrrd"
    umlaut.write_bytes(
        b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 1 1 1\nspace: LPS\nspace directions: (1,0,0) (0,1,0) "
        b"(0,0,1)\nspace origin: (0,0,0)\nencoding: raw\n\n\7"
    )
    same(float(Volume.open(umlaut).slice(0)[0, 0]), 7.0)


main(globals())
