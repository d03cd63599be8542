//! `archway check`, and what `archway build --check` and `--call` do in its place.

use archway_check::{KnownBases, lint::LintResults, outline, rules, sarif, targets};
use archway_dockerfile::ast::SourceText;
use archway_oci::Platform;
use archway_orchestrator::check::{self, CheckRequest, Checked, Readable};
use archway_report::Events;

use crate::{
    args::{Call, CheckArgs, CheckFormat, Checking, Input, Method, RegistryArgs},
    error::{self, CliError, Exit},
    findings,
    session::Session,
    table,
};

pub(crate) fn run(args: &CheckArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    if let Some(name) = &args.explain {
        return explain(name);
    }
    if args.list {
        list();
        return Ok(());
    }
    check(&args.checking()?, args.format, registries)
}

/// `archway build --call=…`
pub(crate) fn call(call: Call, checking: &Checking, registries: &RegistryArgs) -> Result<(), CliError> {
    match call.method {
        Method::Check => match check(checking, call.format, registries) {
            Err(CliError::Reported(_)) if call.ignore_status => Ok(()),
            result => result,
        },
        Method::Outline => show_outline(checking, call.format, registries),
        Method::Targets => show_targets(checking, call.format, registries),
    }
}

/// Reads what is to be checked. Fetching needs a session, which is handed on for whoever needs it next.
fn read(input: &Input, registries: &RegistryArgs) -> Result<(Readable, Option<Session>), CliError> {
    let readable = match input {
        Input::Local { context, dockerfile } => check::read_local(context, dockerfile.as_deref())?,
        Input::Stdin => check::read_stdin()?,
        Input::Fetched(build) => {
            let session = Session::start(registries)?;
            let context = session.context(Events::ignored());
            let readable = session.runtime.block_on(check::fetch(&context, build))?;
            return Ok((readable, Some(session)));
        }
    };
    Ok((readable, None))
}

fn check(checking: &Checking, format: CheckFormat, registries: &RegistryArgs) -> Result<(), CliError> {
    let request = &checking.request;
    let (readable, session) = read(&checking.input, registries)?;
    let bases = match request.platforms.as_slice() {
        [] => KnownBases::default(),
        _ => known_bases(&readable, request, session.map_or_else(|| Session::start(registries), Ok)),
    };
    let checked = readable.check(request, &bases)?;
    match format {
        CheckFormat::Text => show(&readable.source, &checked),
        CheckFormat::Json => {
            let mut results = LintResults::new(&readable.source, &checked.report);
            if let Some(error) = &checked.error {
                results = results.with_error(&readable.source, error);
            }
            print_json(&results);
        }
        CheckFormat::Sarif => {
            let version = env!("CARGO_PKG_VERSION");
            print_json(&sarif::log(&readable.source, &checked.report, checked.error.as_ref(), version));
        }
    }
    match checked.report.findings.is_empty() && checked.error.is_none() {
        true => Ok(()),
        false => Err(CliError::Reported(Exit::Failure)),
    }
}

/// Base images that can be looked up. What cannot is told, and makes no difference to the exit code: a
/// check has to work without a network.
fn known_bases(
    readable: &Readable,
    request: &CheckRequest,
    session: Result<Session, CliError>,
) -> KnownBases {
    let session = match session {
        Ok(session) => session,
        Err(error) => {
            anstream::eprintln!("{}", error::note("base images are not looked up", &error::chain_of(&error)));
            return KnownBases::default();
        }
    };
    let context = session.context(Events::ignored());
    let (known, unknown) = session.runtime.block_on(readable.bases(&context, request));
    for base in unknown {
        let message = format!("the base image `{}` cannot be looked up", base.name);
        anstream::eprintln!("{}", error::note(&message, &error::chain_of(&base.cause)));
    }
    known
}

fn show(source: &SourceText, checked: &Checked) {
    if !checked.report.findings.is_empty() {
        anstream::println!("{}\n", findings::render(source, &checked.report));
    }
    match &checked.error {
        Some(error) => anstream::println!("{}", error::in_source(source, error)),
        None => anstream::println!("{}", findings::summary(&checked.report)),
    }
}

