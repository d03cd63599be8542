//! `archway build`.

use archway_check::Report;
use archway_dockerfile::{ast::SourceText, diagnostic::Diagnostic};
use archway_engine::{Lent, NotGiven, StepError};
use archway_graph::NodeId;
use archway_orchestrator::{
    BuildReport, Error, Prepared,
    build::BuildFailure,
    failure::{Failure, RemoteError},
    missing::Missing,
    request::BuildRequest,
    scan::ScanReport,
};
use archway_report::{Event, Events};
use archway_store::{Store, garbage::automatic::Policy};
use serde_json::{Map, Value, json};

use crate::{
    args::{BuildArgs, ProgressMode, RegistryArgs, cache_policy},
    error::{self, CliError, Exit},
    findings,
    progress::{self, Progress},
    session::Session,
};

pub(crate) fn run(args: &BuildArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    if let Some(call) = args.call.call()? {
        return super::check::call(call, &args.checking()?, registries);
    }
    let request = args.request()?;
    let policy = cache_policy::from_environment()?;
    for (flag, path) in [("--metadata-file", &args.metadata_file), ("--iidfile", &args.iidfile)] {
        path.as_deref().map_or(Ok(()), |path| super::check_file(flag, path))?;
    }
    let session = Session::start(registries)?;
    let shown = progress::shown(args.progress());
    let progress = Progress::start(args.progress());
    let context = session.context(progress.events());
    let outcome = session.runtime.block_on(async {
        let interrupt = super::interrupt();
        let prepared = tokio::select! {
            prepared = archway_orchestrator::prepare(&context, &request) => prepared?,
            () = interrupt.cancelled() => return Err(CliError::Reported(Exit::Interrupted)),
        };
        advise(&context.events, &request, &prepared);
        let checked = Checked::new(&prepared, &request)?;
        if shown == ProgressMode::Rawjson {
            checked.tell(&context.events);
        }
        let failed_step = FailedStep::new(&prepared, &request);
        let report = archway_orchestrator::build(&context, &request, prepared, interrupt).await?;
        Ok((report, failed_step, checked))
    });
    progress.finish();
    let (report, failed_step, checked) = outcome?;
    context.store().sync()?;
    let for_people = matches!(shown, ProgressMode::Tty | ProgressMode::Plain);
    if for_people {
        anstream::eprint!("\n{}", progress::summary(&report.platforms));
        for published in &report.published {
            anstream::eprintln!("{}", super::arrow(&published.target));
        }
        checked.show();
    }
    if let Some(scan) = scanned(&report) {
        if for_people {
            anstream::eprint!("\n{}", super::scan::summary(scan));
        }
        super::scan::notes(scan);
    }
    write_files(args, &request, &report)?;
    if let Some(index) = &report.index
        && (report.is_success() || report.is_partial)
        && !BuildArgs::writes_to_stdout(&request)
    {
        anstream::println!("{}", index.digest);
    }
    let result = match report.is_success() {
        true => Ok(()),
        false => {
            let gap = if for_people { "\n" } else { "" };
            anstream::eprintln!("{gap}{}", failed_step.explain(&report).join("\n\n"));
            Err(CliError::Reported(exit(&report)))
        }
    };
    clean_up(context.store(), policy.as_ref(), for_people);
    result
}

/// Keeps the build cache small. The build is over, and its result does not depend on it.
fn clean_up(store: &Store, policy: Option<&Policy>, for_people: bool) {
    match super::cache::collect_if_due(store, policy) {
        Ok(Some(told)) if for_people => anstream::eprintln!("{}", error::note(&told, &[])),
        Ok(_) => {}
        Err(error) => anstream::eprintln!(
            "{}",
            error::note("the build cache could not be cleaned up", &error::chain_of(&error))
        ),
    }
}

/// The vulnerabilities that were found, also if they are why nothing was published.
fn scanned(report: &BuildReport) -> Option<&ScanReport> {
    let offending = report.failures.iter().find_map(|failure| match failure {
        BuildFailure::Output(Error::Vulnerable(scan)) => Some(&**scan),
        _ => None,
    });
    offending.or(report.scan.as_ref())
}

