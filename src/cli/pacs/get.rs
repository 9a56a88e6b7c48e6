//! C-GET (PS3.4 C.4.3): a DIMSE peer sends the instances of series over the association that asked for them, as they are
//! stored; C-FIND says which series a study has.

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use dicom::core::VR;
use dicom::dictionary_std::{tags, uids};
use dicom::encoding::TransferSyntaxIndex as _;
use dicom::object::{FileMetaTableBuilder, InMemDicomObject};
use dicom::transfer_syntax::TransferSyntaxRegistry;
use dicom_ul::{IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME};

use super::address::{Content, Dimse};
use super::association::{Association, Command, ODD, Proposal, number, text, uid, with_data_set};
use super::line::Line;
use super::status;
use super::trouble::{Result, Trouble, causes, tame};
use super::wado::Arriving;

const C_STORE: u16 = 0x0001;
const C_STORE_RESPONSE: u16 = 0x8001;
const C_GET: u16 = 0x0010;
const C_GET_RESPONSE: u16 = 0x8010;
const C_FIND: u16 = 0x0020;
const C_FIND_RESPONSE: u16 = 0x8020;

const PLAIN: [&str; 2] = [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN];
/// The peer must not compress or expand anything, so each compression has a context of its own.
const SYNTAXES: [&[&str]; 14] = [
    &PLAIN,
    &[uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN],
    &[uids::RLE_LOSSLESS],
    &[uids::JPEG_BASELINE8_BIT],
    &[uids::JPEG_EXTENDED12_BIT],
    &[uids::JPEG_LOSSLESS],
    &[uids::JPEG_LOSSLESS_SV1],
    &[uids::JPEGLS_LOSSLESS],
    &[uids::JPEGLS_NEAR_LOSSLESS],
    &[uids::JPEG2000_LOSSLESS],
    &[uids::JPEG2000],
    &[uids::HTJ2K_LOSSLESS],
    &[uids::HTJ2K_LOSSLESS_RPCL],
    &[uids::HTJ2K],
];
/// What volumes are made of. With all syntaxes and the query they fill the 128 contexts of an association.
const CLASSES: [&str; 9] = [
    uids::CT_IMAGE_STORAGE,
    uids::ENHANCED_CT_IMAGE_STORAGE,
    uids::LEGACY_CONVERTED_ENHANCED_CT_IMAGE_STORAGE,
    uids::MR_IMAGE_STORAGE,
    uids::ENHANCED_MR_IMAGE_STORAGE,
    uids::LEGACY_CONVERTED_ENHANCED_MR_IMAGE_STORAGE,
    uids::POSITRON_EMISSION_TOMOGRAPHY_IMAGE_STORAGE,
    uids::ENHANCED_PET_IMAGE_STORAGE,
    uids::LEGACY_CONVERTED_ENHANCED_PET_IMAGE_STORAGE,
];
const MODALITIES: [&str; 3] = ["CT", "MR", "PT"];

/// Fetches `content` into files of `folder`, of a study its CT, MR and PET series; returns how many.
pub fn fetch(
    peer: &Dimse,
    calling: &str,
    patience: Duration,
    content: &Content,
    folder: &Path,
    line: &Line,
) -> Result<usize> {
    let series = match &content.series {
        Some(series) => vec![series.clone()],
        None => series_of(peer, calling, patience, &content.study, line)?,
    };
    let query = Proposal { class: uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET, syntaxes: &PLAIN };
    let images = CLASSES.iter().flat_map(|class| SYNTAXES.iter().map(move |syntaxes| Proposal { class, syntaxes }));
    let proposals: Vec<_> = std::iter::once(query).chain(images).collect();
    let association = Association::open(peer, calling, patience, &proposals, &CLASSES, line)?;
    let mut association = association.ok_or_else(|| no_service("the peer hands out nothing by C-GET"))?;
    let mut fetching = Fetching { study: &content.study, folder, line, count: 0, expected: 0 };
    match series.iter().try_for_each(|series| fetching.get(&mut association, series)) {
        Ok(()) => {
            association.release();
            Ok(fetching.count)
        }
        Err(trouble) => {
            association.abort();
            Err(trouble)
        }
    }
}

fn no_service(refusal: &str) -> Trouble {
    Trouble::peer(refusal, "ask who runs it, or use its DICOMweb address; C-MOVE is not spoken")
}

