//! `archway inspect`, `archway index inspect`.

use std::{
    fmt::Write as _,
    io::{IsTerminal as _, Write as _},
};

use archway_orchestrator::inspect::{
    self, Attestation, DocumentKind, Inspection, MissingDocument, PlatformImage, Referrer,
};
use archway_report::Events;

use crate::{
    args::{Format, InspectArgs, RegistryArgs},
    error::CliError,
    session::Session,
    table,
    tree::{self, Node},
};

pub(crate) fn run(args: &InspectArgs, registries: &RegistryArgs) -> Result<(), CliError> {
    let request = args.request()?;
    let session = Session::start(registries)?;
    let context = session.context(Events::ignored());
    session.runtime.block_on(async {
        if args.raw {
            let bytes = inspect::raw(&context, &request).await?;
            let written = std::io::stdout().lock().write_all(&bytes);
            return written.map_err(|source| CliError::File { action: "write", path: "-".into(), source });
        }
        let inspection = inspect::inspect(&context, &request).await?;
        match args.format {
            Format::Json => {
                anstream::println!("{}", serde_json::to_string_pretty(&inspection).expect("plain data"));
            }
            Format::Text => anstream::print!("{}", text(&inspection, width())),
        }
        Ok(())
    })
}

/// Columns of the terminal; `None` where it is read by a program, which gets everything.
fn width() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    terminal_size::terminal_size_of(stdout).map(|(width, _)| width.0.into())
}

fn text(inspection: &Inspection, width: Option<usize>) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "Name:    {}", inspection.name);
    let _ = writeln!(text, "Digest:  {}", inspection.digest);
    let _ = writeln!(text, "Type:    {}", inspection.media_type);
    let _ = writeln!(text, "Size:    {}", size(inspection));
    for (key, value) in &inspection.annotations {
        let _ = writeln!(text, "         {key}={value}");
    }
    text.push('\n');
    text.push_str(&tree::render(&nodes(inspection), width));
    text
}

/// How much there is, and how much of it is stored once for several platforms.
fn size(inspection: &Inspection) -> String {
    let (all, unique) = (table::bytes(inspection.size), table::bytes(inspection.unique_size));
    match inspection.platforms.len() {
        1 => format!("{all} compressed"),
        count if all == unique => format!("{all} compressed, {count} platforms"),
        count => format!("{all} compressed, {count} platforms; {unique} with shared layers counted once"),
    }
}

fn nodes(inspection: &Inspection) -> Vec<Node> {
    let images = inspection.platforms.iter().map(|image| platform(image, &inspection.platforms));
    let others = inspection.others.iter().map(|other| {
        let note = other.artifact_type.as_ref().unwrap_or(&other.media_type);
        Node::leaf("other", other.size, &other.digest).with_note(note)
    });
    images
        .chain(inspection.missing.iter().map(missing))
        .chain(others)
        .chain(inspection.referrers.iter().map(referrer))
        .collect()
}

/// What is named and not there, which an image may be without being wrong in a mirror of some platforms.
fn missing(document: &MissingDocument) -> Node {
    let platform = document.platform.as_ref().map(ToString::to_string);
    let (label, note) = match document.kind {
        DocumentKind::Manifest => (platform.unwrap_or("image".to_owned()), "missing"),
        DocumentKind::Config => (platform.unwrap_or("image".to_owned()), "its config is missing"),
        DocumentKind::Attestation => ("attestation".to_owned(), "missing"),
    };
    Node::leaf(&label, document.size, &document.digest).with_note(note)
}

fn platform(image: &PlatformImage, all: &[PlatformImage]) -> Node {
    let layers = image.layers.iter().map(|layer| {
        let has = |other: &&PlatformImage| other.layers.iter().any(|one| one.digest == layer.digest);
        let others: Vec<String> = all
            .iter()
            .filter(|other| other.digest != image.digest)
            .filter(has)
            .map(|other| other.platform.to_string())
            .collect();
        Node::leaf("layer", layer.size, &layer.digest).with_note(&sharing(&others, all.len()))
    });
    let statements = image.attestations.iter().flat_map(statements);
    let children = layers.chain(statements).chain(image.referrers.iter().map(referrer)).collect();
    let node = Node::leaf(&image.platform.to_string(), image.size, &image.digest).with_children(children);
    match image.config_platform.clone().normalized() == image.platform.clone().normalized() {
        true => node,
        false => node.with_note(&format!("its config says {}", image.config_platform)),
    }
}

/// Who else has a layer.
fn sharing(others: &[String], platforms: usize) -> String {
    match others.len() {
        0 => String::new(),
        count if count + 1 == platforms && platforms > 2 => "in all platforms".to_owned(),
        _ => format!("also in {}", others.join(", ")),
    }
}

