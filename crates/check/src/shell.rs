//! The simple commands of a shell script, well enough to see which programs it runs: no expansion, no
//! aliases, no functions.

use std::ops::Range;

/// A command and its words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Command {
    pub(crate) words: Vec<Word>,
}

/// A word without its quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) text: String,
    /// Its place in the script, quotes included.
    pub(crate) range: Range<usize>,
}

/// Words before a program that do not change what is run.
const PREFIXES: [&str; 19] = [
    "!", "{", "command", "do", "elif", "else", "env", "eval", "exec", "if", "nice", "set", "sudo", "then",
    "time", "until", "while", "xargs", "}",
];

impl Command {
    /// The program, without its directory, and what follows it.
    pub(crate) fn program(&self) -> Option<(&str, &[Word])> {
        let skipped = |word: &&Word| PREFIXES.contains(&word.text.as_str()) || is_assignment(&word.text);
        let start = self.words.iter().take_while(skipped).count();
        let (program, arguments) = self.words.get(start..)?.split_first()?;
        Some((program.text.rsplit('/').next().unwrap_or_default(), arguments))
    }

    /// `NAME=value` before the program, or after `export` and the like.
    pub(crate) fn assignments(&self) -> impl Iterator<Item = (&str, &str, &Word)> {
        self.words.iter().filter(|word| is_assignment(&word.text)).filter_map(|word| {
            let (name, value) = word.text.split_once('=')?;
            Some((name, value, word))
        })
    }

    /// Whether the words of `pattern` are the program and arguments, in order; flags between them do not matter.
    pub(crate) fn runs(&self, pattern: &str) -> bool {
        let Some((program, arguments)) = self.program() else { return false };
        let mut wanted = pattern.split(' ');
        if wanted.next() != Some(program) {
            return false;
        }
        let mut given = arguments.iter().map(|word| word.text.as_str()).filter(|word| !word.starts_with('-'));
        wanted.all(|word| given.next() == Some(word))
    }
}

