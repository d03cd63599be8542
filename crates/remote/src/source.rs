//! What is to be fetched: URLs and flags, put together.

use serde::Serialize;

use crate::{Checksum, GitUrl, Times, http_url, redacted};

/// Files of a git repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct GitSource {
    /// The repository, as git takes it. It may hold a password, so it is masked when serialised.
    #[serde(serialize_with = "masked")]
    pub remote: String,
    /// Branch, tag or commit; `None` is the repository's default branch.
    pub reference: Option<String>,
    /// The commit that it has to be, or the first digits of it.
    pub checksum: Option<String>,
    /// Only this directory; clean, relative, never empty.
    pub subdir: Option<String>,
    /// Whether `.git` is kept. It is not, if only a directory is wanted.
    pub keep_git_dir: bool,
    /// Whether submodules are fetched, too.
    pub submodules: bool,
    /// What times the files get.
    pub times: Times,
    /// Take the checksum for the commit, and do not ask what the ref is.
    pub fetch_by_commit: bool,
}

impl From<GitUrl> for GitSource {
    fn from(url: GitUrl) -> Self {
        Self {
            keep_git_dir: url.keep_git_dir.unwrap_or(false),
            submodules: url.submodules.unwrap_or(true),
            times: url.times.unwrap_or_default(),
            remote: url.remote,
            reference: url.reference,
            checksum: url.checksum,
            subdir: url.subdir,
            fetch_by_commit: url.fetch_by_commit,
        }
    }
}

impl GitSource {
    /// Repository, ref and directory, fit to be shown.
    pub fn describe(&self) -> String {
        let mut text = redacted(&self.remote);
        if self.reference.is_some() || self.subdir.is_some() {
            text.push('#');
            text.push_str(self.reference.as_deref().unwrap_or_default());
        }
        if let Some(subdir) = &self.subdir {
            text.push(':');
            text.push_str(subdir);
        }
        text
    }
}

/// A file behind a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct HttpSource {
    /// Where. It may hold a password, so it is masked when serialised.
    #[serde(serialize_with = "masked")]
    pub url: String,
    /// What the file is called; a single component.
    pub name: String,
    /// What it has to be.
    pub checksum: Option<Checksum>,
}

impl HttpSource {
    /// The file behind `url`, under the name that its URL ends with.
    pub fn new(url: &str, checksum: Option<Checksum>) -> Self {
        Self { url: url.to_owned(), name: http_url::file_name(url), checksum }
    }

    /// The URL, fit to be shown.
    pub fn describe(&self) -> String {
        redacted(&self.url)
    }
}

fn masked<S: serde::Serializer>(url: &str, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&redacted(url))
}
