//! What every object made from a series takes from it or says of its making: patient, study, references, equipment.

use std::collections::HashSet;

use dicom::core::chrono::{Local, NaiveDate, NaiveDateTime, NaiveTime};
use dicom::core::{Tag, VR};
use dicom::dictionary_std::tags;
use dicom::object::InMemDicomObject;
use dicom::object::mem::InMemElement;
use sha2::{Digest, Sha256};

use super::attributes::{SHORT_TEXT, copied, copied_or_empty, item, long_string, one_line, sequence, text};
use super::codes::{code_sequence, dcm};
use super::read::series::{Instance, Series};
use super::uid::{Uids, derived};
use crate::geometry::Vec3;
use crate::labelmap::{Algorithm, Labelmap};
use crate::receipt::Receipt;

/// Identifies this library as the writer of a file (PS3.10 section 7.1).
pub const IMPLEMENTATION_CLASS_UID: &str = "2.25.172323721873350084821594611290352974032";
pub const IMPLEMENTATION_VERSION: &str =
    concat!("TRANSUNET_", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
pub const MANUFACTURER: &str = "TransUNet";
pub const NOTICE: &str = "Research use only, not for clinical use.";

/// An object that is made from `series` by `algorithm`.
pub struct Derived<'a> {
    pub series: &'a Series,
    pub algorithm: &'a Algorithm,
    pub receipt: Option<&'a Receipt>,
    pub uids: Uids,
    pub created: NaiveDateTime,
}

/// Optional attributes that describe the patient and the study (PS3.3 sections C.7.1.1, C.7.1.4, C.7.2.1, C.7.2.2).
/// Whatever a de-identified source says or leaves out stays so.
const PATIENT_AND_STUDY: [Tag; 30] = [
    tags::ISSUER_OF_PATIENT_ID,
    tags::ISSUER_OF_PATIENT_ID_QUALIFIERS_SEQUENCE,
    tags::OTHER_PATIENT_I_DS_SEQUENCE,
    tags::OTHER_PATIENT_NAMES,
    tags::PATIENT_BIRTH_TIME,
    tags::QUALITY_CONTROL_SUBJECT,
    tags::PATIENT_COMMENTS,
    tags::PATIENT_SPECIES_DESCRIPTION,
    tags::PATIENT_SPECIES_CODE_SEQUENCE,
    tags::PATIENT_BREED_DESCRIPTION,
    tags::PATIENT_BREED_CODE_SEQUENCE,
    tags::BREED_REGISTRATION_SEQUENCE,
    tags::RESPONSIBLE_PERSON,
    tags::RESPONSIBLE_PERSON_ROLE,
    tags::RESPONSIBLE_ORGANIZATION,
    tags::ADMITTING_DIAGNOSES_DESCRIPTION,
    tags::PATIENT_AGE,
    tags::PATIENT_SIZE,
    tags::PATIENT_WEIGHT,
    tags::PATIENT_SEX_NEUTERED,
    tags::STUDY_DESCRIPTION,
    tags::ISSUER_OF_ACCESSION_NUMBER_SEQUENCE,
    tags::PHYSICIANS_OF_RECORD,
    tags::NAME_OF_PHYSICIANS_READING_STUDY,
    tags::CONSULTING_PHYSICIAN_NAME,
    tags::REFERRING_PHYSICIAN_IDENTIFICATION_SEQUENCE,
    tags::PROCEDURE_CODE_SEQUENCE,
    tags::REASON_FOR_PERFORMED_PROCEDURE_CODE_SEQUENCE,
    tags::REFERENCED_STUDY_SEQUENCE,
    tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED,
];

