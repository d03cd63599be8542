//! What to do about each error of the parser.

use crate::error::Problem;
use crate::keyword::Keyword;
use crate::mount::MountKey;

impl Problem {
    /// What to do; every error has something.
    pub(crate) fn hint(&self) -> String {
        match self {
            Self::TooLarge { .. } | Self::TooManyInstructions { .. } => {
                "split it: build one part as an image, and start the other with FROM that image".to_owned()
            }
            Self::TooManyHeredocs { .. } => "put them into files of the build context".to_owned(),
            Self::NoStage | Self::NoInstructions => {
                "begin with FROM and a base image, or FROM scratch".to_owned()
            }
            Self::BeforeFrom { .. } => "only ARG can stand before the first FROM".to_owned(),
            Self::DuplicateDirective { .. } => "remove one of them".to_owned(),
            Self::InvalidEscape { .. } => "it is a backslash or a backtick, as in `# escape=\\`".to_owned(),
            Self::DanglingContinuation => "remove the escape character".to_owned(),
            Self::UnknownInstruction { nearest: Some(nearest), .. } => format!("did you mean {nearest}?"),
            Self::UnknownInstruction { nearest: None, .. } => {
                let names: Vec<&str> = Keyword::ALL.iter().map(|keyword| keyword.name()).collect();
                format!("instructions are {}", names.join(", "))
            }
            Self::UnknownFlag { nearest: Some(nearest), .. } => format!("did you mean --{nearest}?"),
            Self::UnknownFlag { keyword, nearest: None, .. } => flags(*keyword),
            Self::DuplicateFlag { flag } => format!("keep one --{flag}; it has one value"),
            Self::MissingFlagValue { .. } | Self::MissingMountValue { .. } => {
                "the value follows the equals sign, without a space".to_owned()
            }
            Self::InvalidFlagValue { flag, .. } => format!("leave --{flag} out for its default"),
            Self::UnknownMountOption { nearest: Some(nearest), .. } => format!("did you mean '{nearest}'?"),
            Self::UnknownMountOption { nearest: None, .. } => {
                "options are type, target, source, from, ro, rw, id, sharing, required, size, mode, uid, gid, env"
                    .to_owned()
            }
            Self::DuplicateMountOption { key, .. } => match key {
                MountKey::Target => "target, dst and destination are the same option".to_owned(),
                MountKey::Source => "source and src are the same option".to_owned(),
                MountKey::ReadOnly | MountKey::ReadWrite => "a mount is read-only or writable".to_owned(),
                _ => "keep one of them".to_owned(),
            },
            Self::MalformedMount => {
                r#"quote a whole option that holds commas: --mount=type=bind,\"target=/a,b\""#.to_owned()
            }
            Self::MissingArguments { keyword, .. } | Self::EmptyPath { keyword } => example(*keyword),
            Self::HeredocDestination { .. } => "put the destination path last".to_owned(),
            Self::NotStrings { .. } => "put every element in double quotes".to_owned(),
            Self::NotExecForm { keyword } => format!("write {keyword} [\"program\", \"argument\"]"),
            Self::MissingEquals { .. } => "put a value that has spaces in quotes".to_owned(),
            Self::EmptyName { keyword } => example(*keyword),
            Self::FromArguments => {
                "a stage gets its name behind AS: `FROM debian:13 AS build`; a digest or tag is part of the image"
                    .to_owned()
            }
            Self::InvalidStageName { .. } => {
                "a name begins with a letter and goes on with letters, digits, '-', '_' and '.'".to_owned()
            }
            Self::ForbiddenTrigger { .. } => {
                "a trigger is any instruction but FROM, MAINTAINER and ONBUILD".to_owned()
            }
            Self::NotOneTrigger => "the image has to be built again, with one instruction in each ONBUILD".to_owned(),
            Self::UnterminatedHeredoc { name } => format!("end it with a line that is only {name}"),
            Self::UnknownHealthcheck { word } => format!("to run a command, write HEALTHCHECK CMD {word} …"),
            Self::HealthcheckNoneArguments => {
                "NONE turns the check of the base image off; to run a command, write CMD".to_owned()
            }
        }
    }
}

fn example(keyword: Keyword) -> String {
    format!("for example: {}", keyword.example())
}

fn flags(keyword: Keyword) -> String {
    let flags: Vec<String> = keyword.flags().iter().map(|flag| format!("--{}", flag.name)).collect();
    if flags.is_empty() {
        format!("{keyword} takes no flags; if an argument begins with dashes, put -- before it")
    } else {
        format!("its flags are {}", flags.join(", "))
    }
}
