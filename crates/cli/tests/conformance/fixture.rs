//! The corpus: many small Dockerfiles in a few text files, each file about one theme.
//!
//! ```text
//! # What the file is about.
//! === shared                      what every fixture of the file finds in its context
//! --- a.txt
//! content
//! === the name of a fixture
//! @ build-arg NAME=value          options, one a line; see `Setting`
//! FROM REGISTRY/busybox           the Dockerfile; REGISTRY, WEB and GIT are servers of the test
//! COPY a.txt /
//! --- tool.sh 0755 @1500000000    more files: mode and time if they matter
//! --- ping 0755 capable            a program that may send raw packets
//! --- directory/
//! --- link -> a.txt
//! --- other = a.txt               a hard link
//! --- files.tar.gz archive gzip   an archive; its body lists entries
//! file etc/name 0640 33:50 content
//! --- @assets/b.txt               a file of the named context `assets`
//! --- @web/c.txt                  a file at WEB/c.txt
//! ```

use std::{fs, path::Path};

/// The name of the part of a file that all its fixtures share.
const SHARED: &str = "shared";

/// One Dockerfile with its context and options.
#[derive(Debug, Clone)]
pub(crate) struct Fixture {
    /// `FILE/NAME`.
    pub(crate) name: String,
    /// The Dockerfile, unless the fixture has its own among its files.
    pub(crate) dockerfile: String,
    pub(crate) settings: Vec<Setting>,
    pub(crate) items: Vec<Item>,
    pub(crate) expectation: Expectation,
    /// Only in the whole corpus, not in its fast half.
    pub(crate) slow: bool,
}

/// What is known about a fixture's results.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expectation {
    /// Both build it, with the same result.
    Same,
    /// Both refuse it; our message contains this text.
    Fails(String),
    /// The results differ on purpose.
    Differs(Vec<Declared>),
}

/// A difference that is on purpose: `@ differs ID: TEXT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    /// Its row in docs/compatibility.md.
    pub(crate) id: String,
    /// What each of its lines contains.
    pub(crate) text: String,
}

/// An option, in words that either program translates into its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) key: String,
    pub(crate) value: String,
}

/// One file of a context.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// The named context it belongs to; the main one if empty.
    pub(crate) context: String,
    pub(crate) path: String,
    pub(crate) mode: Option<u32>,
    /// Whether it has a capability.
    pub(crate) capable: bool,
    /// Seconds since 1970.
    pub(crate) time: Option<u64>,
    pub(crate) kind: ItemKind,
}

/// What a file of a context is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ItemKind {
    File(String),
    Directory,
    Symlink(String),
    HardLink(String),
    Pipe,
    /// A tar, and the program that compresses it (`none`, `gzip`, `bzip2`, `xz`, `zstd`).
    Archive {
        compression: String,
        entries: Vec<String>,
    },
}

/// Every fixture of the files in `directory`, in order.
pub(crate) fn corpus(directory: &Path) -> Vec<Fixture> {
    let mut files: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: &Path| {
        let theme = file.file_stem().unwrap().to_str().unwrap();
        parse(theme, &fs::read_to_string(file).unwrap())
    };
    files.iter().flat_map(|file| read(file)).collect()
}

/// The fixtures in the text of one file of the corpus.
pub(crate) fn parse(theme: &str, text: &str) -> Vec<Fixture> {
    let mut parts = sections(text, "=== ");
    for (_, body) in &mut parts {
        // The empty line before the next fixture is for the reader.
        if body.ends_with("\n\n") {
            body.pop();
        }
    }
    let mut shared = Vec::new();
    if parts.first().is_some_and(|(name, _)| name == SHARED) {
        shared = items(&parts.remove(0).1);
    }
    parts.iter().map(|(name, body)| fixture(format!("{theme}/{name}"), body, &shared)).collect()
}

fn fixture(name: String, body: &str, shared: &[Item]) -> Fixture {
    let mut fixture = Fixture {
        name,
        dockerfile: String::new(),
        settings: Vec::new(),
        items: shared.to_vec(),
        expectation: Expectation::Same,
        slow: false,
    };
    let (head, files) = body.split_at(find_line(body, "--- ").unwrap_or(body.len()));
    fixture.items.extend(items(files));
    let mut escapes = false;
    let mut rest = head;
    while let Some(line) = rest.strip_prefix("@ ") {
        let (line, after) = line.split_once('\n').unwrap_or((line, ""));
        rest = after;
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "slow" => fixture.slow = true,
            "escapes" => escapes = true,
            "fails" => fixture.expectation = Expectation::Fails(value.to_owned()),
            "differs" => fixture.declare(value),
            _ => fixture.settings.push(Setting { key: key.to_owned(), value: value.to_owned() }),
        }
    }
    fixture.dockerfile = if escapes { unescape(rest) } else { rest.to_owned() };
    fixture
}

