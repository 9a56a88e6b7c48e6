"""The operator for longer chains between the SDK's own: chain.py CT MODEL FOLDER.

The SDK's loader, selector, series-to-volume and SEG writer around TransUNetImageOperator; then every voxel of the SEG
against what the library makes of the series itself, and the place of an image whose pixels are not square.
"""

import ctypes
import sys
import types
from importlib.util import find_spec
from pathlib import Path

HOSTS = Path(__file__).resolve().parents[3] / "hosts"
sys.path[:0] = [str(HOSTS / "python"), str(HOSTS / "monai_deploy")]
for cuda in find_spec("nvidia").submodule_search_locations:
    for path in Path(cuda).glob("cu*/lib/libcudart.so.*"):
        ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)

import monai.deploy.core  # noqa: E402

# The package imports every operator, and those of MONAI's networks need torch: one that imports none takes its place.
operators = types.ModuleType("monai.deploy.operators")
operators.__path__ = [str(Path(monai.deploy.core.__file__).parents[1] / "operators")]
sys.modules[operators.__name__] = operators

import highdicom  # noqa: E402
import numpy as np  # noqa: E402
import pydicom  # noqa: E402
import transunet  # noqa: E402
from monai.deploy.conditions import CountCondition  # noqa: E402
from monai.deploy.core import Application, Fragment, Image  # noqa: E402
from monai.deploy.operators.dicom_data_loader_operator import DICOMDataLoaderOperator  # noqa: E402
from monai.deploy.operators.dicom_seg_writer_operator import DICOMSegmentationWriterOperator  # noqa: E402
from monai.deploy.operators.dicom_series_selector_operator import DICOMSeriesSelectorOperator  # noqa: E402
from monai.deploy.operators.dicom_series_to_volume_operator import DICOMSeriesToVolumeOperator  # noqa: E402
from monai.deploy.operators.dicom_utils import ModelInfo  # noqa: E402
from transunet_image_operator import TransUNetImageOperator, segment_descriptions, volume_of  # noqa: E402

CT, MODEL, FOLDER = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])


class Chain(Application):
    def compose(self):
        loader = DICOMDataLoaderOperator(self, CountCondition(self, 1), input_folder=CT, name="loader")
        selector = DICOMSeriesSelectorOperator(self, rules="", name="selector")
        to_volume = DICOMSeriesToVolumeOperator(self, name="to_volume")
        segment = TransUNetImageOperator(self, model=MODEL, name="segment")
        writer = DICOMSegmentationWriterOperator(
            self,
            segment_descriptions=segment_descriptions(segment.model),
            output_folder=FOLDER / "seg",
            model_info=ModelInfo(creator="TransUNet", name="TransUNet", version=transunet.version(), uid="2.25.1"),
            name="writer",
        )
        chosen = {("study_selected_series_list", "study_selected_series_list")}
        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, to_volume, chosen)
        self.add_flow(selector, writer, chosen)
        self.add_flow(to_volume, segment, {("image", "image")})
        self.add_flow(segment, writer, {("seg_image", "seg_image")})


def image_of(folder, ras):
    """What the SDK makes of a series."""
    fragment = Fragment()
    studies = DICOMDataLoaderOperator(fragment, input_folder=folder, name="l").load_data_to_studies(folder)
    selected = DICOMSeriesSelectorOperator(fragment, name="s").filter(None, studies)
    return DICOMSeriesToVolumeOperator(fragment, affine_lps_to_ras=ras, name="v").convert_to_image(selected)


def near(got, want):
    assert got.size == want.size, (got, want)
    for a, b in ((got.spacing, want.spacing), (got.origin, want.origin), (got.direction, want.direction)):
        assert np.allclose(a, b, atol=1e-6), (got, want)


def oblong(folder):
    """The series with pixels of 2.8 by 1.4 mm."""
    folder.mkdir()
    for path in CT.iterdir():
        file = pydicom.dcmread(path)
        file.PixelSpacing = [2.8, 1.4]
        file.save_as(folder / path.name)
    return folder


Chain().run()

(path,) = (FOLDER / "seg").iterdir()
volume = transunet.Volume.open(CT)
want = transunet.Runtime().load(MODEL).segment(volume)
seg = highdicom.seg.segread(path)
files = sorted((pydicom.dcmread(file) for file in CT.iterdir()), key=lambda file: file.ImagePositionPatient[2])
got = seg.get_pixels_by_source_instance(
    [file.SOPInstanceUID for file in files], combine_segments=True, assert_missing_frames_are_empty=True
)
assert volume.geometry.direction[2][2] == 1, "slices go up, as in the order of the files"
assert np.array_equal(got, want.array) and got.any(), f"{np.count_nonzero(got != want.array)} voxels differ"
for item, label in zip(seg.SegmentSequence, want.labels, strict=True):
    code = item.SegmentedPropertyTypeCodeSequence[0]
    assert (item.SegmentLabel, code.CodeValue) == (label.name, label.type.value), item

for folder in (CT, oblong(FOLDER / "oblong")):
    for ras in (True, False):
        image = image_of(folder, ras)
        near(volume_of(image).geometry, transunet.Volume.open(folder).geometry)
for metadata, text in [
    ({}, "no affine"),
    ({"affine": np.eye(4)}, "no affine with a space"),
    (
        {"affine": np.diag([1.0, 2, 3, 1]), "space": "LPS"},
        "pixels are not square and the metadata lacks 'col_pixel_spacing'",
    ),
]:
    try:
        volume_of(Image(np.zeros((2, 3, 4), np.float32), metadata))
    except ValueError as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"{metadata} was taken")
print(f"chain: {np.count_nonzero(got)} voxels, {path}")
