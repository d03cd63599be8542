//! scratch
use archway_sandbox::*;
use std::path::Path;
#[tokio::test]
async fn first() {
    let sandbox = Sandbox::start().unwrap();
    let dir = std::env::temp_dir().join(format!("aw-{}", std::process::id()));
    let (base, upper, work) = (dir.join("base"), dir.join("upper"), dir.join("work"));
    for d in [&base, &upper, &work] {
        std::fs::create_dir_all(d).unwrap();
    }
    std::fs::create_dir_all(base.join("bin")).unwrap();
    std::fs::copy("/usr/bin/busybox", base.join("bin/busybox")).unwrap();
    for n in ["sh", "ls", "mount", "cat", "id", "env", "hostname", "ip", "ps", "pwd", "grep", "true", "touch"]
    {
        std::os::unix::fs::symlink("busybox", base.join("bin").join(n)).unwrap();
    }
    let mut spec = Spec {
        rootfs: Rootfs { lowers: vec![base], upper: Some(upper.clone()), work: Some(work) },
        argv: vec![
            "sh".into(),
            "-c".into(),
            std::env::var("PROBE").unwrap_or(
                "id; ls -la / /dev /etc; mount; env; hostname; ps; pwd; grep Cap /proc/self/status; touch /x"
                    .into(),
            ),
        ],
        env: vec!["PATH=/bin".into()],
        cwd: "/a/b".into(),
        hostname: "box".into(),
        ..Spec::default()
    };
    if std::env::var("NONET").is_ok() {
        spec.network = Network::None;
    }
    if let Ok(u) = std::env::var("UID_") {
        spec.user.uid = u.parse().unwrap();
        spec.user.gid = 7;
    }
    let mut running = sandbox.run(&spec, Stdio::inherit().unwrap()).await.unwrap();
    println!("{:?}", running.wait().await.unwrap());
    drop(running);
    drop(sandbox);
    let _ = Path::new("/");
    println!(
        "{}",
        String::from_utf8(std::process::Command::new("find").arg(&upper).output().unwrap().stdout).unwrap()
    );
    std::fs::remove_dir_all(dir).unwrap();
}
