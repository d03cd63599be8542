//! `user[:group]` of USER, `--chown` and image configs, looked up in a root file system's
//! `/etc/passwd` and `/etc/group` (passwd(5), group(5)).

use std::io::{self, BufRead, BufReader, Read};

/// Larger account files are cut here: they are an image's, and so untrusted.
const MAX_FILE: u64 = 16 << 20;

/// Who a process runs as, or a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary group ids, ascending: the primary group, as every runtime has it here, and where no
    /// group was given those the account is a member of.
    pub groups: Vec<u32>,
    /// Home directory, where the account has one.
    pub home: Option<String>,
}

impl User {
    /// Root, where nothing else is asked for.
    pub(crate) fn root() -> Self {
        Self { groups: vec![0], ..Self::default() }
    }
}

/// The name is not in the image.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No such user.
    #[error("no user `{0}` in the image's /etc/passwd")]
    NoSuchUser(String),
    /// No such group.
    #[error("no group `{0}` in the image's /etc/group")]
    NoSuchGroup(String),
    /// An account file could not be read.
    #[error("cannot read the image's account files")]
    Io(#[from] io::Error),
}

/// Opens `/etc/passwd` or `/etc/group` of a root file system; `None` if it has none.
pub type OpenFile<'a> = dyn Fn(&str) -> io::Result<Option<std::fs::File>> + 'a;

/// Whether looking this up needs the root file system at all.
pub fn is_root(text: &str) -> bool {
    matches!(text, "" | "0" | "root" | "0:0" | "root:root")
}

/// The account to run a process as. A number need not exist; its group is then 0.
pub fn for_process(text: &str, open: &OpenFile<'_>) -> Result<User, UserError> {
    let (user, group) = match text.split_once(':') {
        // `app:` is `app`, as for runtimes.
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let account = accounts(open)?.into_iter().find(|account| account.is(user));
    let mut result = match (&account, user.parse()) {
        (Some(account), _) => {
            User { uid: account.uid, gid: account.gid, home: Some(account.home.clone()), groups: Vec::new() }
        }
        (None, Ok(uid)) => User { uid, ..User::default() },
        // Images without account files still have a root.
        (None, Err(_)) if user == "root" => User::root(),
        (None, Err(_)) => return Err(UserError::NoSuchUser(user.to_owned())),
    };
    match group {
        Some(group) => result.gid = group_id(group, open)?,
        None => {
            let name = account.as_ref().map_or(user, |account| &account.name);
            result.groups = groups(open)?
                .into_iter()
                .filter(|group| group.members.iter().any(|member| member == name))
                .map(|group| group.gid)
                .collect();
        }
    }
    result.groups.push(result.gid);
    result.groups.sort_unstable();
    result.groups.dedup();
    Ok(result)
}

/// Who a file belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FileOwner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Names that the image does not have, with the file they were looked for in. Files of a user without
    /// an account belong to root, as in BuildKit.
    pub unknown: Vec<(String, &'static str)>,
}

/// The owner for files. Without a group it is the user's number, as `--chown=55` means `55:55`, and
/// the primary group for a name. A part that is empty is root.
pub fn for_files(text: &str, open: &OpenFile<'_>) -> Result<FileOwner, UserError> {
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text, None),
    };
    let mut owner = FileOwner::default();
    match file_id(user) {
        Some(uid) => (owner.uid, owner.gid) = (uid, uid),
        None => match accounts(open)?.into_iter().find(|account| account.name == user) {
            Some(account) => (owner.uid, owner.gid) = (account.uid, account.gid),
            None => owner.unknown.push((user.to_owned(), "/etc/passwd")),
        },
    }
    let Some(group) = group else { return Ok(owner) };
    match file_id(group) {
        Some(gid) => owner.gid = gid,
        None => match groups(open)?.into_iter().find(|known| known.name == group) {
            Some(found) => owner.gid = found.gid,
            None => owner.unknown.push((group.to_owned(), "/etc/group")),
        },
    }
    Ok(owner)
}

/// An id that needs no looking up.
fn file_id(text: &str) -> Option<u32> {
    match text {
        "" | "root" => Some(0),
        number => number.parse().ok().filter(|id| i32::try_from(*id).is_ok()),
    }
}

fn group_id(group: &str, open: &OpenFile<'_>) -> Result<u32, UserError> {
    if let Some(found) = groups(open)?.iter().find(|known| known.name == group) {
        return Ok(found.gid);
    }
    match group.parse() {
        Ok(gid) => Ok(gid),
        Err(_) if group == "root" => Ok(0),
        Err(_) => Err(UserError::NoSuchGroup(group.to_owned())),
    }
}

struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

impl Account {
    fn is(&self, user: &str) -> bool {
        self.name == user || user.parse() == Ok(self.uid)
    }
}

struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// `name:password:uid:gid:comment:home:shell`
fn accounts(open: &OpenFile<'_>) -> Result<Vec<Account>, UserError> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default().to_owned();
        Some(Account { name, uid, gid, home })
    };
    Ok(lines("/etc/passwd", open)?.iter().filter_map(|line| parse(line)).collect())
}

/// `name:password:gid:member,member`
fn groups(open: &OpenFile<'_>) -> Result<Vec<Group>, UserError> {
    let parse = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        let gid = fields.nth(1)?.parse().ok()?;
        let members = fields.next().unwrap_or_default().split(',').map(str::to_owned).collect();
        Some(Group { name, gid, members })
    };
    Ok(lines("/etc/group", open)?.iter().filter_map(|line| parse(line)).collect())
}

fn lines(path: &str, open: &OpenFile<'_>) -> Result<Vec<String>, UserError> {
    let Some(file) = open(path)? else { return Ok(Vec::new()) };
    let lines: Result<Vec<Vec<u8>>, io::Error> = BufReader::new(file.take(MAX_FILE)).split(b'\n').collect();
    Ok(lines?.iter().map(|line| String::from_utf8_lossy(line).trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    fn image(path: &str) -> io::Result<Option<std::fs::File>> {
        let text = match path {
            "/etc/passwd" => {
                "root:x:0:0:root:/root:/bin/sh\nbroken line\napp:x:1000:1001:,,,:/home/app:/bin/sh\n"
            }
            "/etc/group" => "root:x:0:\napp:x:1001:\nwheel:x:10:root,app\ndisk:x:6:app\n",
            _ => return Ok(None),
        };
        let mut file = tempfile::tempfile()?;
        file.write_all(text.as_bytes())?;
        file.rewind()?;
        Ok(Some(file))
    }

    #[test]
    fn processes() {
        let cases = [
            ("", 0, 0, vec![0, 10]),
            ("root", 0, 0, vec![0, 10]),
            ("app", 1000, 1001, vec![6, 10, 1001]),
            ("1000", 1000, 1001, vec![6, 10, 1001]),
            ("app:wheel", 1000, 10, vec![10]),
            ("app:77", 1000, 77, vec![77]),
            ("app:", 1000, 1001, vec![6, 10, 1001]),
            ("4242", 4242, 0, vec![0]),
        ];
        for (text, uid, gid, groups) in cases {
            let user = for_process(text, &image).unwrap();
            assert_eq!((user.uid, user.gid, user.groups), (uid, gid, groups), "{text:?}");
        }
        assert!(matches!(for_process("nobody-here", &image), Err(UserError::NoSuchUser(_))));
        assert!(matches!(for_process("app:no-group", &image), Err(UserError::NoSuchGroup(_))));
    }

    #[test]
    fn files() {
        let cases = [
            ("55", (55, 55)),
            ("1000", (1000, 1000)),
            ("app", (1000, 1001)),
            ("app:wheel", (1000, 10)),
            ("app:", (1000, 0)),
            (":wheel", (0, 10)),
            ("root", (0, 0)),
            ("1:2", (1, 2)),
            ("7:disk", (7, 6)),
        ];
        for (text, (uid, gid)) in cases {
            let owner = FileOwner { uid, gid, unknown: Vec::new() };
            assert_eq!(for_files(text, &image).unwrap(), owner, "{text}");
        }
    }

    #[test]
    fn files_of_nobody_known_are_roots() {
        let cases = [
            ("nobody-here", (0, 0), &["nobody-here"][..]),
            ("app:no-group", (1000, 1001), &["no-group"]),
            ("x:y:z", (0, 0), &["x", "y:z"]),
            ("99999999999", (0, 0), &["99999999999"]),
        ];
        for (text, (uid, gid), unknown) in cases {
            let owner = for_files(text, &image).unwrap();
            assert_eq!((owner.uid, owner.gid), (uid, gid), "{text}");
            let names: Vec<&str> = owner.unknown.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, unknown, "{text}");
        }
    }

    #[test]
    fn an_image_without_account_files_has_a_root() {
        let none = |_: &str| Ok(None);
        assert_eq!(for_process("root", &none).unwrap(), User::root());
        assert_eq!(for_files("root:root", &none).unwrap(), FileOwner::default());
        assert!(for_process("app", &none).is_err());
    }
}
