//! Paths of root file systems and of the build context: lexical, slash-separated. What symbolic
//! links make of them is decided where the files are.

/// A path with `/` between its parts. On Windows that is not how it has to be written: `\` separates
/// too, and a leading `C:` means nothing. `None` if it is on another drive or machine, or is a drive only.
pub(crate) fn slashed(path: &str, os: &str) -> Option<String> {
    if os != "windows" {
        return Some(path.to_owned());
    }
    let path = path.replace('\\', "/");
    if path.starts_with("//") {
        return None;
    }
    match path.split_once(':') {
        None => Some(path),
        Some((drive, rest)) => (drive.eq_ignore_ascii_case("c") && !rest.is_empty()).then(|| rest.to_owned()),
    }
}

/// `path`, seen from the directory `from`, without `.`, `..` and double slashes. There is nothing
/// above `/`.
pub(crate) fn absolute(from: &str, path: &str) -> String {
    let start = if path.starts_with('/') { "" } else { from };
    let mut parts = Vec::new();
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// A COPY destination: as [`absolute`], with a slash at the end where that says "a directory".
pub(crate) fn destination(workdir: &str, path: &str) -> String {
    let mut destination = absolute(workdir, path);
    let is_directory = matches!(path, "" | ".") || path.ends_with('/') || path.ends_with("/.");
    if is_directory && !destination.ends_with('/') {
        destination.push('/');
    }
    destination
}

/// A path relative to a root file system; `.` is the root.
pub(crate) fn relative(path: &str) -> String {
    match absolute("/", path).strip_prefix('/') {
        None | Some("") => ".".to_owned(),
        Some(path) => path.to_owned(),
    }
}

/// Whether `..` leads out of the directory the path is relative to.
pub(crate) fn escapes(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if depth == 0 => return true,
            ".." => depth -= 1,
            _ => depth += 1,
        }
    }
    false
}

/// Whether a text names a file in a directory, and nothing else.
pub(crate) fn is_file_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_are_clean_and_keep_their_slash() {
        let table = [
            ("/", "app", "/app"),
            ("/src", "app", "/src/app"),
            ("/src", "app/", "/src/app/"),
            ("/src", ".", "/src/"),
            ("/src", "", "/src/"),
            ("/src", "./", "/src/"),
            ("/src", "sub/.", "/src/sub/"),
            ("/src", "../bin", "/bin"),
            ("/src", "../../../bin", "/bin"),
            ("/src", "/", "/"),
            ("/src", "//a//b/./c/", "/a/b/c/"),
            ("", "app", "/app"),
        ];
        for (workdir, path, expected) in table {
            assert_eq!(destination(workdir, path), expected, "{path} in {workdir}");
        }
    }

    #[test]
    fn sources_that_leave_the_context_are_found() {
        for path in ["..", "../a", "a/../../b", "/..", "./../a"] {
            assert!(escapes(path), "{path}");
        }
        for path in ["", ".", "a", "/a", "a/..", "a/../b", "..a", "a/..."] {
            assert!(!escapes(path), "{path}");
        }
    }

    #[test]
    fn windows_paths_are_read_on_drive_c_only() {
        assert_eq!(slashed(r"C:\app\bin", "windows").as_deref(), Some("/app/bin"));
        assert_eq!(slashed(r"app\bin", "windows").as_deref(), Some("app/bin"));
        assert_eq!(slashed(r"c:app", "windows").as_deref(), Some("app"));
        for path in [r"D:\app", r"\\server\share", "C:", "name:stream"] {
            assert_eq!(slashed(path, "windows"), None, "{path}");
        }
        assert_eq!(slashed(r"D:\app", "linux").as_deref(), Some(r"D:\app"));
    }
}
