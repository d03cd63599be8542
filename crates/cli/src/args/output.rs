//! `--output`: a CSV record of `key=value`, as in buildx; a bare path is a directory, `-` a tar on
//! standard output.

use std::collections::BTreeMap;

use archway_oci::{Platform, Reference, annotations::Annotations};
use archway_orchestrator::request::{Destination, OutputSpec};

use super::{annotation, compression, value};
use crate::error::CliError;

const FLAG: &str = "--output";
const TYPES: [&str; 7] = ["registry", "image", "oci", "docker", "local", "tar", "cacheonly"];

/// All outputs, and what they want of the one image that they are made of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outputs {
    pub(crate) outputs: Vec<OutputSpec>,
    pub(crate) annotations: Annotations,
    /// `rewrite-timestamp=`
    pub(crate) rewrite_timestamps: Option<bool>,
    /// `compression=` and `compression-level=`
    pub(crate) compression: compression::Wanted,
}

/// One output, and what it says of the image.
#[derive(Debug, PartialEq, Eq)]
struct Output {
    spec: OutputSpec,
    annotations: Annotations,
    rewrite_timestamps: Option<bool>,
    compression: compression::Wanted,
}

impl From<OutputSpec> for Output {
    fn from(spec: OutputSpec) -> Self {
        let (annotations, compression) = (Annotations::default(), compression::Wanted::default());
        Self { spec, annotations, rewrite_timestamps: None, compression }
    }
}

/// Parses all outputs. What one image cannot be at the same time is an error.
pub(crate) fn parse_all(given: &[String], platforms: &[Platform]) -> Result<Outputs, CliError> {
    let mut outputs = Vec::with_capacity(given.len());
    let mut annotations: Option<Annotations> = None;
    let mut rewrite_timestamps = None;
    let mut compression = compression::Wanted::default();
    for text in given {
        let Output { spec, annotations: own, rewrite_timestamps: rewrite, compression: wanted } =
            parse(text, platforms)?;
        if let (Some(own), Some(others)) = (rewrite, rewrite_timestamps)
            && own != others
        {
            return Err(different("times", "give all of them the same rewrite-timestamp"));
        }
        rewrite_timestamps = rewrite.or(rewrite_timestamps);
        compression = compression
            .and(wanted)
            .ok_or_else(|| different("compression", "give all of them the same compression"))?;
        if matches!(spec, OutputSpec::Image { .. } | OutputSpec::Registry { .. } | OutputSpec::Oci { .. }) {
            if annotations.as_ref().is_some_and(|others| *others != own) {
                return Err(different("annotations", "give all of them the same, or use --annotation"));
            }
            annotations = Some(own);
        }
        outputs.push(spec);
    }
    Ok(Outputs { outputs, annotations: annotations.unwrap_or_default(), rewrite_timestamps, compression })
}

fn different(what: &str, hint: &str) -> CliError {
    CliError::Usage {
        flag: FLAG,
        message: format!("outputs with different {what} would be different images"),
        hint: Some(hint.to_owned()),
    }
}

