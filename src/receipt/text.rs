//! A receipt as the text of DICOM's Algorithm Parameters: `key=value` with commas between, as highdicom writes and reads it.
//!
//! Which images it was made from is said by the object's references.

use std::collections::BTreeMap;

use super::{Code, FORMAT, ModelId, Receipt, Settings, Source, check_format};
use crate::error::{Error, Result};

impl Receipt {
    pub fn to_text(&self) -> String {
        let Receipt { format: _, model, code, settings, source, labels_sha256 } = self;
        let pairs = [
            ("receipt", Some(FORMAT.to_string())),
            ("model", Some(model.sha256.clone())),
            ("version", Some(code.version.clone())),
            ("revision", code.revision.clone()),
            ("device", Some(settings.device.replace(',', "+"))),
            ("hardware", settings.hardware.clone()),
            ("instructions", settings.instructions.clone()),
            ("precision", Some(settings.precision.to_string())),
            ("batch", settings.batch.map(|batch| batch.to_string())),
            ("tilt", settings.tilt.clone()),
            ("source", Some(source.sha256.clone())),
            ("labels", Some(labels_sha256.clone())),
        ];
        let plain = |c: char| if c == ',' || c == '=' || c == '\\' || c.is_control() { ' ' } else { c };
        let pair = |(key, value): (&str, Option<String>)| {
            Some(format!("{key}={}", value?.chars().map(plain).collect::<String>()))
        };
        pairs.into_iter().filter_map(pair).collect::<Vec<_>>().join(",")
    }

    /// Of a DICOM object that refers to `instances` of a series; `None` if the text is of another program.
    pub fn from_text(text: &str, series_uid: Option<String>, instances: Vec<String>) -> Result<Option<Self>> {
        let pairs: BTreeMap<&str, &str> = text.split(',').filter_map(|pair| pair.split_once('=')).collect();
        let Some(format) = pairs.get("receipt") else { return Ok(None) };
        let damaged = |what: &str| Error::DicomParse(format!("the receipt is damaged: {what}"));
        let known = |key: &str| pairs.get(key).map(|value| (*value).to_owned());
        let needed = |key: &str| known(key).ok_or_else(|| damaged(&format!("it does not say its {key}")));
        check_format(format.parse().map_err(|_| damaged("its format is no number"))?)?;
        Ok(Some(Receipt {
            format: FORMAT,
            model: ModelId { name: None, sha256: needed("model")? },
            code: Code { version: needed("version")?, revision: known("revision") },
            settings: Settings {
                device: needed("device")?.replace('+', ","),
                hardware: known("hardware"),
                instructions: known("instructions"),
                precision: needed("precision")?.parse().map_err(|error: Error| damaged(&error.to_string()))?,
                batch: known("batch")
                    .map(|batch| batch.parse().map_err(|_| damaged("its batch is no number")))
                    .transpose()?,
                tilt: known("tilt"),
            },
            source: Source { series_uid, instances, sha256: needed("source")? },
            labels_sha256: needed("labels")?,
        }))
    }
}