/// What the build ended with. What kept it from publishing weighs more than what it went on without.
fn exit(report: &BuildReport) -> Exit {
    let of = |failure: &BuildFailure| match failure {
        BuildFailure::Platform { .. }
        | BuildFailure::PlatformTimedOut { .. }
        | BuildFailure::TimedOut
        | BuildFailure::Cache(_) => Exit::Failure,
        BuildFailure::Output(error) => match error::exit_of_operation(error) {
            Exit::Verification => Exit::Verification,
            _ => Exit::Failure,
        },
        BuildFailure::Verification { .. } => Exit::Verification,
        BuildFailure::Interrupted => Exit::Interrupted,
    };
    let is_general = |failure: &&BuildFailure| failure.platform().is_none();
    match report.failures.iter().rfind(is_general) {
        Some(failure) => of(failure),
        None if report.is_partial => Exit::Partial,
        None => report.failures.first().map_or(Exit::Success, of),
    }
}

/// What the user should know before the build goes on.
fn advise(events: &Events, request: &BuildRequest, prepared: &Prepared) {
    for warning in &prepared.warnings() {
        let hint = warning.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        events.send(Event::Warning { message: format!("{}{hint}", warning.message) });
    }
    if request.tags.is_empty() && request.outputs.is_empty() {
        let message = "no name and no output: the result stays in the build cache (add -t NAME or -o …)";
        events.send(Event::Warning { message: message.into() });
    }
}

/// What the checks found in the Dockerfile, kept while the build runs.
struct Checked {
    source: SourceText,
    report: Report,
}

impl Checked {
    /// Checks, and ends the build where the Dockerfile says that findings are errors.
    fn new(prepared: &Prepared, request: &BuildRequest) -> Result<Self, CliError> {
        let report = archway_orchestrator::check::of_build(prepared, request)?;
        let checked = Self { source: prepared.dockerfile.source.clone(), report };
        let rules = checked.report.failing_rules();
        if rules.is_empty() {
            return Ok(checked);
        }
        let report = findings::render(&checked.source, &checked.report);
        Err(CliError::Checks { report, rules: rules.join(", ") })
    }

    /// For whoever reads events.
    fn tell(&self, events: &Events) {
        for finding in &self.report.findings {
            events.send(Event::Warning { message: findings::line(&self.source, finding) });
        }
    }

    /// For people, behind everything that tells how the build went, but not behind its error.
    fn show(&self) {
        if !self.report.findings.is_empty() {
            anstream::eprintln!("\n{}", findings::brief(&self.source, &self.report));
        }
    }
}

/// What is needed to show where a step failed, kept while the build runs.
struct FailedStep {
    lent: Lent,
    graph: std::sync::Arc<archway_graph::Graph>,
    dockerfile: std::sync::Arc<archway_dockerfile::ast::Dockerfile>,
    steps: Vec<archway_report::Step>,
    platforms: usize,
}

impl FailedStep {
    fn new(prepared: &Prepared, request: &BuildRequest) -> Self {
        Self {
            lent: request.lent.clone(),
            graph: prepared.graph.clone(),
            dockerfile: prepared.dockerfile.clone(),
            steps: prepared.steps.clone(),
            platforms: prepared.platforms.len(),
        }
    }

    /// The error report at the end of a build: a text for each failure.
    fn explain(&self, report: &BuildReport) -> Vec<String> {
        let mut texts = Vec::new();
        let mut told: Vec<NodeId> = Vec::new();
        for failure in &report.failures {
            if let BuildFailure::Platform { failure: Failure::Here(failure), .. } = failure {
                if told.contains(&failure.node) {
                    continue;
                }
                told.push(failure.node);
            }
            texts.push(self.one(failure, report));
        }
        texts.extend(partial(report));
        texts
    }

