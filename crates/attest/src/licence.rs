//! Licences as they are stated, as SPDX licence expressions.
//!
//! Distributions spell licences in ways of their own (`GPL-2+`, `Expat`, `ASL 2.0 and BSD`). What is known becomes its SPDX
//! identifier, all else a `LicenseRef-…`, so that an expression is valid whatever was stated.
//! <https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/>

use std::collections::BTreeMap;

use archway_oci::Digest;

/// Identifiers of the SPDX licence list that packages of distributions commonly have.
const KNOWN: &[&str] = &[
    "0BSD",
    "AFL-2.1",
    "AFL-3.0",
    "AGPL-3.0-only",
    "AGPL-3.0-or-later",
    "Apache-1.0",
    "Apache-1.1",
    "Apache-2.0",
    "APSL-2.0",
    "Artistic-1.0",
    "Artistic-1.0-Perl",
    "Artistic-2.0",
    "BlueOak-1.0.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-2-Clause-Patent",
    "BSD-3-Clause",
    "BSD-4-Clause",
    "BSD-4-Clause-UC",
    "BSD-Source-Code",
    "BSL-1.0",
    "bzip2-1.0.6",
    "CC-BY-3.0",
    "CC-BY-4.0",
    "CC-BY-SA-3.0",
    "CC-BY-SA-4.0",
    "CC0-1.0",
    "CDDL-1.0",
    "CDDL-1.1",
    "CPL-1.0",
    "curl",
    "ECL-2.0",
    "EPL-1.0",
    "EPL-2.0",
    "EUPL-1.2",
    "FSFAP",
    "FSFUL",
    "FSFULLR",
    "FTL",
    "GFDL-1.1-only",
    "GFDL-1.1-or-later",
    "GFDL-1.2-only",
    "GFDL-1.2-or-later",
    "GFDL-1.3-only",
    "GFDL-1.3-or-later",
    "GPL-1.0-only",
    "GPL-1.0-or-later",
    "GPL-2.0-only",
    "GPL-2.0-or-later",
    "GPL-3.0-only",
    "GPL-3.0-or-later",
    "HPND",
    "HPND-sell-variant",
    "ICU",
    "IJG",
    "Info-ZIP",
    "ISC",
    "LGPL-2.0-only",
    "LGPL-2.0-or-later",
    "LGPL-2.1-only",
    "LGPL-2.1-or-later",
    "LGPL-3.0-only",
    "LGPL-3.0-or-later",
    "Libpng",
    "libpng-2.0",
    "LPPL-1.3c",
    "MIT",
    "MIT-0",
    "MIT-CMU",
    "MPL-1.0",
    "MPL-1.1",
    "MPL-2.0",
    "MPL-2.0-no-copyleft-exception",
    "MS-PL",
    "MulanPSL-2.0",
    "NCSA",
    "NTP",
    "OFL-1.1",
    "OLDAP-2.8",
    "OpenSSL",
    "PHP-3.01",
    "PostgreSQL",
    "PSF-2.0",
    "Python-2.0",
    "Ruby",
    "SGI-B-2.0",
    "SISSL",
    "Sleepycat",
    "SMLNJ",
    "Spencer-94",
    "SSH-OpenSSH",
    "SunPro",
    "TCL",
    "TCP-wrappers",
    "Unicode-3.0",
    "Unicode-DFS-2015",
    "Unicode-DFS-2016",
    "Unlicense",
    "UPL-1.0",
    "Vim",
    "W3C",
    "WTFPL",
    "X11",
    "Xnet",
    "xpp",
    "Zlib",
    "zlib-acknowledgement",
    "ZPL-2.1",
];

/// Identifiers of exceptions that may follow `WITH`.
const EXCEPTIONS: &[&str] = &[
    "Autoconf-exception-2.0",
    "Autoconf-exception-3.0",
    "Bison-exception-2.2",
    "Classpath-exception-2.0",
    "Font-exception-2.0",
    "GCC-exception-2.0",
    "GCC-exception-3.1",
    "Libtool-exception",
    "Linux-syscall-note",
    "LLVM-exception",
    "openvpn-openssl-exception",
    "Qt-GPL-exception-1.0",
];