impl Fixture {
    fn declare(&mut self, value: &str) {
        let (id, text) = value.split_once(": ").expect("`@ differs ID: TEXT`");
        let declared = Declared { id: id.to_owned(), text: text.to_owned() };
        match &mut self.expectation {
            Expectation::Differs(all) => all.push(declared),
            other => *other = Expectation::Differs(vec![declared]),
        }
    }

    /// The values of every setting `key`.
    pub(crate) fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.settings.iter().filter(move |setting| setting.key == key).map(|setting| &*setting.value)
    }
}

fn items(text: &str) -> Vec<Item> {
    sections(text, "--- ").iter().map(|(header, body)| item(header, body)).collect()
}

fn item(header: &str, body: &str) -> Item {
    let mut words = header.split(' ');
    let path = words.next().unwrap();
    let (context, path) = match path.strip_prefix('@').and_then(|path| path.split_once('/')) {
        Some((context, path)) => (context.to_owned(), path.to_owned()),
        None => (String::new(), path.to_owned()),
    };
    let kind = if path.ends_with('/') { ItemKind::Directory } else { ItemKind::File(body.to_owned()) };
    let mut item = Item { context, path, mode: None, capable: false, time: None, kind };
    while let Some(word) = words.next() {
        match word {
            "->" => item.kind = ItemKind::Symlink(words.next().unwrap().to_owned()),
            "=" => item.kind = ItemKind::HardLink(words.next().unwrap().to_owned()),
            "capable" => item.capable = true,
            "pipe" => item.kind = ItemKind::Pipe,
            "empty" => item.kind = ItemKind::File(String::new()),
            "archive" => {
                item.kind = ItemKind::Archive {
                    compression: words.next().unwrap().to_owned(),
                    entries: body.lines().map(str::to_owned).collect(),
                }
            }
            time if time.starts_with('@') => item.time = Some(time[1..].parse().unwrap()),
            mode => item.mode = Some(u32::from_str_radix(mode, 8).unwrap()),
        }
    }
    item
}

/// The parts of `text` that begin with a line `MARK…`: the rest of that line, and what follows it.
fn sections(text: &str, mark: &str) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for line in text.split_inclusive('\n') {
        match (line.strip_prefix(mark), found.last_mut()) {
            (Some(header), _) => found.push((header.trim_end_matches('\n').to_owned(), String::new())),
            (None, Some((_, body))) => body.push_str(line),
            (None, None) => {}
        }
    }
    found
}

fn find_line(text: &str, mark: &str) -> Option<usize> {
    if text.starts_with(mark) { Some(0) } else { text.find(&format!("\n{mark}")).map(|at| at + 1) }
}

/// `\r`, `\n`, `\t`, `\\`, `\u{FEFF}`, and `\` at the end of a line for no line break.
fn unescape(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            result.push(character);
            continue;
        }
        match rest.next() {
            Some('r') => result.push('\r'),
            Some('n') => result.push('\n'),
            Some('t') => result.push('\t'),
            Some('\n') | None => {}
            Some('u') => {
                let digits: String = rest.by_ref().skip(1).take_while(|c| *c != '}').collect();
                result.push(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).unwrap());
            }
            Some(other) => result.push(other),
        }
    }
    result
}

#[test]
fn fixtures_are_read() {
    let text = "# about\n=== shared\n--- a.txt 0600 @7\none\n\ntwo\n=== first one\n@ build-arg A=b c\n@ slow\nFROM scratch\n\
                COPY a.txt /\n--- l -> a.txt\n--- @other/d/\n\n=== second\n@ escapes\n@ fails no such\nFROM x\\r\n";
    let fixtures = parse("theme", text);
    let [first, second] = &fixtures[..] else { panic!("{fixtures:?}") };
    assert_eq!((&*first.name, &*first.dockerfile), ("theme/first one", "FROM scratch\nCOPY a.txt /\n"));
    assert_eq!(first.values("build-arg").collect::<Vec<_>>(), ["A=b c"]);
    assert!(first.slow && !second.slow);
    let [shared, link, directory] = &first.items[..] else { panic!("{:?}", first.items) };
    assert_eq!(shared.kind, ItemKind::File("one\n\ntwo\n".into()));
    assert_eq!((shared.mode, shared.time), (Some(0o600), Some(7)));
    assert_eq!(link.kind, ItemKind::Symlink("a.txt".into()));
    assert_eq!((&*directory.context, &*directory.path), ("other", "d/"));
    assert_eq!(second.dockerfile, "FROM x\r\n");
    assert_eq!(second.expectation, Expectation::Fails("no such".into()));
}
