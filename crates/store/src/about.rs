//! What a snapshot is, in words for people who look at the store, and what it was made on.
//!
//! Nothing that a build does depends on it.

use rusqlite::{
    Connection, OptionalExtension, ToSql, Transaction, params,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::Serialize;

use crate::SnapshotKey;

/// Characters of a description that are kept.
const MAX_DESCRIPTION: usize = 300;

/// What a snapshot is. The first one to make it says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// What made it.
    pub kind: SnapshotKind,
    /// On one line: an instruction, the name of an image, a URL.
    pub description: String,
    /// The platform it was made for; `None` where that makes no difference.
    pub platform: Option<String>,
    /// The snapshot of the step below, without which this one is not found again.
    pub parent: Option<SnapshotKey>,
}

/// What made a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SnapshotKind {
    /// An instruction.
    Step,
    /// A layer of a base image.
    BaseLayer,
    /// A commit of a git repository.
    GitCheckout,
    /// A URL.
    Download,
}

impl SnapshotKind {
    /// Its name in the index, and for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::BaseLayer => "base-layer",
            Self::GitCheckout => "git-checkout",
            Self::Download => "download",
        }
    }

    const ALL: [Self; 4] = [Self::Step, Self::BaseLayer, Self::GitCheckout, Self::Download];
}

impl ToSql for SnapshotKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for SnapshotKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str()?;
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or(FromSqlError::InvalidType)
    }
}

/// Notes what `snapshot` is, unless that is known.
pub(crate) fn note(
    transaction: &Transaction<'_>,
    snapshot: &SnapshotKey,
    about: &About,
) -> rusqlite::Result<()> {
    let description = one_line(&about.description);
    transaction
        .prepare_cached("INSERT OR IGNORE INTO about VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![snapshot, about.kind, description, about.platform, about.parent])
        .map(drop)
}

/// What is known of `snapshot`.
pub(crate) fn find(connection: &Connection, snapshot: &SnapshotKey) -> rusqlite::Result<Option<About>> {
    connection
        .prepare_cached("SELECT kind, description, platform, parent FROM about WHERE snapshot = ?1")?
        .query_row([snapshot], |row| {
            Ok(About {
                kind: row.get(0)?,
                description: row.get(1)?,
                platform: row.get(2)?,
                parent: row.get(3)?,
            })
        })
        .optional()
}

/// Blanks and line breaks become single blanks; what is too long is cut.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if line.len() > 4 * MAX_DESCRIPTION {
            break;
        }
    }
    match line.char_indices().nth(MAX_DESCRIPTION) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_short_and_on_one_line() {
        assert_eq!(one_line(" RUN <<EOF\n  make\t install\nEOF "), "RUN <<EOF make install EOF");
        let long = one_line(&"é".repeat(1000));
        assert_eq!(long.chars().count(), MAX_DESCRIPTION + 1);
        assert!(long.ends_with('…'));
    }

    #[test]
    fn kinds_survive_the_index() {
        for kind in SnapshotKind::ALL {
            assert_eq!(SnapshotKind::column_result(ValueRef::Text(kind.name().as_bytes())), Ok(kind));
        }
    }
}
