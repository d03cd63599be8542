//! rpm: the headers of installed packages, in a database of SQLite (`rpmdb.sqlite`), of rpm's own kind (`Packages.db`) or of Berkeley DB (`Packages`).

mod berkeley;
mod header;
mod ndb;
mod sqlite;

use super::{Malformed, Package};

/// Packages of `rpmdb.sqlite`.
pub(super) fn of_sqlite(database: &[u8]) -> Result<Vec<Package>, Malformed> {
    let rows = sqlite::table(database, "Packages")?;
    // hnum, blob
    let headers = rows.iter().filter_map(|row| row.get(1)?.bytes());
    Ok(headers.filter_map(header::package).collect())
}

/// Packages of `Packages.db`.
pub(super) fn of_ndb(database: &[u8]) -> Result<Vec<Package>, Malformed> {
    Ok(ndb::headers(database)?.into_iter().filter_map(header::package).collect())
}

/// Packages of `Packages`, up to RHEL 8 and Amazon Linux 2.
pub(super) fn of_berkeley(database: &[u8]) -> Result<Vec<Package>, Malformed> {
    Ok(berkeley::headers(database)?.iter().filter_map(|header| header::package(header)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Header bytes of a package, as rpm writes them: an index of entries and their data.
    pub(super) fn header_of(name: &str, epoch: Option<u32>) -> Vec<u8> {
        let texts = [
            (1000, name),
            (1001, "3.0.7"),
            (1002, "27.el9"),
            (1014, "Apache-2.0"),
            (1022, "x86_64"),
            (1044, "openssl-3.0.7-27.el9.src.rpm"),
        ];
        let (mut index, mut data) = (Vec::new(), Vec::new());
        let mut entry = |tag: u32, kind: u32, offset: usize| {
            for number in [tag, kind, offset as u32, 1] {
                index.extend(number.to_be_bytes());
            }
        };
        if let Some(epoch) = epoch {
            entry(1003, 4, data.len());
            data.extend(epoch.to_be_bytes());
        }
        for (tag, text) in texts {
            entry(tag, 6, data.len());
            data.extend(text.as_bytes());
            data.push(0);
        }
        let mut header = ((index.len() / 16) as u32).to_be_bytes().to_vec();
        header.extend((data.len() as u32).to_be_bytes());
        header.extend(index);
        header.extend(data);
        header
    }

    #[test]
    fn a_database_that_sqlite_wrote_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rpmdb.sqlite");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection
            .execute_batch("CREATE TABLE Other(a); CREATE TABLE Packages (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)")
            .unwrap();
        connection.execute_batch("BEGIN").unwrap();
        // Enough rows for inner pages, and one that needs overflow pages.
        for number in 0..500 {
            let mut blob = header_of(&format!("package-{number:03}"), (number == 7).then_some(1));
            if number == 9 {
                blob.resize(50_000, 0);
            }
            connection.execute("INSERT INTO Packages(blob) VALUES (?1)", [blob]).unwrap();
        }
        connection
            .execute("INSERT INTO Packages(blob) VALUES (?1)", [header_of("gpg-pubkey", None)])
            .unwrap();
        connection.execute_batch("COMMIT").unwrap();
        drop(connection);
        let database = std::fs::read(&path).unwrap();
        let packages = of_sqlite(&database).unwrap();
        assert_eq!(packages.len(), 500);
        assert_eq!(packages[499].name, "package-499");
        assert_eq!(packages[7].version, "1:3.0.7-27.el9");
        assert_eq!(packages[9].source.as_ref().unwrap().name, "openssl");
        // Whatever is cut off or turned around must not be followed for ever.
        for length in (0..database.len()).step_by(9_973) {
            let _ = of_sqlite(&database[..length]);
        }
        for at in (0..200).chain((200..database.len()).step_by(4_099)) {
            let mut broken = database.clone();
            broken[at] ^= 0xff;
            let _ = of_sqlite(&broken);
        }
    }

    #[test]
    fn a_database_of_rpms_own_kind_is_read() {
        let blob = header_of("zypper", None);
        let mut database = Vec::new();
        for number in [u32::from_le_bytes(*b"RpmP"), 0, 1, 1, 0, 0, 0, 0] {
            database.extend(number.to_le_bytes());
        }
        for number in [u32::from_le_bytes(*b"Slot"), 1, 256, 99] {
            database.extend(number.to_le_bytes());
        }
        database.resize(256 * 16, 0);
        for number in [u32::from_le_bytes(*b"BlbS"), 1, 0, blob.len() as u32] {
            database.extend(number.to_le_bytes());
        }
        database.extend(&blob);
        let packages = of_ndb(&database).unwrap();
        assert_eq!(packages.iter().map(|package| package.name.as_str()).collect::<Vec<_>>(), ["zypper"]);
        assert!(of_ndb(b"nothing").is_err());
    }

    /// A database as Berkeley DB writes it: pages of 512 bytes, the first header within its page, the second on two
    /// overflow pages.
    fn berkeley(is_big_endian: bool) -> Vec<u8> {
        const PAGE: usize = 512;
        let u32 = |number: u32| if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let u16 = |number: u16| if is_big_endian { number.to_be_bytes() } else { number.to_le_bytes() };
        let (small, mut large) = (header_of("bash", None), header_of("glibc", Some(2)));
        large.resize(700, 0);
        let mut database = vec![0; 5 * PAGE];
        let mut put = |page: usize, at: usize, bytes: &[u8]| {
            database[page * PAGE + at..page * PAGE + at + bytes.len()].copy_from_slice(bytes);
        };
        put(0, 12, &u32(0x0006_1561));
        put(0, 16, &u32(9));
        put(0, 20, &u32(PAGE as u32));
        put(0, 25, &[8]);
        put(0, 32, &u32(4));
        // Page 2 is a bucket without entries.
        put(2, 25, &[13]);
        put(1, 20, &u16(4));
        put(1, 25, &[13]);
        let mut end = PAGE;
        let items = [
            [&[1][..], &u32(1)].concat(),
            [&[1][..], &small].concat(),
            [&[1][..], &u32(2)].concat(),
            [&[3, 0, 0, 0][..], &u32(3), &u32(large.len() as u32)].concat(),
        ];
        for (number, item) in items.iter().enumerate() {
            end -= item.len();
            put(1, end, item);
            put(1, 26 + 2 * number, &u16(end as u16));
        }
        for (page, next, part) in [(3, 4, &large[..PAGE - 26]), (4, 0, &large[PAGE - 26..])] {
            put(page, 16, &u32(next));
            put(page, 22, &u16(part.len() as u16));
            put(page, 25, &[7]);
            put(page, 26, part);
        }
        database
    }

    #[test]
    fn a_database_of_berkeley_db_is_read_in_either_byte_order() {
        for is_big_endian in [false, true] {
            let database = berkeley(is_big_endian);
            let packages = of_berkeley(&database).unwrap();
            let names: Vec<_> =
                packages.iter().map(|package| format!("{} {}", package.name, package.version)).collect();
            assert_eq!(names, ["bash 3.0.7-27.el9", "glibc 2:3.0.7-27.el9"]);
            for at in 0..database.len() {
                let mut broken = database.clone();
                broken[at] ^= 0xff;
                let _ = of_berkeley(&broken);
            }
            assert!(of_berkeley(&database[..database.len() - 1]).is_err());
        }
        assert!(of_berkeley(b"berkeley").is_err());
    }

    #[test]
    fn overflow_pages_in_a_circle_end() {
        let mut database = berkeley(false);
        // The second overflow page is followed by itself, and the header is longer than all pages.
        database[4 * 512 + 16..4 * 512 + 20].copy_from_slice(&4u32.to_le_bytes());
        let length = database.windows(4).rposition(|bytes| bytes == 700u32.to_le_bytes()).unwrap();
        database[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(of_berkeley(&database).is_err());
    }
}
