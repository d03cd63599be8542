//! URLs without their secrets.

const MASK: &str = "xxxxx";

/// The text with user name and password of a URL masked, as it may be shown and stored. The user
/// of an SSH address (`git@host:path`, `ssh://git@host`) is no secret.
pub fn redacted(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((user, host)) = rest[..end].rsplit_once('@') else { return text.to_owned() };
    let user = match user.split_once(':') {
        _ if user.is_empty() => String::new(),
        Some(_) => format!("{MASK}:{MASK}"),
        None if scheme.eq_ignore_ascii_case("ssh") => user.to_owned(),
        None => MASK.to_owned(),
    };
    format!("{scheme}://{user}@{host}{}", &rest[end..])
}

/// The user name and password of a URL, as they stand there: what must not be seen.
#[cfg(feature = "fetch")]
pub(crate) fn userinfo(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (user, _) = rest[..end].rsplit_once('@')?;
    let is_secret = user.contains(':') || !scheme.eq_ignore_ascii_case("ssh");
    (is_secret && !user.is_empty()).then_some(user)
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn users_and_passwords_are_masked() {
        let table = [
            ("https://example.com/a.git", "https://example.com/a.git"),
            ("https://user:pass@example.com/a.git#main", "https://xxxxx:xxxxx@example.com/a.git#main"),
            ("https://token@example.com/a", "https://xxxxx@example.com/a"),
            ("https://a:p@ss@example.com/", "https://xxxxx:xxxxx@example.com/"),
            ("ssh://git@example.com/a", "ssh://git@example.com/a"),
            ("ssh://git:pass@example.com/a", "ssh://xxxxx:xxxxx@example.com/a"),
            ("git@example.com:a/b", "git@example.com:a/b"),
            ("https://example.com/a@b:c", "https://example.com/a@b:c"),
            ("https://example.com?x=a@b", "https://example.com?x=a@b"),
        ];
        for (text, expected) in table {
            assert_eq!(redacted(text), expected);
        }
    }
}
