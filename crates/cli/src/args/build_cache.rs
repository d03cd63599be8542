//! `--cache-to` and `--cache-from`: CSV records of `key=value`, as in buildx; a bare name is that of a
//! registry.

use std::{collections::BTreeMap, time::Duration};

use archway_engine::Scope;
use archway_layer::Compression;
use archway_oci::Reference;
use archway_orchestrator::cache::{
    Bucket, CacheSpec, CacheTo, Inline, Location,
    spec::{DEFAULT_MAX_AGE, DEFAULT_TAG},
};

use super::{build_arg, compression::Wanted, output::fields, value};
use crate::error::CliError;

const TO: &str = "--cache-to";
const FROM: &str = "--cache-from";
const TYPES: [&str; 4] = ["registry", "local", "inline", "s3"];
/// The build argument that means `--cache-to type=inline`, if there is an image.
pub(super) const INLINE_ARGUMENT: &str = "BUILDKIT_INLINE_CACHE";
/// Keys of every cache that is written to a place of its own.
const EXPORT_KEYS: [&str; 8] = [
    "mode",
    "compression",
    "compression-level",
    "force-compression",
    "oci-mediatypes",
    "image-manifest",
    "ignore-error",
    "max-age",
];
const BUCKET_KEYS: [&str; 12] = [
    "bucket",
    "region",
    "name",
    "prefix",
    "blobs_prefix",
    "manifests_prefix",
    "endpoint_url",
    "use_path_style",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "upload_parallelism",
];
/// The name of a cache in a bucket, if none is given.
const DEFAULT_NAME: &str = "archway";

/// All caches of a build. `inline_argument` is the build argument `BUILDKIT_INLINE_CACHE`.
pub(super) fn parse(
    to: &[String],
    from: &[String],
    inline_argument: Option<&str>,
) -> Result<CacheSpec, CliError> {
    let mut spec = CacheSpec::default();
    if inline_argument.and_then(build_arg::boolean) == Some(true) {
        spec.inline = Inline::IfImage;
    }
    for text in to {
        match parse_to(text)? {
            Some(caches) => spec.to.extend(caches),
            None => spec.inline = Inline::Yes,
        }
    }
    for text in from {
        spec.from.extend(parse_from(text)?);
    }
    Ok(spec)
}

/// `None` is the cache inside the image.
fn parse_to(text: &str) -> Result<Option<Vec<CacheTo>>, CliError> {
    if let Some(references) = references(TO, text)? {
        let at = |reference| CacheTo { location: Location::Registry(reference), ..plain() };
        return Ok(Some(references.into_iter().map(at).collect()));
    }
    let mut keys = Keys::parse(TO, text)?;
    let kind = keys.kind(text)?;
    if kind == "inline" {
        if keys.0.contains_key("mode") {
            let message = "type=inline has no mode: an image holds the results of its own layers";
            let hint = Some("mode=max needs another type, such as registry".to_owned());
            return Err(CliError::Usage { flag: TO, message: message.to_owned(), hint });
        }
        keys.check(&kind, &[])?;
        return Ok(None);
    }
    let own: &[&str] = match kind.as_str() {
        "registry" => &["ref"],
        "local" => &["dest", "tag"],
        _ => &BUCKET_KEYS,
    };
    keys.check(&kind, &[own, EXPORT_KEYS.as_slice()].concat())?;
    for (key, why) in [
        ("oci-mediatypes", "a cache has OCI media types"),
        ("image-manifest", "the entries of a cache are image manifests, which every registry takes"),
    ] {
        if keys.flag(key)? == Some(false) {
            return Err(CliError::usage(TO, format!("{key}=false is not possible: {why}")));
        }
    }
    let cache = CacheTo {
        scope: match keys.take("mode").as_deref() {
            None | Some("min") => Scope::Image,
            Some("max") => Scope::Everything,
            Some(other) => return Err(value::unknown(TO, "mode", other, &["min", "max"])),
        },
        compression: keys.compression()?,
        force_compression: keys.flag("force-compression")?.unwrap_or(false),
        ignore_error: keys.flag("ignore-error")?.unwrap_or(false),
        max_age: keys.duration("max-age")?.unwrap_or(DEFAULT_MAX_AGE),
        location: keys.location(&kind, "dest")?,
    };
    if cache.force_compression && cache.compression.is_none() {
        return Err(CliError::usage(TO, "force-compression=true needs compression="));
    }
    Ok(Some(vec![cache]))
}

