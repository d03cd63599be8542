//! `--attest` and its short forms: CSV records of `key=value`, as in buildx.

use std::collections::BTreeMap;

use archway_attest::provenance::{Mode, Options, Version};
use archway_attest::sbom::Format;
use archway_orchestrator::attest::{AttestSpec, ProvenanceSpec, SbomSpec};
use clap::Args;

use super::{build_arg, output::fields, value};
use crate::error::CliError;

const ATTEST: &str = "--attest";
const PROVENANCE: &str = "--provenance";
const SBOM: &str = "--sbom";
const TYPES: [&str; 2] = ["provenance", "sbom"];
const SBOM_KEYS: [&str; 5] = ["format", "filename", "inline-only", "disabled", "generator"];
const PROVENANCE_KEYS: [&str; 8] =
    ["mode", "version", "builder-id", "reproducible", "timestamps", "filename", "inline-only", "disabled"];

/// What is to be said of the images.
#[derive(Debug, Args)]
pub(crate) struct AttestArgs {
    /// Attest something of every image, beside it in the index: type=provenance|sbom; repeat for several
    #[arg(long, value_name = "type=TYPE,KEY=VALUE,…")]
    attest: Vec<String>,

    /// Attest how every image came to be; short for --attest=type=provenance,…
    #[arg(long, value_name = "true|false|KEY=VALUE,…")]
    provenance: Option<String>,

    /// Attest which packages are in every image: a bill of materials; short for --attest=type=sbom,…
    #[arg(long, value_name = "true|false|format=spdx|cyclonedx,…")]
    sbom: Option<String>,
}

impl AttestArgs {
    /// What these arguments ask for.
    pub(super) fn spec(&self) -> Result<AttestSpec, CliError> {
        let mut records = Vec::new();
        for text in &self.attest {
            records.push(Record::parse(ATTEST, text)?);
        }
        if let Some(text) = &self.provenance {
            records.push(Record::short(PROVENANCE, "provenance", text)?);
        }
        if let Some(text) = &self.sbom {
            records.push(Record::short(SBOM, "sbom", text)?);
        }
        let mut spec = AttestSpec::default();
        let mut given: Vec<String> = Vec::new();
        for record in records {
            if given.contains(&record.kind) {
                return Err(record.refuse(format!("type={} is given twice", record.kind)));
            }
            given.push(record.kind.clone());
            match record.kind.as_str() {
                "provenance" => spec.provenance = provenance(record)?,
                "sbom" => spec.sbom = sbom(record)?,
                other => return Err(value::unknown(record.flag, "type of attestation", other, &TYPES)),
            }
        }
        Ok(spec)
    }
}

fn provenance(mut record: Record) -> Result<Option<ProvenanceSpec>, CliError> {
    record.check(&PROVENANCE_KEYS)?;
    let disabled = record.flag("disabled")?.unwrap_or(false);
    let flag = record.flag;
    let mode = match record.take("mode").as_deref() {
        None | Some("max") => Mode::Max,
        Some("min") => Mode::Min,
        Some(other) => return Err(value::unknown(flag, "mode", other, &["min", "max"])),
    };
    let version = match record.take("version").as_deref() {
        None | Some("v1") => Version::V1,
        Some("v0.2") => Version::V0_2,
        Some(other) => {
            return Err(value::unknown(flag, "version of SLSA provenance", other, &["v1", "v0.2"]));
        }
    };
    let options = Options {
        mode,
        version,
        builder_id: record.take("builder-id").filter(|id| !id.is_empty()),
        reproducible: record.flag("reproducible")?.unwrap_or(false),
    };
    let spec = ProvenanceSpec {
        options,
        timestamps: record.flag("timestamps")?.unwrap_or(false),
        filename: record.file_name()?.unwrap_or_else(|| ProvenanceSpec::default().filename),
        inline_only: record.flag("inline-only")?.unwrap_or(false),
    };
    Ok((!disabled).then_some(spec))
}

fn sbom(mut record: Record) -> Result<Option<SbomSpec>, CliError> {
    record.check(&SBOM_KEYS)?;
    let disabled = record.flag("disabled")?.unwrap_or(false);
    let flag = record.flag;
    if record.take("generator").is_some() {
        return Err(CliError::Usage {
            flag,
            message: "no generator image runs here: packages are read from the image itself".to_owned(),
            hint: Some(
                "leave `generator=` out; `format=spdx` and `format=cyclonedx` choose the document".to_owned(),
            ),
        });
    }
    let format = match record.take("format").as_deref() {
        None | Some("spdx") => Format::Spdx,
        Some("cyclonedx") => Format::CycloneDx,
        Some(other) => return Err(value::unknown(flag, "format", other, &["spdx", "cyclonedx"])),
    };
    let inline_only = record.flag("inline-only")?.unwrap_or(false);
    let given = record.file_name()?;
    let filename = (!inline_only).then(|| given.unwrap_or_else(|| SbomSpec::filename_of(format).to_owned()));
    Ok((!disabled).then_some(SbomSpec { format, filename }))
}

/// One attestation that is asked for.
struct Record {
    flag: &'static str,
    kind: String,
    keys: BTreeMap<String, String>,
}

