//! The instructions and their flags.

use std::fmt;

/// An instruction's first word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is the instruction of that name")]
pub enum Keyword {
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    Label,
    Maintainer,
    OnBuild,
    Run,
    Shell,
    StopSignal,
    User,
    Volume,
    Workdir,
}

/// A flag that an instruction takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlagKind {
    /// Without dashes.
    pub name: &'static str,
    /// What follows it.
    pub value: FlagValue,
}

/// What follows a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagValue {
    /// Nothing, `=true` or `=false`.
    Switch,
    /// `=value`, once.
    One,
    /// `=value`, any number of times.
    Many,
}

const fn switch(name: &'static str) -> FlagKind {
    FlagKind { name, value: FlagValue::Switch }
}

const fn one(name: &'static str) -> FlagKind {
    FlagKind { name, value: FlagValue::One }
}

const fn many(name: &'static str) -> FlagKind {
    FlagKind { name, value: FlagValue::Many }
}

impl Keyword {
    /// All of them, by name.
    pub const ALL: [Self; 18] = [
        Self::Add,
        Self::Arg,
        Self::Cmd,
        Self::Copy,
        Self::Entrypoint,
        Self::Env,
        Self::Expose,
        Self::From,
        Self::Healthcheck,
        Self::Label,
        Self::Maintainer,
        Self::OnBuild,
        Self::Run,
        Self::Shell,
        Self::StopSignal,
        Self::User,
        Self::Volume,
        Self::Workdir,
    ];

    /// As written in capitals.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Arg => "ARG",
            Self::Cmd => "CMD",
            Self::Copy => "COPY",
            Self::Entrypoint => "ENTRYPOINT",
            Self::Env => "ENV",
            Self::Expose => "EXPOSE",
            Self::From => "FROM",
            Self::Healthcheck => "HEALTHCHECK",
            Self::Label => "LABEL",
            Self::Maintainer => "MAINTAINER",
            Self::OnBuild => "ONBUILD",
            Self::Run => "RUN",
            Self::Shell => "SHELL",
            Self::StopSignal => "STOPSIGNAL",
            Self::User => "USER",
            Self::Volume => "VOLUME",
            Self::Workdir => "WORKDIR",
        }
    }

    /// One that is complete.
    pub fn example(self) -> &'static str {
        match self {
            Self::Add => "ADD archive.tar.gz /opt/",
            Self::Arg => "ARG VERSION=1",
            Self::Cmd => "CMD [\"app\", \"--verbose\"]",
            Self::Copy => "COPY app /usr/bin/",
            Self::Entrypoint => "ENTRYPOINT [\"app\"]",
            Self::Env => "ENV NAME=value",
            Self::Expose => "EXPOSE 80 53/udp",
            Self::From => "FROM debian:13 AS build",
            Self::Healthcheck => "HEALTHCHECK --interval=30s CMD curl -f http://localhost/",
            Self::Label => "LABEL name=value",
            Self::Maintainer => "MAINTAINER name",
            Self::OnBuild => "ONBUILD RUN make",
            Self::Run => "RUN make",
            Self::Shell => "SHELL [\"/bin/bash\", \"-c\"]",
            Self::StopSignal => "STOPSIGNAL SIGTERM",
            Self::User => "USER name",
            Self::Volume => "VOLUME /data",
            Self::Workdir => "WORKDIR /app",
        }
    }

    /// The instruction with this name, in any case.
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|keyword| keyword.name().eq_ignore_ascii_case(word))
    }

    /// Whether its arguments may be a JSON array. `HEALTHCHECK` has one behind its `CMD`.
    pub(crate) fn has_exec_form(self) -> bool {
        use Keyword as K;
        matches!(self, K::Add | K::Cmd | K::Copy | K::Entrypoint | K::Run | K::Shell | K::Volume)
    }

    /// Whether here-documents may follow it.
    pub(crate) fn takes_heredocs(self) -> bool {
        matches!(self, Self::Add | Self::Copy | Self::Run)
    }

    /// The flags it takes.
    pub fn flags(self) -> &'static [FlagKind] {
        const ADD: &[FlagKind] = &[
            one("checksum"),
            one("chmod"),
            one("chown"),
            many("exclude"),
            switch("keep-git-dir"),
            switch("link"),
            switch("unpack"),
        ];
        const COPY: &[FlagKind] =
            &[one("chmod"), one("chown"), many("exclude"), one("from"), switch("link"), switch("parents")];
        const FROM: &[FlagKind] = &[one("platform")];
        const HEALTHCHECK: &[FlagKind] =
            &[one("interval"), one("retries"), one("start-interval"), one("start-period"), one("timeout")];
        const RUN: &[FlagKind] = &[many("device"), many("mount"), one("network"), one("security")];
        match self {
            Self::Add => ADD,
            Self::Copy => COPY,
            Self::From => FROM,
            Self::Healthcheck => HEALTHCHECK,
            Self::Run => RUN,
            _ => &[],
        }
    }
}

impl fmt::Display for Keyword {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}
