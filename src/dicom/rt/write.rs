//! Writing a label map as RT Structure Set: closed contours of each label in each slice (PS3.3 section A.19).
//!
//! Contours follow the borders of the pixels, so that a pixel belongs to a label exactly if its centre is inside, and
//! volumes are those of the label map. Holes are keyholes, the technique of PS3.3 section C.8.8.6.3, which readers that fill
//! each contour for itself understand too. The file is in Implicit VR Little Endian: explicit value representations have
//! no room for a contour of more than 64 KiB.

use std::path::Path;

use dicom::core::VR;
use dicom::dictionary_std::{tags, uids};
use dicom::object::mem::InMemElement;
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use sha2::{Digest, Sha256};

use super::outline::{Corner, outlines};
use crate::atomic_file;
use crate::control::{Control, Progress, Stage};
use crate::dicom::attributes::{LONG_STRING, empty, item, long_string, one_line, sequence, text};
use crate::dicom::codes::{code_item, code_sequence};
use crate::dicom::derived::{Derived, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, NOTICE, distinct, reference};
use crate::dicom::seg::plan::segments;
use crate::dicom::seg::write::SegOptions;
use crate::error::{Error, Result};
use crate::labelmap::Labelmap;
use crate::labels::Label;

/// Detached Study Management, retired, which the standard still asks for (PS3.3 section C.8.8.5).
const STUDY_CLASS: &str = "1.2.840.10008.3.1.2.3.1";

/// Writes `labelmap` to `path` as an RT Structure Set that refers to the label map's source images. The file appears complete
/// or not at all. Of `options`, what says how pixels are stored has no meaning here.
pub fn write_structures(labelmap: &Labelmap, path: &Path, options: &SegOptions, control: &mut Control) -> Result<()> {
    let series = labelmap.source().series().ok_or_else(|| {
        Error::Argument(format!(
            "{}: an RT Structure Set refers to the DICOM images it was made from, and this label map was made from {}; \
             write .seg.nrrd or .nii.gz instead",
            path.display(),
            labelmap.source().origin()
        ))
    })?;
    options.check()?;
    let rois = segments(labelmap)?;
    let fingerprint = options.deterministic.then(|| fingerprint(labelmap, options)).transpose()?;
    let made = Derived::new(series, labelmap, fingerprint, options.created);
    let contours = contours(labelmap, &made, &rois, control)?;
    let object = item(
        made.patient_and_study()
            .into_iter()
            .chain(made.equipment())
            .chain(instance(&made, options)?)
            .chain(structure_set(&made, &rois, options)?)
            .chain([sequence(tags::ROI_CONTOUR_SEQUENCE, contours)])
            .chain([observations(&rois)]),
    );
    write(object, path)
}

