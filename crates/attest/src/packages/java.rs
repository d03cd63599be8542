//! Java: what Maven writes into an archive of classes, `META-INF/maven/GROUP/ARTIFACT/pom.properties`. Archives in
//! archives (those of Spring Boot, web applications) are read, too, and one that was merged of several has the files
//! of each.

use std::io::Read;

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipFileHeaderRecord, ZipSliceArchive};

use super::{Malformed, Package, PackageType, lines};

/// Archives in archives in archives: an `ear` with a `war` with a `jar`.
const MAX_DEPTH: usize = 3;
/// A larger properties file is none that Maven wrote, in bytes.
const MAX_PROPERTIES: u64 = 64 * 1024;
/// What all that is unpacked of one file may have, in bytes.
const MAX_UNPACKED: u64 = 512 * 1024 * 1024;
/// More members are looked at in one file, with those of the archives in it, than any application has.
const MAX_MEMBERS: usize = 1_000_000;

/// Whether a path is that of an archive of classes.
pub(super) fn is_archive(path: &str) -> bool {
    let extension =
        path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, extension)| extension);
    extension
        .is_some_and(|extension| ["jar", "war", "ear"].iter().any(|one| extension.eq_ignore_ascii_case(one)))
}

/// An archive is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unusable {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("more than {MAX_MEMBERS} members, or {MAX_UNPACKED} bytes of them, are not read")]
    TooMuch,
}

/// The Maven artifacts in an archive, in the order of its members.
pub(super) fn packages(archive: &[u8]) -> Result<Vec<Package>, Unusable> {
    packages_within(archive, MAX_UNPACKED)
}

fn packages_within(archive: &[u8], unpacked: u64) -> Result<Vec<Package>, Unusable> {
    let mut reading = Reading { left: unpacked, members: 0, packages: Vec::new() };
    reading.archive(archive, 1)?;
    Ok(reading.packages)
}

struct Reading {
    /// Bytes that may still be unpacked.
    left: u64,
    members: usize,
    packages: Vec<Package>,
}

impl Reading {
    fn archive(&mut self, bytes: &[u8], depth: usize) -> Result<(), Unusable> {
        let malformed = |_| Malformed("the archive of classes");
        let archive = ZipArchive::from_slice(bytes).map_err(malformed)?;
        let mut members = archive.entries();
        while let Some(member) = members.next_entry().map_err(malformed)? {
            self.members += 1;
            if self.members > MAX_MEMBERS {
                return Err(Unusable::TooMuch);
            }
            let path = member.file_path();
            let Ok(name) = std::str::from_utf8(path.as_ref()) else { continue };
            if is_properties(name) {
                let properties = self.member(&archive, &member, MAX_PROPERTIES)?;
                self.packages.extend(package(&properties));
            } else if is_archive(name) && depth < MAX_DEPTH {
                let inner = self.member(&archive, &member, self.left)?;
                match self.archive(&inner, depth + 1) {
                    // What is only called so is passed over: tests have such files.
                    Ok(()) | Err(Unusable::Malformed(_)) => {}
                    Err(too_much) => return Err(too_much),
                }
            }
        }
        Ok(())
    }

    /// The bytes of a member; none, if it is damaged, larger than `most` or compressed as Java compresses nothing.
    fn member(
        &mut self,
        archive: &ZipSliceArchive<&[u8]>,
        member: &ZipFileHeaderRecord<'_>,
        most: u64,
    ) -> Result<Vec<u8>, Unusable> {
        let Ok(entry) = archive.get_entry(member.wayfinder()) else { return Ok(Vec::new()) };
        let reader: Box<dyn Read + '_> = match member.compression_method() {
            CompressionMethod::STORE => Box::new(entry.data()),
            CompressionMethod::DEFLATE => Box::new(DeflateDecoder::new(entry.data())),
            _ => return Ok(Vec::new()),
        };
        let mut bytes = Vec::new();
        let read = entry.verifying_reader(reader).take(most + 1).read_to_end(&mut bytes);
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(Unusable::TooMuch)?;
        if read.is_err() || bytes.len() as u64 > most {
            bytes.clear();
        }
        Ok(bytes)
    }
}

/// `META-INF/maven/GROUP/ARTIFACT/pom.properties`
fn is_properties(name: &str) -> bool {
    name.starts_with("META-INF/maven/") && name.ends_with("/pom.properties")
}

