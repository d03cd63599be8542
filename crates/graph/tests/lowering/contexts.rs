//! `--build-context`

use archway_graph::{Bases, Lowering, NamedContext};
use archway_remote::{GitSource, GitUrl, HttpSource};

use crate::{build::Build, dump::assert_graph};

fn git() -> NamedContext {
    NamedContext::Git(GitSource::from(GitUrl::parse("https://x.org/a.git").unwrap().unwrap()))
}

#[test]
fn a_context_stands_for_an_image() {
    let text = "FROM base\nCOPY --from=files a /\nCOPY --from=repository b /\nCOPY --from=image c /\n";
    let build = Build::new(text)
        .context("base", NamedContext::Image("other:1".into()))
        .context("files", NamedContext::Directory)
        .context("repository", git())
        .context("image", NamedContext::Scratch);
    assert_graph(
        &build.graph(),
        "0: image other:1 linux/amd64 | 0
         1: 0 copy [\"a\"] of files to / | 0
         2: git https://x.org/a.git | 0
         3: 1 copy [\"b\"] of 2 to / | 0
         4: scratch | 0
         5: 3 copy [\"c\"] of 4 to / | 0
         linux/amd64 = 5 [1 3 5]",
    );
}

#[test]
fn files_are_a_base_of_one_layer() {
    let file = HttpSource { name: "context".into(), ..HttpSource::new("https://x.org/f", None) };
    let text = "FROM dir AS one\nFROM file AS two\nFROM dir\nCOPY --from=one /a /\nCOPY --from=two /b /\n";
    let build = Build::new(text)
        .context("dir", NamedContext::Directory)
        .context("file", NamedContext::Http(file))
        .platforms(&["linux/amd64", "linux/arm64"]);
    let graph = build.graph();
    assert_graph(
        &graph,
        "0: scratch | 0 1
         1: 0 copy [\".\"] of dir to / | 0 1
         2: http https://x.org/f as context | 0 1
         3: 0 copy [\".\"] of 2 to / | 0 1
         4: 1 copy [\"a\"] of 1 to / | 0 1
         5: 4 copy [\"b\"] of 3 to / | 0 1
         linux/amd64 = 5 [1 4 5]
         linux/arm64 = 5 [1 4 5]",
    );
    let made = graph.outputs[0].config.history.iter().filter(|entry| !entry.empty_layer).count();
    assert_eq!(made, 3);
}

#[test]
fn a_context_replaces_the_stage_of_its_name() {
    let text = "FROM nowhere AS build\nRUN make\nFROM build AS more\nFROM scratch\nCOPY --from=build a /\nCOPY --from=0 b /\nCOPY --from=more c /\n";
    let build = Build::new(text).context("build", NamedContext::Directory);
    assert_graph(
        &build.graph(),
        "0: scratch | 0
         1: 0 copy [\".\"] of build to / | 0
         2: 0 copy [\"a\"] of 1 to / | 0
         3: 2 copy [\"b\"] of 1 to / | 0
         4: 3 copy [\"c\"] of 1 to / | 0
         linux/amd64 = 4 [2 3 4]",
    );
    // Nor is what the stage stands on asked for.
    assert!(matches!(build.lower(&Bases::new()), Ok(Lowering::Ready(_))));
}

#[test]
fn a_context_may_be_for_one_platform() {
    let build = Build::new("FROM base\n")
        .context("base::linux/arm64", NamedContext::Directory)
        .platforms(&["linux/amd64", "linux/arm64"]);
    assert_graph(
        &build.graph(),
        "0: image base linux/amd64 | 0
         1: scratch | 1
         2: 1 copy [\".\"] of base::linux/arm64 to / | 1
         linux/amd64 = 0 []
         linux/arm64 = 2 [2]",
    );
}

#[test]
fn a_context_that_nothing_names_is_told() {
    let graph = Build::new("FROM scratch\nCOPY --from=alpine a /\n")
        .context("alpin", NamedContext::Directory)
        .context("alpine:latest", NamedContext::Directory)
        .graph();
    let messages: Vec<_> = graph.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(messages, ["the build context `alpin` is not used"]);
}