/// Other names of what [`KNOWN`] has.
const ALIASES: &[(&str, &str)] = &[
    ("Expat", "MIT"),
    ("MIT License", "MIT"),
    ("MIT/X11", "MIT"),
    ("X11-Expat", "MIT"),
    ("Apache-2", "Apache-2.0"),
    ("Apache 2.0", "Apache-2.0"),
    ("Apache Software License", "Apache-2.0"),
    ("Apache License 2.0", "Apache-2.0"),
    ("ASL 2.0", "Apache-2.0"),
    ("BSD-2", "BSD-2-Clause"),
    ("BSD-3", "BSD-3-Clause"),
    ("BSL-1", "BSL-1.0"),
    ("Boost", "BSL-1.0"),
    ("CC0", "CC0-1.0"),
    ("CC0-1", "CC0-1.0"),
    ("MPL-2", "MPL-2.0"),
    ("MPLv2.0", "MPL-2.0"),
    ("MPLv1.1", "MPL-1.1"),
    ("ISC License", "ISC"),
    ("ISC License (ISCL)", "ISC"),
    ("PSF", "PSF-2.0"),
    ("Python Software Foundation License", "PSF-2.0"),
    ("zlib/libpng", "Zlib"),
    ("OFL", "OFL-1.1"),
    ("Artistic", "Artistic-1.0-Perl"),
    ("Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
    ("curl-license", "curl"),
];

/// Texts of the licences that have no SPDX identifier, by the `LicenseRef-…` that stands for each.
pub(crate) type Others = BTreeMap<String, String>;

/// All that is stated holds: one expression, `None` if nothing is stated. What has no identifier is added to `others`.
pub(crate) fn expression(stated: &[String], others: &mut Others) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    for text in stated.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let part = Parser::parse(text, others).unwrap_or_else(|| reference(text, others));
        let part = if stated.len() > 1 && part.contains(" OR ") { format!("({part})") } else { part };
        if !parts.contains(&part) {
            parts.push(part);
        }
    }
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// The identifier of one licence.
fn identifier(name: &str) -> Option<String> {
    let known = |list: &[&'static str], name: &str| {
        list.iter().copied().find(|known| known.eq_ignore_ascii_case(name)).map(str::to_owned)
    };
    if let Some((licence, exception)) = split_once_word(name, "WITH") {
        return Some(format!("{} WITH {}", identifier(licence)?, known(EXCEPTIONS, exception)?));
    }
    let alias = ALIASES
        .iter()
        .find(|(alias, _)| alias.eq_ignore_ascii_case(name))
        .map(|(_, known)| (*known).to_owned());
    known(KNOWN, name).or(alias).or_else(|| known(KNOWN, &gnu(name)?))
}

/// `GPL-2+`, `GPLv2+`, `LGPL-2.1`, `GPL-3.0+`: licences of GNU in the spelling of Debian, Fedora and SPDX 1.
fn gnu(name: &str) -> Option<String> {
    let family = ["AGPL", "LGPL", "GPL", "GFDL"].into_iter().find(|family| name.starts_with(family))?;
    let version = name[family.len()..].trim_start_matches(['-', 'v', ' ']);
    let (version, suffix) = match version.strip_suffix('+') {
        Some(version) => (version, "or-later"),
        None => (version, "only"),
    };
    let version = if version.contains('.') { version.to_owned() } else { format!("{version}.0") };
    Some(format!("{family}-{version}-{suffix}"))
}

/// A name for a text that has no identifier. It stays readable; where that loses something, a hash keeps it apart.
fn reference(text: &str, others: &mut Others) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '-');
    let mut name: String = text.chars().take(60).map(|c| if allowed(c) { c } else { '-' }).collect();
    if name != text {
        name = format!("{name}-{}", &Digest::sha256(text.as_bytes()).hex()[..8]);
    }
    let id = format!("LicenseRef-{name}");
    others.insert(id.clone(), text.to_owned());
    id
}

/// Splits at a word in upper or lower case.
fn split_once_word<'a>(text: &'a str, word: &str) -> Option<(&'a str, &'a str)> {
    [word.to_ascii_uppercase(), word.to_ascii_lowercase()].iter().find_map(|word| {
        let (left, right) = text.split_once(&format!(" {word} "))?;
        Some((left.trim(), right.trim()))
    })
}

