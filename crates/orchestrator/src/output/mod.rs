//! Where a build's result goes.

use std::path::PathBuf;

use archway_engine::{Built, BuiltImage};
use archway_oci::Reference;

use crate::{
    Context, Error,
    attest::{self, Said},
    build::{Publications, Published},
    cache::Inline,
    index::BuiltIndex,
    request::{BuildRequest, Destination, OutputSpec, PublicationRules},
};

pub(crate) mod archive;
mod daemon;
pub(crate) mod docker;
mod files;
mod oci;
pub(crate) mod registry;
mod statements;
mod store;

pub(crate) use store::fetch_layers;

/// An output, its names complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Names in registries.
    Registry { references: Vec<Reference>, by_digest: bool },
    /// Names in the local store.
    Store { references: Vec<Reference> },
    /// An OCI image layout.
    Oci { destination: Destination, tar: bool, references: Vec<Reference> },
    /// A `docker load` archive of one platform.
    Docker { destination: Destination, references: Vec<Reference> },
    /// The files, in a directory.
    Local { directory: PathBuf, split: bool },
    /// The files, as a tar.
    Tar { destination: Destination, split: bool },
}

impl Target {
    /// Whether it holds the image index.
    pub(crate) fn needs_index(&self) -> bool {
        matches!(self, Self::Registry { .. } | Self::Store { .. } | Self::Oci { .. })
    }

    /// Whether it holds layers.
    pub(crate) fn needs_layers(&self) -> bool {
        self.needs_index() || matches!(self, Self::Docker { .. })
    }

    /// Whether others can see it move: such a target is written after all others.
    fn is_published(&self) -> bool {
        matches!(self, Self::Registry { .. })
    }
}

/// What a build came to.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    /// The platforms, in request order.
    pub(crate) platforms: &'a [Built],
    /// Their images, if they have any.
    pub(crate) images: &'a [BuiltImage],
    /// The index over them, if a target holds one.
    pub(crate) index: Option<&'a BuiltIndex>,
    /// What is said of each platform.
    pub(crate) said: &'a [Vec<Said>],
}

/// A name in each repository that has the image.
pub(crate) fn references_in_registries(targets: &[Target]) -> Vec<Reference> {
    let mut repositories: Vec<Reference> = Vec::new();
    for target in targets {
        let Target::Registry { references, .. } = target else { continue };
        for reference in references {
            if !repositories.iter().any(|known| known.repository_name() == reference.repository_name()) {
                repositories.push(reference.clone());
            }
        }
    }
    repositories
}

/// The outputs of a request, and whether they fit it.
pub(crate) fn targets(request: &BuildRequest) -> Result<Vec<Target>, Error> {
    let with_tags = |names: &[Reference]| {
        let mut references = request.tags.clone();
        references.extend(names.iter().filter(|name| !request.tags.contains(name)).cloned());
        references
    };
    let many = request.platforms.len() > 1;
    let mut targets = Vec::new();
    if request.outputs.is_empty() && !request.tags.is_empty() {
        targets.push(Target::Store { references: request.tags.clone() });
    }
    for output in &request.outputs {
        targets.push(match output {
            OutputSpec::CacheOnly => continue,
            OutputSpec::Image { names } => Target::Store { references: with_tags(names) },
            OutputSpec::Registry { names, by_digest } => {
                Target::Registry { references: with_tags(names), by_digest: *by_digest }
            }
            OutputSpec::Oci { destination, tar, names } => {
                let (destination, tar) = (destination.clone(), *tar);
                Target::Oci { destination, tar, references: with_tags(names) }
            }
            OutputSpec::Docker { destination, names } => {
                Target::Docker { destination: destination.clone(), references: with_tags(names) }
            }
            OutputSpec::Local { directory, platform_split } => {
                Target::Local { directory: directory.clone(), split: platform_split.unwrap_or(many) }
            }
            OutputSpec::Tar { destination, platform_split } => {
                Target::Tar { destination: destination.clone(), split: platform_split.unwrap_or(many) }
            }
        });
    }
    for target in &targets {
        check(target, many)?;
    }
    check_publication(&request.publication, &targets)?;
    if !request.attestations.is_empty() && !targets.iter().any(attest::can_hold) {
        return Err(Error::Output {
            message: "there is no output that holds attestations".to_owned(),
            hint: Some(
                "they are beside an image with a name (-t NAME, -o type=oci), or among the files of type=local \
                 and type=tar; a Docker archive holds none"
                    .to_owned(),
            ),
        });
    }
    if request.cache.inline == Inline::Yes && !targets.iter().any(Target::needs_layers) {
        return Err(Error::Output {
            message: "there is no image that could hold the build cache".to_owned(),
            hint: Some("name an image with -t, or use another cache than type=inline".to_owned()),
        });
    }
    Ok(targets)
}