/// Parses one `--output`. Keys that its type does not know are errors.
fn parse(text: &str, platforms: &[Platform]) -> Result<Output, CliError> {
    if text == "-" {
        return Ok(OutputSpec::Tar { destination: Destination::Stdout, platform_split: None }.into());
    }
    if !text.contains('=') {
        return Ok(OutputSpec::Local { directory: text.into(), platform_split: None }.into());
    }
    let mut keys = Keys::parse(text)?;
    let kind = keys.take("type").ok_or_else(|| CliError::usage(FLAG, format!("`{text}` has no type=")))?;
    let known: &[&str] = match kind.as_str() {
        "registry" | "image" => &[
            "name",
            "push",
            "push-by-digest",
            "rewrite-timestamp",
            "compression",
            "compression-level",
            "force-compression",
        ],
        "oci" => &[
            "dest",
            "tar",
            "name",
            "rewrite-timestamp",
            "compression",
            "compression-level",
            "force-compression",
        ],
        "docker" => {
            &["dest", "name", "rewrite-timestamp", "compression", "compression-level", "force-compression"]
        }
        "local" | "tar" => &["dest", "platform-split"],
        "cacheonly" => &[],
        other => return Err(value::unknown(FLAG, "output type", other, &TYPES)),
    };
    let annotations = match kind.as_str() {
        "registry" | "image" | "oci" => keys.annotations(platforms)?,
        _ => Annotations::default(),
    };
    keys.check(&kind, known)?;
    let rewrite_timestamps = keys.flag("rewrite-timestamp")?;
    let (form, level) = (keys.take("compression"), keys.take("compression-level"));
    let force = keys.flag("force-compression")?;
    let compression = compression::Wanted::of_keys(FLAG, form.as_deref(), level.as_deref(), force)?;
    let spec = match kind.as_str() {
        "registry" | "image" => {
            let names = keys.names()?;
            let by_digest = keys.flag("push-by-digest")?.unwrap_or(false);
            if keys.flag("push")?.unwrap_or(kind == "registry") {
                OutputSpec::Registry { names, by_digest }
            } else if by_digest {
                return Err(CliError::usage(FLAG, "push-by-digest=true needs push=true"));
            } else {
                OutputSpec::Image { names }
            }
        }
        "oci" => OutputSpec::Oci {
            names: keys.names()?,
            tar: keys.flag("tar")?.unwrap_or(true),
            destination: keys.destination()?.ok_or_else(|| missing_destination("oci"))?,
        },
        "docker" => OutputSpec::Docker {
            names: keys.names()?,
            destination: keys.destination()?.unwrap_or(Destination::Daemon),
        },
        "local" => OutputSpec::Local {
            platform_split: keys.flag("platform-split")?,
            directory: match keys.destination()? {
                Some(Destination::File(path)) => path,
                _ => return Err(missing_destination("local")),
            },
        },
        "tar" => OutputSpec::Tar {
            platform_split: keys.flag("platform-split")?,
            destination: keys.destination()?.ok_or_else(|| missing_destination("tar"))?,
        },
        _ => OutputSpec::CacheOnly,
    };
    if matches!(&spec, OutputSpec::Oci { tar: false, destination: Destination::Stdout, .. }) {
        return Err(CliError::usage(FLAG, "tar=false needs a directory: dest=DIR"));
    }
    Ok(Output { spec, annotations, rewrite_timestamps, compression })
}

fn missing_destination(kind: &str) -> CliError {
    CliError::usage(FLAG, format!("type={kind} needs dest=PATH"))
}

struct Keys(BTreeMap<String, String>);

impl Keys {
    fn parse(text: &str) -> Result<Self, CliError> {
        let mut keys = BTreeMap::new();
        for field in fields(text) {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| CliError::usage(FLAG, format!("`{field}` is not key=value")))?;
            // Annotations are keys of somebody else's, and may have capital letters.
            let name = match key.trim() {
                key if key.starts_with("annotation") => key.to_owned(),
                key => key.to_ascii_lowercase(),
            };
            if keys.insert(name, value.to_owned()).is_some() {
                return Err(CliError::usage(FLAG, format!("`{key}` is given twice")));
            }
        }
        Ok(Self(keys))
    }

    fn check(&self, kind: &str, known: &[&str]) -> Result<(), CliError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(value::unknown(FLAG, &format!("key of type={kind}"), key, known)),
            None => Ok(()),
        }
    }

    /// Takes the keys that are annotations.
    fn annotations(&mut self, platforms: &[Platform]) -> Result<Annotations, CliError> {
        let mut annotations = Annotations::default();
        let mut others = BTreeMap::new();
        for (name, value) in std::mem::take(&mut self.0) {
            match annotation::output_key(FLAG, &name, platforms)? {
                Some((scope, key)) => annotations.set(scope, key, value),
                None => drop(others.insert(name, value)),
            }
        }
        self.0 = others;
        Ok(annotations)
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, CliError> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(CliError::usage(FLAG, format!("{key}={other} is neither true nor false"))),
        }
    }

    fn destination(&mut self) -> Result<Option<Destination>, CliError> {
        match self.take("dest").as_deref() {
            None => Ok(None),
            Some("") => Err(CliError::usage(FLAG, "dest= is empty")),
            Some("-") => Ok(Some(Destination::Stdout)),
            Some(path) => Ok(Some(Destination::File(path.into()))),
        }
    }

    /// Several names stand in one quoted field: `"name=a,b"`.
    fn names(&mut self) -> Result<Vec<Reference>, CliError> {
        let Some(names) = self.take("name") else { return Ok(Vec::new()) };
        names.split(',').map(|name| value::name(FLAG, name.trim())).collect()
    }
}

