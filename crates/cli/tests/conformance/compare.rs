//! What differs between two builds of the same fixture.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::{
    build::Outcome,
    image::{Image, Layout, Node, hard_links},
};

/// Lines such as `root etc/name: mode 644 | 755`: BuildKit's result first. A time at or after `started`, in
/// seconds since 1970, is when a build ran, which BuildKit does not promise; unless `times_are_set`.
pub(crate) fn differences(
    theirs: &Outcome,
    ours: &Outcome,
    started: u64,
    times_are_set: bool,
) -> Vec<String> {
    match (theirs, ours) {
        (Outcome::Refused(_), Outcome::Refused(_)) => Vec::new(),
        (Outcome::Refused(why), Outcome::Built(_)) => {
            vec![format!("result: refused | built ({})", last_line(why))]
        }
        (Outcome::Built(_), Outcome::Refused(why)) => {
            vec![format!("result: built | refused ({})", first_line(why))]
        }
        (Outcome::Built(theirs), Outcome::Built(ours)) => {
            let mut found = Found { lines: Vec::new(), started, times_are_set };
            found.layouts(theirs, ours);
            found.lines
        }
    }
}

fn last_line(text: &str) -> &str {
    text.trim_end().lines().next_back().unwrap_or_default()
}

fn first_line(text: &str) -> &str {
    text.lines().find(|line| line.contains("error")).unwrap_or_else(|| last_line(text))
}

struct Found {
    lines: Vec<String>,
    started: u64,
    times_are_set: bool,
}

impl Found {
    fn differ<T: std::fmt::Display + PartialEq>(&mut self, what: impl std::fmt::Display, theirs: T, ours: T) {
        if theirs != ours {
            self.lines.push(format!("{what}: {theirs} | {ours}"));
        }
    }

    fn layouts(&mut self, theirs: &Layout, ours: &Layout) {
        // BuildKit makes no index for a single platform; Archway always does.
        if !theirs.index.is_null() {
            self.fields("index", &theirs.index, &ours.index, &["manifests"]);
        }
        self.differ("images", theirs.images.len(), ours.images.len());
        let several = theirs.images.len() > 1;
        for (number, (theirs, ours)) in theirs.images.iter().zip(&ours.images).enumerate() {
            let before = self.lines.len();
            self.images(theirs, ours);
            if several {
                for line in &mut self.lines[before..] {
                    *line = format!("image {number}: {line}");
                }
            }
        }
    }

    fn images(&mut self, theirs: &Image, ours: &Image) {
        if !theirs.descriptor.is_null() {
            self.fields("descriptor", &theirs.descriptor, &ours.descriptor, &["digest", "size"]);
        }
        self.fields("manifest", &theirs.manifest, &ours.manifest, &["config", "layers"]);
        self.layers(&theirs.manifest, &ours.manifest);
        let (theirs_config, ours_config) = (self.settled(&theirs.config), self.settled(&ours.config));
        self.fields("image", &theirs_config, &ours_config, &["config", "history"]);
        self.fields("config", &theirs_config["config"], &ours_config["config"], &[]);
        self.history(&theirs_config["history"], &ours_config["history"]);
        self.roots(&theirs.root, &ours.root);
    }

    fn layers(&mut self, theirs: &Value, ours: &Value) {
        let types = |manifest: &Value| {
            let layers = manifest["layers"].as_array().into_iter().flatten();
            json!(layers.map(|layer| &layer["mediaType"]).collect::<Vec<_>>())
        };
        self.differ("layers", types(theirs), types(ours));
    }

    /// The config with what depends on when and how it was made replaced.
    fn settled(&self, config: &Value) -> Value {
        let mut config = config.clone();
        // BuildKit writes what it has not as null, also where the specification wants a list.
        if config["created"].is_null()
            && let Some(fields) = config.as_object_mut()
        {
            fields.remove("created");
        }
        let layers = config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len);
        config["rootfs"]["diff_ids"] = json!(layers);
        if !self.times_are_set {
            let mut entries = vec![&mut config];
            while let Some(entry) = entries.pop() {
                if let Some(created) = entry.get_mut("created") {
                    *created = json!(is_of_a_base(created).then(|| created.clone()).unwrap_or(json!("now")));
                }
                entries.extend(entry.get_mut("history").and_then(Value::as_array_mut).into_iter().flatten());
            }
        }
        config
    }

    fn history(&mut self, theirs: &Value, ours: &Value) {
        let entries = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let (theirs, ours) = (entries(theirs), entries(ours));
        let none = Value::Null;
        for number in 0..theirs.len().max(ours.len()) {
            let at = |entries: &[Value]| entries.get(number).unwrap_or(&none).clone();
            self.differ(format!("history {number}"), at(&theirs), at(&ours));
        }
    }

    fn fields(&mut self, what: &str, theirs: &Value, ours: &Value, without: &[&str]) {
        let empty = Map::new();
        let (theirs, ours) = (theirs.as_object().unwrap_or(&empty), ours.as_object().unwrap_or(&empty));
        let keys: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for key in keys.into_iter().filter(|key| !without.contains(&&***key)) {
            let field = |of: &Map<String, Value>| of.get(key).map_or("not set".to_owned(), Value::to_string);
            self.differ(format!("{what} {key}"), field(theirs), field(ours));
        }
    }

    fn roots(&mut self, theirs: &BTreeMap<String, Node>, ours: &BTreeMap<String, Node>) {
        let paths: BTreeSet<&String> = theirs.keys().chain(ours.keys()).collect();
        for path in paths {
            match (theirs.get(path), ours.get(path)) {
                (Some(theirs), Some(ours)) => self.nodes(path, theirs, ours),
                (Some(node), None) => self.lines.push(format!("root {path}: {} | missing", node.what)),
                (None, Some(node)) => self.lines.push(format!("root {path}: missing | {}", node.what)),
                (None, None) => {}
            }
        }
        let (theirs, ours) = (hard_links(theirs), hard_links(ours));
        let paths: BTreeSet<&&str> = theirs.keys().chain(ours.keys()).collect();
        for path in paths {
            let names = |links: &BTreeMap<&str, String>| links.get(*path).cloned().unwrap_or_default();
            self.differ(format!("root {path}: hard links"), names(&theirs), names(&ours));
        }
    }

    fn nodes(&mut self, path: &str, theirs: &Node, ours: &Node) {
        self.differ(format!("root {path}"), &theirs.what, &ours.what);
        self.differ(format!("root {path}: mode"), octal(theirs.mode), octal(ours.mode));
        self.differ(format!("root {path}: owner"), owner(theirs), owner(ours));
        self.differ(
            format!("root {path}: xattrs"),
            format!("{:?}", theirs.xattrs),
            format!("{:?}", ours.xattrs),
        );
        if self.times_are_set || theirs.time < self.started {
            self.differ(format!("root {path}: time"), theirs.time, ours.time);
        }
    }
}

/// Whether a time of a config was copied from one that the testkit made.
fn is_of_a_base(created: &Value) -> bool {
    created.as_str() == Some(archway_testkit::image::CREATED)
}

fn octal(mode: u32) -> String {
    format!("{mode:o}")
}

fn owner(node: &Node) -> String {
    format!("{}:{}", node.owner.0, node.owner.1)
}
