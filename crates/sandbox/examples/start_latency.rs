//! How much longer a program takes in the sandbox than without: the median of 200 starts of `true`.
//!
//! Run as root: `cargo run --release -p archway-sandbox --example start_latency [BUSYBOX]`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use archway_sandbox::{Exit, Network, Rootfs, Sandbox, Spec, Stdio};

const STARTS: usize = 200;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sandbox = Sandbox::start()?;
    let busybox = std::env::args().nth(1).map_or_else(|| PathBuf::from("/bin/busybox"), PathBuf::from);
    let directory = tempfile::tempdir()?;
    let spec = spec(directory.path(), &busybox)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    let plain = median(|| {
        Command::new(&busybox).arg("true").status()?;
        Ok(())
    })?;
    println!("fork and exec:                  {plain:>8.1?}");
    for (name, network) in [("host's network", Network::Host), ("no network", Network::None)] {
        let spec = Spec { network, ..spec.clone() };
        let sandboxed = median(|| {
            let exit =
                runtime.block_on(async { sandbox.run(&spec, Stdio::default()).await?.wait().await })?;
            if exit == Exit::Code(0) { Ok(()) } else { Err(format!("{exit:?}").into()) }
        })?;
        let more = sandboxed.saturating_sub(plain);
        println!("sandbox, {name:<14}:        {sandboxed:>8.1?}, {more:.1?} more");
    }
    Ok(())
}

fn spec(directory: &Path, busybox: &Path) -> std::io::Result<Spec> {
    for name in ["lower/bin", "upper", "work"] {
        fs::create_dir_all(directory.join(name))?;
    }
    fs::copy(busybox, directory.join("lower/bin/busybox"))?;
    Ok(Spec {
        rootfs: Rootfs {
            lowers: vec![directory.join("lower")],
            upper: Some(directory.join("upper")),
            work: Some(directory.join("work")),
        },
        argv: vec!["/bin/busybox".into(), "true".into()],
        hostname: "box".into(),
        ..Spec::default()
    })
}

fn median(
    mut start: impl FnMut() -> Result<(), Box<dyn std::error::Error>>,
) -> Result<Duration, Box<dyn std::error::Error>> {
    let mut times = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let begin = Instant::now();
        start()?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[STARTS / 2])
}
