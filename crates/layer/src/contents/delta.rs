//! What a layer holds whose delta is unpacked on this machine. Of a file only the bytes that somebody asks for are
//! read, so this takes a small part of the time of reading the layer.

use std::{
    ffi::OsStr,
    fs::{File, Metadata},
    io::{self, Read as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{FileTypeExt as _, MetadataExt as _},
    },
    path::Path,
    sync::Arc,
};

use super::{Budget, ContentsError, Entry, HEAD, Keep, Kind, LayerContents, Meta, Selector, file::wanted};
use crate::{overlay, path};

impl LayerContents {
    /// Reads a delta: a directory in the form of an overlay's upper one, which nobody changes meanwhile. The
    /// result is that of reading the Unix layer that `write_layer` makes of it.
    ///
    /// # Errors
    /// [`ContentsError`].
    pub fn of_delta(delta: &Path, budget: &Budget, selector: &dyn Selector) -> Result<Self, ContentsError> {
        let mut contents = Self::default();
        let mut directories = vec![Vec::new()];
        while let Some(directory) = directories.pop() {
            let place = delta.join(OsStr::from_bytes(&directory));
            let failed = |source| ContentsError::Delta { path: place.clone(), source };
            let is_opaque = overlay::is_opaque(|name, value| rustix::fs::lgetxattr(&place, name, value));
            if is_opaque.map_err(io::Error::from).map_err(failed)? {
                contents.opaque.insert(directory.clone());
            }
            for member in place.read_dir().map_err(failed)? {
                let member = member.map_err(failed)?;
                let at = path::join(&directory, member.file_name().as_bytes());
                budget.take(at.len() + Budget::ENTRY)?;
                let failed = |source| ContentsError::Delta { path: member.path(), source };
                let metadata = member.metadata().map_err(failed)?;
                let kind = metadata.file_type();
                let kind = if kind.is_char_device() && metadata.rdev() == 0 {
                    contents.whiteouts.insert(at);
                    continue;
                } else if kind.is_dir() {
                    directories.push(at.clone());
                    Kind::Directory
                } else if kind.is_symlink() {
                    let target = member.path().read_link().map_err(failed)?;
                    Kind::Symlink { target: target.as_os_str().as_bytes().to_vec() }
                } else if kind.is_file() {
                    let content = kept(&member.path(), &at, &metadata, selector).map_err(failed)?;
                    budget.take(content.as_deref().map_or(0, <[u8]>::len))?;
                    Kind::File { size: metadata.len(), content }
                } else if kind.is_socket() {
                    // Layers have none.
                    continue;
                } else {
                    Kind::Other
                };
                let entry = Entry { mode: mode(&metadata), uid: metadata.uid(), gid: metadata.gid(), kind };
                contents.entries.insert(at.into(), Arc::new(entry));
            }
        }
        Ok(contents)
    }
}

fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// What the selector keeps of the file at `place`.
fn kept(
    place: &Path,
    path: &[u8],
    metadata: &Metadata,
    selector: &dyn Selector,
) -> io::Result<Option<Arc<[u8]>>> {
    let size = metadata.len();
    let mut file = File::open(place)?;
    let mut bytes = Vec::new();
    (&mut file).take(HEAD as u64).read_to_end(&mut bytes)?;
    let head = bytes.clone();
    let (mode, uid, gid) = (mode(metadata), metadata.uid(), metadata.gid());
    let meta = Meta { path, size, mode, uid, gid, head: &head };
    let keep = selector.keep(&meta);
    let wanted = match keep {
        Keep::Nothing => return Ok(None),
        Keep::Whole { limit } if size > limit => return Ok(None),
        keep => wanted(keep, size),
    };
    let more = wanted.saturating_sub(bytes.len() as u64);
    file.take(more).read_to_end(&mut bytes)?;
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(bytes.len());
    Ok(selector.distil(&meta, &bytes[..wanted]))
}
