//! Names of variables that hold secrets.

const SECRET: [&str; 10] =
    ["apikey", "auth", "credential", "credentials", "key", "password", "pword", "passwd", "secret", "token"];
const HARMLESS: [&str; 3] = ["public", "file", "version"];

/// Whether a variable of this name holds a secret, as BuildKit guesses: a part between underscores is
/// `key`, `token`, `password` or the like, and none is `public`, `file` or `version`.
pub fn names_a_secret(name: &str) -> bool {
    let has =
        |words: &[&str]| name.split('_').any(|part| words.iter().any(|word| part.eq_ignore_ascii_case(word)));
    has(&SECRET) && !has(&HARMLESS)
}

#[cfg(test)]
mod tests {
    use super::names_a_secret;

    #[test]
    fn a_part_of_the_name_decides() {
        for (name, expected) in [
            ("TOKEN", true),
            ("github_Token", true),
            ("API_KEY_2", true),
            ("AUTH", true),
            ("KEYCLOAK_HOME", false),
            ("TOKENIZER", false),
            ("MONKEY", false),
            ("PUBLIC_KEY", false),
            ("TOKEN_FILE", false),
            ("KEY_VERSION", false),
        ] {
            assert_eq!(names_a_secret(name), expected, "{name}");
        }
    }
}
