//! From text to the syntax tree.

use crate::ast::{Dockerfile, Heredoc, Instruction, Kind, SourceText, Span, Spanned, Stage};
use crate::directive::Directives;
use crate::error::{ParseError, Problem};
use crate::flag::Flags;
use crate::heredoc::operators;
use crate::instruction::{self, Document, Statement};
use crate::keyword::Keyword;
use crate::line::{Fragment, Lines, LogicalLine};
use crate::suggestion::nearest;
use crate::word::exec_form;

/// Longest text in bytes.
pub const MAX_TEXT_BYTES: usize = 4 << 20;
/// Most instructions in one Dockerfile.
pub const MAX_INSTRUCTIONS: usize = 20_000;
/// Most here-documents of one instruction.
pub const MAX_HEREDOCS: usize = 256;

/// Parses a Dockerfile. `name` is how to call it in messages.
pub fn parse(name: &str, text: &str) -> Result<Dockerfile, ParseError> {
    parse_source(SourceText::new(name, text))
}

/// Parses a Dockerfile whose text the caller keeps for showing errors.
pub fn parse_source(source: SourceText) -> Result<Dockerfile, ParseError> {
    check_size(&source.text)?;
    let Directives { escape, syntax, check } = Directives::read(&source.text)?;
    let mut parser = Parser::new(&source.text, escape);
    let mut global_args = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    let mut count = 0;
    while let Some((line, keyword)) = parser.next_line()? {
        let fragment = line.fragment();
        count += 1;
        if count > MAX_INSTRUCTIONS {
            let problem = Problem::TooManyInstructions { limit: MAX_INSTRUCTIONS };
            return Err(ParseError::new(problem, fragment.span()));
        }
        if keyword == Keyword::From {
            stages.push(parser.stage(&fragment, stages.len())?);
            continue;
        }
        let instruction = parser.instruction(&fragment, keyword)?;
        match (stages.last_mut(), keyword) {
            (Some(stage), _) => stage.instructions.push(instruction),
            (None, Keyword::Arg) => global_args.push(instruction),
            (None, _) => {
                return Err(ParseError::new(
                    Problem::BeforeFrom { keyword },
                    fragment.split_first().0.span(),
                ));
            }
        }
    }
    if stages.is_empty() {
        let problem = if global_args.is_empty() { Problem::NoInstructions } else { Problem::NoStage };
        let end = source.text.len();
        return Err(ParseError::new(problem, Span { start: end, end }));
    }
    Ok(Dockerfile { source, escape, syntax, check, global_args, stages })
}

/// Parses an `ONBUILD` trigger as an image's configuration stores it: one instruction, which is not
/// `FROM`, `MAINTAINER` or `ONBUILD`. Spans count within the trigger's text. The escape character is
/// `\`, whatever the Dockerfile said that the trigger came from.
pub fn parse_onbuild(text: &str) -> Result<Instruction, ParseError> {
    check_size(text)?;
    let not_one = || ParseError::new(Problem::NotOneTrigger, Span { start: 0, end: text.len() });
    let mut parser = Parser::new(text, '\\');
    let (line, keyword) = parser.next_line()?.ok_or_else(not_one)?;
    let instruction = parser.trigger(&line.fragment(), keyword)?;
    match parser.next_line() {
        Ok(None) => Ok(instruction),
        _ => Err(not_one()),
    }
}

fn check_size(text: &str) -> Result<(), ParseError> {
    if text.len() > MAX_TEXT_BYTES {
        let problem = Problem::TooLarge { limit: MAX_TEXT_BYTES };
        return Err(ParseError::new(problem, Span { start: 0, end: 0 }));
    }
    Ok(())
}

