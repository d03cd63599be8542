//! Files of git repositories, by the git program.
//!
//! A ref is resolved first; the commit is what the files are known by. Then the commit is fetched
//! into a bare repository that is kept and grows, and from there checked out.

mod checkout;
mod error;
mod program;
mod refs;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

pub use error::GitError;
pub use refs::Revision;

use self::{
    error::Complaint,
    program::{Git, REMOTE},
};
use crate::{Credentials, GitSource, git_url::is_commit};

/// Fetches from git repositories.
#[derive(Debug, Clone)]
pub struct GitClient {
    program: PathBuf,
    credentials: Credentials,
    known_hosts: PathBuf,
}

/// Directories to work in.
#[derive(Debug, Clone, Copy)]
pub struct Workplace<'a> {
    /// The bare repository, which is made if it is missing. Nobody else may use it meanwhile.
    pub repository: &'a Path,
    /// An empty directory, on the same file system as where the files go.
    pub scratch: &'a Path,
}

impl GitClient {
    /// A client that notes the keys of SSH hosts in the file `known_hosts`.
    pub fn new(credentials: Credentials, known_hosts: PathBuf) -> Self {
        Self { program: "git".into(), credentials, known_hosts }
    }

    /// The same with another program.
    pub fn with_program(self, program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), ..self }
    }

    fn git(&self, source: &GitSource) -> Git {
        Git::new(&self.program, &source.remote, &self.credentials, &self.known_hosts)
    }

    /// Says which commit `source` is at this moment. What names a commit is not asked for.
    pub async fn resolve(&self, source: &GitSource) -> Result<Revision, GitError> {
        let git = self.git(source);
        let revision = match (&source.reference, &source.checksum) {
            (Some(reference), _) if is_commit(reference) => Revision::commit_only(reference),
            (reference, Some(commit)) if source.fetch_by_commit => {
                let name = match reference.as_deref() {
                    Some(name) if name.starts_with("refs/") => name.to_owned(),
                    Some(name) => format!("refs/heads/{name}"),
                    None => commit.clone(),
                };
                Revision { name, ..Revision::commit_only(commit) }
            }
            (Some(reference), _) => named(&git, reference).await?,
            (None, _) => {
                let answer = git.run("reach", &["ls-remote", "--symref", REMOTE, "HEAD"]).await?;
                let missing = || GitError::NoDefaultBranch { remote: git.remote() };
                refs::default_branch(&answer).ok_or_else(missing)?
            }
        };
        match &source.checksum {
            Some(expected) if !revision.is(expected) => Err(mismatch(&git, &revision, expected)),
            _ => Ok(revision),
        }
    }

    /// Writes the files of `source` at `revision` into the empty directory `into`.
    ///
    /// Files have the modes 0644 and 0755, directories 0755, and belong to whoever runs this process.
    pub async fn checkout(
        &self,
        source: &GitSource,
        revision: &Revision,
        place: Workplace<'_>,
        into: &Path,
    ) -> Result<(), GitError> {
        let git = self.git(source).repository(place.repository);
        if !place.repository.exists() {
            self.make_repository(source, revision, place).await?;
        }
        fetch(&git, revision, place.repository).await?;
        if let Some(expected) = &source.checksum {
            // A commit that was named may turn out to be an annotated tag.
            let peeled = peeled(&git, revision).await?;
            let known = Revision { peeled: Some(peeled), ..revision.clone() };
            if !known.is(expected) {
                return Err(mismatch(&git, revision, expected));
            }
        }
        checkout::files(&git, source, revision, place, into).await
    }

    /// Made aside, so that it is whole or not there.
    async fn make_repository(
        &self,
        source: &GitSource,
        revision: &Revision,
        place: Workplace<'_>,
    ) -> Result<(), GitError> {
        let aside = place.scratch.join("bare");
        let format = format!("--object-format={}", object_format(revision));
        let init = ["init", "--quiet", "--bare", "--template=", &format];
        self.git(source).repository(&aside).run("prepare a repository for", &init).await?;
        fs::rename(&aside, place.repository).map_err(GitError::io(place.repository))
    }
}

