//! `archway index verify`.

use std::{collections::BTreeMap, fmt::Write as _};

use archway_orchestrator::verify::{self, Finding, Severity, Verification};

use crate::{
    args::{Format, IndexVerifyArgs, RegistryArgs},
    error::{self, CliError},
    table,
};

/// Findings of one kind that are shown of one platform; JSON has all of them.
const MOST_SHOWN: usize = 10;

pub(crate) fn run(args: &IndexVerifyArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let request = args.request()?;
    let verification = super::with_progress(args.progress, registries, async |context| {
        verify::verify(context, &request).await
    })?;
    match args.format {
        Format::Json => {
            anstream::println!("{}", serde_json::to_string_pretty(&verification).expect("plain data"));
        }
        Format::Text => anstream::print!("{}", text(&verification)),
    }
    match verification.count(Severity::Error) {
        0 => Ok(()),
        errors => Err(CliError::NotVerified { name: verification.name, errors }),
    }
}

fn text(verification: &Verification) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Name:    {}", verification.name);
    let _ = writeln!(text, "Digest:  {}\n", verification.digest);
    let mut rows = vec![["PLATFORM", "LAYERS", "PROGRAMS", "SCRIPTS", "RESULT"].map(str::to_owned).to_vec()];
    for image in &verification.platforms {
        let about = |finding: &&Finding| finding.manifest.as_ref() == Some(&image.digest);
        rows.push(vec![
            image.platform.to_string(),
            image.layers.to_string(),
            image.programs.to_string(),
            image.scripts.to_string(),
            result(verification.findings.iter().filter(about)),
        ]);
    }
    text.push_str(&table::render(&rows));
    let layers = if verification.layers == 1 { "layer" } else { "layers" };
    let _ = writeln!(text, "\n{} {layers} read, {}", verification.layers, table::bytes(verification.bytes));
    for (about, findings) in by_subject(&verification.findings) {
        let _ = writeln!(text, "\n{about}");
        text.push_str(&listed(&findings));
    }
    text
}

/// `2 errors, 1 warning`, or `good`.
fn result<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let mut counts: BTreeMap<Severity, usize> = BTreeMap::new();
    for finding in findings.filter(|finding| finding.severity > Severity::Note) {
        *counts.entry(finding.severity).or_default() += 1;
    }
    let count = |(severity, count): (&Severity, &usize)| {
        let plural = if *count == 1 { "" } else { "s" };
        format!("{count} {}{plural}", name(*severity))
    };
    match counts.is_empty() {
        true => "good".to_owned(),
        false => counts.iter().rev().map(count).collect::<Vec<_>>().join(", "),
    }
}

/// By platform in the order of the index, then by manifest, then what is about all.
fn by_subject(findings: &[Finding]) -> Vec<(String, Vec<&Finding>)> {
    let mut groups: Vec<(String, Vec<&Finding>)> = Vec::new();
    for finding in findings {
        let about = match (&finding.platform, &finding.manifest) {
            (Some(platform), _) => platform.specifier(),
            (None, Some(manifest)) => manifest.to_string(),
            (None, None) => "all platforms".to_owned(),
        };
        match groups.iter_mut().find(|(known, _)| *known == about) {
            Some((_, group)) => group.push(finding),
            None => groups.push((about, vec![finding])),
        }
    }
    groups
}

fn listed(findings: &[&Finding]) -> String {
    let mut text = String::new();
    let mut shown: BTreeMap<(Severity, &str), usize> = BTreeMap::new();
    for finding in findings {
        let count = shown.entry((finding.severity, finding.problem.name())).or_default();
        *count += 1;
        if *count > MOST_SHOWN {
            continue;
        }
        let severity = styled(finding.severity);
        let message = error::printable(&finding.problem.to_string());
        let layer = match (&finding.layer, finding.problem.path()) {
            (Some(layer), Some(_)) => format!(" (layer sha256:{})", layer.short()),
            _ => String::new(),
        };
        let _ = writeln!(text, "  {severity}: {message}{layer}");
    }
    for ((severity, check), count) in shown.into_iter().rev().filter(|(_, count)| *count > MOST_SHOWN) {
        let _ =
            writeln!(text, "  {}: {check}: {} more, see --format json", styled(severity), count - MOST_SHOWN);
    }
    text
}

fn name(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    }
}

fn styled(severity: Severity) -> String {
    let color = match severity {
        Severity::Note => anstyle::AnsiColor::BrightGreen,
        Severity::Warning => anstyle::AnsiColor::BrightYellow,
        Severity::Error => anstyle::AnsiColor::BrightRed,
    };
    let style = color.on_default().bold();
    format!("{style}{}{style:#}", name(severity))
}
