//! From a commit in a bare repository to files.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use super::{GitError, Revision, Workplace, kept, object_format, peeled, program::Git};
use crate::{GitSource, Times, git_url::is_commit};

/// Checks out `revision`, which is in the repository, into `into`.
pub(super) async fn files(
    git: &Git,
    source: &GitSource,
    revision: &Revision,
    place: Workplace<'_>,
    into: &Path,
) -> Result<(), GitError> {
    let commit = peeled(git, revision).await?;
    let whole = match &source.subdir {
        // Beside the result, so that it can be moved there.
        Some(_) => make(place.scratch.join("files"))?,
        None => into.to_owned(),
    };
    let keeps = source.keep_git_dir && source.subdir.is_none();
    let repository = if keeps { whole.join(".git") } else { place.scratch.join("repository") };
    let work = git.clone().repository(&repository).files(&whole);
    match keeps {
        true => clone(&work, source, revision, place.repository).await?,
        false => borrow(&work, &repository, revision, place.repository).await?,
    }
    work.run("check out", &["checkout", "--quiet", "--force", "--detach", &commit]).await?;
    if source.submodules && whole.join(".gitmodules").is_file() {
        // A repository that is kept knows its origin, without a password.
        submodules(&work, (!keeps).then_some(source.remote.as_str())).await?;
    }
    if keeps {
        finish_clone(&work, &repository).await?;
    }
    let time = match source.times {
        Times::Checkout => None,
        Times::Commit => Some(commit_time(git, &commit).await?),
    };
    let (subdir, remote, into) = (source.subdir.clone(), git.remote(), into.to_owned());
    let tidy = move || {
        if let Some(subdir) = subdir {
            move_up(&whole, &subdir, &into, &remote)?;
        }
        tidy(&into, keeps, time).map_err(GitError::io(&into))
    };
    tokio::task::spawn_blocking(tidy).await.expect("moving files does not panic")
}

/// A repository that takes its objects from another one: nothing of a checkout gets into the kept one.
async fn borrow(git: &Git, repository: &Path, revision: &Revision, from: &Path) -> Result<(), GitError> {
    let format = format!("--object-format={}", object_format(revision));
    git.run("prepare a repository for", &["init", "--quiet", "--template=", &format]).await?;
    let alternates = repository.join("objects/info/alternates");
    if let Some(parent) = alternates.parent() {
        fs::create_dir_all(parent).map_err(GitError::io(parent))?;
    }
    let objects = from.join("objects");
    fs::write(&alternates, format!("{}\n", objects.display())).map_err(GitError::io(&alternates))?;
    let shallow = from.join("shallow");
    if shallow.is_file() {
        fs::copy(&shallow, repository.join("shallow")).map_err(GitError::io(&shallow))?;
    }
    Ok(())
}

/// A repository of its own, with the one commit and the name it was asked for by.
async fn clone(git: &Git, source: &GitSource, revision: &Revision, from: &Path) -> Result<(), GitError> {
    let format = format!("--object-format={}", object_format(revision));
    git.run("prepare a repository for", &["init", "--quiet", &format]).await?;
    let name = match &revision.name {
        name if is_commit(name) => String::new(),
        name => format!(":{name}"),
    };
    // By the protocol, and not by linking files: what is kept must not share anything with the image.
    let url = format!("file://{}", from.display());
    let refspec = format!("{}{name}", kept(revision));
    let local = git.clone().allowing("file");
    local.run("copy", &["fetch", "--quiet", "-u", "--depth=1", "--no-tags", "--", &url, &refspec]).await?;
    let url = crate::redacted(&source.remote);
    git.run("note the address of", &["remote", "add", "origin", &url]).await.map(|_| ())
}

/// Takes away what tells of this machine and this moment.
async fn finish_clone(git: &Git, repository: &Path) -> Result<(), GitError> {
    git.run("tidy up", &["reflog", "expire", "--all", "--expire=now"]).await?;
    match fs::remove_file(repository.join("FETCH_HEAD")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(GitError::io(repository)(error)),
        _ => Ok(()),
    }
}

