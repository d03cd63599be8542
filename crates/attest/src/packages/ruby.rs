//! Ruby: the specifications of installed gems, which RubyGems writes as a Ruby program of one known shape.

use super::{Package, PackageType, lines};

/// Whether a path is the specification of an installed gem: those in the source of a gem are elsewhere.
pub(super) fn is_specification(path: &str) -> bool {
    let Some((directory, name)) = path.rsplit_once('/') else { return false };
    let directory = directory.strip_suffix("/default").unwrap_or(directory);
    name.ends_with(".gemspec") && directory.ends_with("/specifications")
}

/// The gem that a specification describes.
pub(super) fn package(text: &[u8]) -> Option<Package> {
    let (mut name, mut version, mut licences) = (None, None, Vec::new());
    for line in lines(text) {
        let line = line.trim();
        if let Some(stub) = line.strip_prefix("# stub: ") {
            // Name, version, platform, directories: what RubyGems itself reads at first.
            let mut words = stub.split(' ').filter(|word| !word.is_empty()).map(str::to_owned);
            (name, version) = (words.next(), words.next());
            continue;
        }
        let Some((attribute, value)) = line.strip_prefix("s.").and_then(|rest| rest.split_once(" = ")) else {
            continue;
        };
        match attribute {
            "name" => name = name.or_else(|| quoted(value).next()),
            "version" => version = version.or_else(|| quoted(value).next()),
            "license" | "licenses" => licences.extend(quoted(value)),
            _ => {}
        }
    }
    let (name, version) = (name?, version?);
    let is_plain = |text: &str| !text.is_empty() && !text.contains(char::is_whitespace);
    (is_plain(&name) && is_plain(&version))
        .then(|| Package { licences, ..Package::new(PackageType::Gem, &name, &version) })
}

/// The texts in double quotes: of `["MIT".freeze, "Ruby".freeze]` two.
fn quoted(value: &str) -> impl Iterator<Item = String> {
    value.split('"').skip(1).step_by(2).filter(|text| !text.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In the shape that RubyGems 3.4 writes.
    const RACK: &[u8] = b"# -*- encoding: utf-8 -*-\n# stub: rack 2.2.8 ruby lib\n\nGem::Specification.new do |s|\n\
          s.name = \"rack\".freeze\n  s.version = \"2.2.8\"\n\n\
          s.required_rubygems_version = Gem::Requirement.new(\">= 0\".freeze) if s.respond_to? :required_rubygems_version=\n\
          s.authors = [\"Leah Neukirchen\".freeze]\n  s.licenses = [\"MIT\".freeze, \"Ruby\".freeze]\n\
          s.add_development_dependency(%q<minitest>.freeze, [\"~> 5.0\".freeze])\nend\n";

    #[test]
    fn a_specification_names_its_gem() {
        let gem = package(RACK).unwrap();
        assert_eq!((gem.name.as_str(), gem.version.as_str()), ("rack", "2.2.8"));
        assert_eq!(gem.licences, ["MIT", "Ruby"]);
    }

    #[test]
    fn one_without_a_stub_is_read_too() {
        let text = b"Gem::Specification.new do |s|\n  s.name = \"bigdecimal\"\n  s.version = \"3.1.3\"\n  s.license = \"Ruby\"\nend\n";
        let gem = package(text).unwrap();
        assert_eq!((gem.name.as_str(), gem.version.as_str()), ("bigdecimal", "3.1.3"));
        assert!(
            package(b"Gem::Specification.new do |s|\n  s.name = NAME\n  s.version = VERSION\nend\n")
                .is_none()
        );
        assert!(package(b"# stub: alone\n").is_none());
    }

    #[test]
    fn only_installed_gems_count() {
        for path in [
            "usr/local/bundle/specifications/rack-2.2.8.gemspec",
            "usr/lib/ruby/gems/3.1.0/specifications/default/json-2.6.1.gemspec",
        ] {
            assert!(is_specification(path), "{path}");
        }
        for path in ["usr/local/bundle/gems/rack-2.2.8/rack.gemspec", "rack.gemspec", "a/specifications/x.rb"]
        {
            assert!(!is_specification(path), "{path}");
        }
    }
}
