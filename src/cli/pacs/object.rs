//! An instance that is sent: what its file says it is, and where its data set begins.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use dicom::dictionary_std::uids;
use dicom::encoding::TransferSyntaxIndex;
use dicom::object::FileMetaTable;
use dicom::transfer_syntax::TransferSyntaxRegistry;
use transunet::Error;

use super::trouble::{Result, Trouble, causes};

#[derive(Debug, Clone)]
pub struct Object {
    pub path: PathBuf,
    pub class_uid: String,
    pub instance_uid: String,
    pub transfer_syntax: String,
    /// Offset of the first byte behind the file meta group.
    start: u64,
}

impl Object {
    pub fn read(path: &Path) -> Result<Self> {
        let failed = |source| Trouble::Disk(Error::io(path, "read", source));
        let mut file = BufReader::new(File::open(path).map_err(|e| Trouble::Disk(Error::io(path, "open", e)))?);
        let mut mark = [0; 4];
        let marked = file.seek(SeekFrom::Start(128)).and_then(|_| file.read_exact(&mut mark));
        let refuse = |reason: String| {
            Trouble::peer(format!("{}: {reason}", path.display()), "only DICOM files can be sent to a PACS")
        };
        match marked {
            Ok(()) if mark == *b"DICM" => {}
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(failed(error)),
            _ => return Err(refuse("not a DICOM file (PS3.10)".into())),
        }
        file.seek(SeekFrom::Start(128)).map_err(failed)?;
        let meta = FileMetaTable::from_reader(&mut file).map_err(|error| refuse(causes(&error)))?;
        let uid = |text: &str| text.trim_end_matches(['\0', ' ']).to_owned();
        Ok(Object {
            path: path.to_path_buf(),
            class_uid: uid(&meta.media_storage_sop_class_uid),
            instance_uid: uid(&meta.media_storage_sop_instance_uid),
            transfer_syntax: uid(&meta.transfer_syntax),
            start: file.stream_position().map_err(failed)?,
        })
    }

    /// The whole file and its size.
    pub fn open(&self) -> Result<(File, u64)> {
        let failed = |source| Trouble::Disk(Error::io(&self.path, "open", source));
        let file = File::open(&self.path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        Ok((file, size))
    }

    /// The data set as it is in the file, and its size.
    pub fn data_set(&self) -> Result<(File, u64)> {
        let (mut file, size) = self.open()?;
        file.seek(SeekFrom::Start(self.start))
            .map_err(|source| Trouble::Disk(Error::io(&self.path, "read", source)))?;
        Ok((file, size.saturating_sub(self.start)))
    }

    /// The transfer syntaxes that its data set can be sent in, the file's own first: what is not compressed can be written
    /// in either of two.
    pub fn offers(&self) -> Vec<&str> {
        match self.transfer_syntax.as_str() {
            uids::EXPLICIT_VR_LITTLE_ENDIAN => vec![uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN],
            uids::IMPLICIT_VR_LITTLE_ENDIAN => vec![uids::IMPLICIT_VR_LITTLE_ENDIAN, uids::EXPLICIT_VR_LITTLE_ENDIAN],
            own => vec![own],
        }
    }

    /// The data set written in another transfer syntax of [`Object::offers`].
    pub fn rewritten(&self, transfer_syntax: &str) -> Result<Vec<u8>> {
        let refuse = |error: &dyn std::error::Error| {
            Trouble::peer(format!("{}: {}", self.path.display(), causes(error)), "is the file complete?")
        };
        let object = dicom::object::open_file(&self.path).map_err(|error| refuse(&error))?;
        let mut bytes = Vec::new();
        match TransferSyntaxRegistry.get(transfer_syntax) {
            Some(syntax) => object.write_dataset_with_ts(&mut bytes, syntax).map_err(|error| refuse(&error))?,
            None => return Err(Trouble::peer(format!("transfer syntax {transfer_syntax} is not known"), "")),
        }
        Ok(bytes)
    }
}

/// What people call a SOP class or a transfer syntax.
pub fn name(uid: &str) -> String {
    let class = match uid {
        uids::SEGMENTATION_STORAGE => "a segmentation (SEG)",
        uids::LABEL_MAP_SEGMENTATION_STORAGE => "a label map segmentation (LABELMAP)",
        uids::RT_STRUCTURE_SET_STORAGE => "an RT structure set (RTSTRUCT)",
        uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_GET => "C-GET (Study Root)",
        uids::STUDY_ROOT_QUERY_RETRIEVE_INFORMATION_MODEL_FIND => "C-FIND (Study Root)",
        _ => {
            return TransferSyntaxRegistry.get(uid).map_or(format!("SOP class {uid}"), |known| known.name().to_owned());
        }
    };
    class.to_owned()
}