/// Removes the locks of a process that was killed; nobody else is here.
fn unlock(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            unlock(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "lock") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// `sha1` or `sha256`
fn object_format(revision: &Revision) -> &'static str {
    if revision.object.len() == 64 { "sha256" } else { "sha1" }
}

fn mismatch(git: &Git, revision: &Revision, expected: &str) -> GitError {
    let found = match &revision.peeled {
        Some(commit) => format!("{commit} (tag {})", revision.object),
        None => revision.object.clone(),
    };
    GitError::Checksum {
        remote: git.remote(),
        reference: revision.name.clone(),
        expected: expected.to_owned(),
        found,
    }
}

/// What a branch or tag is.
async fn named(git: &Git, reference: &str) -> Result<Revision, GitError> {
    let peeled = format!("{reference}^{{}}");
    let answer = git.run("reach", &["ls-remote", REMOTE, reference, &peeled]).await?;
    if let Some(revision) = refs::choose(&answer, reference) {
        return Ok(revision);
    }
    let all = git.run("reach", &["ls-remote", REMOTE]).await?;
    Err(GitError::NoReference {
        remote: git.remote(),
        reference: reference.to_owned(),
        similar: refs::nearest(&all, reference),
    })
}

/// The ref that keeps a fetched object in the repository.
fn kept(revision: &Revision) -> String {
    format!("refs/archway/{}", revision.object)
}

/// Brings the revision into the repository, and as little else as the server allows.
async fn fetch(git: &Git, revision: &Revision, repository: &Path) -> Result<(), GitError> {
    unlock(repository).map_err(GitError::io(repository))?;
    if has(git, &revision.object).await? {
        return keep(git, revision).await;
    }
    let mut wanted = vec![revision.object.as_str()];
    if !is_commit(&revision.name) {
        wanted.insert(0, &revision.name);
    }
    for object in wanted {
        match fetch_one(git, object).await? {
            Ok(()) if has(git, &revision.object).await? => return keep(git, revision).await,
            // The ref has moved on since it was resolved.
            Ok(()) => {}
            Err(failed) if failed.complaint == Complaint::NotOffered => {}
            Err(failed) => return Err(git.error("fetch", failed)),
        }
    }
    // The server gives only what branches and tags lead to: all of it, then.
    let mut command = vec!["fetch", "--quiet", "--force", "--tags", "--no-write-fetch-head"];
    if repository.join("shallow").exists() {
        command.push("--unshallow");
    }
    command.extend([REMOTE, "+refs/heads/*:refs/archway-heads/*"]);
    git.run("fetch", &command).await?;
    match has(git, &revision.object).await? {
        true => keep(git, revision).await,
        false => Err(GitError::NoCommit { remote: git.remote(), commit: revision.object.clone() }),
    }
}

async fn fetch_one(git: &Git, object: &str) -> Result<Result<(), program::Failed>, GitError> {
    let refspec = format!("+{object}:refs/archway-incoming");
    let command = ["fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head", REMOTE, &refspec];
    let mut shallow = command.to_vec();
    shallow.insert(1, "--depth=1");
    match git.attempt(&shallow).await? {
        Err(failed) if failed.complaint == Complaint::NotShallow => {
            Ok(git.attempt(&command).await?.map(|_| ()))
        }
        fetched => Ok(fetched.map(|_| ())),
    }
}

async fn has(git: &Git, object: &str) -> Result<bool, GitError> {
    Ok(git.attempt(&["cat-file", "-e", &format!("{object}^{{commit}}")]).await?.is_ok())
}

async fn keep(git: &Git, revision: &Revision) -> Result<(), GitError> {
    git.run("note a commit of", &["update-ref", &kept(revision), &revision.object]).await.map(|_| ())
}

/// The commit, which may be behind a tag.
async fn peeled(git: &Git, revision: &Revision) -> Result<String, GitError> {
    let commit = format!("{}^{{commit}}", revision.object);
    let answer = git.run("read a commit of", &["rev-parse", "--verify", &commit]).await?;
    Ok(answer.trim().to_owned())
}