struct Parser<'a> {
    text: &'a str,
    lines: Lines<'a>,
    escape: char,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str, escape: char) -> Self {
        Self { text, lines: Lines::new(text, escape), escape }
    }

    /// The next instruction's text and what instruction it is.
    fn next_line(&mut self) -> Result<Option<(LogicalLine, Keyword)>, ParseError> {
        let Some(line) = self.lines.next_line()? else { return Ok(None) };
        let keyword = keyword(&line.fragment())?;
        Ok(Some((line, keyword)))
    }

    fn stage(&mut self, line: &Fragment<'_>, index: usize) -> Result<Stage, ParseError> {
        let statement = self.statement(line, Keyword::From)?;
        let arguments = statement.arguments.split_blanks();
        let (base, name) = match arguments.as_slice() {
            [] => return Err(statement.missing("an image")),
            [base] => (base, None),
            [base, r#as, name] if r#as.text().eq_ignore_ascii_case("as") => (base, Some(stage_name(name)?)),
            _ => return Err(ParseError::new(Problem::FromArguments, statement.arguments.span())),
        };
        Ok(Stage {
            index,
            name,
            base: base.word(),
            platform: statement.flags.value("platform"),
            span: line.span(),
            instructions: Vec::new(),
        })
    }

    fn instruction(&mut self, line: &Fragment<'_>, keyword: Keyword) -> Result<Instruction, ParseError> {
        if keyword == Keyword::OnBuild {
            return self.onbuild(line);
        }
        let statement = self.statement(line, keyword)?;
        let span = Span { end: statement.end, ..line.span() };
        let text = one_line(line, keyword);
        Ok(Instruction { span, line: text, kind: instruction::kind(statement)? })
    }

    fn onbuild(&mut self, line: &Fragment<'_>) -> Result<Instruction, ParseError> {
        let statement = self.statement(line, Keyword::OnBuild)?;
        if statement.arguments.is_empty() {
            return Err(statement.missing("an instruction"));
        }
        let trigger = self.trigger(&statement.arguments, keyword(&statement.arguments)?)?;
        let span = Span { end: trigger.span.end, ..line.span() };
        let mut text = statement.arguments.to_line_end().text().to_owned();
        for heredoc in trigger.kind.heredocs() {
            // The bodies as they are written: reading the trigger takes the tabs of `<<-` away again.
            let body = self.text.get(heredoc.span.start..heredoc.span.end).unwrap_or_default();
            text.push_str(&format!("\n{body}{}", heredoc.name));
        }
        let kind = Kind::OnBuild { instruction: Box::new(trigger), text };
        Ok(Instruction { span, line: one_line(line, Keyword::OnBuild), kind })
    }

    fn trigger(&mut self, line: &Fragment<'_>, keyword: Keyword) -> Result<Instruction, ParseError> {
        if matches!(keyword, Keyword::From | Keyword::Maintainer | Keyword::OnBuild) {
            let span = line.split_first().0.span();
            return Err(ParseError::new(Problem::ForbiddenTrigger { keyword }, span));
        }
        self.instruction(line, keyword)
    }

    /// Takes an instruction apart, and reads the bodies of its here-documents from the lines that follow.
    fn statement<'l>(&mut self, line: &Fragment<'l>, keyword: Keyword) -> Result<Statement<'l>, ParseError> {
        let (flags, arguments) = Flags::read(keyword, &line.split_first().1, self.escape)?;
        let exec = match keyword.has_exec_form() {
            true => exec_form(&arguments)
                .map_err(|_| ParseError::new(Problem::NotStrings { keyword }, arguments.span()))?,
            false => None,
        };
        let documents = match keyword.takes_heredocs() && exec.is_none() {
            true => self.documents(keyword, &arguments)?,
            false => Vec::new(),
        };
        let end = documents.last().map_or(line.span().end, |document| document.end);
        Ok(Statement {
            keyword,
            name: line.split_first().0,
            flags,
            arguments,
            exec,
            documents,
            escape: self.escape,
            end,
        })
    }

    fn documents(&mut self, keyword: Keyword, arguments: &Fragment<'_>) -> Result<Vec<Document>, ParseError> {
        let operators = operators(arguments.text());
        if operators.len() > MAX_HEREDOCS {
            let problem = Problem::TooManyHeredocs { keyword, limit: MAX_HEREDOCS };
            return Err(ParseError::new(problem, arguments.span()));
        }
        let mut documents = Vec::new();
        for operator in operators {
            let Some((span, end)) = self.lines.heredoc_body(&operator.name, operator.strip_tabs) else {
                let place = arguments.part(operator.range).span();
                return Err(ParseError::new(Problem::UnterminatedHeredoc { name: operator.name }, place));
            };
            let raw = self.text.get(span.start..span.end).unwrap_or_default();
            let body = match operator.strip_tabs {
                true => raw.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect(),
                false => raw.to_owned(),
            };
            let heredoc =
                Heredoc { name: operator.name, body, expand: !operator.quoted, fd: operator.fd, span };
            documents.push(Document { heredoc, operator: operator.range, end });
        }
        Ok(documents)
    }
}

fn keyword(line: &Fragment<'_>) -> Result<Keyword, ParseError> {
    let word = line.split_first().0;
    Keyword::from_name(word.text()).ok_or_else(|| {
        let nearest = nearest(word.text(), Keyword::ALL.into_iter().map(Keyword::name));
        ParseError::new(Problem::UnknownInstruction { word: word.text().to_owned(), nearest }, word.span())
    })
}

/// The instruction for people: as written on one line, its name in capitals.
fn one_line(line: &Fragment<'_>, keyword: Keyword) -> String {
    let name = line.split_first().0;
    let rest = line.skip(name.text().len());
    format!("{keyword}{}", rest.text())
}

fn stage_name(word: &Fragment<'_>) -> Result<Spanned<String>, ParseError> {
    let name = word.text().to_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'));
    if !valid {
        let problem = Problem::InvalidStageName { name: word.text().to_owned() };
        return Err(ParseError::new(problem, word.span()));
    }
    Ok(Spanned { value: name, span: word.span() })
}
