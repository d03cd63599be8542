//! What a git URL means. The forms, the fragment and the query are BuildKit's.
//!
//! ```text
//! https://host/path.git     http://…   the path ends in .git; anything else is a file
//! git://host/path           ssh://user@host/path      user@host:path
//! github.com/owner/name     only as a build context: elsewhere it is a path
//!
//! URL#REF:SUBDIR            URL?branch=…&subdir=…&checksum=…
//! ```

use std::{borrow::Cow, fmt};

use percent_encoding::percent_decode_str;
use serde::Serialize;

/// What times the files of a checkout get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Times {
    /// That of the checkout.
    #[default]
    Checkout,
    /// That of the commit.
    Commit,
}

/// A git repository, and what is wanted of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl {
    /// The repository, as git takes it. May hold a user name and a password.
    pub remote: String,
    /// Branch, tag or commit; `None` is the repository's default branch.
    pub reference: Option<String>,
    /// The commit that it has to be, or the first digits of it.
    pub checksum: Option<String>,
    /// Only this directory; clean, relative, never empty.
    pub subdir: Option<String>,
    /// Whether `.git` is kept, if the URL says so.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, if the URL says so.
    pub submodules: Option<bool>,
    /// What times files get, if the URL says so.
    pub times: Option<Times>,
    /// Take the checksum for the commit, and do not ask what the ref is.
    pub fetch_by_commit: bool,
    /// It is the form `github.com/owner/name`, which could be a path, too.
    pub is_short: bool,
}

/// A git URL that says something impossible.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct GitUrlError {
    /// What is wrong.
    pub problem: GitUrlProblem,
    /// The part of the URL that is wrong, as written.
    pub part: String,
}

impl fmt::Display for GitUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in the git URL, `{}`: {}", self.part, self.problem)
    }
}

/// What is wrong with a git URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitUrlProblem {
    /// An option that does not exist.
    #[error("there is no option of this name")]
    UnknownOption {
        /// One that looks like it.
        nearest: Option<&'static str>,
    },
    /// The same option twice.
    #[error("the option is given several times")]
    Repeated,
    /// An option that needs a value has none.
    #[error("the option has no value")]
    NoValue,
    /// An option has a value that it cannot have.
    #[error("the value is not {expected}")]
    BadValue {
        /// What it can be.
        expected: &'static str,
    },
    /// Two parts of the URL say different things.
    #[error("contradicts `{other}`, which stands in the URL, too")]
    Conflict {
        /// The other part.
        other: String,
    },
    /// A ref that git would take for an option.
    #[error("a ref cannot begin with `-`")]
    BadReference,
    /// `fetch-by-commit` without a commit.
    #[error("needs the whole commit: `checksum=` with 40 (or 64) digits")]
    NeedsCommit,
    /// A `%` without two hexadecimal digits, a `;`, or bytes that are no UTF-8.
    #[error("is not properly encoded")]
    Encoding,
}

/// The options of a query.
const OPTIONS: [&str; 10] = [
    "ref",
    "tag",
    "branch",
    "subdir",
    "checksum",
    "commit",
    "keep-git-dir",
    "submodules",
    "mtime",
    "fetch-by-commit",
];

impl GitUrlError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match &self.problem {
            GitUrlProblem::UnknownOption { nearest: Some(near) } => Some(format!("did you mean `{near}`?")),
            GitUrlProblem::UnknownOption { nearest: None } => {
                Some(format!("there are {}", OPTIONS.join(", ")))
            }
            GitUrlProblem::Encoding => Some("write a `%` as `%25`".to_owned()),
            _ => None,
        }
    }
}

impl GitUrl {
    /// Reads a git URL; `None` if the text is something else, such as a path or the URL of a file.
    ///
    /// # Errors
    /// If it is a git URL, and wrong.
    pub fn parse(text: &str) -> Result<Option<Self>, GitUrlError> {
        let (before, fragment) = cut(text, '#');
        let (before, query) = cut(before, '?');
        let Some(repository) = Repository::parse(before) else { return Ok(None) };
        let mut parsed = Self {
            remote: repository.remote,
            reference: None,
            checksum: None,
            subdir: None,
            keep_git_dir: None,
            submodules: None,
            times: None,
            fetch_by_commit: false,
            is_short: repository.is_short,
        };
        if let Some(fragment) = fragment {
            // That of an SSH address is no URL's, and so not encoded.
            let decoded = if repository.is_encoded { decode(fragment, fragment)? } else { fragment.into() };
            let (reference, subdir) = decoded.split_once(':').unwrap_or((&decoded, ""));
            parsed.reference = Some(reference.to_owned()).filter(|reference| !reference.is_empty());
            parsed.subdir = clean(subdir);
        }
        if let Some(query) = query {
            parsed.load(&Query::parse(query)?)?;
        }
        parsed.check()?;
        Ok(Some(parsed))
    }