struct Fetching<'a> {
    study: &'a str,
    folder: &'a Path,
    line: &'a Line,
    /// Instances that have come.
    count: usize,
    /// Those of them and of this series that will, as far as the peer says; 0: unknown.
    expected: u64,
}

impl Fetching<'_> {
    fn get(&mut self, association: &mut Association, series: &str) -> Result<()> {
        let class = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET;
        let query = [
            text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, "SERIES"),
            uid(tags::STUDY_INSTANCE_UID, self.study),
            uid(tags::SERIES_INSTANCE_UID, series),
        ];
        if !CLASSES.iter().any(|class| association.receives(class)) {
            return Err(no_service("the peer will not send images over this association (role selection was refused)"));
        }
        ask(association, class, C_GET, query)?;
        let before = self.count;
        loop {
            let command = association.command()?;
            match command.field() {
                C_STORE => self.store(association, &command)?,
                C_GET_RESPONSE if status::is_pending(command.status()) => {
                    skip(association, &command)?;
                    let left = command.number(tags::NUMBER_OF_REMAINING_SUBOPERATIONS).unwrap_or(0);
                    self.expected = if left > 0 { self.count as u64 + u64::from(left) } else { self.expected };
                }
                C_GET_RESPONSE => {
                    skip(association, &command)?;
                    return verdict(&command, series, self.count - before);
                }
                other => return Err(unexpected(other)),
            }
        }
    }

    /// Keeps what the peer sends.
    fn store(&mut self, association: &mut Association, command: &Command) -> Result<()> {
        let class = command.text(tags::AFFECTED_SOP_CLASS_UID);
        let instance = command.text(tags::AFFECTED_SOP_INSTANCE_UID);
        let Some(context) = association.contexts().iter().find(|context| context.id == command.context).cloned() else {
            return Err(Trouble::peer(
                "the peer sends in a context that was not agreed on",
                "the peer's log says more",
            ));
        };
        let meta = FileMetaTableBuilder::new()
            .media_storage_sop_class_uid(class.as_str())
            .media_storage_sop_instance_uid(instance.as_str())
            .transfer_syntax(context.syntax.as_str())
            .implementation_class_uid(IMPLEMENTATION_CLASS_UID)
            .implementation_version_name(IMPLEMENTATION_VERSION_NAME)
            .build()
            .map_err(|error| Trouble::peer(causes(&error), ODD))?;
        let mut file = Arriving::new(self.folder, self.count, self.line)?;
        let mut head = [vec![0; 128], b"DICM".to_vec()].concat();
        meta.write(&mut head).map_err(|error| Trouble::peer(causes(&error), ODD))?;
        let filled = match file.write_all(&head) {
            Ok(()) => association.data(&mut file)?,
            failed => failed,
        };
        file.finish(filled).map_err(|error| Trouble::peer(error.to_string(), "try again"))??;
        self.count += 1;
        self.line.tell(self.count as u64, self.expected)?;
        association.send_command(
            command.context,
            vec![
                uid(tags::AFFECTED_SOP_CLASS_UID, &class),
                number(tags::COMMAND_FIELD, C_STORE_RESPONSE),
                number(tags::MESSAGE_ID_BEING_RESPONDED_TO, command.number(tags::MESSAGE_ID).unwrap_or_default()),
                with_data_set(false),
                number(tags::STATUS, status::SUCCESS),
                uid(tags::AFFECTED_SOP_INSTANCE_UID, &instance),
            ],
        )
    }
}

/// Sends a query with its identifier.
fn ask(
    association: &mut Association,
    class: &str,
    field: u16,
    query: impl IntoIterator<Item = dicom::core::DataElement<InMemDicomObject>>,
) -> Result<()> {
    let Some(context) = association.contexts().iter().find(|context| context.class == class).cloned() else {
        return Err(no_service(&format!("the peer does not offer {}", super::object::name(class))));
    };
    let id = association.next_message_id();
    let command = vec![
        uid(tags::AFFECTED_SOP_CLASS_UID, class),
        number(tags::COMMAND_FIELD, field),
        number(tags::MESSAGE_ID, id),
        number(tags::PRIORITY, 0),
        with_data_set(true),
    ];
    association.send_command(context.id, command)?;
    let mut bytes = Vec::new();
    let Some(syntax) = TransferSyntaxRegistry.get(&context.syntax) else {
        return Err(Trouble::peer(format!("the peer chose {} for a query", tame(&context.syntax)), ODD));
    };
    InMemDicomObject::from_element_iter(query)
        .write_dataset_with_ts(&mut bytes, syntax)
        .map_err(|error| Trouble::peer(causes(&error), ODD))?;
    association.send_data(context.id, &bytes[..], bytes.len() as u64)
}