/// Rules for a publication that does not take place would be ignored.
fn check_publication(rules: &PublicationRules, targets: &[Target]) -> Result<(), Error> {
    let tags: Vec<&Reference> = targets
        .iter()
        .filter_map(|target| match target {
            Target::Registry { references, by_digest: false } => Some(references),
            _ => None,
        })
        .flatten()
        .collect();
    rules.check(targets.iter().any(Target::is_published), &tags, "add `--push`, or leave it out")
}

fn check(target: &Target, many: bool) -> Result<(), Error> {
    let refuse = |message: &str, hint: &str| {
        Err(Error::Output { message: message.to_owned(), hint: Some(hint.to_owned()) })
    };
    match target {
        Target::Registry { references, .. } | Target::Store { references } if references.is_empty() => {
            refuse("the image has no name", "add `-t NAME[:TAG]`, or `name=` to the output")
        }
        Target::Docker { destination: Destination::File(_) | Destination::Stdout, .. } if many => refuse(
            "a Docker archive holds one platform",
            "use `-o type=oci,dest=FILE` for all of them, or one `--platform`",
        ),
        Target::Local { split: false, .. } | Target::Tar { split: false, .. } if many => refuse(
            "the files of several platforms would overwrite each other",
            "leave `platform-split=false` out",
        ),
        _ => Ok(()),
    }
}

/// Writes every target; what others can see moves last.
pub(crate) async fn write_all(
    context: &Context,
    rules: &PublicationRules,
    targets: &[Target],
    product: Product<'_>,
    pushes: registry::LayerPushes,
    publications: &mut Publications<'_>,
) -> Result<(), Error> {
    for target in targets.iter().filter(|target| !target.is_published()) {
        for one in write(context, target, product).await? {
            publications.add(one);
        }
    }
    let registries: Vec<&Target> = targets.iter().filter(|target| target.is_published()).collect();
    if let (Some(index), false) = (product.index, registries.is_empty()) {
        let images = product.images;
        let publication = registry::Publication { context, pushes: &pushes, images, index, rules };
        publication.publish(&registries, publications).await?;
    }
    Ok(())
}

