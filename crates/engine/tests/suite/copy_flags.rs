//! `--link`, `--parents`, `--exclude`, `--chmod` and `--chown` on real files.

use std::os::unix::fs::{PermissionsExt, symlink};

use archway_engine::StepError;
use archway_oci::Platform;
use archway_testkit::{image::LayerBuilder, process};
use rustix::fs::FileType;

use crate::workshop::{Workshop, attributes, is_root, read, write};

/// A base with an account, a link to a directory, and a directory of its own.
fn with_base() -> Workshop {
    let mut workshop = Workshop::new();
    let builder = LayerBuilder::new();
    let builder = builder.directory("real", 0o755).unwrap().file("real/old", 0o644, b"old").unwrap();
    let builder = builder.symlink("link", "real").unwrap();
    let builder = builder.directory("srv", 0o711).unwrap().directory("srv/etc", 0o711).unwrap();
    let builder = builder.file("etc/passwd", 0o644, b"app:x:1000:1001::/:/bin/sh\n").unwrap();
    workshop.base("base", &Platform::host(), &[builder.finish().unwrap()]);
    for path in ["src/a.txt", "src/b.md", "src/etc/c.txt", "src/etc/deep/d.txt", "src/tool"] {
        write(workshop.context().join(path), path);
    }
    let mode = |path: &str, mode| {
        std::fs::set_permissions(workshop.context().join(path), PermissionsExt::from_mode(mode)).unwrap();
    };
    mode("src/tool", 0o755);
    mode("src/etc", 0o750);
    mode("src/etc/deep", 0o750);
    for file in ["src/a.txt", "src/b.md", "src/etc/c.txt", "src/etc/deep/d.txt"] {
        mode(file, 0o640);
    }
    workshop
}

#[tokio::test]
async fn a_linked_copy_does_not_look_at_the_base() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    let build = async |flags: &str| {
        let built = workshop.build(&format!("FROM base\nCOPY {flags} src/a.txt /link/\n")).await.unwrap();
        (workshop.view(&built).await, built.image.unwrap().layers.pop().unwrap().diff_id)
    };
    // Without, the link of the base is followed; with, a directory takes its place.
    let (view, _) = build("").await;
    assert_eq!(read(&view, "/real/a.txt").as_deref(), Some("src/a.txt"));
    let (view, linked) = build("--link").await;
    let stat = view.stat("/link").unwrap().unwrap();
    assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::Directory);
    assert_eq!(read(&view, "/link/a.txt").as_deref(), Some("src/a.txt"));
    assert_eq!(read(&view, "/real/a.txt"), None);
    assert_eq!(read(&view, "/real/old").as_deref(), Some("old"));

    // The layer is that of an empty base.
    let on_scratch = workshop.build("FROM scratch\nCOPY src/a.txt /link/\n").await.unwrap();
    assert_eq!(on_scratch.image.unwrap().layers[0].diff_id, linked);

    // A mode makes it an ordinary copy.
    let (view, _) = build("--link --chmod=600").await;
    assert_eq!(attributes(&view, "/real/a.txt").0, 0o600);
}

#[tokio::test]
async fn a_linked_copy_does_not_need_the_base() {
    if !is_root() {
        return;
    }
    let mut workshop = Workshop::new();
    let layer = LayerBuilder::new().file("big", 0o644, b"data").unwrap().finish().unwrap();
    workshop.unreadable_base("far", &Platform::host(), &[layer]);
    write(workshop.context().join("file"), "hello");
    let built = workshop.build("FROM far\nCOPY --link file /etc/\n").await.unwrap();
    assert_eq!(built.image.unwrap().layers.len(), 2);
    let failure = workshop.build("FROM far\nCOPY file /etc/\n").await.unwrap_err();
    assert!(matches!(&*failure.error, StepError::BlobMissing { .. }), "{failure}");
}