/// The fields of a CSV record; a field in double quotes may hold commas.
pub(super) fn fields(text: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for character in text.chars() {
        match character {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().expect("never empty").push(other),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs() {
        let file = |path: &str| Destination::File(path.into());
        let reference = |name: &str| name.parse::<Reference>().unwrap();
        let cases = [
            ("out", OutputSpec::Local { directory: "out".into(), platform_split: None }),
            ("-", OutputSpec::Tar { destination: Destination::Stdout, platform_split: None }),
            ("type=cacheonly", OutputSpec::CacheOnly),
            ("type=registry", OutputSpec::Registry { names: vec![], by_digest: false }),
            (
                "type=image,\"name=r.io/a:1,r.io/b:2\",push=true",
                OutputSpec::Registry {
                    names: vec![reference("r.io/a:1"), reference("r.io/b:2")],
                    by_digest: false,
                },
            ),
            ("type=image", OutputSpec::Image { names: vec![] }),
            ("type=oci,dest=x.tar", OutputSpec::Oci { destination: file("x.tar"), tar: true, names: vec![] }),
            (
                "type=oci,dest=x,tar=false,name=r.io/a:1",
                OutputSpec::Oci { destination: file("x"), tar: false, names: vec![reference("r.io/a:1")] },
            ),
            ("type=docker", OutputSpec::Docker { destination: Destination::Daemon, names: vec![] }),
            (
                "type=docker,dest=-,name=a:1",
                OutputSpec::Docker { destination: Destination::Stdout, names: vec![reference("a:1")] },
            ),
            (
                "type=local,dest=x,platform-split=false",
                OutputSpec::Local { directory: "x".into(), platform_split: Some(false) },
            ),
        ];
        for (text, want) in cases {
            assert_eq!(parse(text, &[]).unwrap().spec, want, "{text}");
        }
    }

    #[test]
    fn annotations_are_the_same_for_all_outputs() {
        let parse = |outputs: &[&str]| {
            let outputs: Vec<String> = outputs.iter().map(|&text| text.to_owned()).collect();
            parse_all(&outputs, &[]).map(|given| given.annotations.index())
        };
        let oci = "type=oci,dest=x,annotation-index.Vendor=me";
        let vendor = BTreeMap::from([("Vendor".to_owned(), "me".to_owned())]);
        assert_eq!(parse(&[oci]).unwrap(), vendor);
        assert_eq!(parse(&[oci, "type=local,dest=y"]).unwrap(), vendor);
        assert!(parse(&[oci, "type=registry"]).is_err());
        assert!(parse(&["type=local,dest=y,annotation.a=b"]).is_err());
    }

    #[test]
    fn times_are_the_same_for_all_outputs() {
        let parse = |outputs: &[&str]| {
            let outputs: Vec<String> = outputs.iter().map(|&text| text.to_owned()).collect();
            parse_all(&outputs, &[]).map(|given| given.rewrite_timestamps)
        };
        let kept = "type=oci,dest=x,rewrite-timestamp=false";
        assert_eq!(parse(&["type=image"]).unwrap(), None);
        assert_eq!(parse(&[kept, "type=image"]).unwrap(), Some(false));
        assert_eq!(parse(&["type=image,rewrite-timestamp=true"]).unwrap(), Some(true));
        assert!(parse(&[kept, "type=image,rewrite-timestamp=true"]).is_err());
        assert!(parse(&["type=local,dest=x,rewrite-timestamp=true"]).is_err());
    }

    #[test]
    fn compression_is_the_same_for_all_outputs() {
        let parse = |outputs: &[&str]| {
            let outputs: Vec<String> = outputs.iter().map(|&text| text.to_owned()).collect();
            parse_all(&outputs, &[])?.compression.compression(FLAG)
        };
        let best = "type=oci,dest=x,compression=zstd,compression-level=19,force-compression=false";
        assert_eq!(parse(&[best, "type=image"]).unwrap(), archway_layer::Compression::Zstd { level: 19 });
        assert!(parse(&[best, "type=image,compression=gzip"]).is_err());
        assert!(parse(&["type=image,compression-level=23"]).is_err());
        assert!(parse(&["type=image,force-compression=true"]).is_err());
        assert!(parse(&["type=local,dest=x,compression=zstd"]).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_the_nearest_spelling() {
        let cases = [
            ("type=registy", "unknown output type `registy`", Some("did you mean `registry`?")),
            ("type=oci,desst=x", "unknown key of type=oci `desst`", Some("did you mean `dest`?")),
            ("type=oci", "type=oci needs dest=PATH", None),
            ("dest=x", "`dest=x` has no type=", None),
            ("type=local,dest=-", "type=local needs dest=PATH", None),
            ("type=oci,dest=x,dest=y", "`dest` is given twice", None),
            ("type=oci,dest=x,tar=maybe", "tar=maybe is neither true nor false", None),
            ("type=image,push-by-digest=true", "push-by-digest=true needs push=true", None),
        ];
        for (text, want, want_hint) in cases {
            match parse(text, &[]) {
                Err(CliError::Usage { message, hint, .. }) => {
                    assert_eq!((message.as_str(), hint.as_deref()), (want, want_hint), "{text}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