async fn write(context: &Context, target: &Target, product: Product<'_>) -> Result<Vec<Published>, Error> {
    let images = product.images;
    match (target, product.index) {
        (Target::Store { references }, Some(index)) => store::write(context, references, images, index).await,
        (Target::Oci { destination, tar, references }, Some(index)) => {
            oci::write(context, destination, *tar, references, images, index).await
        }
        (Target::Docker { destination, references }, _) => {
            docker::write(context, destination, references, images).await
        }
        (Target::Local { directory, split }, _) => files::local(context, directory, *split, product).await,
        (Target::Tar { destination, split }, _) => files::tar(context, destination, *split, product).await,
        (Target::Registry { .. } | Target::Store { .. } | Target::Oci { .. }, _) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::fixtures::request;

    fn names(target: &Target) -> Vec<String> {
        match target {
            Target::Registry { references, .. }
            | Target::Store { references }
            | Target::Oci { references, .. }
            | Target::Docker { references, .. } => references.iter().map(ToString::to_string).collect(),
            Target::Local { .. } | Target::Tar { .. } => Vec::new(),
        }
    }

    #[test]
    fn a_tag_without_an_output_goes_to_the_local_store() {
        let mut request = request(&["linux/amd64"]);
        assert_eq!(targets(&request).unwrap(), []);
        request.tags = vec!["app:1".parse().unwrap()];
        let targets = targets(&request).unwrap();
        assert!(matches!(targets.as_slice(), [Target::Store { .. }]));
        assert_eq!(names(&targets[0]), ["docker.io/library/app:1"]);
    }

    #[test]
    fn tags_and_names_are_joined_once() {
        let mut request = request(&["linux/amd64"]);
        request.tags = vec!["r.io/a:1".parse().unwrap(), "r.io/a:2".parse().unwrap()];
        let given: Vec<Reference> = vec!["r.io/a:2".parse().unwrap(), "r.io/b".parse().unwrap()];
        let file = Destination::File("x".into());
        request.outputs = vec![
            OutputSpec::Registry { names: given.clone(), by_digest: false },
            OutputSpec::Image { names: given.clone() },
            OutputSpec::Oci { destination: file.clone(), tar: true, names: given.clone() },
            OutputSpec::Docker { destination: file, names: given },
        ];
        for target in targets(&request).unwrap() {
            assert_eq!(names(&target), ["r.io/a:1", "r.io/a:2", "r.io/b:latest"], "{target:?}");
        }
    }

    #[test]
    fn outputs_that_cannot_hold_several_platforms_are_refused() {
        let refused = [
            OutputSpec::Docker { destination: Destination::File("x".into()), names: Vec::new() },
            OutputSpec::Local { directory: "x".into(), platform_split: Some(false) },
            OutputSpec::Registry { names: Vec::new(), by_digest: false },
        ];
        for output in refused {
            let mut request = request(&["linux/amd64", "linux/arm64"]);
            request.outputs = vec![output.clone()];
            assert!(matches!(targets(&request), Err(Error::Output { .. })), "{output:?}");
        }
    }

    #[test]
    fn attestations_need_an_output_that_holds_them() {
        let file = Destination::File("x".into());
        let split = None;
        let cases = [
            (OutputSpec::Image { names: vec!["a:1".parse().unwrap()] }, true),
            (OutputSpec::Oci { destination: file.clone(), tar: true, names: Vec::new() }, true),
            (OutputSpec::Local { directory: "x".into(), platform_split: split }, true),
            (OutputSpec::Tar { destination: file.clone(), platform_split: split }, true),
            (OutputSpec::Docker { destination: file, names: Vec::new() }, false),
            (OutputSpec::CacheOnly, false),
        ];
        for (output, holds) in cases {
            let mut request = request(&["linux/amd64"]);
            request.outputs = vec![output.clone()];
            assert!(targets(&request).is_ok(), "{output:?}");
            request.attestations.provenance = Some(crate::attest::ProvenanceSpec::default());
            assert_eq!(targets(&request).is_ok(), holds, "{output:?}");
        }
    }

    #[test]
    fn rules_for_a_publication_need_one() {
        use crate::expectation::{Expectations, Expected};

        let tag: Reference = "r.io/a:1".parse().unwrap();
        let push = |by_digest| vec![OutputSpec::Registry { names: Vec::new(), by_digest }];
        let leases = PublicationRules { lease_tags: true, ..PublicationRules::default() };
        let expected = |all, names: &[&str]| PublicationRules {
            lease_tags: false,
            expected: Expectations {
                all,
                tags: names.iter().map(|name| (name.parse().unwrap(), Expected::Nothing)).collect(),
            },
        };
        let table = [
            (Vec::new(), leases.clone(), false),
            (push(false), leases.clone(), true),
            (push(true), leases, true),
            (Vec::new(), expected(Some(Expected::Nothing), &[]), false),
            (push(true), expected(Some(Expected::Nothing), &[]), false),
            (push(false), expected(Some(Expected::Nothing), &[]), true),
            (push(false), expected(None, &["r.io/a:1"]), true),
            (push(false), expected(None, &["r.io/a:2"]), false),
            (push(true), expected(None, &["r.io/a:1"]), false),
        ];
        for (outputs, publication, fits) in table {
            let mut request = request(&["linux/amd64"]);
            request.tags = vec![tag.clone()];
            (request.outputs, request.publication) = (outputs, publication);
            assert_eq!(targets(&request).is_ok(), fits, "{:?} {:?}", request.outputs, request.publication);
        }
    }

    #[test]
    fn files_are_split_by_platform_where_there_are_several() {
        for (platforms, want) in [(&["linux/amd64"][..], false), (&["linux/amd64", "linux/arm64"][..], true)]
        {
            let mut request = request(platforms);
            request.outputs = vec![OutputSpec::Local { directory: "out".into(), platform_split: None }];
            let want = Target::Local { directory: "out".into(), split: want };
            assert_eq!(targets(&request).unwrap(), [want]);
        }
    }
}