/// RT Series, Frame of Reference and SOP Common modules.
fn instance(made: &Derived, options: &SegOptions) -> Result<Vec<InMemElement>> {
    Ok(vec![
        text(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 192"),
        text(tags::SOP_CLASS_UID, VR::UI, uids::RT_STRUCTURE_SET_STORAGE),
        text(tags::SOP_INSTANCE_UID, VR::UI, made.uids.make("structures")?),
        text(tags::INSTANCE_NUMBER, VR::IS, "1"),
        text(tags::INSTANCE_CREATION_DATE, VR::DA, made.date()),
        text(tags::INSTANCE_CREATION_TIME, VR::TM, made.time()),
        text(tags::MODALITY, VR::CS, "RTSTRUCT"),
        text(tags::SERIES_INSTANCE_UID, VR::UI, made.uids.make("series of structures")?),
        text(tags::SERIES_NUMBER, VR::IS, made.series_number(options.series_number, 2)),
        text(tags::SERIES_DATE, VR::DA, made.date()),
        text(tags::SERIES_TIME, VR::TM, made.time()),
        long_string(tags::SERIES_DESCRIPTION, &options.series_description),
        empty(tags::OPERATORS_NAME, VR::PN),
        text(tags::FRAME_OF_REFERENCE_UID, VR::UI, made.frame_of_reference()),
        empty(tags::POSITION_REFERENCE_INDICATOR, VR::LO),
        text(tags::APPROVAL_STATUS, VR::CS, "UNAPPROVED"),
    ])
}

/// Structure Set module (PS3.3 section C.8.8.5).
fn structure_set(made: &Derived, rois: &[&Label], options: &SegOptions) -> Result<Vec<InMemElement>> {
    let source = made.series;
    let images = distinct(&source.instances).map(reference).collect();
    let series = item([
        text(tags::SERIES_INSTANCE_UID, VR::UI, &source.series_uid),
        sequence(tags::CONTOUR_IMAGE_SEQUENCE, images),
    ]);
    let study = item([
        text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, STUDY_CLASS),
        text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &source.study_uid),
        sequence(tags::RT_REFERENCED_SERIES_SEQUENCE, vec![series]),
    ]);
    let frame_of_reference = made.frame_of_reference();
    let frame = item([
        text(tags::FRAME_OF_REFERENCE_UID, VR::UI, &frame_of_reference),
        sequence(tags::RT_REFERENCED_STUDY_SEQUENCE, vec![study]),
    ]);
    let roi = |label: &&Label| {
        item([
            text(tags::ROI_NUMBER, VR::IS, label.value.to_string()),
            text(tags::REFERENCED_FRAME_OF_REFERENCE_UID, VR::UI, &frame_of_reference),
            long_string(tags::ROI_NAME, &name(label)),
            text(tags::ROI_DESCRIPTION, VR::ST, format!("Label value {}. {NOTICE}", label.value)),
            text(tags::ROI_GENERATION_ALGORITHM, VR::CS, "AUTOMATIC"),
            long_string(tags::ROI_GENERATION_DESCRIPTION, &format!("{} {}", made.algorithm_name(), made.version())),
        ])
    };
    Ok(vec![
        text(tags::STRUCTURE_SET_LABEL, VR::SH, options.content_label.trim()),
        long_string(tags::STRUCTURE_SET_NAME, &options.series_description),
        text(tags::STRUCTURE_SET_DESCRIPTION, VR::ST, one_line(&options.content_description, 1024)),
        text(tags::STRUCTURE_SET_DATE, VR::DA, made.date()),
        text(tags::STRUCTURE_SET_TIME, VR::TM, made.time()),
        sequence(tags::REFERENCED_FRAME_OF_REFERENCE_SEQUENCE, vec![frame]),
        sequence(tags::STRUCTURE_SET_ROI_SEQUENCE, rois.iter().map(roi).collect()),
    ])
}

/// Items of the ROI Contour module (PS3.3 section C.8.8.6), one for each label; a label without a voxel has no contours.
fn contours(
    labelmap: &Labelmap,
    made: &Derived,
    rois: &[&Label],
    control: &mut Control,
) -> Result<Vec<InMemDicomObject>> {
    let geometry = labelmap.geometry();
    let mut of_rois: Vec<Vec<InMemDicomObject>> = vec![Vec::new(); rois.len()];
    let mut labels = vec![0; geometry.slice_len()];
    for k in 0..geometry.slices() {
        control.report(Progress::of(Stage::Write, k, geometry.slices()))?;
        if labelmap.is_empty(k) {
            continue;
        }
        labelmap.read_slice(k, &mut labels)?;
        for (label, contours) in rois.iter().zip(&mut of_rois).filter(|(label, _)| labelmap.is_present(label.value, k))
        {
            for outline in outlines(&labels, geometry.columns(), label.value) {
                let number = contours.len() + 1;
                contours.push(contour(made, k, &outline, number));
            }
        }
    }
    control.report(Progress::of(Stage::Write, geometry.slices(), geometry.slices()))?;
    let roi = |(label, contours): (&&Label, Vec<InMemDicomObject>)| {
        let [red, green, blue] = label.rgb();
        let mut roi = item([
            text(tags::ROI_DISPLAY_COLOR, VR::IS, format!("{red}\\{green}\\{blue}")),
            text(tags::REFERENCED_ROI_NUMBER, VR::IS, label.value.to_string()),
        ]);
        if !contours.is_empty() {
            roi.put(sequence(tags::CONTOUR_SEQUENCE, contours));
        }
        roi
    };
    Ok(rois.iter().zip(of_rois).map(roi).collect())
}