fn explain(name: &str) -> Result<(), CliError> {
    let Some(rule) = rules::find(name) else {
        let hint = match rules::nearest(name) {
            Some(rule) => format!("did you mean `{}`?", rule.name),
            None => "`archway check --list` shows all rules".to_owned(),
        };
        let message = format!("no rule is called `{name}`");
        return Err(CliError::Usage { flag: "--explain", message, hint: Some(hint) });
    };
    anstream::print!("{}", findings::explain(rule));
    Ok(())
}

fn list() {
    let mut rows = vec![["RULE", "OF", "WANTS"].map(str::to_owned).to_vec()];
    rows.extend(rules::ALL.into_iter().map(|rule| {
        vec![rule.name.to_owned(), findings::origin(rule).to_owned(), rule.description.to_owned()]
    }));
    anstream::print!("{}", table::render(&rows));
}

fn show_outline(checking: &Checking, format: CheckFormat, registries: &RegistryArgs) -> Result<(), CliError> {
    let (readable, _) = read(&checking.input, registries)?;
    let request = &checking.request;
    let file = readable.dockerfile()?;
    let host = Platform::host();
    let platform = request.platforms.first().unwrap_or(&host);
    let target = request.target.as_deref();
    let Some(outline) = outline::outline(file, target, &request.build_args, platform, &host) else {
        let name = target.unwrap_or_default();
        let known: Vec<&str> =
            file.stages.iter().filter_map(|stage| Some(&*stage.name.as_ref()?.value)).collect();
        return Err(crate::args::unknown("--target", "stage", name, &known));
    };
    if format == CheckFormat::Json {
        print_json(&outline);
        return Ok(());
    }
    let mut sections = Vec::new();
    if !outline.name.is_empty() {
        let mut rows = vec![vec!["TARGET:".to_owned(), outline.name]];
        if !outline.description.is_empty() {
            rows.push(vec!["DESCRIPTION:".to_owned(), outline.description]);
        }
        sections.push(rows);
    }
    let arguments = outline.args.into_iter().map(|arg| vec![arg.name, arg.value, arg.description]);
    sections.push(section(&["BUILD ARG", "VALUE", "DESCRIPTION"], arguments));
    for (title, secrets) in [("SECRET", outline.secrets), ("SSH", outline.ssh)] {
        let required = |is: bool| if is { "true" } else { "" }.to_owned();
        let rows = secrets.into_iter().map(|secret| vec![secret.name, required(secret.required)]);
        sections.push(section(&[title, "REQUIRED"], rows));
    }
    sections.push(section(&["CACHE"], outline.cache.into_iter().map(|cache| vec![cache.id])));
    let shown: Vec<String> =
        sections.iter().filter(|rows| !rows.is_empty()).map(|rows| render(rows)).collect();
    anstream::print!("{}", shown.join("\n"));
    Ok(())
}

/// A table with a header; nothing if there are no rows.
fn section(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        rows.insert(0, header.iter().map(|name| (*name).to_owned()).collect());
    }
    rows
}

fn show_targets(checking: &Checking, format: CheckFormat, registries: &RegistryArgs) -> Result<(), CliError> {
    let (readable, _) = read(&checking.input, registries)?;
    let targets = targets::targets(readable.dockerfile()?);
    if format == CheckFormat::Json {
        print_json(&targets);
        return Ok(());
    }
    let rows = targets.targets.into_iter().map(|target| {
        let name = match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        vec![name, target.description]
    });
    anstream::print!("{}", render(&section(&["TARGET", "DESCRIPTION"], rows)));
    Ok(())
}

/// What a Dockerfile says, made safe for a terminal.
fn render(rows: &[Vec<String>]) -> String {
    let cell = |cell: &String| error::printable(cell);
    table::render(&rows.iter().map(|row| row.iter().map(cell).collect()).collect::<Vec<_>>())
}

fn print_json(value: &impl serde::Serialize) {
    anstream::println!("{}", serde_json::to_string_pretty(value).expect("plain data"));
}