    fn one(&self, failure: &BuildFailure, report: &BuildReport) -> String {
        let results = &report.platforms;
        let left = match report.published.is_empty() {
            true => "nothing was published",
            false => "only the outputs listed above were written",
        };
        match failure {
            BuildFailure::Platform { failure: Failure::Here(failure), .. } => {
                self.step(failure, &with_step(report, failure.node))
            }
            BuildFailure::Platform { platform, failure: Failure::Remote(failure) } => {
                self.remote(failure, &results[*platform].platform.to_string())
            }
            BuildFailure::Verification { platform, findings } => {
                let causes: Vec<String> = findings.iter().map(ToString::to_string).collect();
                let message =
                    format!("the image for {} is not what was asked for", results[*platform].platform);
                let hint = (!report.is_partial).then_some("nothing was published");
                error::plain(&message, &causes, hint)
            }
            BuildFailure::PlatformTimedOut { platform, limit } => {
                let platform = &results[*platform].platform;
                let message = format!("{platform}: its time limit of {limit:?} was reached");
                error::plain(&message, &[], Some(&format!("raise --timeout {platform}=…")))
            }
            BuildFailure::Interrupted => error::plain(&format!("interrupted; {left}"), &[], None),
            BuildFailure::TimedOut => {
                let message = format!("the time limit was reached; {left}");
                error::plain(&message, &[], Some("raise --timeout"))
            }
            BuildFailure::Output(error @ Error::Vulnerable(scan)) => {
                format!("{}\n{}", super::scan::offending(scan), error::render_operation(error))
            }
            BuildFailure::Output(error) | BuildFailure::Cache(error) => error::render_operation(error),
        }
    }