    /// Whether the ref is a whole commit.
    pub fn is_pinned(&self) -> bool {
        self.reference.as_deref().is_some_and(is_commit)
    }

    fn load(&mut self, query: &Query) -> Result<(), GitUrlError> {
        for option in &query.0 {
            let value = option.value.as_deref();
            match option.name.as_ref() {
                "ref" => self.refer(option, option.required()?)?,
                "tag" | "branch" => {}
                "subdir" => {
                    let subdir = clean(option.required()?);
                    match (&self.subdir, subdir) {
                        (Some(known), subdir) if subdir.as_ref() != Some(known) => {
                            return Err(option.conflict(known));
                        }
                        (_, subdir) => self.subdir = subdir,
                    }
                }
                "checksum" | "commit" => {
                    let value = option.required()?;
                    let is_hex = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_hexdigit());
                    if !is_hex {
                        return Err(option.wrong("a commit: hexadecimal digits"));
                    }
                    match &self.checksum {
                        Some(known) if known != value => return Err(option.conflict(known)),
                        _ => self.checksum = Some(value.to_owned()),
                    }
                }
                "keep-git-dir" => self.keep_git_dir = Some(option.truth(value)?),
                "submodules" => self.submodules = Some(option.truth(value)?),
                "fetch-by-commit" => self.fetch_by_commit = option.truth(value)?,
                "mtime" => {
                    self.times = Some(match option.required()? {
                        "checkout" => Times::Checkout,
                        "commit" => Times::Commit,
                        _ => return Err(option.wrong("`checkout` or `commit`")),
                    });
                }
                name => {
                    let nearest = OPTIONS
                        .into_iter()
                        .map(|known| (strsim::damerau_levenshtein(known, name), known))
                        .min()
                        .filter(|(distance, _)| *distance <= 2);
                    let problem = GitUrlProblem::UnknownOption { nearest: nearest.map(|(_, known)| known) };
                    return Err(GitUrlError { problem, part: option.text.clone() });
                }
            }
        }
        // They say more than `ref`, so they are compared with what all of them came to.
        let (tag, branch) = (query.get("tag"), query.get("branch"));
        if let (Some(tag), Some(branch)) = (tag, branch) {
            return Err(branch.conflict(&tag.text));
        }
        for (option, prefix) in [(tag, "refs/tags/"), (branch, "refs/heads/")] {
            let Some(option) = option else { continue };
            let value = option.required()?;
            match value.starts_with(prefix) {
                true => self.refer(option, value)?,
                false => self.refer(option, &format!("{prefix}{value}"))?,
            }
        }
        Ok(())
    }

    fn refer(&mut self, option: &Parameter, value: &str) -> Result<(), GitUrlError> {
        match &self.reference {
            Some(known) if known != value => Err(option.conflict(known)),
            _ => {
                self.reference = Some(value.to_owned());
                Ok(())
            }
        }
    }

    fn check(&self) -> Result<(), GitUrlError> {
        let wrong = |problem, part: &str| Err(GitUrlError { problem, part: part.to_owned() });
        if let Some(reference) = self.reference.as_deref().filter(|reference| reference.starts_with('-')) {
            return wrong(GitUrlProblem::BadReference, reference);
        }
        if self.fetch_by_commit && !self.is_pinned() && !self.checksum.as_deref().is_some_and(is_commit) {
            return wrong(GitUrlProblem::NeedsCommit, "fetch-by-commit");
        }
        Ok(())
    }
}

/// Whether a text is a whole commit: 40 lower-case hexadecimal digits, or 64 (SHA-256 repositories).
pub fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The address of a repository.
struct Repository {
    remote: String,
    is_short: bool,
    is_encoded: bool,
}

impl Repository {
    fn parse(text: &str) -> Option<Self> {
        if text.starts_with("./") || text.starts_with("../") || text.chars().any(char::is_control) {
            return None;
        }
        if text.starts_with("github.com/") {
            let remote = format!("https://{text}");
            return Some(Self { remote, is_short: true, is_encoded: true });
        }
        match text.split_once("://") {
            Some((scheme, rest)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                Self::url(&scheme.to_ascii_lowercase(), rest)
            }
            _ => Self::ssh_address(text),
        }
    }