impl<'a> Derived<'a> {
    /// With UIDs and a date that follow from `fingerprint` and the study, or random ones and now. `created` is a date of the
    /// caller's.
    pub fn new(
        series: &'a Series,
        labelmap: &'a Labelmap,
        fingerprint: Option<[u8; 32]>,
        created: Option<NaiveDateTime>,
    ) -> Self {
        let usual = || if fingerprint.is_some() { study_time(series) } else { Local::now().naive_local() };
        let uids = fingerprint.map_or(Uids::Random, Uids::Derived);
        let (algorithm, receipt) = (labelmap.algorithm(), labelmap.receipt());
        Derived { series, algorithm, receipt, uids, created: created.unwrap_or_else(usual) }
    }

    pub fn patient_and_study(&self) -> Vec<InMemElement> {
        let header = &self.series.header;
        let mut elements: Vec<InMemElement> = [
            (tags::PATIENT_NAME, VR::PN),
            (tags::PATIENT_ID, VR::LO),
            (tags::PATIENT_BIRTH_DATE, VR::DA),
            (tags::PATIENT_SEX, VR::CS),
            (tags::STUDY_DATE, VR::DA),
            (tags::STUDY_TIME, VR::TM),
            (tags::REFERRING_PHYSICIAN_NAME, VR::PN),
            (tags::STUDY_ID, VR::SH),
            (tags::ACCESSION_NUMBER, VR::SH),
        ]
        .map(|(tag, vr)| copied_or_empty(header, tag, vr))
        .into();
        elements.push(text(tags::STUDY_INSTANCE_UID, VR::UI, &self.series.study_uid));
        elements.extend(PATIENT_AND_STUDY.iter().filter_map(|&tag| copied(header, tag)));
        // Group 0012 is the clinical trial and the de-identification; what it says of the source series is not ours. An
        // attribute without value is kept: some are required and may be empty.
        let of_series = [
            tags::CLINICAL_TRIAL_SERIES_ID,
            tags::CLINICAL_TRIAL_SERIES_DESCRIPTION,
            tags::ISSUER_OF_CLINICAL_TRIAL_SERIES_ID,
        ];
        for element in header.iter() {
            let tag = element.header().tag;
            if tag.group() == 0x0012 && tag.element() != 0 && !of_series.contains(&tag) {
                elements.push(copied_or_empty(header, tag, element.header().vr));
            }
        }
        elements
    }

    /// `wanted`, else the source's number times 100 plus `kind`, or 1000 plus `kind` when the source has none.
    pub fn series_number(&self, wanted: Option<i32>, kind: i32) -> String {
        let number = wanted.unwrap_or_else(|| {
            let number = copied(&self.series.header, tags::SERIES_NUMBER).and_then(|e| e.to_int::<i32>().ok());
            number.filter(|n| (1..10_000_000).contains(n)).map_or(1000 + kind, |n| n * 100 + kind)
        });
        number.to_string()
    }

    /// An image without a frame of reference gets one of its own, the same for all results of its series.
    pub fn frame_of_reference(&self) -> String {
        match self.series.frame_of_reference_uid.as_str() {
            "" => derived(&format!("frame of reference of {}", self.series.series_uid)),
            uid => uid.to_string(),
        }
    }

    /// Patient position of a slice's first pixel.
    pub fn position(&self, slice: usize) -> Vec3 {
        if self.series.resampled {
            self.series.geometry.position([0.0, 0.0, slice as f64])
        } else {
            self.series.instances[slice].position
        }
    }

    /// Whether a pixel of a slice lies where the same pixel of its source image does.
    pub fn pixels_coincide(&self, slice: usize) -> bool {
        let source = &self.series.instances[slice];
        let same = self.series.instances.iter().filter(|other| other.sop_instance_uid == source.sop_instance_uid);
        // Slices that share an image without being its frames are tiles of a mosaic.
        let tile = source.frame.is_none() && same.count() > 1;
        !self.series.resampled && !tile
    }

