//! Sources of `ADD` that are not on this machine.

use archway_dockerfile::ast::{Copy, Word};
use archway_remote::{Checksum, GitSource, GitUrl, HttpSource, http_url, redacted};

use crate::{
    error::{LowerError, LowerProblem},
    op::{CopySource, Op, Warning},
    selection::Step,
    stage::StageBuilder,
};

/// Whether a source is a URL or a git repository, and not a path. `github.com/owner/name` is a path.
pub(super) fn is_remote(source: &str) -> bool {
    match GitUrl::parse(source) {
        Ok(Some(url)) => !url.is_short,
        Ok(None) => http_url::is_http(source),
        Err(_) => true,
    }
}

/// A source as the history has it: an image is read by others than those who know a URL's password.
pub(super) fn shown(source: &str) -> String {
    if is_remote(source) { redacted(source) } else { source.to_owned() }
}

/// The flags of `ADD` that are for such sources.
pub(super) struct Flags<'a> {
    checksum: Option<(String, &'a Word)>,
    keep_git_dir: Option<bool>,
    unpack: Option<bool>,
}

impl<'a> Flags<'a> {
    pub(super) fn expand(
        builder: &mut StageBuilder<'_>,
        copy: &'a Copy,
        sources: &[String],
    ) -> Result<Self, LowerError> {
        let value = builder.expander().optional(copy.checksum.as_ref())?.filter(|value| !value.is_empty());
        let checksum = value.zip(copy.checksum.as_ref());
        if let Some((_, word)) = &checksum
            && !matches!(sources, [source] if is_remote(source))
        {
            return Err(LowerError { problem: LowerProblem::ChecksumWithoutUrl, span: word.span });
        }
        let is_git = |source: &String| !matches!(GitUrl::parse(source), Ok(None));
        if copy.keep_git_dir.is_some() && !sources.iter().any(is_git) {
            builder.warn(Warning {
                message: "--keep-git-dir has no effect: no source is a git repository".to_owned(),
                span: Some(copy.destination.span),
                hint: None,
            });
        }
        Ok(Self { checksum, keep_git_dir: copy.keep_git_dir, unpack: copy.unpack })
    }

    /// What is copied, and the node it is copied from; `None` if the source is a path.
    pub(super) fn source(
        &self,
        builder: &mut StageBuilder<'_>,
        step: &Step<'_>,
        source: &str,
        word: &Word,
    ) -> Result<Option<CopySource>, LowerError> {
        let wrong = |error| LowerError { problem: LowerProblem::BadGitUrl(error), span: word.span };
        match GitUrl::parse(source).map_err(wrong)? {
            Some(url) if url.is_short => Ok(None),
            Some(url) => {
                let source = self.git(url, word)?;
                let name = format!("fetch {}", source.describe());
                let node = builder.fetch(step, Op::Git(source), name);
                Ok(Some(CopySource::Node { node, paths: vec![".".to_owned()] }))
            }
            None if http_url::is_http(source) => {
                let source = HttpSource::new(source, self.download_checksum()?);
                let name = format!("download {}", source.describe());
                let node = builder.fetch(step, Op::Http(source), name);
                Ok(Some(CopySource::Download { node, unpack: self.unpack.unwrap_or(false) }))
            }
            None => Ok(None),
        }
    }

    fn git(&self, url: GitUrl, word: &Word) -> Result<GitSource, LowerError> {
        let contradicts = |flag: String, url: String| {
            Err(LowerError { problem: LowerProblem::ContradictsUrl { flag, url }, span: word.span })
        };
        if let (Some(flag), Some(url)) = (self.keep_git_dir, url.keep_git_dir)
            && flag != url
        {
            return contradicts(format!("--keep-git-dir={flag}"), format!("keep-git-dir={url}"));
        }
        if let Some((commit, word)) = &self.checksum {
            if !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let problem = LowerProblem::BadCommit { value: commit.clone() };
                return Err(LowerError { problem, span: word.span });
            }
            if let Some(url) = url.checksum.as_ref().filter(|url| *url != commit) {
                return contradicts(format!("--checksum={commit}"), format!("checksum={url}"));
            }
        }
        let mut source = GitSource::from(url);
        source.keep_git_dir |= self.keep_git_dir.unwrap_or(false);
        if let Some((commit, _)) = &self.checksum {
            source.checksum = Some(commit.clone());
        }
        Ok(source)
    }

    fn download_checksum(&self) -> Result<Option<Checksum>, LowerError> {
        let Some((value, word)) = &self.checksum else { return Ok(None) };
        let wrong = |error| LowerError { problem: LowerProblem::BadChecksum(error), span: word.span };
        value.parse().map(Some).map_err(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::is_remote;

    #[test]
    fn remote_sources_are_told_from_paths() {
        let table = [
            ("https://example.com/a.tar.gz", true),
            ("http://example.com", true),
            ("https://example.com/a.git", true),
            ("https://example.com/a.git#main:sub", true),
            ("https://example.com/a.git?wrong", true),
            ("ssh://git@example.com/a", true),
            ("git@example.com:a/b", true),
            ("ftp://example.com/a", false),
            ("github.com/a/b", false),
            ("a.git", false),
            ("dir/x@1:2", false),
            ("x@dir/1:2", false),
            ("file", false),
        ];
        for (source, expected) in table {
            assert_eq!(is_remote(source), expected, "{source}");
        }
    }
}
