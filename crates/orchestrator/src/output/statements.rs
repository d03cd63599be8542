//! What is said of files, as files beside them: each statement has every file as a subject, as in BuildKit.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use archway_attest::statement::Subject;
use archway_engine::view::View;
use archway_oci::Sha256Writer;

use crate::{Error, attest::Said};

/// A statement, as a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// Its name, in the directory that the files are in.
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The statements about the files of `view`. There are none about no files.
pub(super) fn of(view: &View, said: &[Said]) -> Result<Vec<Statement>, Error> {
    let said: Vec<_> =
        said.iter().filter_map(|said| Some((&said.attestation, said.filename.as_ref()?))).collect();
    if said.is_empty() {
        return Ok(Vec::new());
    }
    let root = view.path();
    let mut subjects = Vec::new();
    collect(&root, Path::new(""), &mut subjects)?;
    if subjects.is_empty() {
        return Ok(Vec::new());
    }
    let mut statements: Vec<Statement> = Vec::new();
    for (attestation, name) in said {
        let is_there = root.join(name).symlink_metadata().is_ok();
        if is_there || statements.iter().any(|known| known.name == *name) {
            return Err(Error::Output {
                message: format!("the files have a `{name}` already, which is to be an attestation"),
                hint: Some("name it with filename=NAME, or leave it out with inline-only=true".to_owned()),
            });
        }
        statements.push(Statement { name: name.clone(), bytes: attestation.statement(&subjects) });
    }
    Ok(statements)
}

/// Every regular file below `directory` of `root`, by name, with its digest.
fn collect(root: &Path, directory: &Path, subjects: &mut Vec<Subject>) -> Result<(), Error> {
    let here = root.join(directory);
    let mut names = Vec::new();
    for entry in here.read_dir().map_err(Error::read(directory))? {
        let entry = entry.map_err(Error::read(directory))?;
        names.push((entry.file_name(), entry.file_type().map_err(Error::read(directory))?));
    }
    names.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, kind) in names {
        let path: PathBuf = directory.join(name);
        if kind.is_dir() {
            collect(root, &path, subjects)?;
        } else if kind.is_file() {
            let mut hash = Sha256Writer::new(io::sink());
            let mut file = File::open(root.join(&path)).map_err(Error::read(&path))?;
            io::copy(&mut file, &mut hash).map_err(Error::read(&path))?;
            subjects.push(Subject::new(path.to_string_lossy(), &hash.finish().0));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use archway_oci::Digest;

    use super::*;

    #[test]
    fn every_file_is_a_subject() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("b/c")).unwrap();
        std::fs::write(root.path().join("b/c/d"), "d").unwrap();
        std::fs::write(root.path().join("b.txt"), "b").unwrap();
        std::os::unix::fs::symlink("b.txt", root.path().join("a")).unwrap();
        let mut subjects = Vec::new();
        collect(root.path(), Path::new(""), &mut subjects).unwrap();
        let want = [("b/c/d", "d"), ("b.txt", "b")];
        assert_eq!(subjects, want.map(|(name, text)| Subject::new(name, &Digest::sha256(text.as_bytes()))));
    }
}