fn is_assignment(word: &str) -> bool {
    let Some((name, _)) = word.split_once('=') else { return false };
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The commands of a script, those in `$(…)` and subshells too, in the order in which they begin.
pub(crate) fn commands(script: &str) -> Vec<Command> {
    let mut reader = Reader::default();
    let mut chars = script.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let next = chars.peek().map(|(_, next)| *next);
        match (reader.quote, c) {
            (Quote::Single, '\'') => reader.quote = Quote::None,
            (Quote::Single, _) => reader.push(at, c),
            (_, '\\') => {
                if let Some((escaped_at, escaped)) = chars.next() {
                    reader.push(at, escaped);
                    reader.extend_to(escaped_at + escaped.len_utf8());
                }
            }
            (_, '$') if next == Some('(') => {
                chars.next();
                reader.open(at);
            }
            (_, '`') => reader.backtick(at),
            (Quote::Double, '"') => reader.quote = Quote::None,
            (Quote::Double, _) => reader.push(at, c),
            (Quote::None, '"') => reader.start_quote(at, Quote::Double),
            (Quote::None, '\'') => reader.start_quote(at, Quote::Single),
            (Quote::None, ')') => reader.close(),
            (Quote::None, ';' | '&' | '|' | '\n' | '(') => reader.end_command(),
            (Quote::None, c) if c.is_whitespace() => reader.end_word(),
            (Quote::None, c) => reader.push(at, c),
        }
        reader.close_word_at(at + c.len_utf8());
    }
    reader.finish()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Quote {
    #[default]
    None,
    Single,
    Double,
}

/// How deep `$(…)` may nest before the rest is taken for one command.
const MAX_DEPTH: usize = 64;

#[derive(Debug, Default)]
struct Reader {
    done: Vec<Command>,
    command: Command,
    word: Option<Word>,
    quote: Quote,
    /// What to go back to when a `$(` is closed.
    outer: Vec<(Command, Option<Word>, Quote)>,
    in_backticks: bool,
}

impl Reader {
    fn word_at(&mut self, at: usize) -> &mut Word {
        self.word.get_or_insert_with(|| Word { text: String::new(), range: at..at })
    }

    fn push(&mut self, at: usize, c: char) {
        self.word_at(at).text.push(c);
    }

    fn extend_to(&mut self, end: usize) {
        if let Some(word) = &mut self.word {
            word.range.end = end;
        }
    }

    fn close_word_at(&mut self, end: usize) {
        if let Some(word) = &mut self.word {
            word.range.end = word.range.end.max(end);
        }
    }

    fn start_quote(&mut self, at: usize, quote: Quote) {
        self.word_at(at);
        self.quote = quote;
    }

    fn end_word(&mut self) {
        if let Some(mut word) = self.word.take() {
            word.range.end = word.range.end.max(word.range.start);
            self.command.words.push(word);
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        let command = std::mem::take(&mut self.command);
        if !command.words.is_empty() {
            self.done.push(command);
        }
    }

    /// `$(`: a command of its own, then the word goes on.
    fn open(&mut self, at: usize) {
        self.word_at(at).text.push_str("$()");
        if self.outer.len() == MAX_DEPTH {
            return;
        }
        let outer = (std::mem::take(&mut self.command), self.word.take(), std::mem::take(&mut self.quote));
        self.outer.push(outer);
    }

    fn close(&mut self) {
        self.end_command();
        if let Some((command, word, quote)) = self.outer.pop() {
            (self.command, self.word, self.quote) = (command, word, quote);
        }
    }

    fn backtick(&mut self, at: usize) {
        match self.in_backticks {
            true => self.close(),
            false => self.open(at),
        }
        self.in_backticks = !self.in_backticks;
    }

    fn finish(mut self) -> Vec<Command> {
        self.end_command();
        while !self.outer.is_empty() {
            self.close();
            self.end_command();
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(script: &str) -> Vec<Vec<String>> {
        let commands = commands(script).into_iter();
        commands.map(|command| command.words.into_iter().map(|word| word.text).collect()).collect()
    }

    #[test]
    fn commands_are_taken_apart() {
        for (script, expected) in [
            ("make", &[&["make"][..]][..]),
            ("a && b||c;d|e &\nf", &[&["a"], &["b"], &["c"], &["d"], &["e"], &["f"]]),
            ("echo 'a;b' \"c && d\" e\\ f", &[&["echo", "a;b", "c && d", "e f"]]),
            ("A=$(uname -m) make x", &[&["uname", "-m"], &["A=$()", "make", "x"]]),
            ("echo \"x-$(arch).tgz\" y", &[&["arch"], &["echo", "x-$().tgz", "y"]]),
            ("echo `arch` y", &[&["arch"], &["echo", "$()", "y"]]),
            ("(cd x; make)", &[&["cd", "x"], &["make"]]),
            ("case $x in amd64) echo a;; esac", &[&["case", "$x", "in", "amd64"], &["echo", "a"], &["esac"]]),
            ("echo 'unclosed", &[&["echo", "unclosed"]]),
            ("echo $(unclosed", &[&["unclosed"], &["echo", "$()"]]),
        ] {
            assert_eq!(words(script), expected, "{script}");
        }
    }

    #[test]
    fn words_have_their_place() {
        let script = "FOO=1 curl \"https://x\" 'y z'";
        let command = &commands(script)[0];
        let places: Vec<&str> = command.words.iter().map(|word| &script[word.range.clone()]).collect();
        assert_eq!(places, ["FOO=1", "curl", "\"https://x\"", "'y z'"]);
    }

    #[test]
    fn a_program_is_found_behind_what_stands_before_it() {
        for (script, pattern, expected) in [
            ("go build ./...", "go build", true),
            ("CGO_ENABLED=0 GOOS=linux /usr/local/go/bin/go -C src build .", "go build", false),
            ("CGO_ENABLED=0 /usr/local/go/bin/go build -o x .", "go build", true),
            ("if ! sudo apt-get -y install x", "apt-get install", true),
            ("echo go build", "go build", false),
            ("go test", "go build", false),
            ("go", "go build", false),
        ] {
            assert_eq!(commands(script)[0].runs(pattern), expected, "{script}");
        }
        let command = &commands("export A=1 B='x y'")[0];
        let assignments: Vec<(&str, &str)> =
            command.assignments().map(|(name, value, _)| (name, value)).collect();
        assert_eq!(assignments, [("A", "1"), ("B", "x y")]);
    }

    proptest! {
        #[test]
        fn any_script_is_taken_apart(script in "[a-z$()`'\"\\\\;&| \n=é]{0,60}") {
            for command in commands(&script) {
                prop_assert!(!command.words.is_empty());
                for word in &command.words {
                    prop_assert!(script.get(word.range.clone()).is_some(), "{:?}", word);
                }
                command.program();
            }
        }
    }
}
