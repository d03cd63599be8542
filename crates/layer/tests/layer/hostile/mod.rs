//! Archives made to do harm, and damaged ones.
//!
//! | module | what they try |
//! |---|---|
//! | [`paths`] | to lead out of the directory: names, symbolic links, hard links |
//! | [`markers`] | to hide what they should not: whiteouts, forged marks of overlayfs |
//! | [`headers`] | to be read in two ways, or to want more than they may |
//! | [`streams`] | to end early, to be damaged, to be much larger than they look |
//! | [`combinations`] | all of it at random |

mod combinations;
mod headers;
mod markers;
mod paths;
mod streams;

use std::{fs, os::unix::fs::MetadataExt, path::PathBuf};

use archway_layer::{
    ExtractError, ExtractOptions, Extracted, Ownership, apply_layer,
    archive::{Limits, ReadError},
};
use archway_oci::media_type::LayerCompression;

/// A delta directory next to a directory that must never change.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("temp dir");
        fs::create_dir(dir.path().join("delta")).expect("delta");
        fs::create_dir(dir.path().join("outside")).expect("outside");
        fs::write(dir.path().join("outside/secret"), "untouched").expect("secret");
        Self { dir }
    }

    fn delta(&self) -> PathBuf {
        self.dir.path().join("delta")
    }

    /// The directory outside, as an absolute path.
    fn outside(&self) -> String {
        self.dir.path().join("outside").to_str().expect("UTF-8").to_owned()
    }

    fn apply(&self, bytes: &[u8]) -> Result<Extracted, ExtractError> {
        let result = apply_layer(bytes, LayerCompression::None, &self.delta(), &options());
        self.check();
        result
    }

    fn check(&self) {
        let names: Vec<_> = fs::read_dir(self.dir.path()).expect("list").flatten().collect();
        assert_eq!(names.len(), 2, "something was made beside the delta: {names:?}");
        assert_eq!(fs::read_dir(self.outside()).expect("list").count(), 1);
        let secret = self.dir.path().join("outside/secret");
        assert_eq!(fs::read(&secret).expect("secret"), b"untouched");
        assert_eq!(secret.metadata().expect("secret").nlink(), 1, "the secret has a second name");
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.delta().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

/// Every owner is the one who runs the tests, so that they run as a normal user too.
fn options() -> ExtractOptions {
    ExtractOptions { ownership: Ownership::Squash, ..ExtractOptions::default() }
}

/// What `archive` with limits is refused for.
fn refusal(bytes: &[u8], limits: Limits) -> ReadError {
    let scene = Scene::new();
    let options = ExtractOptions { limits, ..options() };
    match apply_layer(bytes, LayerCompression::None, &scene.delta(), &options) {
        Err(ExtractError::Archive(error)) => error,
        other => panic!("not refused: {other:?}"),
    }
}
