"""A DICOM SEG by highdicom."""

import highdicom
from highdicom.sr.coding import CodedConcept


def write(datasets, labels, count, out):
    """`labels`, `[k, rows, columns]` of 0 to `count`, on the images of `datasets`, in their order."""
    algorithm = highdicom.AlgorithmIdentificationSequence("benchmark", CodedConcept("123110", "DCM", "Artificial Intelligence"), "1")
    segments = [
        highdicom.seg.SegmentDescription(
            number,
            str(number),
            CodedConcept("123037004", "SCT", "Anatomical Structure"),
            CodedConcept("85756007", "SCT", "Tissue"),
            highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm,
        )
        for number in range(1, count + 1)
    ]
    uid = highdicom.UID
    seg = highdicom.seg.Segmentation(
        datasets, labels, highdicom.seg.SegmentationTypeValues.BINARY, segments, uid(), 100, uid(), 1, "benchmark", "benchmark", "1", "1"
    )
    seg.save_as(out)
