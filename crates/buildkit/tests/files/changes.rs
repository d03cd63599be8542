//! A daemon that knows a source gets what changed.

use std::fs;

use archway_buildkit::Solve;

use crate::scene::{Scene, lent};

#[test]
fn only_what_changed_is_sent() {
    let Some(scene) = Scene::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    for number in 0..200 {
        let parent = directory.path().join((number % 7).to_string());
        fs::create_dir_all(&parent).unwrap();
        fs::write(parent.join(number.to_string()), format!("{number:04}")).unwrap();
    }
    fs::hard_link(directory.path().join("0/0"), directory.path().join("again")).unwrap();
    let dockerfile = "FROM scratch\nCOPY . /\n";
    let sync = |dockerfile: &str, key: &str| {
        let lent = lent(dockerfile, directory.path());
        let sent = lent.sent.clone();
        scene.solve(Solve::default(), lent, key).unwrap();
        (sent.files(), sent.bytes())
    };
    assert_eq!(sync(dockerfile, "one"), (200, 200 * 4), "one of them with two names");
    assert_eq!(sync(dockerfile, "one"), (0, 0), "nothing changed");
    fs::write(directory.path().join("3/3"), "changed").unwrap();
    fs::write(directory.path().join("new"), "x").unwrap();
    fs::remove_file(directory.path().join("4/4")).unwrap();
    assert_eq!(sync(dockerfile, "one"), (2, 8));
    assert_eq!(sync(dockerfile, "two"), (200, 198 * 4 + 7 + 1), "it knows nothing of another source");
}