    /// What a failed command may have missed, because it can do without.
    fn not_given(&self, failure: &archway_engine::Failure) -> Option<String> {
        let archway_graph::Op::Run(op) = &self.graph.node(failure.node).op else { return None };
        if !matches!(*failure.error, StepError::Exit(_) | StepError::Signal(_)) {
            return None;
        }
        let missing: Vec<String> = self.lent.not_given(op).iter().map(flag).collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    /// A step that failed, and with it `platforms`.
    fn step(&self, failure: &archway_engine::Failure, platforms: &str) -> String {
        let id = archway_engine::step_id(failure.node);
        let step = self.steps.iter().find(|step| step.id == id);
        let place = step.map(|step| progress::step_label(step, self.platforms)).unwrap_or_default();
        let message = format!("{platforms}: {}", failure.error);
        let mut text = last_output(&place, &failure.log_tail);
        let hint = self.not_given(failure).or_else(|| step_hint(&failure.error));
        match self.graph.node(failure.node).span {
            Some(span) => {
                let diagnostic = Diagnostic { message, span, label: label(failure), hint };
                text.push_str(&error::in_source(&self.dockerfile.source, &diagnostic));
            }
            None => text.push_str(&error::plain(&message, &error::chain(&*failure.error), hint.as_deref())),
        }
        text
    }

    /// What happened to a platform elsewhere.
    fn remote(&self, failure: &RemoteError, platform: &str) -> String {
        let message = format!("{platform}: {failure}");
        let hint = error::remote_hint(failure);
        let failed = match failure {
            RemoteError::Solve(error) => error.failed(),
            _ => None,
        };
        let step = failed.and_then(|failed| failed.step.as_deref()).unwrap_or_default();
        let place =
            step.strip_prefix('[').and_then(|step| step.split_once(']')).map_or(step, |(place, _)| place);
        let mut text = failed
            .map(|failed| last_output(&format!("{platform} {place}"), &failed.log_tail))
            .unwrap_or_default();
        let source = &self.dockerfile.source;
        match failed
            .and_then(|failed| failed.place)
            .and_then(|place| source.span_of_lines(place.first, place.last))
        {
            Some(span) => {
                let label = error::chain(failure).pop().unwrap_or_default();
                text.push_str(&error::in_source(source, &Diagnostic { message, span, label, hint }));
            }
            None => text.push_str(&error::plain(&message, &error::chain(failure), hint.as_deref())),
        }
        text
    }
}

/// The end of a step's log.
fn last_output(place: &str, lines: &[String]) -> String {
    if lines.is_empty() {
        return String::new();
    }
    let dim = anstyle::Style::new().dimmed();
    let mut text = format!("{dim}last output of [{place}]:{dim:#}\n");
    for line in lines {
        text.push_str(&format!("{dim}  │{dim:#} {line}\n"));
    }
    text.push('\n');
    text
}

/// The platforms that failed with a step.
fn with_step(report: &BuildReport, step: NodeId) -> String {
    let failed = report.failures.iter().filter_map(|failure| match failure {
        BuildFailure::Platform { platform, failure: Failure::Here(failure) } if failure.node == step => {
            Some(*platform)
        }
        _ => None,
    });
    let names: Vec<String> = failed.map(|index| report.platforms[index].platform.to_string()).collect();
    names.join(", ")
}

/// What was published without some platforms, and how it becomes whole.
fn partial(report: &BuildReport) -> Option<String> {
    if !report.is_partial {
        return None;
    }
    let missing = Missing::of(&report.platforms);
    let names: Vec<String> = missing.platforms().map(ToString::to_string).collect();
    let message = format!("published without {}", names.join(", "));
    let hint = "build again, or add it: `archway index create --append -t NAME NAME@DIGEST`";
    Some(error::plain(&message, &[], Some(hint)))
}

/// How to give a step what it would have got.
fn flag(missing: &NotGiven) -> String {
    match missing {
        NotGiven::Secret(id) => format!("{missing}: --secret id={id},src=FILE"),
        NotGiven::Ssh(id) => format!("{missing}: --ssh {id}"),
    }
}

/// A few words below the line: the innermost cause.
fn label(failure: &archway_engine::Failure) -> String {
    error::chain(&*failure.error).pop().unwrap_or_default()
}

fn step_hint(error: &StepError) -> Option<String> {
    match error {
        StepError::Exit(code) => error::exit_hint(*code),
        StepError::Signal(9) => error::exit_hint(137),
        StepError::OutOfMemory => Some("raise --memory".into()),
        StepError::Source(error) => error::source_hint(error),
        StepError::Pull { source, .. } => source.hint(),
        StepError::Git(_) | StepError::Download(_) => error::fetch_hint(error),
        StepError::Store(error) => error::store_hint(error),
        StepError::SecretMissing { id } => {
            Some(format!("give it with --secret id={id},src=FILE or --secret id={id},env=VARIABLE"))
        }
        StepError::SecretNotText { .. } => Some("mount it as a file: leave env= out".to_owned()),
        StepError::SshMissing { id } => Some(format!("give it with --ssh {id}, if an ssh agent is running")),
        error if error::is_disk_full(error) => Some(error::FULL_DISK.into()),
        _ => None,
    }
}

fn write_files(args: &BuildArgs, request: &BuildRequest, report: &BuildReport) -> Result<(), CliError> {
    if let Some(path) = &args.metadata_file {
        let text = serde_json::to_string_pretty(&metadata(request, report)).expect("plain data");
        super::write_file(path, &(text + "\n"))?;
    }
    if let (Some(path), Some(index)) = (&args.iidfile, &report.index) {
        super::write_file(path, index.digest.as_str())?;
    }
    Ok(())
}

/// buildx's keys, and the platform results.
fn metadata(request: &BuildRequest, report: &BuildReport) -> Value {
    let mut metadata = Map::new();
    if let Some(index) = &report.index {
        metadata.insert("containerimage.digest".into(), json!(index.digest));
        metadata.insert("containerimage.descriptor".into(), json!(index));
    }
    if let [Some(config)] = report.configs.as_slice() {
        metadata.insert("containerimage.config.digest".into(), json!(config.digest));
    }
    if !request.tags.is_empty() {
        let names: Vec<String> = request.tags.iter().map(ToString::to_string).collect();
        metadata.insert("image.name".into(), json!(names.join(",")));
    }
    if let Some(scan) = scanned(report) {
        metadata.insert("vulnerabilities".into(), json!(scan.vulnerabilities));
    }
    for (platform, provenance) in &report.provenance {
        let key = "buildx.build.provenance";
        let key = match report.platforms.len() {
            1 => key.to_owned(),
            _ => format!("{key}/{platform}"),
        };
        metadata.insert(key, provenance.clone());
    }
    metadata.insert("archway.platforms".into(), platforms(report));
    Value::Object(metadata)
}

/// The platform results, with what the files of the images are for.
fn platforms(report: &BuildReport) -> Value {
    let results = report.platforms.iter().map(|result| {
        let audit = report.audits.iter().find(|audit| audit.platform == result.platform);
        let mut result = json!(result);
        if let (Some(audit), Some(fields)) = (audit, result.as_object_mut()) {
            fields.insert("audit".into(), json!(audit));
        }
        result
    });
    results.collect()
}
