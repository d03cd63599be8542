//! `COPY` and `ADD`.

use super::Statement;
use crate::ast::{Copy, Word};
use crate::error::{ParseError, Problem};
use crate::line::Fragment;

pub(super) fn copy(mut statement: Statement<'_>) -> Result<Copy, ParseError> {
    let mut sources = match statement.exec.take() {
        Some(words) => words,
        None => plain_words(&statement)?,
    };
    let count = sources.len() + statement.documents.len();
    let Some(destination) = sources.pop().filter(|_| count > 1) else {
        let expected =
            if count == 0 { "a source and a destination" } else { "a source before the destination" };
        return Err(statement.missing(expected));
    };
    let flags = &statement.flags;
    Ok(Copy {
        sources,
        destination,
        from: flags.value("from"),
        chown: flags.value("chown"),
        chmod: flags.value("chmod"),
        link: flags.switch("link").unwrap_or(false),
        parents: flags.switch("parents").unwrap_or(false),
        exclude: flags.values("exclude"),
        checksum: flags.value("checksum"),
        keep_git_dir: flags.switch("keep-git-dir"),
        unpack: flags.switch("unpack"),
        heredocs: statement.documents.into_iter().map(|document| document.heredoc).collect(),
    })
}

/// The arguments that are no here-documents; the last of them is the destination.
fn plain_words(statement: &Statement<'_>) -> Result<Vec<Word>, ParseError> {
    let arguments = &statement.arguments;
    let mut words: Vec<Fragment<'_>> = Vec::new();
    let mut gap = 0;
    for document in &statement.documents {
        words.extend(arguments.part(gap..document.operator.start).split_blanks());
        gap = document.operator.end;
    }
    let last = arguments.skip(gap).split_blanks();
    if let Some(document) = statement.documents.last().filter(|_| last.is_empty()) {
        let place = arguments.part(document.operator.clone()).span();
        return Err(ParseError::new(Problem::HeredocDestination { keyword: statement.keyword }, place));
    }
    words.extend(last);
    Ok(words.iter().map(Fragment::word).collect())
}
