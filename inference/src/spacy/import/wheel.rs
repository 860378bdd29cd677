//! Owns reading a model wheel: a zip archive in which one folder holds the model.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::ImportError;
use crate::spacy::bundle::FileFacts;

/// The greatest wheel that is read.
const MAX_WHEEL_BYTES: u64 = 256 << 20;
/// The greatest file that is unpacked from it.
const MAX_FILE_BYTES: u64 = 128 << 20;
/// The file that marks the model's folder. The wheel's name and its folders' names differ between publishers.
const MARKER: &str = "/config.cfg";

/// An opened wheel.
pub(super) struct Wheel {
    archive: ZipArchive<Cursor<Vec<u8>>>,
    /// The model's folder in the archive.
    folder: String,
    facts: FileFacts,
}

impl Wheel {
    pub(super) fn open(path: &Path) -> Result<Self, ImportError> {
        let name = path.display().to_string();
        let io = |source| ImportError::Io {
            action: "read",
            path: path.to_owned(),
            source,
        };
        let mut content = Vec::new();
        let file = File::open(path).map_err(io)?;
        file.take(MAX_WHEEL_BYTES + 1)
            .read_to_end(&mut content)
            .map_err(io)?;
        if content.len() as u64 > MAX_WHEEL_BYTES {
            return Err(ImportError::damaged(
                &name,
                format!("it has more than {MAX_WHEEL_BYTES} bytes"),
            ));
        }
        let facts = FileFacts::of(&content);
        let archive =
            ZipArchive::new(Cursor::new(content)).map_err(|error| ImportError::damaged(&name, error))?;
        let names: Result<Vec<_>, _> = archive.file_names().collect();
        let names = names.map_err(|error| ImportError::damaged(&name, error))?;
        let mut folders = names.iter().filter_map(|file| file.strip_suffix(MARKER));
        let folder = match (folders.next(), folders.next()) {
            (Some(folder), None) => folder.to_owned(),
            (None, _) => return Err(ImportError::damaged(&name, "it has no config.cfg")),
            (Some(_), Some(_)) => {
                return Err(ImportError::Unsupported(format!("{name} holds several models")));
            }
        };
        drop(names);
        Ok(Self {
            archive,
            folder,
            facts,
        })
    }

    /// The size and hash of the wheel.
    pub(super) fn facts(&self) -> &FileFacts {
        &self.facts
    }

    /// A file of the model.
    pub(super) fn bytes(&mut self, name: &str) -> Result<Vec<u8>, ImportError> {
        self.optional(name)?
            .ok_or_else(|| ImportError::damaged(name, "it is missing from the wheel"))
    }

    /// A file of the model as text.
    pub(super) fn text(&mut self, name: &str) -> Result<String, ImportError> {
        String::from_utf8(self.bytes(name)?).map_err(|error| ImportError::damaged(name, error))
    }

    /// A file of the model that need not be there.
    pub(super) fn optional(&mut self, name: &str) -> Result<Option<Vec<u8>>, ImportError> {
        let path = format!("{}/{name}", self.folder);
        let file = match self.archive.by_name(&path) {
            Ok(file) => file,
            Err(ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(ImportError::damaged(name, error)),
        };
        let mut content = Vec::new();
        // The archive checks the file's CRC when its end is read.
        let read = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut content);
        read.map_err(|error| ImportError::damaged(name, error))?;
        if content.len() as u64 > MAX_FILE_BYTES {
            return Err(ImportError::damaged(
                name,
                format!("it unpacks to more than {MAX_FILE_BYTES} bytes"),
            ));
        }
        Ok(Some(content))
    }
}