fn plain() -> CacheTo {
    CacheTo {
        location: Location::Local { directory: Default::default(), tag: String::new() },
        scope: Scope::Image,
        compression: None,
        force_compression: false,
        ignore_error: false,
        max_age: DEFAULT_MAX_AGE,
    }
}

fn parse_from(text: &str) -> Result<Vec<Location>, CliError> {
    if let Some(references) = references(FROM, text)? {
        return Ok(references.into_iter().map(Location::Registry).collect());
    }
    let mut keys = Keys::parse(FROM, text)?;
    let kind = keys.kind(text)?;
    let own: &[&str] = match kind.as_str() {
        "inline" => {
            return Err(CliError::Usage {
                flag: FROM,
                message: "the cache inside an image is read from where the image is".to_owned(),
                hint: Some("give its name: type=registry,ref=IMAGE".to_owned()),
            });
        }
        "registry" => &["ref"],
        "local" => &["src", "tag"],
        _ => &BUCKET_KEYS,
    };
    keys.check(&kind, own)?;
    Ok(vec![keys.location(&kind, "src")?])
}

/// The names, if there is nothing else.
fn references(flag: &'static str, text: &str) -> Result<Option<Vec<Reference>>, CliError> {
    let fields = fields(text);
    if fields.iter().any(|field| field.contains('=')) {
        return Ok(None);
    }
    fields.iter().map(|field| reference(flag, field)).collect::<Result<_, _>>().map(Some)
}

fn reference(flag: &'static str, text: &str) -> Result<Reference, CliError> {
    match flag {
        TO => value::name(flag, text),
        _ => text.parse().map_err(|error| CliError::usage(flag, error)),
    }
}

