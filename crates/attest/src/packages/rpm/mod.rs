//! rpm: the headers of installed packages, in a database of SQLite (`rpmdb.sqlite`) or of rpm's own kind (`Packages.db`).
//!
//! Databases of Berkeley DB (`Packages`, up to RHEL 8) are recognised and not read.

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
}