#[tokio::test]
async fn parents_are_kept_below_the_pivot() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    let dockerfile = "FROM base\n\
        COPY --parents src/etc/c.txt /whole/\n\
        COPY --parents src/./etc/**/*.txt /pivot/\n\
        COPY --parents --exclude=**/c.txt src/./etc /less/\n\
        COPY --chown=7:8 --parents src/./etc/c.txt /srv/\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    assert_eq!(read(&view, "/whole/src/etc/c.txt").as_deref(), Some("src/etc/c.txt"));
    assert_eq!(attributes(&view, "/whole/src/etc"), (0o750, 0, 0));
    assert_eq!(read(&view, "/whole/src/a.txt"), None);
    assert!(read(&view, "/pivot/etc/c.txt").is_some() && read(&view, "/pivot/etc/deep/d.txt").is_some());
    assert!(read(&view, "/less/etc/c.txt").is_none() && read(&view, "/less/etc/deep/d.txt").is_some());
    // What is only on the way keeps the owner that it has in the base, and gets the mode of the source.
    assert_eq!(attributes(&view, "/srv/etc"), (0o750, 0, 0));
    assert_eq!(attributes(&view, "/srv/etc/c.txt"), (0o640, 7, 8));
}

#[tokio::test]
async fn parents_are_kept_from_a_stage_too() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    let dockerfile = "FROM base AS one\nCOPY src /in/src\nFROM scratch\n\
        COPY --from=one --parents /in/./src/**/*.txt /out/\n\
        COPY --from=one --exclude=etc --exclude=*.md /in/src /rest/\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    assert!(read(&view, "/out/src/a.txt").is_some() && read(&view, "/out/src/etc/deep/d.txt").is_some());
    assert!(read(&view, "/out/src/tool").is_none());
    assert!(read(&view, "/rest/a.txt").is_some() && read(&view, "/rest/tool").is_some());
    assert!(read(&view, "/rest/b.md").is_none() && view.stat("/rest/etc").unwrap().is_none());

    let missing = [
        ("/in/./src/no.txt", "in/src/no.txt"),
        ("/in/nothing", "in/nothing"),
        ("/in/src/a.txt/./x", "in/src/a.txt/x"),
    ];
    for (source, missing) in missing {
        let dockerfile = format!(
            "FROM base AS one\nCOPY src /in/src\nFROM scratch\nCOPY --from=one --parents {source} /\n"
        );
        let failure = workshop.build(&dockerfile).await.unwrap_err();
        let named = match &*failure.error {
            StepError::MissingInRootFs { pattern, .. } => pattern.clone(),
            other => panic!("{other}"),
        };
        assert_eq!(named, missing);
    }
    let failure = workshop.build("FROM base\nCOPY --from=base /nowhere/*.txt /x/\n").await.unwrap_err();
    assert!(matches!(&*failure.error, StepError::MissingInRootFs { .. }), "{failure}");
}

#[tokio::test]
async fn what_is_excluded_does_not_matter_for_the_cache() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    let dockerfile = "FROM scratch\nCOPY --exclude=*.md --exclude=etc src/ /d/\n";
    let layer = async || workshop.build(dockerfile).await.unwrap().image.unwrap().layers.remove(0).diff_id;
    let first = layer().await;
    write(workshop.context().join("src/b.md"), "changed");
    write(workshop.context().join("src/etc/new"), "new");
    assert_eq!(layer().await, first);
    write(workshop.context().join("src/a.txt"), "changed");
    assert_ne!(layer().await, first);
}

#[tokio::test]
async fn modes_are_numbers_or_changes() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    let dockerfile = "FROM base\n\
        COPY --chmod=u=rwX,go=rX src /changed/in/\n\
        COPY --chmod=2750 src /number/in/\n\
        COPY --chmod=go+rw src/a.txt /srv/\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    let mode = |path: &str| attributes(&view, path).0;
    assert_eq!((mode("/changed/in/a.txt"), mode("/changed/in/tool")), (0o644, 0o755));
    assert_eq!((mode("/changed/in/etc"), mode("/changed/in")), (0o755, 0o755));
    assert_eq!((mode("/number/in/a.txt"), mode("/number/in/etc")), (0o2750, 0o2750));
    // Directories that are only made for it have permissions and nothing else.
    assert_eq!((mode("/number"), mode("/number/in")), (0o750, 0o750));
    assert_eq!((mode("/srv/a.txt"), mode("/srv")), (0o666, 0o711));
}

