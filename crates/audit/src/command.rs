//! What a container of an image starts.

use archway_layer::contents::{Contents, Entry, Kind};
use archway_oci::config::ContainerConfig;

use crate::program::is_executable;

/// Where programs are looked for if the image does not say (the default of `runc` and Docker).
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The name of the program; `None`: the image says none.
pub(crate) fn name(config: &ContainerConfig) -> Option<&str> {
    [&config.entrypoint, &config.cmd]
        .into_iter()
        .flatten()
        .find_map(|words| words.first())
        .map(String::as_str)
        .filter(|name| !name.is_empty())
}

/// The file that `name` starts on a Unix system: where it really is, and what is there.
pub(crate) fn find<'a>(
    contents: &'a Contents,
    config: &ContainerConfig,
    name: &str,
) -> Option<(Vec<u8>, &'a Entry)> {
    let runnable = |path: String| {
        let (place, entry) = contents.follow(path.as_bytes())?;
        let is_program = matches!(entry.kind, Kind::File { .. }) && is_executable(entry.mode);
        is_program.then_some((place, entry))
    };
    if name.contains('/') {
        return runnable(in_directory(&config.working_dir, name));
    }
    let path = config.env.iter().rev().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or(PATH);
    path.split(':').find_map(|directory| {
        let directory = in_directory(&config.working_dir, directory);
        runnable(format!("{directory}/{name}"))
    })
}

/// The same on Windows, where names have no case, and the extension may be left out.
pub(crate) fn find_on_windows<'a>(
    contents: &'a Contents,
    config: &ContainerConfig,
    name: &str,
) -> Option<(Vec<u8>, &'a Entry)> {
    let plain = |path: &str| {
        let path = path.replace('\\', "/").to_ascii_lowercase();
        path.strip_prefix("c:").unwrap_or(&path).trim_matches('/').to_owned()
    };
    let (name, directory) = (plain(name), plain(&config.working_dir));
    let mut wanted = Vec::new();
    for directory in ["", &directory, "windows/system32", "windows"] {
        for extension in ["", ".exe"] {
            wanted.push(format!("{directory}/{name}{extension}").trim_matches('/').to_owned());
        }
    }
    let found = contents.iter().filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }));
    let found = found.filter_map(|(path, entry)| {
        let path_text = String::from_utf8_lossy(path).to_ascii_lowercase();
        let rank = wanted.iter().position(|wanted| *wanted == path_text)?;
        Some((rank, (path.to_vec(), entry)))
    });
    found.min_by_key(|(rank, _)| *rank).map(|(_, file)| file)
}

fn in_directory(directory: &str, name: &str) -> String {
    match name.starts_with('/') {
        true => name.to_owned(),
        false => format!("{directory}/{name}"),
    }
}
