//! `archway index verify`

use archway_audit::Policy;
use archway_dockerfile::ignore::IgnorePatterns;
use archway_orchestrator::verify::{AuditSettings, VerifyRequest};
use clap::{Args, ValueEnum};

use super::{Format, ProgressMode, build, value};
use crate::error::CliError;

/// `archway index verify`
#[derive(Debug, Args)]
pub(crate) struct IndexVerifyArgs {
    /// Image: a reference, oci:DIR[:TAG], oci-archive:FILE or docker-archive:FILE
    #[arg(value_name = "IMAGE")]
    image: String,

    /// Platforms to verify, comma-separated or repeated [default: all there are]
    #[arg(short, long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<String>,

    #[command(flatten)]
    audit: AuditArgs,

    /// How the result is shown
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,

    /// How progress is shown
    #[arg(long, value_name = "MODE", default_value = "auto", env = "ARCHWAY_PROGRESS")]
    pub(crate) progress: ProgressMode,
}

/// What to make of files for other machines.
#[derive(Debug, Args)]
struct AuditArgs {
    /// What programs for another machine are: off: not looked for; warn: an error only if the image starts
    /// them; fail: an error
    #[arg(long, value_name = "POLICY", default_value = "warn")]
    audit: AuditPolicy,

    #[command(flatten)]
    allow: AllowArgs,
}

/// The same before a build publishes anything.
#[derive(Debug, Args)]
pub(crate) struct BuildAuditArgs {
    /// What programs for another machine are in new layers: off: not looked for; warn: an error only if the
    /// image starts them; fail: an error
    #[arg(long, value_name = "POLICY", default_value = "warn")]
    verify: AuditPolicy,

    #[command(flatten)]
    allow: AllowArgs,
}

#[derive(Debug, Args)]
struct AllowArgs {
    /// Files that may be for any machine, as in `.dockerignore`: usr/aarch64-linux-gnu, **/prebuilds/**
    #[arg(long, value_name = "PATTERN")]
    audit_allow: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AuditPolicy {
    Off,
    Warn,
    Fail,
}

impl IndexVerifyArgs {
    /// The request these arguments make.
    pub(crate) fn request(&self) -> Result<VerifyRequest, CliError> {
        Ok(VerifyRequest {
            location: value::location("IMAGE", &self.image)?,
            platforms: build::platforms(&self.platform)?,
            audit: settings(self.audit.audit, &self.audit.allow)?,
        })
    }
}

impl BuildAuditArgs {
    /// What to make of files for other machines.
    pub(crate) fn settings(&self) -> Result<AuditSettings, CliError> {
        settings(self.verify, &self.allow)
    }
}

fn settings(policy: AuditPolicy, allow: &AllowArgs) -> Result<AuditSettings, CliError> {
    let patterns = allow.audit_allow.iter().map(|pattern| pattern.trim_start_matches('/'));
    let allowed = IgnorePatterns::from_patterns(patterns);
    Ok(AuditSettings {
        policy: match policy {
            AuditPolicy::Off => Policy::Off,
            AuditPolicy::Warn => Policy::Warn,
            AuditPolicy::Fail => Policy::Fail,
        },
        allowed: allowed.map_err(|error| CliError::usage("--audit-allow", error))?,
    })
}