/// Operands joined by `AND` and `OR`, with parentheses.
struct Parser<'a> {
    words: std::iter::Peekable<std::vec::IntoIter<&'a str>>,
}

/// Deeper parentheses are not followed.
const MAX_DEPTH: usize = 16;

impl<'a> Parser<'a> {
    fn parse(text: &'a str, others: &mut Others) -> Option<String> {
        // A parenthesis within a word, as in `ISC License (ISCL)`, is found by the alias of the whole.
        if let Some(id) = identifier(text) {
            return Some(id);
        }
        let mut words = Vec::new();
        for word in text.split_whitespace() {
            let opened = word.len() - word.trim_start_matches('(').len();
            let closed = word.len() - word.trim_end_matches(')').len();
            words.extend(std::iter::repeat_n("(", opened));
            words.extend(
                Some(word.trim_start_matches('(').trim_end_matches(')')).filter(|word| !word.is_empty()),
            );
            words.extend(std::iter::repeat_n(")", if opened == word.len() { 0 } else { closed }));
        }
        let mut found = Others::new();
        let mut parser = Self { words: words.into_iter().peekable() };
        let expression = parser.expression(0, &mut found)?;
        parser.words.peek().is_none().then(|| {
            others.extend(found);
            expression
        })
    }

    fn expression(&mut self, depth: usize, others: &mut Others) -> Option<String> {
        let mut text = self.operand(depth, others)?;
        while let Some(operator) = self.words.next_if(|word| operator(word).is_some()) {
            text = format!("{text} {} {}", crate::licence::operator(operator)?, self.operand(depth, others)?);
        }
        Some(text)
    }

    fn operand(&mut self, depth: usize, others: &mut Others) -> Option<String> {
        if self.words.next_if_eq(&"(").is_some() {
            let inner = (depth < MAX_DEPTH).then(|| self.expression(depth + 1, others))??;
            return self.words.next_if_eq(&")").map(|_| format!("({inner})"));
        }
        let mut words = Vec::new();
        while let Some(word) =
            self.words.next_if(|word| operator(word).is_none() && !matches!(*word, "(" | ")"))
        {
            words.push(word);
        }
        let text = words.join(" ");
        (!text.is_empty()).then(|| identifier(&text).unwrap_or_else(|| reference(&text, others)))
    }
}

fn operator(word: &str) -> Option<&'static str> {
    match word {
        "AND" | "and" => Some("AND"),
        "OR" | "or" => Some("OR"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stated_becomes_an_expression() {
        let cases: &[(&[&str], &str)] = &[
            (&["MIT"], "MIT"),
            (&["mit"], "MIT"),
            (&["GPL-2+"], "GPL-2.0-or-later"),
            (&["GPLv2+ and BSD-3-clause"], "GPL-2.0-or-later AND BSD-3-Clause"),
            (&["Expat", "GPL-2 or Artistic"], "MIT AND (GPL-2.0-only OR Artistic-1.0-Perl)"),
            (&["Apache-2.0 WITH LLVM-exception"], "Apache-2.0 WITH LLVM-exception"),
            (&["(MIT OR Apache-2.0) AND ISC"], "(MIT OR Apache-2.0) AND ISC"),
            (&["ISC License (ISCL)"], "ISC"),
            (&["public-domain"], "LicenseRef-public-domain"),
            (&["MIT", "MIT"], "MIT"),
        ];
        for (stated, expected) in cases {
            let stated: Vec<String> = stated.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(expression(&stated, &mut Others::new()).as_deref(), Some(*expected), "{stated:?}");
        }
        assert_eq!(expression(&[], &mut Others::new()), None);
    }

    #[test]
    fn what_is_no_expression_is_kept_as_text() {
        let mut others = Others::new();
        let id = expression(&["see (file".to_owned()], &mut others).unwrap();
        assert!(id.starts_with("LicenseRef-see--file-"), "{id}");
        assert_eq!(others.values().collect::<Vec<_>>(), ["see (file"]);
    }
}
