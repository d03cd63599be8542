//! Building one fixture with either program.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use archway_testkit::{Buildkit, Cli};

use crate::{
    fixture::{Fixture, Setting},
    image::Layout,
    servers::Places,
};

/// What became of a build.
pub(crate) enum Outcome {
    Built(Layout),
    /// What the program wrote.
    Refused(String),
}

/// The directories of one fixture: `context`, `context.NAME`, `secret.ID`.
pub(crate) struct Workplace<'a> {
    pub(crate) fixture: &'a Fixture,
    pub(crate) directory: &'a Path,
    pub(crate) places: &'a Places,
}

impl Workplace<'_> {
    /// Builds with BuildKit.
    pub(crate) fn build_theirs(&self, buildkit: &Buildkit) -> Outcome {
        let archive = self.directory.join("theirs.tar");
        let mut command = buildkit.buildctl();
        command.args(["build", "--progress=plain", "--frontend=dockerfile.v0"]);
        command.arg(format!("--local=context={}", self.context("").display()));
        command.arg(format!("--local=dockerfile={}", self.context("").display()));
        let mut output = format!("type=oci,dest={}", archive.display());
        for setting in &self.fixture.settings {
            self.theirs(setting, &mut command, &mut output);
        }
        outcome(&command.arg("--output").arg(output).output().unwrap(), &archive)
    }

    fn theirs(&self, Setting { key, value }: &Setting, command: &mut Command, output: &mut String) {
        let option = |name: &str| format!("--opt={name}{value}");
        match &**key {
            "build-arg" => command.arg(option("build-arg:")),
            "target" => command.arg(option("target=")),
            "platform" => command.arg(option("platform=")),
            "label" => command.arg(option("label:")),
            "network" => command.arg(option("force-network-mode=")),
            "file" => command.arg(option("filename=")),
            "hostname" => command.arg(option("hostname=")),
            "shm-size" => command.arg(option("shm-size=")),
            "ulimit" => command.arg(option("ulimit=")),
            "add-host" => command.arg(format!("--opt=add-hosts={}", value.replacen(':', "=", 1))),
            "allow" => command.arg(format!("--allow={value}")),
            "annotation" => {
                *output += &format!(",annotation.{value}");
                command
            }
            "epoch" => {
                *output += ",rewrite-timestamp=true";
                command.arg(option("build-arg:SOURCE_DATE_EPOCH="))
            }
            "secret" => {
                let (id, file) = self.secret(value);
                command.arg(format!("--secret=id={id},src={}", file.display()))
            }
            "context" => {
                let (name, source) = value.split_once('=').expect("`@ context NAME=SOURCE`");
                match source.strip_prefix("local:") {
                    Some(local) => command
                        .arg(format!("--local={local}={}", self.context(local).display()))
                        .arg(format!("--opt=context:{name}=local:{local}")),
                    None => command.arg(format!("--opt=context:{name}={}", self.named(source))),
                }
            }
            other => panic!("{}: unknown option `{other}`", self.fixture.name),
        };
    }

    /// Builds with Archway: with its own engine, or at a daemon.
    pub(crate) fn build_ours(&self, archway: &Cli, builder: Option<&str>) -> Outcome {
        let archive = self.directory.join("ours.tar");
        let mut command = archway.command();
        command.args(["build", "--progress=plain"]);
        command.args(builder.map(|builder| format!("--builder={builder}")));
        for setting in &self.fixture.settings {
            self.ours(setting, &mut command);
        }
        command.arg("--output").arg(format!("type=oci,dest={}", archive.display()));
        outcome(&command.arg(self.context("")).output().unwrap(), &archive)
    }

    fn ours(&self, Setting { key, value }: &Setting, command: &mut Command) {
        match &**key {
            "build-arg" | "target" | "platform" | "label" | "network" | "shm-size" | "ulimit"
            | "add-host" | "allow" | "annotation" => command.arg(format!("--{key}={value}")),
            "file" => command.arg("--file").arg(self.context("").join(value)),
            "hostname" => command.arg(format!("--build-arg=BUILDKIT_SANDBOX_HOSTNAME={value}")),
            "epoch" => command.arg(format!("--build-arg=SOURCE_DATE_EPOCH={value}")),
            "secret" => {
                let (id, file) = self.secret(value);
                command.arg(format!("--secret=id={id},src={}", file.display()))
            }
            "context" => {
                let (name, source) = value.split_once('=').expect("`@ context NAME=SOURCE`");
                let source = match source.strip_prefix("local:") {
                    Some(local) => self.context(local).display().to_string(),
                    None => self.named(source),
                };
                command.arg(format!("--build-context={name}={source}"))
            }
            other => panic!("{}: unknown option `{other}`", self.fixture.name),
        };
    }

    fn context(&self, name: &str) -> PathBuf {
        self.directory.join(if name.is_empty() { "context".to_owned() } else { format!("context.{name}") })
    }

    fn named(&self, source: &str) -> String {
        self.places.fill(source)
    }

    /// `@ secret ID=VALUE` as a file.
    fn secret<'a>(&self, setting: &'a str) -> (&'a str, PathBuf) {
        let (id, value) = setting.split_once('=').expect("`@ secret ID=VALUE`");
        let file = self.directory.join(format!("secret.{id}"));
        std::fs::write(&file, value).unwrap();
        (id, file)
    }
}

fn outcome(output: &Output, archive: &Path) -> Outcome {
    if output.status.success() {
        let read = Layout::read(archive);
        return Outcome::Built(read.unwrap_or_else(|error| panic!("{}: {error}", archive.display())));
    }
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code != 101), "a crash is no refusal:\n{text}");
    Outcome::Refused(text.into_owned())
}
