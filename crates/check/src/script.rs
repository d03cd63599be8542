//! What a `RUN` gives to the shell, at its place in the file: every byte stands where it stands in the
//! Dockerfile, and what is no part of a command is blank.

use std::ops::Range;

use archway_dockerfile::ast::{Command, Dockerfile, Instruction, Kind, Run, Span};

/// The text of a `RUN`.
#[derive(Debug)]
pub(crate) struct Script {
    text: String,
    start: usize,
}

impl Script {
    /// The script of an instruction; `None` if it is no `RUN`.
    pub(crate) fn of(file: &Dockerfile, instruction: &Instruction) -> Option<Self> {
        let Kind::Run(run) = &instruction.kind else { return None };
        let span = instruction.span;
        let text = file.source.slice(span);
        let documents = run
            .heredocs
            .first()
            .map_or(text.len(), |heredoc| heredoc.span.start.saturating_sub(span.start).min(text.len()));
        let (command, bodies) = text.split_at_checked(documents)?;
        let mut script = String::with_capacity(text.len());
        for line in command.split_inclusive('\n') {
            push_line(&mut script, line, file.escape);
        }
        // In here the shell reads, whatever the Dockerfile's escape character is.
        for line in bodies.split_inclusive('\n') {
            push_line(&mut script, line, '\\');
        }
        let flags = flags_end(&script);
        script.replace_range(..flags, &" ".repeat(flags));
        if let Run { command: Command::Exec(_), .. } = run {
            // The words of the array, as if a shell had to find them.
            script = script.replace(['[', ']', '"', ','], " ");
        }
        Some(Self { text: script, start: span.start })
    }

    /// The text, as long as the instruction is in the file.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The place of a part of the text.
    pub(crate) fn span(&self, range: Range<usize>) -> Span {
        Span { start: self.start + range.start, end: self.start + range.end }
    }
}

/// Keeps a line's length, without comments and continuations. An empty line does not end a command, as
/// one may stand between a continuation and what it continues.
fn push_line(script: &mut String, line: &str, escape: char) {
    let content = line.trim_end_matches(['\r', '\n']);
    let trimmed = content.trim_end_matches([' ', '\t']);
    let (kept, ends) = match trimmed.strip_suffix(escape) {
        _ if trimmed.trim_start().starts_with('#') => ("", false),
        Some(continued) => (continued, false),
        None => (content, !trimmed.is_empty()),
    };
    script.push_str(kept);
    for at in kept.len()..line.len() {
        let is_line_end = ends && at + 1 == line.len();
        script.push(if is_line_end { '\n' } else { ' ' });
    }
}

/// The instruction's name and its flags.
fn flags_end(script: &str) -> usize {
    let word = |from: usize| {
        let rest = script.get(from..).unwrap_or_default();
        let start = from + (rest.len() - rest.trim_start().len());
        let rest = script.get(start..).unwrap_or_default();
        (start, start + rest.find(char::is_whitespace).unwrap_or(rest.len()))
    };
    let (_, mut end) = word(0);
    loop {
        let (start, next) = word(end);
        if !script.get(start..next).is_some_and(|text| text.starts_with("--")) {
            return start;
        }
        end = next;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(run: &str) -> String {
        let file = archway_dockerfile::parse("Dockerfile", &format!("FROM x\n{run}")).unwrap();
        let instruction = &file.stages[0].instructions[0];
        let script = Script::of(&file, instruction).unwrap();
        assert_eq!(script.text().len(), instruction.span.end - instruction.span.start);
        script.text().split(' ').filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn only_commands_are_left() {
        for (run, expected) in [
            ("RUN make", "make"),
            ("run --network=none --mount=type=tmpfs,target=/x make -- all", "make -- all"),
            ("RUN a && \\\n  # no\n\n  b \\\n  c\n", "a && b c"),
            ("RUN [\"go\", \"build\"]", "go build"),
            ("RUN <<E\na \\\n b\n# no\nc\nE\n", "<<E\na b\n c\nE"),
        ] {
            assert_eq!(script(run), expected, "{run:?}");
        }
    }

    #[test]
    fn parts_have_their_place_in_the_file() {
        let text = "FROM x\nRUN é && \\\n  go build\n";
        let file = archway_dockerfile::parse("Dockerfile", text).unwrap();
        let script = Script::of(&file, &file.stages[0].instructions[0]).unwrap();
        let at = script.text().find("go").unwrap();
        let span = script.span(at..at + 2);
        assert_eq!(&text[span.start..span.end], "go");
    }
}