    fn url(scheme: &str, rest: &str) -> Option<Self> {
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let path = percent_decode_str(path).decode_utf8().ok()?;
        let has_host = authority.rsplit('@').next().is_some_and(|host| !host.is_empty());
        let is_git = match scheme {
            "git" | "ssh" => true,
            "http" | "https" => path.ends_with(".git"),
            _ => false,
        };
        // A host that looks like an option would be one to the program that connects.
        let is_option = authority.rsplit('@').next().is_some_and(|host| host.starts_with('-'));
        let is_usable = has_host && !is_option && !authority.contains(char::is_whitespace);
        (is_git && is_usable).then(|| Self {
            remote: format!("{scheme}://{rest}"),
            is_short: false,
            is_encoded: true,
        })
    }

    /// `user@host:path`
    fn ssh_address(text: &str) -> Option<Self> {
        let (user, rest) = text.split_once('@')?;
        let (host, _) = rest.split_once(':')?;
        let is_word = |text: &str, also: &[u8]| {
            let part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || also.contains(&byte);
            !text.is_empty() && !text.starts_with('-') && text.bytes().all(part)
        };
        (is_word(user, b"_") && is_word(host, b".")).then(|| Self {
            remote: text.to_owned(),
            is_short: false,
            is_encoded: false,
        })
    }
}

/// The query of a URL.
struct Query(Vec<Parameter>);

/// `name=value` in a query.
struct Parameter {
    name: String,
    /// `None` where it is empty or not there.
    value: Option<String>,
    /// As written.
    text: String,
}

impl Query {
    fn parse(query: &str) -> Result<Self, GitUrlError> {
        let mut parameters: Vec<Parameter> = Vec::new();
        for text in query.split('&').filter(|text| !text.is_empty()) {
            if text.contains(';') {
                return Err(GitUrlError { problem: GitUrlProblem::Encoding, part: text.to_owned() });
            }
            let (name, value) = cut(text, '=');
            let plus = |part: &str| part.replace('+', " ");
            let name = decode(&plus(name), text)?.into_owned();
            let value = value.map(|value| decode(&plus(value), text).map(Cow::into_owned)).transpose()?;
            if parameters.iter().any(|known| known.name == name) {
                return Err(GitUrlError { problem: GitUrlProblem::Repeated, part: text.to_owned() });
            }
            let value = value.filter(|value| !value.is_empty());
            parameters.push(Parameter { name, value, text: text.to_owned() });
        }
        Ok(Self(parameters))
    }

    fn get(&self, name: &str) -> Option<&Parameter> {
        self.0.iter().find(|parameter| parameter.name == name)
    }
}

impl Parameter {
    fn required(&self) -> Result<&str, GitUrlError> {
        let missing = || GitUrlError { problem: GitUrlProblem::NoValue, part: self.text.clone() };
        self.value.as_deref().ok_or_else(missing)
    }

    /// Go's spellings of a truth value; a name alone means yes.
    fn truth(&self, value: Option<&str>) -> Result<bool, GitUrlError> {
        match value {
            None | Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
            Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
            Some(_) => Err(self.wrong("`true` or `false`")),
        }
    }

    fn wrong(&self, expected: &'static str) -> GitUrlError {
        GitUrlError { problem: GitUrlProblem::BadValue { expected }, part: self.text.clone() }
    }

    fn conflict(&self, other: &str) -> GitUrlError {
        let problem = GitUrlProblem::Conflict { other: other.to_owned() };
        GitUrlError { problem, part: self.text.clone() }
    }
}

/// What is before and what is behind the first `separator`.
fn cut(text: &str, separator: char) -> (&str, Option<&str>) {
    match text.split_once(separator) {
        Some((before, behind)) => (before, Some(behind)),
        None => (text, None),
    }
}

fn decode<'t>(text: &'t str, part: &str) -> Result<Cow<'t, str>, GitUrlError> {
    let wrong = || GitUrlError { problem: GitUrlProblem::Encoding, part: part.to_owned() };
    let is_escape = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(wrong());
    }
    percent_decode_str(text).decode_utf8().map_err(|_| wrong())
}

/// A path inside the repository, without `.`, `..` and double slashes; `None` is the repository.
fn clean(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    (!parts.is_empty()).then(|| parts.join("/"))
}