#[tokio::test]
async fn owners_are_looked_up_and_else_are_root() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    let dockerfile = "FROM base\n\
        COPY --chown=app src/a.txt /by/name\n\
        COPY --chown=1000 src/a.txt /by/number\n\
        COPY --chown=nobody-here:9 src/a.txt /by/nobody\n\
        USER 1000\nWORKDIR /by/user\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    assert_eq!(attributes(&view, "/by/name"), (0o640, 1000, 1001));
    assert_eq!(attributes(&view, "/by/number"), (0o640, 1000, 1000));
    assert_eq!(attributes(&view, "/by/nobody"), (0o640, 0, 9));
    assert_eq!(attributes(&view, "/by/user"), (0o755, 1000, 1000));
    assert!(workshop.warnings().iter().any(|warning| warning.contains("`nobody-here` is not in")));
}

#[tokio::test]
async fn sources_are_copied_one_after_the_other() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    let dockerfile = "FROM base\nCOPY src/a.txt src/b.md /new\nCOPY src/a.txt src/b.md /srv\n\
        COPY src/etc src/a.txt /dir\nCOPY <<one <<two /inline\n1\none\n2\ntwo\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    assert_eq!(read(&view, "/new").as_deref(), Some("src/b.md"));
    assert!(read(&view, "/srv/a.txt").is_some() && read(&view, "/srv/b.md").is_some());
    assert!(read(&view, "/dir/c.txt").is_some() && read(&view, "/dir/a.txt").is_some());
    assert_eq!(read(&view, "/inline").as_deref(), Some("2\n"));
    let told = |name: &str| workshop.warnings().iter().any(|warning| warning.contains(name));
    assert!(told("to the file `/new`"));
    let failure = workshop.build("FROM base\nCOPY src/a.txt src/etc /other\n").await.unwrap_err();
    assert!(failure.error.to_string().contains("not a directory"), "{failure}");
}

#[tokio::test]
async fn names_of_one_file_of_the_context_stay_so() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    std::fs::hard_link(workshop.context().join("src/a.txt"), workshop.context().join("src/same")).unwrap();
    symlink("a.txt", workshop.context().join("src/soft")).unwrap();
    let view = workshop.view(&workshop.build("FROM scratch\nCOPY src /d\n").await.unwrap()).await;
    let inode = |path: &str| view.stat(path).unwrap().unwrap().st_ino;
    assert_eq!(inode("/d/a.txt"), inode("/d/same"));
    assert_ne!(inode("/d/a.txt"), inode("/d/soft"));
}

#[tokio::test]
async fn a_destination_has_the_time_of_the_directory_that_went_into_it_last() {
    if !is_root() {
        return;
    }
    let workshop = with_base();
    let touch = |path: &str, date: &str| {
        let path = workshop.context().join(path);
        process::output(std::process::Command::new("touch").args(["-d", date]).arg(path)).unwrap();
    };
    touch("src/a.txt", "2009-09-09 UTC");
    touch("src/etc/deep", "2002-02-02 UTC");
    touch("src/etc", "2001-01-01 UTC");
    let dockerfile = "FROM base\nCOPY src/a.txt src/etc/deep src/etc /new/\nCOPY src/etc /srv\n";
    let view = workshop.view(&workshop.build(dockerfile).await.unwrap()).await;
    let day = |path: &str| view.stat(path).unwrap().unwrap().st_mtime / 86_400;
    assert_eq!((day("/new"), day("/srv"), day("/new/deep")), (11_323, 11_323, 11_720));
    assert_eq!(day("/new/a.txt"), 14_496);
}