impl Record {
    /// `type=TYPE,KEY=VALUE,…`
    fn parse(flag: &'static str, text: &str) -> Result<Self, CliError> {
        let mut keys = BTreeMap::new();
        for field in fields(text) {
            let Some((key, value)) = field.split_once('=') else {
                return Err(CliError::usage(flag, format!("`{field}` is not key=value")));
            };
            let key = key.trim().to_ascii_lowercase();
            if keys.insert(key.clone(), value.to_owned()).is_some() {
                return Err(CliError::usage(flag, format!("`{key}` is given twice")));
            }
        }
        let missing = || CliError::usage(flag, format!("`{text}` has no type="));
        let kind = keys.remove("type").ok_or_else(missing)?;
        Ok(Self { flag, kind, keys })
    }

    /// `true`, `false`, or `KEY=VALUE,…` of an attestation whose type the flag says.
    fn short(flag: &'static str, kind: &str, text: &str) -> Result<Self, CliError> {
        let text = match build_arg::boolean(text) {
            Some(wanted) => format!("type={kind},disabled={}", !wanted),
            None => format!("type={kind},{text}"),
        };
        Self::parse(flag, &text)
    }

    fn refuse(&self, message: String) -> CliError {
        CliError::usage(self.flag, message)
    }

    fn check(&self, known: &[&str]) -> Result<(), CliError> {
        match self.keys.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(value::unknown(self.flag, &format!("key of type={}", self.kind), key, known)),
            None => Ok(()),
        }
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.keys.remove(key)
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, CliError> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let wrong = || self.refuse(format!("{key}={text} is neither true nor false"));
        build_arg::boolean(&text).ok_or_else(wrong).map(Some)
    }

    /// `filename=`, which is a name and no path.
    fn file_name(&mut self) -> Result<Option<String>, CliError> {
        let Some(name) = self.take("filename") else { return Ok(None) };
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(self.refuse(format!("filename={name} is not the name of a file")));
        }
        Ok(Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(attest: &[&str], provenance: Option<&str>) -> Result<AttestSpec, CliError> {
        let attest = attest.iter().map(|text| (*text).to_owned()).collect();
        AttestArgs { attest, provenance: provenance.map(str::to_owned), sbom: None }.spec()
    }

    #[test]
    fn provenance_is_asked_for_in_two_ways() {
        let everything = Some(ProvenanceSpec::default());
        let little = Some(ProvenanceSpec {
            options: Options { mode: Mode::Min, version: Version::V0_2, ..Options::default() },
            ..ProvenanceSpec::default()
        });
        let cases = [
            (&[][..], None, None),
            (&[], Some("true"), everything.clone()),
            (&[], Some("1"), everything.clone()),
            (&[], Some("false"), None),
            (&[], Some("mode=min,version=v0.2"), little.clone()),
            (&["type=provenance"], None, everything),
            (&["type=provenance,mode=min,version=v0.2"], None, little),
            (&["type=provenance,disabled=true"], None, None),
        ];
        for (attest, short, want) in cases {
            assert_eq!(parse(attest, short).unwrap().provenance, want, "{attest:?} {short:?}");
        }
        let all = "builder-id=https://ci.example.com/1,reproducible=true,timestamps=true,filename=p.json,\
                   inline-only=true";
        let spec = parse(&[], Some(all)).unwrap().provenance.unwrap();
        assert_eq!(spec.options.builder_id.as_deref(), Some("https://ci.example.com/1"));
        assert!(spec.options.reproducible && spec.timestamps && spec.inline_only);
        assert_eq!(spec.filename, "p.json");
    }

    #[test]
    fn a_bill_of_materials_has_a_format() {
        let parse = |text: &str| {
            AttestArgs { attest: Vec::new(), provenance: None, sbom: Some(text.to_owned()) }.spec()
        };
        let spec = |format, filename: &str| Some(SbomSpec { format, filename: Some(filename.to_owned()) });
        assert_eq!(parse("true").unwrap().sbom, spec(Format::Spdx, "sbom.spdx.json"));
        assert_eq!(parse("format=cyclonedx").unwrap().sbom, spec(Format::CycloneDx, "sbom.cdx.json"));
        assert_eq!(parse("false").unwrap().sbom, None);
        assert_eq!(parse("inline-only=true").unwrap().sbom.unwrap().filename, None);
        for wrong in ["generator=docker/scout-sbom-indexer", "format=csv", "yes"] {
            assert!(matches!(parse(wrong), Err(CliError::Usage { .. })), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            (&["mode=max"][..], None, "`mode=max` has no type=", None),
            (
                &["type=provenanse"],
                None,
                "unknown type of attestation `provenanse`",
                Some("did you mean `provenance`?"),
            ),
            (&[], Some("mode=maximum"), "unknown mode `maximum`", Some("did you mean `max`?")),
            (&[], Some("version=v2"), "unknown version of SLSA provenance `v2`", Some("known: v1, v0.2")),
            (
                &[],
                Some("bilder-id=x"),
                "unknown key of type=provenance `bilder-id`",
                Some("did you mean `builder-id`?"),
            ),
            (&[], Some("reproducible=maybe"), "reproducible=maybe is neither true nor false", None),
            (&[], Some("filename=a/b"), "filename=a/b is not the name of a file", None),
            (&[], Some("yes"), "`yes` is not key=value", None),
            (&["type=provenance"], Some("true"), "type=provenance is given twice", None),
        ];
        for (attest, short, want, want_hint) in cases {
            match parse(attest, short) {
                Err(CliError::Usage { message, hint, .. }) => {
                    assert_eq!((message.as_str(), hint.as_deref()), (want, want_hint));
                }
                other => panic!("{attest:?} {short:?}: {other:?}"),
            }
        }
    }
}
