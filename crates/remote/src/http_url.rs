//! URLs of single files.

use percent_encoding::percent_decode_str;

/// What a file is called whose URL has no last component.
const UNNAMED: &str = "__unnamed__";
/// What a file is called whose name could not be that of a file.
const UNUSABLE: &str = "download";

/// Whether a text is an HTTP or HTTPS URL. That of a git repository is one, too.
pub fn is_http(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The name under which `ADD` stores the file behind a URL in a directory: the last component of the
/// URL's path. Never empty, and always a single component.
pub fn file_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = &rest[..rest.find(['?', '#']).unwrap_or(rest.len())];
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    let Ok(decoded) = percent_decode_str(path).decode_utf8() else { return UNUSABLE.to_owned() };
    match decoded.trim_end_matches('/').rsplit('/').next() {
        None | Some("" | ".") => UNNAMED.to_owned(),
        Some(name) => match name.trim() {
            "" | "." | ".." => UNUSABLE.to_owned(),
            name if name.chars().any(char::is_control) => UNUSABLE.to_owned(),
            name => name.to_owned(),
        },
    }
}

/// The host of a URL, without its port.
pub fn host(url: &str) -> Option<&str> {
    let host = host_and_port(url)?;
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next(),
        None => host.split(':').next(),
    }
}

/// The host of a URL, with its port if it names one.
pub fn host_and_port(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_as_the_last_component_of_their_url() {
        let table = [
            ("https://example.com/a/b.tar.gz", "b.tar.gz"),
            ("https://example.com/a/b.tar.gz?x=/y#/z", "b.tar.gz"),
            ("https://example.com/a/", "a"),
            ("https://example.com/", "__unnamed__"),
            ("https://example.com", "__unnamed__"),
            ("https://example.com/a%20b", "a b"),
            ("https://example.com/a%2Fb", "b"),
            ("https://example.com/..", "download"),
            ("https://example.com/a%2F..", "download"),
            ("https://example.com/a%0Ab", "download"),
            ("https://example.com/%FF", "download"),
            ("https://example.com/%20x%20", "x"),
        ];
        for (url, expected) in table {
            assert_eq!(file_name(url), expected, "{url}");
        }
    }

    #[test]
    fn hosts_are_found() {
        let table = [
            ("https://user:pass@example.com:8080/a", "example.com", "example.com:8080"),
            ("http://[::1]:80/", "::1", "[::1]:80"),
            ("https://example.com?a@b", "example.com", "example.com"),
        ];
        for (url, name, with_port) in table {
            assert_eq!((host(url), host_and_port(url)), (Some(name), Some(with_port)));
        }
        assert_eq!(host("example.com"), None);
    }
}
