//! URLs as everybody may see them.

use archway_dockerfile::secret_name::names_a_secret;

/// Query parameters that sign a request, beside those whose names say that they are secrets.
const SIGNATURES: [&str; 2] = ["sig", "signature"];

/// A URL without its user and password, and without the parameters that give whoever has them access.
/// The user of an SSH address is no secret.
pub(super) fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) if scheme.to_ascii_lowercase().ends_with("ssh") => {
            let user = user.split(':').next().unwrap_or_default();
            format!("{user}@{host}")
        }
        Some((_, host)) => host.to_owned(),
        None => authority.to_owned(),
    };
    let (path, fragment) = path.split_at(path.find('#').unwrap_or(path.len()));
    let path = match path.split_once('?') {
        None => path.to_owned(),
        Some((path, query)) => {
            let kept: Vec<&str> = query.split('&').filter(|parameter| !is_secret(parameter)).collect();
            if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
        }
    };
    format!("{scheme}://{authority}{path}{fragment}")
}

/// A text, with the URLs among its words in this form.
pub(super) fn without_credentials_in(text: &str) -> String {
    let words = text.split_inclusive(char::is_whitespace);
    words
        .map(|part| {
            let word = part.trim_end();
            without_credentials(word) + &part[word.len()..]
        })
        .collect()
}

/// Whether a query parameter is a secret, by its name: `X-Amz-Signature`, `access_token`, `sig`.
fn is_secret(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default().replace(['-', '.'], "_");
    let signs = |part: &str| SIGNATURES.iter().any(|word| part.eq_ignore_ascii_case(word));
    names_a_secret(&name) || name.split('_').any(signs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gives_access_is_left_out() {
        let table = [
            ("https://example.com/a.git#main", "https://example.com/a.git#main"),
            ("https://user:pass@example.com/a.git#main", "https://example.com/a.git#main"),
            ("https://token@example.com", "https://example.com"),
            ("https://a:p@ss@example.com/", "https://example.com/"),
            ("ssh://git@example.com/a", "ssh://git@example.com/a"),
            ("ssh://git:pass@example.com/a", "ssh://git@example.com/a"),
            ("git@example.com:a/b", "git@example.com:a/b"),
            ("https://example.com/a@b?x=a@b", "https://example.com/a@b?x=a@b"),
            ("https://example.com/f?version=1&X-Amz-Signature=0a", "https://example.com/f?version=1"),
            ("https://example.com/f?access_token=0a#f", "https://example.com/f#f"),
            ("https://example.com/f?sv=1&sig=0a", "https://example.com/f?sv=1"),
        ];
        for (url, expected) in table {
            assert_eq!(without_credentials(url), expected, "{url}");
        }
    }

    #[test]
    fn urls_are_found_in_texts() {
        let text = "ADD  --x=y https://me:pass@example.com/f?sig=0a /f\n# http://example.com";
        let want = "ADD  --x=y https://example.com/f /f\n# http://example.com";
        assert_eq!(without_credentials_in(text), want);
        assert_eq!(
            without_credentials_in("--from=\"https://me:pass@example.com\""),
            "--from=\"https://example.com\""
        );
    }
}