    /// This library, and the scanner and this library as contributors (PS3.3 sections C.7.5.1, C.7.5.2, C.12.1).
    pub fn equipment(&self) -> Vec<InMemElement> {
        let algorithm = self.algorithm;
        let model = self.algorithm_name();
        // Software has no serial number: results with the same one came from the same model and version.
        let digest = Sha256::new().chain_update(&algorithm.name).chain_update("\n").chain_update(&algorithm.version);
        let digest = digest.chain_update(self.receipt.map_or("", |receipt| &receipt.model.sha256));
        let serial: String = digest.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let ours = vec![
            long_string(tags::MANUFACTURER, MANUFACTURER),
            long_string(tags::MANUFACTURER_MODEL_NAME, model),
            long_string(tags::DEVICE_SERIAL_NUMBER, &serial),
            long_string(tags::SOFTWARE_VERSIONS, self.version()),
        ];
        let mut processing = item(ours.iter().cloned());
        processing.put(code_sequence(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &dcm("109102", "Processing Equipment")));
        processing.put(text(tags::CONTRIBUTION_DATE_TIME, VR::DT, format!("{}{}", self.date(), self.time())));
        let receipt = self.receipt.map_or(String::new(), |receipt| format!(" {}", receipt.to_text()));
        let description = one_line(&format!("Automatic segmentation. {NOTICE}{receipt}"), SHORT_TEXT);
        processing.put(text(tags::CONTRIBUTION_DESCRIPTION, VR::ST, description));
        let contributors = scanner(&self.series.header).into_iter().chain([processing]).collect();
        let mut elements = ours;
        elements.push(sequence(tags::CONTRIBUTING_EQUIPMENT_SEQUENCE, contributors));
        elements
    }

    pub fn algorithm_name(&self) -> &str {
        match self.algorithm.name.trim() {
            "" => MANUFACTURER,
            name => name,
        }
    }

    pub fn version(&self) -> &str {
        match self.algorithm.version.trim() {
            "" => env!("CARGO_PKG_VERSION"),
            version => version,
        }
    }

    pub fn date(&self) -> String {
        self.created.format("%Y%m%d").to_string()
    }

    pub fn time(&self) -> String {
        self.created.format("%H%M%S").to_string()
    }
}

/// The machine that made the source images, where they name it.
fn scanner(header: &InMemDicomObject) -> Option<InMemDicomObject> {
    let manufacturer = copied(header, tags::MANUFACTURER)?;
    let optional = [
        tags::MANUFACTURER_MODEL_NAME,
        tags::DEVICE_SERIAL_NUMBER,
        tags::SOFTWARE_VERSIONS,
        tags::INSTITUTION_NAME,
        tags::STATION_NAME,
    ];
    let mut scanner = item(optional.into_iter().filter_map(|tag| copied(header, tag)));
    scanner.put(manufacturer);
    scanner.put(code_sequence(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &dcm("109101", "Acquisition Equipment")));
    Some(scanner)
}

/// SOP Instance Reference Macro (PS3.3 section 10.8).
pub fn reference(source: &Instance) -> InMemDicomObject {
    item([
        text(tags::REFERENCED_SOP_CLASS_UID, VR::UI, &source.sop_class_uid),
        text(tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &source.sop_instance_uid),
    ])
}

/// Each SOP instance once: the frames of a multi-frame image share theirs.
pub fn distinct(instances: &[Instance]) -> impl Iterator<Item = &Instance> {
    let mut seen = HashSet::new();
    instances.iter().filter(move |source| seen.insert(&source.sop_instance_uid))
}

/// Date and time of the study, which do not change between runs; midnight of 1900-01-01 where the source has none.
fn study_time(series: &Series) -> NaiveDateTime {
    let text = |tag| copied(&series.header, tag).and_then(|element| Some(element.to_str().ok()?.trim().to_string()));
    let date = text(tags::STUDY_DATE).and_then(|date| NaiveDate::parse_from_str(&date, "%Y%m%d").ok());
    let time = text(tags::STUDY_TIME).and_then(|time| NaiveTime::parse_from_str(time.get(..6)?, "%H%M%S").ok());
    NaiveDateTime::new(date.or(NaiveDate::from_ymd_opt(1900, 1, 1)).unwrap_or_default(), time.unwrap_or_default())
}
