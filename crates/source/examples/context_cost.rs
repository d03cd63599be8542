//! Measures what an unchanged context costs: `context_cost DIRECTORY STORE`. Run it twice.

use std::{path::Path, process::ExitCode, time::Instant};

use archway_dockerfile::ignore::IgnorePatterns;
use archway_source::Snapshot;
use archway_store::Store;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, store] = arguments.as_slice() else {
        eprintln!("usage: context_cost DIRECTORY STORE");
        return ExitCode::from(2);
    };
    match measure(Path::new(directory), Path::new(store)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(directory: &Path, store: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let ignore = IgnorePatterns::parse("**/*.tmp\nnode_modules\n!node_modules/keep\n")?;
    for round in 1..=5 {
        let start = Instant::now();
        let store = Store::open(store)?;
        let opened = start.elapsed();
        let snapshot = Snapshot::scan(directory, &ignore)?;
        let scanned = start.elapsed();
        let selection = snapshot.select(&["."])?;
        let selected = start.elapsed();
        let digest = snapshot.digest(&selection, &store.file_hashes())?;
        let digested = start.elapsed();
        println!(
            "round {round}: {} entries; open {:?}, scan {:?}, select {:?}, digest {:?}, total {:?}; {}",
            snapshot.entries().len(),
            opened,
            scanned - opened,
            selected - scanned,
            digested - selected,
            digested,
            digest.to_hex(),
        );
    }
    Ok(())
}