struct Keys(BTreeMap<String, String>, &'static str);

impl Keys {
    fn parse(flag: &'static str, text: &str) -> Result<Self, CliError> {
        let mut keys = BTreeMap::new();
        for field in fields(text) {
            // No message repeats a value: it may be a secret.
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| CliError::usage(flag, format!("`{field}` is not key=value")))?;
            let key = key.trim().to_ascii_lowercase();
            if keys.insert(key.clone(), value.to_owned()).is_some() {
                return Err(CliError::usage(flag, format!("`{key}` is given twice")));
            }
        }
        Ok(Self(keys, flag))
    }

    /// The type, which is one that there is.
    fn kind(&mut self, text: &str) -> Result<String, CliError> {
        let flag = self.1;
        let missing = || {
            let keys: Vec<&str> = text.split(',').filter_map(|field| field.split('=').next()).collect();
            CliError::usage(flag, format!("there is no type= beside {}", keys.join(", ")))
        };
        let kind = self.take("type").ok_or_else(missing)?;
        let refuse = |why: &str, hint: &str| {
            Err(CliError::Usage {
                flag,
                message: format!("type={kind} is not supported: {why}"),
                hint: Some(hint.to_owned()),
            })
        };
        match kind.as_str() {
            "gha" => refuse(
                "GitHub's cache service has no documented interface for others than its own actions",
                "use type=registry,ref=ghcr.io/OWNER/REPOSITORY:cache, or type=local with actions/cache",
            ),
            "azblob" => refuse(
                "of object stores, those that speak S3 are",
                "use type=registry with a name in Azure's container registry",
            ),
            known if TYPES.contains(&known) => Ok(kind),
            other => Err(value::unknown(flag, "type of cache", other, &TYPES)),
        }
    }

    fn check(&self, kind: &str, known: &[&str]) -> Result<(), CliError> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(value::unknown(self.1, &format!("key of type={kind}"), key, known)),
            None => Ok(()),
        }
    }

    fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key)
    }

    fn required(&mut self, kind: &str, key: &str) -> Result<String, CliError> {
        let given = self.take(key).filter(|value| !value.is_empty());
        given.ok_or_else(|| CliError::usage(self.1, format!("type={kind} needs {key}=")))
    }

    fn flag(&mut self, key: &str) -> Result<Option<bool>, CliError> {
        match self.take(key).as_deref() {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(other) => Err(CliError::usage(self.1, format!("{key}={other} is neither true nor false"))),
        }
    }

    fn duration(&mut self, key: &str) -> Result<Option<Duration>, CliError> {
        let text = self.take(key);
        let parsed = text.map(|text| value::duration(&text)).transpose();
        parsed.map_err(|problem| CliError::usage(self.1, format!("{key}: {problem}")))
    }

    fn compression(&mut self) -> Result<Option<Compression>, CliError> {
        let (kind, level) = (self.take("compression"), self.take("compression-level"));
        match (&kind, &level) {
            (None, None) => Ok(None),
            (None, Some(_)) => Err(CliError::usage(self.1, "compression-level= needs compression=")),
            _ => {
                let wanted = Wanted::of_keys(self.1, kind.as_deref(), level.as_deref(), None)?;
                wanted.compression(self.1).map(Some)
            }
        }
    }

    fn location(&mut self, kind: &str, directory: &str) -> Result<Location, CliError> {
        Ok(match kind {
            "registry" => Location::Registry(reference(self.1, &self.required(kind, "ref")?)?),
            "local" => Location::Local {
                directory: self.required(kind, directory)?.into(),
                tag: self.take("tag").unwrap_or_else(|| DEFAULT_TAG.to_owned()),
            },
            _ => Location::S3(self.bucket()?),
        })
    }

    fn bucket(&mut self) -> Result<Bucket, CliError> {
        if let Some(parallelism) = self.take("upload_parallelism") {
            let message = format!("upload_parallelism={parallelism} cannot be chosen");
            return Err(CliError::usage(self.1, message));
        }
        let bucket = Bucket {
            bucket: self.required("s3", "bucket")?,
            region: self.take("region"),
            endpoint: self.take("endpoint_url"),
            use_path_style: self.flag("use_path_style")?.unwrap_or(false),
            access_key_id: self.take("access_key_id"),
            secret_access_key: self.take("secret_access_key"),
            session_token: self.take("session_token"),
            prefix: self.take("prefix").unwrap_or_default(),
            blobs_prefix: self.take("blobs_prefix").unwrap_or_else(|| "blobs/".to_owned()),
            manifests_prefix: self.take("manifests_prefix").unwrap_or_else(|| "manifests/".to_owned()),
            name: self.take("name").unwrap_or_else(|| DEFAULT_NAME.to_owned()),
        };
        if bucket.access_key_id.is_some() != bucket.secret_access_key.is_some() {
            return Err(CliError::usage(self.1, "access_key_id= and secret_access_key= go together"));
        }
        Ok(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(to: &[&str], from: &[&str]) -> Result<CacheSpec, (String, Option<String>)> {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        parse(&owned(to), &owned(from), None).map_err(|error| match error {
            CliError::Usage { message, hint, .. } => (message, hint),
            other => (other.to_string(), None),
        })
    }

    fn registry(name: &str) -> Location {
        Location::Registry(name.parse().unwrap())
    }

    #[test]
    fn buildx_spellings() {
        let local =
            |directory: &str, tag: &str| Location::Local { directory: directory.into(), tag: tag.into() };
        let at = |location| CacheTo { location, ..plain() };
        let zstd = Some(Compression::Zstd { level: 7 });
        let cases = [
            ("user/app:cache", at(registry("user/app:cache"))),
            ("type=registry,ref=r.io/a:1", at(registry("r.io/a:1"))),
            (
                "type=registry,ref=r.io/a:1,mode=max,oci-mediatypes=true,image-manifest=true,ignore-error=true",
                CacheTo { scope: Scope::Everything, ignore_error: true, ..at(registry("r.io/a:1")) },
            ),
            (
                "type=local,dest=out,compression=zstd,compression-level=7,force-compression=true,max-age=2h",
                CacheTo {
                    compression: zstd,
                    force_compression: true,
                    max_age: Duration::from_secs(7200),
                    ..at(local("out", "latest"))
                },
            ),
            ("type=local,dest=out,tag=x,mode=min", at(local("out", "x"))),
        ];
        for (text, want) in cases {
            assert_eq!(parsed(&[text], &[]).unwrap().to, [want], "{text}");
        }
        assert!(parsed(&["type=local,dest=out,compression=gzip,compression-level=10"], &[]).is_err());
        assert_eq!(parsed(&["type=inline"], &[]).unwrap().inline, Inline::Yes);
        let from = parsed(&[], &["a:1,b:2", "type=registry,ref=c", "type=local,src=in,tag=x"]).unwrap().from;
        assert_eq!(from, [registry("a:1"), registry("b:2"), registry("c"), local("in", "x")]);
    }

    #[test]
    fn buckets() {
        let text = "type=s3,bucket=b,region=eu-1,name=main,prefix=p/,endpoint_url=http://localhost:9,use_path_style=true,\
                    access_key_id=ID,secret_access_key=SECRET,session_token=TOKEN";
        let [Location::S3(bucket)] = &*parsed(&[], &[text]).unwrap().from else { panic!("no bucket") };
        assert_eq!(bucket.to_string(), "s3://b/p/manifests/main");
        assert_eq!((bucket.region.as_deref(), bucket.use_path_style), (Some("eu-1"), true));
        assert_eq!(bucket.endpoint.as_deref(), Some("http://localhost:9"));
        assert!(!format!("{bucket:?}").contains("SECRET"));
        let (message, _) = parsed(&["type=s3,bucket=b,access_key_id=ID"], &[]).unwrap_err();
        assert_eq!(message, "access_key_id= and secret_access_key= go together");
    }

    #[test]
    fn the_build_argument_is_type_inline() {
        let inline = |value| parse(&[], &[], value).unwrap().inline;
        assert_eq!([None, Some(""), Some("0"), Some("1")].map(inline), {
            use Inline::{IfImage, No};
            [No, No, No, IfImage]
        });
    }

    #[test]
    fn what_is_wrong_is_said_with_the_nearest_spelling() {
        let cases = [
            ("type=registy,ref=a", "unknown type of cache `registy`", Some("did you mean `registry`?")),
            ("type=registry,reff=a", "unknown key of type=registry `reff`", Some("did you mean `ref`?")),
            ("type=registry", "type=registry needs ref=", None),
            ("type=local,src=x", "unknown key of type=local `src`", None),
            ("ref=a,mode=max", "there is no type= beside ref, mode", None),
            ("type=registry,ref=a,mode=maxx", "unknown mode `maxx`", Some("did you mean `max`?")),
            ("type=registry,ref=a,ref=b", "`ref` is given twice", None),
            ("type=local,dest=x,compression-level=3", "compression-level= needs compression=", None),
            ("type=local,dest=x,force-compression=true", "force-compression=true needs compression=", None),
            (
                "type=registry,ref=a,oci-mediatypes=false",
                "oci-mediatypes=false is not possible: a cache has OCI media types",
                None,
            ),
            (
                "type=inline,mode=max",
                "type=inline has no mode: an image holds the results of its own layers",
                Some("mode=max needs another type, such as registry"),
            ),
        ];
        for (text, want, want_hint) in cases {
            let (message, hint) = parsed(&[text], &[]).unwrap_err();
            assert_eq!(message, want, "{text}");
            if want_hint.is_some() {
                assert_eq!(hint.as_deref(), want_hint, "{text}");
            }
        }
        for kind in ["gha", "azblob"] {
            let (message, hint) = parsed(&[], &[&format!("type={kind},scope=x")]).unwrap_err();
            assert!(message.starts_with(&format!("type={kind} is not supported")), "{message}");
            assert!(hint.unwrap().contains("type=registry"));
        }
        assert!(parsed(&[], &["type=inline"]).unwrap_err().1.unwrap().contains("ref=IMAGE"));
    }
}