/// Reads over a data set that says nothing here.
fn skip(association: &mut Association, command: &Command) -> Result<()> {
    if command.has_data_set() {
        association.identifier(command.context)?;
    }
    Ok(())
}

fn unexpected(field: u16) -> Trouble {
    Trouble::peer(format!("the peer sends a command ({field:04X}) that was not asked for"), "the peer's log says more")
}

/// What the last response says of the series, of which `came` instances have come. Some of a series are none: what lacks a
/// slice at its end would look complete.
fn verdict(response: &Command, series: &str, came: usize) -> Result<()> {
    let failed = response.number(tags::NUMBER_OF_FAILED_SUBOPERATIONS).unwrap_or(0);
    if failed > 0 {
        let message = format!("{failed} of {} images of series {series} could not be sent", usize::from(failed) + came);
        let hint = "only CT, MR and PET images are asked for, in the forms that are read; the peer's log says more";
        return Err(Trouble::peer(format!("{message}: {}", response.verdict()), hint));
    }
    match response.status() {
        status::SUCCESS => Ok(()),
        code if status::is_warning(code) => {
            log::warn!("series {series}: {}", response.verdict());
            Ok(())
        }
        _ => Err(Trouble::peer(
            format!("refused: {}", response.verdict()),
            "are the UIDs right? the peer's log says more",
        )),
    }
}

/// Series of a study that may be volumes.
fn series_of(peer: &Dimse, calling: &str, patience: Duration, study: &str, line: &Line) -> Result<Vec<String>> {
    let class = uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND;
    let proposal = [Proposal { class, syntaxes: &PLAIN }];
    let refusal =
        "the peer does not list the series of a study (C-FIND); name one: dimse://TITLE@HOST:PORT/STUDY/SERIES";
    let association = Association::open(peer, calling, patience, &proposal, &[], line)?;
    let mut association = association.ok_or_else(|| no_service(refusal))?;
    match find(&mut association, class, study) {
        Ok(found) => {
            association.release();
            let images = |(_, modality): &&(String, String)| MODALITIES.contains(&modality.as_str());
            let series: Vec<_> = found.iter().filter(images).map(|(series, _)| series.clone()).collect();
            if series.is_empty() && !found.is_empty() {
                let mut others: Vec<_> = found.into_iter().map(|(_, modality)| tame(&modality)).collect();
                others.sort();
                others.dedup();
                let message = format!("study {study} has no CT, MR or PET series, only {}", others.join(", "));
                return Err(Trouble::peer(message, "name the series to fetch it all the same"));
            }
            Ok(series)
        }
        Err(trouble) => {
            association.abort();
            Err(trouble)
        }
    }
}

/// UID and modality of each series of a study.
fn find(association: &mut Association, class: &str, study: &str) -> Result<Vec<(String, String)>> {
    let query = [
        text(tags::QUERY_RETRIEVE_LEVEL, VR::CS, "SERIES"),
        text(tags::MODALITY, VR::CS, ""),
        uid(tags::STUDY_INSTANCE_UID, study),
        uid(tags::SERIES_INSTANCE_UID, ""),
    ];
    ask(association, class, C_FIND, query)?;
    let mut found = Vec::new();
    loop {
        let response = association.command()?;
        match (response.field(), response.status()) {
            (C_FIND_RESPONSE, code) if status::is_pending(code) => {
                let set = association.identifier(response.context)?;
                let of = |tag| {
                    let text = set.element(tag).ok().and_then(|element| element.to_str().ok());
                    text.map_or(String::new(), |text| text.trim_matches(['\0', ' ']).to_owned())
                };
                found.push((of(tags::SERIES_INSTANCE_UID), of(tags::MODALITY)));
            }
            (C_FIND_RESPONSE, status::SUCCESS) => return Ok(found),
            (C_FIND_RESPONSE, _) => {
                return Err(Trouble::peer(format!("refused: {}", response.verdict()), "the peer's log says more"));
            }
            (other, _) => return Err(unexpected(other)),
        }
    }
}
