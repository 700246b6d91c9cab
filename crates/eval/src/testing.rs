//! What the unit tests of this crate share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::{Evaluator, FileKind, Heap, MessageKind, Settings, World, WorldError, on_big_stack};

/// A world in memory: files by path; messages are kept.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) files: BTreeMap<PathBuf, Vec<u8>>,
    pub(crate) messages: Mutex<Vec<String>>,
}

impl World for Memory {
    fn read_file(&self, path: &Path) -> Result<Vec<u8>, WorldError> {
        self.files.get(path).cloned().ok_or_else(|| WorldError::new("no such file"))
    }

    fn file_kind(&self, path: &Path) -> Result<Option<FileKind>, WorldError> {
        if self.files.contains_key(path) {
            return Ok(Some(FileKind::Regular { is_executable: false }));
        }
        Ok(self.files.keys().any(|f| f.starts_with(path)).then_some(FileKind::Directory))
    }

    fn read_link(&self, _: &Path) -> Result<PathBuf, WorldError> {
        Err(WorldError::new("not a link"))
    }

    fn read_dir(&self, path: &Path) -> Result<Vec<(Vec<u8>, FileKind)>, WorldError> {
        let mut out = Vec::new();
        for file in self.files.keys() {
            if let Some(name) = file.strip_prefix(path).ok().and_then(|rest| rest.iter().next()) {
                let kind = self.file_kind(&path.join(name))?.unwrap_or(FileKind::Other);
                out.push((name.as_encoded_bytes().to_vec(), kind));
            }
        }
        out.dedup();
        Ok(out)
    }

    fn message(&self, _: MessageKind, text: &str) {
        self.messages.lock().unwrap().push(text.to_owned());
    }
}

/// Runs a test with an evaluator of an empty world.
pub(crate) fn with_evaluator(test: impl FnOnce(&Evaluator<'_>) + Send) {
    with_files(&[], test);
}

/// Runs a test with an evaluator of a world of these files.
pub(crate) fn with_files(files: &[(&str, &str)], test: impl FnOnce(&Evaluator<'_>) + Send) {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec())).collect();
    on_big_stack(|| {
        let heap = Heap::new();
        let world = Memory { files, messages: Mutex::default() };
        test(&Evaluator::new(&heap, Arc::new(world), Settings::default(), vec![]));
    });
}
