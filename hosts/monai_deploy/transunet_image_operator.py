"""The operator for longer chains: an Image of the App SDK in, labels for its DICOMSegmentationWriterOperator out."""

from __future__ import annotations

import numpy as np
import transunet
from monai.deploy.core import Image, Operator, OperatorSpec

from transunet_operator import load_model


class TransUNetImageOperator(Operator):
    """Segments what DICOMSeriesToVolumeOperator emits.

    Input "image": Image of [slices, rows, columns] in modality units with its affine in the metadata.
    Output "seg_image": Image of uint8 labels, same shape and metadata; 1..n in the order of segment_descriptions().
    model, device, threads, batch: as for TransUNetOperator.
    """

    def __init__(self, fragment, *args, model: str, device: str = "auto", batch: int = 0, threads: int = 0, **kwargs):
        self.model = load_model(model, device, threads)
        self._batch = batch
        super().__init__(fragment, *args, **kwargs)

    def setup(self, spec: OperatorSpec):
        spec.input("image")
        spec.output("seg_image")

    def compute(self, op_input, op_output, context):
        image = op_input.receive("image")
        labelmap = self.model.segment(volume_of(image), self._batch)
        numbers = np.zeros(256, np.uint8)
        for number, label in enumerate(self.model.labels, 1):
            numbers[label.value] = number
        op_output.emit(Image(numbers[labelmap.array], image.metadata()), "seg_image")


def volume_of(image: Image) -> transunet.Volume:
    """The Image as a volume in its place in the patient."""
    metadata = image.metadata()
    affine = metadata.get("affine")
    if affine is None or metadata.get("space") not in ("LPS", "RAS"):
        raise ValueError("image: no affine with a space (LPS or RAS) in its metadata: is it a single slice?")
    affine = np.array(affine, float)
    if metadata["space"] == "RAS":
        affine[:2] *= -1
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    # The SDK (4.0) scales i by the spacing of rows and j by that of columns; it is the other way round. What it took
    # from the series is right: row_pixel_spacing is the distance of rows, along j.
    spacing = lengths.copy()
    if not np.isclose(lengths[0], lengths[1], rtol=1e-6):
        try:
            spacing[:2] = metadata["col_pixel_spacing"], metadata["row_pixel_spacing"]
        except KeyError as missing:
            raise ValueError(f"image: pixels are not square and the metadata lacks {missing}") from None
    voxels = image.asnumpy()
    if voxels.dtype.str[1:] not in ("u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"):
        voxels = voxels.astype(np.float32)
    return transunet.Volume.from_array(voxels, spacing, affine[:3, 3], (affine[:3, :3] / lengths).T)


def segment_descriptions(model: transunet.Model) -> list:
    """What DICOMSegmentationWriterOperator needs to know of the labels: names and codes, in order of their values.

    The App SDK has no place for colours and for modifiers such as laterality, which only the names then say.
    """
    from monai.deploy.operators.dicom_seg_writer_operator import SegmentDescription
    from pydicom.sr.coding import Code

    return [
        SegmentDescription(
            segment_label=label.name,
            segmented_property_category=Code(*label.category),
            segmented_property_type=Code(*label.type),
            algorithm_name=model.describe()["name"],
            algorithm_version=transunet.version(),
            anatomic_regions=[Code(*label.region)] if label.region else None,
        )
        for label in model.labels
    ]
