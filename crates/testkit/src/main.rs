//! `archway-testkit`: a registry with base images, for the demo, the bench and the curious.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
};

use archway_testkit::{
    BaseImages,
    bases::{ARCHITECTURES, Architecture, Base, BaseError},
    registry::{Options, RegistryError},
};

const USAGE: &str = "\
usage: archway-testkit registry [--base NAME,…] [--port N] [--log FILE] [--ready-file FILE]
           start a registry on loopback, push base images to it and serve until killed
       archway-testkit bases [--to HOST:PORT] [--platform P,…] NAME…
           make base images (kept in the cache) and push them; of debian, which takes a minute or more
           for each platform that is not this machine's, only the platforms asked for

base images: busybox, golang (this machine's platform only), debian (takes minutes the first time)
";

/// What went wrong, for a person.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    #[error(transparent)]
    Base(#[from] BaseError),
    #[error(transparent)]
    Registry(#[from] RegistryError),
    #[error("cannot write {}", file.display())]
    ReadyFile { file: PathBuf, source: std::io::Error },
}

/// A command line.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Help,
    Registry { bases: Vec<Base>, port: u16, log: Option<PathBuf>, ready: Option<PathBuf> },
    Bases { bases: Vec<Base>, to: Option<String>, platforms: Vec<Architecture> },
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match parse(&arguments).and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&failure);
            ExitCode::from(if matches!(failure, Failure::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn report(failure: &Failure) {
    eprintln!("archway-testkit: {failure}");
    let mut cause = std::error::Error::source(failure);
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}

fn parse(arguments: &[String]) -> Result<Order, Failure> {
    let mut words = arguments.iter();
    let mut order = match words.next().map(String::as_str) {
        Some("registry") => Order::Registry { bases: Vec::new(), port: 0, log: None, ready: None },
        Some("bases") => Order::Bases { bases: Vec::new(), to: None, platforms: ARCHITECTURES.to_vec() },
        Some("--help" | "-h" | "help") => return Ok(Order::Help),
        Some(other) => return Err(Failure::Usage(format!("unknown command `{other}`"))),
        None => return Err(Failure::Usage("no command".into())),
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| Failure::Usage(format!("`{word}` needs a value")));
        match (&mut order, word.as_str()) {
            (Order::Registry { bases, .. }, "--base") => bases.extend(base_list(value()?)?),
            (Order::Registry { port, .. }, "--port") => {
                let text = value()?;
                *port = text.parse().map_err(|_| Failure::Usage(format!("`{text}` is no port")))?;
            }
            (Order::Registry { log, .. }, "--log") => *log = Some(value()?.into()),
            (Order::Registry { ready, .. }, "--ready-file") => *ready = Some(value()?.into()),
            (Order::Bases { platforms, .. }, "--platform") => *platforms = platform_list(value()?)?,
            (Order::Bases { to, .. }, "--to") => *to = Some(value()?.clone()),
            (Order::Bases { bases, .. }, name) if !name.starts_with('-') => bases.extend(base_list(name)?),
            (_, unknown) => return Err(Failure::Usage(format!("unknown argument `{unknown}`"))),
        }
    }
    match order {
        Order::Bases { bases, .. } if bases.is_empty() => Err(Failure::Usage("which base images?".into())),
        order => Ok(order),
    }
}

fn base_list(text: &str) -> Result<Vec<Base>, Failure> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    Ok(names.map(str::parse).collect::<Result<_, _>>()?)
}

fn platform_list(text: &str) -> Result<Vec<Architecture>, Failure> {
    Ok(text.split(',').map(Architecture::of_platform).collect::<Result<_, _>>()?)
}

fn execute(order: Order) -> Result<(), Failure> {
    match order {
        Order::Help => {
            print!("{USAGE}");
            Ok(())
        }
        Order::Bases { bases, to, platforms } => {
            bases.into_iter().try_for_each(|base| provide(base, &platforms, to.as_deref()))
        }
        Order::Registry { bases, port, log, ready } => {
            let registry = Options { port, log, ..Options::default() }.start()?;
            bases.into_iter().try_for_each(|base| provide(base, &ARCHITECTURES, Some(&registry.host())))?;
            println!("serving on {}", registry.host());
            if let Some(file) = ready {
                write_ready_file(&file, &registry.host())?;
            }
            serve()
        }
    }
}

fn provide(base: Base, platforms: &[Architecture], registry: Option<&str>) -> Result<(), Failure> {
    let images = BaseImages::open()?;
    let image = if base == Base::Debian { images.debian(platforms)? } else { images.get(base)? };
    match registry {
        Some(registry) => {
            let reference = format!("{registry}/{base}:latest");
            image.push(&reference).map_err(BaseError::from)?;
            println!("pushed {reference}");
        }
        None => println!("made {}", image.oci_reference()),
    }
    Ok(())
}

/// Whoever waits for the file must find it complete, so it appears by a rename.
fn write_ready_file(file: &Path, host: &str) -> Result<(), Failure> {
    let write = || {
        let pending = file.with_extension("pending");
        let mut content = fs::File::create(&pending)?;
        writeln!(content, "{host}")?;
        fs::rename(&pending, file)
    };
    write().map_err(|source| Failure::ReadyFile { file: file.to_owned(), source })
}

/// Until a signal ends this process; the registry goes with it.
fn serve() -> ! {
    loop {
        thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Order, Failure> {
        parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn reads_command_lines() {
        let registry = Order::Registry {
            bases: vec![Base::Busybox, Base::Debian],
            port: 5000,
            log: None,
            ready: Some("r".into()),
        };
        assert_eq!(parsed("registry --base busybox,debian --port 5000 --ready-file r").unwrap(), registry);
        let to = Some("localhost:1".into());
        let bases = Order::Bases { bases: vec![Base::Golang], to, platforms: ARCHITECTURES.to_vec() };
        assert_eq!(parsed("bases --to localhost:1 golang").unwrap(), bases);
        let platforms = ["linux/amd64", "linux/arm/v7"].map(|name| Architecture::of_platform(name).unwrap());
        let bases = Order::Bases { bases: vec![Base::Debian], to: None, platforms: platforms.to_vec() };
        assert_eq!(parsed("bases --platform linux/amd64,linux/arm/v7 debian").unwrap(), bases);
        assert_eq!(parsed("--help").unwrap(), Order::Help);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for line in
            ["", "serve", "registry --prot 1", "registry --port x", "registry --port", "bases", "bases --to"]
        {
            assert!(matches!(parsed(line), Err(Failure::Usage(_))), "{line}");
        }
        assert!(matches!(parsed("bases alpine"), Err(Failure::Base(BaseError::UnknownBase(_)))));
        let unknown = parsed("bases --platform linux/z80 debian");
        assert!(matches!(unknown, Err(Failure::Base(BaseError::UnknownPlatform(_)))));
    }
}