/// The artifact of a properties file, called `GROUP:ARTIFACT`.
fn package(properties: &[u8]) -> Option<Package> {
    let value = |key: &str| {
        let found = lines(properties).find_map(|line| {
            let (name, value) = line.split_once(['=', ':'])?;
            (name.trim() == key).then(|| value.trim().to_owned())
        });
        // What a build left to be filled in is no name.
        found.filter(|value| !value.is_empty() && !value.contains("${"))
    };
    let (group, artifact, version) = (value("groupId")?, value("artifactId")?, value("version")?);
    Some(Package::new(PackageType::Maven, &format!("{group}:{artifact}"), &version))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::DeflateEncoder};
    use rawzip::ZipArchiveWriter;

    use super::*;

    const STORED: CompressionMethod = CompressionMethod::STORE;
    const DEFLATED: CompressionMethod = CompressionMethod::DEFLATE;

    fn archive(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = ZipArchiveWriter::new(&mut bytes);
        for (name, content) in members {
            let (mut entry, config) = writer.new_file(name).compression_method(method).start().unwrap();
            let descriptor = if method == STORED {
                let mut data = config.wrap(&mut entry);
                data.write_all(content).unwrap();
                data.finish().unwrap().1
            } else {
                let mut data = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
                data.write_all(content).unwrap();
                let (encoder, descriptor) = data.finish().unwrap();
                encoder.finish().unwrap();
                descriptor
            };
            entry.finish(descriptor).unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    const LOG4J: &[u8] = b"#Generated by Apache Maven\n#Sat Mar 06 22:38:31 UTC 2021\r\nversion=2.14.1\r\ngroupId=org.apache.logging.log4j\r\nartifactId=log4j-core\r\n";

    fn names(found: &[Package]) -> Vec<String> {
        found.iter().map(|package| package.purl(None)).collect()
    }

    #[test]
    fn artifacts_are_found_however_deep() {
        let log4j = archive(
            &[
                ("META-INF/MANIFEST.MF", b"Manifest-Version: 1.0\r\n"),
                ("META-INF/maven/org.apache.logging.log4j/log4j-core/pom.properties", LOG4J),
            ],
            DEFLATED,
        );
        let application = archive(
            &[
                (
                    "META-INF/maven/org.example/app/pom.properties",
                    b"artifactId=app\ngroupId=org.example\nversion=1.0\n",
                ),
                ("BOOT-INF/lib/log4j-core-2.14.1.jar", &log4j),
                ("BOOT-INF/classes/not.jar", b"no archive"),
            ],
            STORED,
        );
        let expected =
            ["pkg:maven/org.example/app@1.0", "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"];
        assert_eq!(names(&packages(&application).unwrap()), expected);
        let ear = archive(&[("app.WAR", &application)], DEFLATED);
        assert_eq!(names(&packages(&ear).unwrap()), expected);
        let deeper = archive(&[("app.ear", &ear)], STORED);
        assert_eq!(names(&packages(&deeper).unwrap()), expected[..1]);
        assert!(packages(b"PK\x03\x04 nothing").is_err());
    }

    #[test]
    fn what_does_not_name_an_artifact_is_passed_over() {
        for properties in ["version=1\ngroupId=g\n", "version=${v}\ngroupId=g\nartifactId=a\n", ""] {
            assert_eq!(package(properties.as_bytes()), None, "{properties}");
        }
        let large = [LOG4J, " ".repeat(70_000).as_bytes()].concat();
        let archive = archive(&[("META-INF/maven/a/b/pom.properties", &large)], DEFLATED);
        assert!(packages(&archive).unwrap().is_empty());
    }

    #[test]
    fn broken_archives_are_not_followed() {
        let whole = archive(&[("META-INF/maven/a/b/pom.properties", LOG4J)], DEFLATED);
        for length in 0..whole.len() {
            let _ = packages(&whole[..length]);
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            let _ = packages(&broken);
        }
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let zeros = vec![0; 400_000];
        let bomb = archive(&[("0.jar", &zeros), ("1.jar", &zeros), ("2.jar", &zeros)], DEFLATED);
        assert!(bomb.len() < 100_000);
        assert_eq!(packages_within(&bomb, 1_200_000), Ok(Vec::new()));
        assert_eq!(packages_within(&bomb, 1_100_000), Err(Unusable::TooMuch));
    }
}