fn contour(made: &Derived, slice: usize, outline: &[Corner], number: usize) -> InMemDicomObject {
    let mut contour = item([
        text(tags::CONTOUR_NUMBER, VR::IS, number.to_string()),
        text(tags::CONTOUR_GEOMETRIC_TYPE, VR::CS, "CLOSED_PLANAR"),
        text(tags::NUMBER_OF_CONTOUR_POINTS, VR::IS, outline.len().to_string()),
        text(tags::CONTOUR_DATA, VR::DS, points(made, slice, outline)),
    ]);
    let source = &made.series.instances[slice];
    if made.pixels_coincide(slice) {
        let mut image = reference(source);
        if let Some(frame) = source.frame {
            image.put(text(tags::REFERENCED_FRAME_NUMBER, VR::IS, frame.to_string()));
        }
        contour.put(sequence(tags::CONTOUR_IMAGE_SEQUENCE, vec![image]));
    }
    contour
}

/// Patient positions of the corners of pixels, x\y\z in mm with four decimals: half a pixel before the pixel's centre.
fn points(made: &Derived, slice: usize, outline: &[Corner]) -> String {
    let geometry = &made.series.geometry;
    let [row, column, _] = geometry.direction;
    let first = made.position(slice);
    let decimal = |x: f64| {
        let text = format!("{x:.4}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        if text == "-0" { "0".to_owned() } else { text.to_owned() }
    };
    let point = |[i, j]: &Corner| {
        let (right, down) = ((f64::from(*i) - 0.5) * geometry.spacing[0], (f64::from(*j) - 0.5) * geometry.spacing[1]);
        (0..3).map(|x| decimal(first[x] + right * row[x] + down * column[x])).collect::<Vec<_>>().join("\\")
    };
    outline.iter().map(point).collect::<Vec<_>>().join("\\")
}

/// RT ROI Observations module (PS3.3 section C.8.8.8).
fn observations(rois: &[&Label]) -> InMemElement {
    let observation = |label: &&Label| {
        let mut kind = code_item(&label.type_code());
        if let Some(modifier) = &label.modifier {
            kind.put(code_sequence(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, modifier));
        }
        item([
            text(tags::OBSERVATION_NUMBER, VR::IS, label.value.to_string()),
            text(tags::REFERENCED_ROI_NUMBER, VR::IS, label.value.to_string()),
            sequence(tags::RTROI_IDENTIFICATION_CODE_SEQUENCE, vec![kind]),
            // What a structure is to a plan is not ours to say.
            empty(tags::RTROI_INTERPRETED_TYPE, VR::CS),
            empty(tags::ROI_INTERPRETER, VR::PN),
        ])
    };
    sequence(tags::RTROI_OBSERVATIONS_SEQUENCE, rois.iter().map(observation).collect())
}

fn name(label: &Label) -> String {
    match one_line(&label.name, LONG_STRING) {
        name if name.is_empty() => format!("Label {}", label.value),
        name => name,
    }
}

/// Hash of everything that derived UIDs must tell apart.
fn fingerprint(labelmap: &Labelmap, options: &SegOptions) -> Result<[u8; 32]> {
    let algorithm = labelmap.algorithm();
    let words = (
        ("structures", env!("CARGO_PKG_VERSION"), labelmap.source().origin(), labelmap.labels()),
        (&algorithm.name, &algorithm.version, &options.series_description, options.series_number),
        (&options.content_label, &options.content_description),
        (labelmap.geometry().affine(), options.created.map(|created| created.to_string())),
        labelmap.receipt(),
    );
    let words = serde_json::to_vec(&words).map_err(|error| Error::Internal(error.to_string()))?;
    let mut hash = Sha256::new().chain_update(words);
    labelmap.for_each_slice(|_, labels| hash.update(labels))?;
    Ok(hash.finalize().into())
}

fn write(object: InMemDicomObject, path: &Path) -> Result<()> {
    let refuse = |error: &dyn std::error::Error| {
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        Error::Internal(format!("{}: cannot encode the RT Structure Set: {error}{cause}", path.display()))
    };
    let meta = FileMetaTableBuilder::new()
        .transfer_syntax(uids::IMPLICIT_VR_LITTLE_ENDIAN)
        .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
        .implementation_version_name(IMPLEMENTATION_VERSION);
    let file = object.with_meta(meta).map_err(|error| refuse(&error))?;
    // Encoded first: an error of the disk is then told as one.
    let mut bytes = Vec::new();
    file.write_all(&mut bytes).map_err(|error| refuse(&error))?;
    atomic_file::write(path, |out| out.write_all(&bytes))
}
