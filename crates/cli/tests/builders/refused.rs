//! What daemons cannot do is refused before anything is built, with the reason.

use crate::scene::Scene;

#[test]
fn what_a_daemon_cannot_do_is_refused() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nLABEL a=b\n");
    let builder = "--builder=unix:///nowhere/buildkitd.sock";
    for (flags, why) in [
        (&["--memory=64m"][..], "set limits where the daemons run"),
        (&["--provenance=true", "-t=a/b", "-o=type=oci,dest=x.tar"], "only the daemon knows"),
        (&["--cache-to=type=local,dest=cache"], "use type=registry"),
        (&["--allow=device"], "not told of the devices"),
        (&["--jobs=2"], "max-parallelism"),
        (&["--add-host=docker:host-gateway"], "host-gateway"),
    ] {
        let run = scene.build(&[&[builder], flags].concat());
        assert!(run.stderr.contains(why), "{flags:?}: {}", run.stderr);
        assert_ne!(run.status.code(), Some(0));
    }
}

#[test]
fn a_builder_that_is_not_there_is_no_builder() {
    let Some(scene) = Scene::new() else { return };
    scene.dockerfile("FROM scratch\nLABEL a=b\n");
    let run = scene.build(&["--builder=nobody"]).exited(1);
    assert!(run.stderr.contains("no builder `nobody`"), "{}", run.stderr);
}