/// Fetches submodules. Addresses that are relative are relative to the repository's.
async fn submodules(git: &Git, remote: Option<&str>) -> Result<(), GitError> {
    // Only for this command: submodules have origins of their own.
    let named = match remote {
        Some(remote) => git.clone().setting("remote.origin.url", remote),
        None => git.clone(),
    };
    named.run("prepare the submodules of", &["submodule", "--quiet", "init"]).await?;
    let update = ["submodule", "--quiet", "update", "--recursive", "--init", "--depth=1"];
    git.run("fetch the submodules of", &update).await.map(|_| ())
}

/// Seconds since 1970.
async fn commit_time(git: &Git, commit: &str) -> Result<i64, GitError> {
    let answer = git.run("read a commit of", &["log", "-1", "--format=%ct", commit]).await?;
    answer.trim().parse().map_err(|_| GitError::Failed {
        action: "read the time of a commit of",
        remote: git.remote(),
        message: answer.trim().to_owned(),
    })
}

fn make(directory: PathBuf) -> Result<PathBuf, GitError> {
    fs::create_dir(&directory).map_err(GitError::io(&directory))?;
    Ok(directory)
}

/// Moves what is in a directory of the checkout. No part of its path may be a link: the repository's
/// author could make it lead anywhere.
fn move_up(whole: &Path, subdir: &str, into: &Path, remote: &str) -> Result<(), GitError> {
    let wrong = |problem| GitError::Subdir { remote: remote.to_owned(), subdir: subdir.to_owned(), problem };
    let mut directory = whole.to_owned();
    for part in subdir.split('/') {
        directory.push(part);
        match fs::symlink_metadata(&directory) {
            Ok(found) if found.is_dir() => {}
            Ok(found) if found.is_symlink() => return Err(wrong("a part of it is a symbolic link")),
            Ok(_) => return Err(wrong("a part of it is a file")),
            Err(_) => return Err(wrong("nothing is there")),
        }
    }
    for entry in fs::read_dir(&directory).map_err(GitError::io(&directory))? {
        let entry = entry.map_err(GitError::io(&directory))?;
        let target = into.join(entry.file_name());
        fs::rename(entry.path(), &target).map_err(GitError::io(&target))?;
    }
    Ok(())
}

/// Gives files the modes they have for everybody, whatever this process' umask is, and the time that is
/// wanted. Unless `.git` is kept, the `.git` files of submodules go: they name places of this machine.
fn tidy(directory: &Path, keeps: bool, time: Option<i64>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            tidy(&path, keeps, time)?;
            continue;
        }
        if !keeps && entry.file_name() == ".git" {
            fs::remove_file(&path)?;
            continue;
        }
        if kind.is_file() {
            let mode = entry.metadata()?.permissions().mode();
            fs::set_permissions(&path, Permissions::from_mode(for_everybody(mode)))?;
        }
        set_time(&path, time)?;
    }
    fs::set_permissions(directory, Permissions::from_mode(0o755))?;
    set_time(directory, time)
}

/// What the owner may read or execute, all may; only the owner may write.
fn for_everybody(mode: u32) -> u32 {
    let shared = mode & 0o500;
    (mode & 0o700) | (shared >> 3) | (shared >> 6)
}

fn set_time(path: &Path, time: Option<i64>) -> io::Result<()> {
    let Some(seconds) = time else { return Ok(()) };
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    let times = Timestamps { last_access: time, last_modification: time };
    Ok(utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use super::for_everybody;

    #[test]
    fn modes_do_not_depend_on_the_umask() {
        for (mode, expected) in [(0o600, 0o644), (0o700, 0o755), (0o664, 0o644), (0o400, 0o444)] {
            assert_eq!(for_everybody(mode), expected);
        }
    }
}
