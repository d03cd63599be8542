//! What is rendered for Kubernetes, and what is refused. The objects themselves are tested in `archway-kubernetes`.

use archway_testkit::{Cli, cli::Run};

fn archway(line: &str, values: &str) -> Run {
    let cli = Cli::new(env!("CARGO_BIN_EXE_archway")).unwrap();
    let file = cli.write("values.yaml", values).unwrap();
    let line = line.replace("VALUES", file.to_str().unwrap());
    cli.run(["kube", "render", "buildkit-pool"].into_iter().chain(line.split_whitespace())).unwrap()
}

#[test]
fn a_pool_is_a_stream_of_yaml_that_does_not_change() {
    let render = || archway("--platforms linux/amd64,linux/arm64 -n ci --replicas 2", "").succeeded().stdout;
    let text = render();
    assert_eq!(text.matches("---\n").count(), 11, "{text}");
    assert!(text.starts_with("---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"), "{text}");
    assert_eq!(text.matches("\n  replicas: 2\n").count(), 2, "{text}");
    assert_eq!(text, render());
}

#[test]
fn flags_win_over_the_file() {
    let values = "platforms: [linux/amd64]\nreplicas: 3\nmaxParallelism: 9\n";
    let text = archway("--values VALUES --replicas 2", values).succeeded().stdout;
    assert!(text.contains("\n  replicas: 2\n") && text.contains("max-parallelism = 9\n"), "{text}");
}

#[test]
fn what_is_wrong_is_named_with_what_to_do() {
    let cases = [
        ("", "", "--platforms <OS/ARCH[/VARIANT]>"),
        ("--platforms linux/amd64 --replica 2", "", "a similar argument exists: '--replicas'"),
        ("--platforms linux/amd65", "", "--platforms: invalid platform `linux/amd65`"),
        (
            "--platforms windows/amd64",
            "",
            "--platforms: no rootless BuildKit on a Kubernetes node builds natively for windows/amd64",
        ),
        (
            "--platforms linux/amd64 --cache-size 5GB",
            "",
            "--cache-size: `5GB` is not the size of a volume in whole Gi or Ti",
        ),
        ("--platforms linux/amd64 --metrics-namespace a", "", "--metrics"),
        ("--values VALUES", "platforms: [linux/amd64]\nreplica: 1", "unknown field `replica`"),
        ("--values VALUES", "platforms: [linux/amd64]\ncache: {size: 1}", "invalid type: integer `1`"),
        (
            "--values VALUES",
            "platforms: [linux/amd64]\ntls: {secretName: A}",
            "--values: tls.secretName: `A` is not a name",
        ),
    ];
    for (line, values, part) in cases {
        let run = archway(line, values).exited(2);
        assert!(run.stderr.contains(part) && run.stdout.is_empty(), "{line}: {}", run.stderr);
    }
    let missing = archway("--values none.yaml", "").exited(1);
    assert!(missing.stderr.contains("cannot read `none.yaml`"), "{}", missing.stderr);
}
