//! Here-documents as sources of COPY and ADD.

use std::{io::Cursor, path::PathBuf};

use archway_graph::InlineFile;

use super::entry::{Entry, EntryKind, Mtime, Open, Reading, SourceItem};
use crate::StepError;

/// Permission bits of a file that stands in the Dockerfile.
const MODE: u32 = 0o644;

/// The file as a source. It has no time of its own, and so that of 1970: it gives the same layer every
/// time.
pub(crate) fn item(file: &InlineFile) -> SourceItem {
    let entry = Entry {
        path: String::new(),
        kind: EntryKind::File { size: file.content.len() as u64 },
        mode: MODE,
        uid: 0,
        gid: 0,
        mtime: Mtime::default(),
        xattrs: Vec::new(),
        hard_link: None,
        implied: false,
    };
    let open = Box::new(Text(file.clone()));
    SourceItem { name: file.name.clone(), entries: vec![entry], open, unpack: Some(false) }
}

struct Text(InlineFile);

impl Reading for Cursor<String> {
    fn finish(self: Box<Self>) -> Result<(), StepError> {
        Ok(())
    }
}

impl Open for Text {
    fn open(&self, _: &Entry) -> Result<Box<dyn Reading>, StepError> {
        Ok(Box::new(Cursor::new(self.0.content.clone())))
    }

    fn path(&self, _: &Entry) -> PathBuf {
        PathBuf::from(format!("<<{}", self.0.name))
    }
}