fn statements(attestation: &Attestation) -> impl Iterator<Item = Node> {
    attestation.statements.iter().map(|statement| {
        let kind = kind_of_statement(&statement.predicate_type);
        Node::leaf(kind, statement.size, &statement.digest).with_note(&statement.predicate_type)
    })
}

/// What people call a statement with this predicate (in-toto attestation framework, "Predicates").
fn kind_of_statement(predicate_type: &str) -> &'static str {
    let is = |prefix: &str| predicate_type.starts_with(prefix);
    match () {
        () if is("https://slsa.dev/provenance/") => "provenance",
        () if is("https://spdx.dev/") || is("https://cyclonedx.org/") => "SBOM",
        () => "attestation",
    }
}

fn referrer(referrer: &Referrer) -> Node {
    let artifact_type = referrer.artifact_type.as_deref().unwrap_or_default();
    let kind = match artifact_type {
        "application/vnd.dev.cosign.artifact.sig.v1+json" | "application/vnd.cncf.notary.signature" => {
            "signature"
        }
        text if text.starts_with("application/vnd.dev.sigstore.bundle") => "signature",
        _ => "referrer",
    };
    Node::leaf(kind, referrer.size, &referrer.digest)
        .with_note(artifact_type)
        .with_children(referrer.referrers.iter().map(self::referrer).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use archway_oci::Digest;
    use archway_orchestrator::inspect::{LayerInfo, Statement};

    use super::*;

    fn digest(name: &str) -> Digest {
        Digest::sha256(name.as_bytes())
    }

    fn image(platform: &str, layers: &[(&str, u64)]) -> PlatformImage {
        let layer =
            |(name, size): &(&str, u64)| LayerInfo { digest: digest(name), size: *size, shared_by: 1 };
        PlatformImage {
            platform: platform.parse().unwrap(),
            config_platform: platform.parse().unwrap(),
            digest: digest(platform),
            annotations: BTreeMap::new(),
            config: digest("config"),
            size: layers.iter().map(|(_, size)| size).sum(),
            layers: layers.iter().map(layer).collect(),
            created: None,
            command: Vec::new(),
            attestations: Vec::new(),
            referrers: Vec::new(),
        }
    }

    fn inspection() -> Inspection {
        let statement = |predicate_type: &str, size| Statement {
            predicate_type: predicate_type.into(),
            digest: digest(predicate_type),
            size,
        };
        let referrer = |artifact_type: &str, referrers| Referrer {
            artifact_type: Some(artifact_type.into()),
            digest: digest(artifact_type),
            size: 750,
            annotations: BTreeMap::new(),
            referrers,
        };
        let signature = || referrer("application/vnd.dev.sigstore.bundle.v0.3+json", Vec::new());
        let mut amd64 = image("linux/amd64", &[("base", 28_200_000), ("app", 1_900_000)]);
        amd64.attestations = vec![Attestation {
            digest: digest("attestations"),
            statements: vec![
                statement("https://slsa.dev/provenance/v1", 12_100),
                statement("https://spdx.dev/Document", 1_200_000),
            ],
        }];
        amd64.referrers = vec![referrer("application/vnd.example.report", vec![signature()])];
        let mut arm64 = image("linux/arm64", &[("base of arm", 27_000_000), ("app", 1_900_000)]);
        arm64.config_platform = "linux/amd64".parse().unwrap();
        Inspection {
            name: "registry.example/app:1".into(),
            media_type: archway_oci::media_type::OCI_INDEX.into(),
            digest: digest("index"),
            size: 59_000_000,
            unique_size: 57_100_000,
            annotations: [("org.opencontainers.image.version".to_owned(), "1".to_owned())].into(),
            platforms: vec![amd64, arm64],
            missing: vec![MissingDocument {
                kind: DocumentKind::Manifest,
                platform: Some("linux/s390x".parse().unwrap()),
                digest: digest("s390x"),
                size: 480,
            }],
            others: Vec::new(),
            referrers: vec![signature()],
        }
    }

    #[test]
    fn an_image_is_shown_as_a_tree() {
        let shown = anstream::adapter::strip_str(&text(&inspection(), None)).to_string();
        insta::assert_snapshot!("tree", shown);
    }

    #[test]
    fn a_narrow_terminal_gets_short_digests_and_no_broken_lines() {
        for width in [100, 60, 30] {
            let shown = anstream::adapter::strip_str(&text(&inspection(), Some(width))).to_string();
            let (_, tree) = shown.split_once("\n\n").unwrap();
            assert!(tree.lines().all(|line| line.chars().count() <= width), "{tree}");
            insta::assert_snapshot!(format!("tree_{width}"), shown);
        }
    }
}
