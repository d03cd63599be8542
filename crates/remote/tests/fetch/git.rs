use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use archway_remote::{
    Credentials, GitSource, GitUrl,
    git::{GitClient, GitError, Workplace},
};
use archway_testkit::{GitServer, WebServer, git::Repository, tools, web::Response};
use tempfile::TempDir;

/// What commits of the test repositories are dated.
const COMMITTED: i64 = 981_173_106;

struct Bench {
    server: GitServer,
    directory: TempDir,
    credentials: Credentials,
}

/// `None` where there is no git.
fn bench() -> Option<Bench> {
    tools::require("git").then(|| Bench::new(GitServer::start().unwrap()))
}

impl Bench {
    fn new(server: GitServer) -> Self {
        Self { server, directory: tempfile::tempdir().unwrap(), credentials: Credentials::default() }
    }

    fn repository(&self) -> Repository {
        self.server.repository("app").unwrap()
    }

    fn source(&self, rest: &str) -> GitSource {
        let url = format!("{}{rest}", self.server.url("app"));
        GitUrl::parse(&url).unwrap().unwrap().into()
    }

    fn client(&self) -> GitClient {
        GitClient::new(self.credentials.clone(), self.directory.path().join("known_hosts"))
    }

    /// Checks out into a directory of its own, from the one kept repository.
    async fn fetch(&self, rest: &str) -> Result<PathBuf, GitError> {
        self.fetch_from(self.source(rest)).await
    }

    async fn fetch_from(&self, source: GitSource) -> Result<PathBuf, GitError> {
        let client = self.client();
        let revision = client.resolve(&source).await?;
        let scratch = tempfile::tempdir_in(self.directory.path()).unwrap();
        let into = tempfile::tempdir_in(self.directory.path()).unwrap().keep();
        let repository = self.directory.path().join("repository");
        let place = Workplace { repository: &repository, scratch: scratch.path() };
        client.checkout(&source, &revision, place, &into).await?;
        Ok(into)
    }
}

fn read(directory: &Path, path: &str) -> String {
    fs::read_to_string(directory.join(path)).unwrap()
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_branch_a_tag_and_a_commit_are_checked_out() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("file", "one");
    let first = repository.commit("one").unwrap();
    repository.git(&["tag", "plain"]).unwrap();
    repository.git(&["tag", "-a", "-m", "x", "annotated"]).unwrap();
    repository.write("file", "two");
    let second = repository.commit("two").unwrap();
    repository.git(&["branch", "feature/x"]).unwrap();
    repository.write("file", "three");
    repository.commit("three").unwrap();
    for (rest, content) in [
        ("", "three"),
        ("#main", "three"),
        ("#plain", "one"),
        ("#annotated", "one"),
        ("?tag=annotated", "one"),
        ("?branch=feature/x", "two"),
        (format!("#{first}").as_str(), "one"),
        (format!("#{second}").as_str(), "two"),
        (format!("?ref=main&fetch-by-commit&checksum={second}").as_str(), "two"),
    ] {
        let files = bench.fetch(rest).await.unwrap_or_else(|error| panic!("{rest}: {error}"));
        assert_eq!(read(&files, "file"), content, "{rest}");
        assert_eq!(names(&files), ["file"], "{rest}");
    }
    let annotated = bench.client().resolve(&bench.source("#annotated")).await.unwrap();
    assert_eq!((annotated.name.as_str(), annotated.commit()), ("refs/tags/annotated", first.as_str()));
    assert_ne!(annotated.object, first);
}

#[tokio::test]
async fn a_branch_that_moved_is_seen() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("file", "one");
    repository.commit("one").unwrap();
    assert_eq!(read(&bench.fetch("#main").await.unwrap(), "file"), "one");
    repository.write("file", "two");
    repository.commit("two").unwrap();
    assert_eq!(read(&bench.fetch("#main").await.unwrap(), "file"), "two");
    // History may be written anew, and a branch become the directory of others.
    repository.write("file", "three");
    repository.git(&["commit", "--quiet", "--amend", "-a", "-m", "three"]).unwrap();
    repository.git(&["branch", "-m", "main", "main/sub"]).unwrap();
    assert_eq!(read(&bench.fetch("#main/sub").await.unwrap(), "file"), "three");
}

#[tokio::test]
async fn a_revision_that_was_resolved_stays_it_though_the_branch_moves() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("file", "one");
    repository.commit("one").unwrap();
    let source = bench.source("#main");
    let revision = bench.client().resolve(&source).await.unwrap();
    repository.write("file", "two");
    repository.commit("two").unwrap();
    let (scratch, into) = (bench.directory.path().join("scratch"), bench.directory.path().join("into"));
    fs::create_dir(&scratch).unwrap();
    fs::create_dir(&into).unwrap();
    let place = Workplace { repository: &bench.directory.path().join("repository"), scratch: &scratch };
    bench.client().checkout(&source, &revision, place, &into).await.unwrap();
    assert_eq!(read(&into, "file"), "one");
}

#[tokio::test]
async fn what_a_killed_process_left_is_in_nobodys_way() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("file", "one");
    repository.commit("one").unwrap();
    bench.fetch("#main").await.unwrap();
    repository.write("file", "two");
    let second = repository.commit("two").unwrap();
    let kept = bench.directory.path().join("repository");
    let commit = format!("refs/archway/{second}.lock");
    for lock in ["shallow.lock", "config.lock", "refs/archway-incoming.lock", &commit] {
        fs::write(kept.join(lock), "").unwrap();
    }
    assert_eq!(read(&bench.fetch("#main").await.unwrap(), "file"), "two");
}

#[tokio::test]
async fn modes_links_and_times_are_as_committed() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("dir/program", "#!/bin/sh\n");
    repository.write("plain", "text");
    let program = repository.files().join("dir/program");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    symlink("dir/program", repository.files().join("link")).unwrap();
    repository.commit("one").unwrap();
    let files = bench.fetch("?mtime=commit").await.unwrap();
    for (path, mode) in [("dir", 0o755), ("dir/program", 0o755), ("plain", 0o644)] {
        let found = fs::symlink_metadata(files.join(path)).unwrap();
        assert_eq!((found.mode() & 0o7777, found.mtime()), (mode, COMMITTED), "{path}");
    }
    let link = fs::symlink_metadata(files.join("link")).unwrap();
    assert!(link.is_symlink());
    assert_eq!(link.mtime(), COMMITTED);
    let now = bench.fetch("").await.unwrap();
    assert_ne!(fs::metadata(now.join("plain")).unwrap().mtime(), COMMITTED);
}

#[tokio::test]
async fn only_a_directory_is_taken_and_never_by_a_link() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("a/b/file", "inside");
    repository.write("other", "outside");
    symlink("/etc", repository.files().join("absolute")).unwrap();
    symlink("a", repository.files().join("relative")).unwrap();
    repository.commit("one").unwrap();
    let files = bench.fetch("#main:a/b").await.unwrap();
    assert_eq!((names(&files), read(&files, "file")), (vec!["file".to_owned()], "inside".to_owned()));
    for (subdir, problem) in [
        ("absolute", "symbolic link"),
        ("relative/b", "symbolic link"),
        ("other", "a file"),
        ("nowhere", "nothing is there"),
    ] {
        let error = bench.fetch(&format!("#:{subdir}")).await.unwrap_err();
        assert!(matches!(error, GitError::Subdir { .. }), "{error}");
        assert!(error.to_string().contains(problem), "{error}");
    }
}

#[tokio::test]
async fn the_git_directory_is_kept_where_asked() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("a/file", "x");
    let commit = repository.commit("one").unwrap();
    repository.git(&["tag", "-a", "-m", "x", "v1"]).unwrap();
    let kept = bench.fetch("?tag=v1&keep-git-dir").await.unwrap();
    let git = |arguments: &[&str]| {
        let run = std::process::Command::new("git").arg("-C").arg(&kept).args(arguments).output().unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(git(&["rev-parse", "HEAD"]), commit);
    assert_eq!(git(&["describe", "--exact-match"]), "v1");
    assert_eq!(git(&["status", "--porcelain"]), "");
    assert_eq!(git(&["remote", "get-url", "origin"]), bench.server.url("app"));
    assert!(!kept.join(".git/FETCH_HEAD").exists());
    // Objects are its own, and not borrowed.
    assert!(!kept.join(".git/objects/info/alternates").exists());
    assert_eq!(names(&bench.fetch("?keep-git-dir=false").await.unwrap()), ["a"]);
    assert_eq!(names(&bench.fetch("?keep-git-dir#:a").await.unwrap()), ["file"]);
}

#[tokio::test]
async fn submodules_come_along_unless_they_are_not_wanted() {
    let Some(bench) = bench() else { return };
    let library = bench.server.repository("library").unwrap();
    library.write("lib", "library");
    library.commit("one").unwrap();
    let repository = bench.repository();
    repository.write("file", "x");
    repository.commit("one").unwrap();
    // Its address is relative to the repository's.
    let add = ["submodule", "--quiet", "add", "../library.git", "vendor/library"];
    repository.git(&["config", "remote.origin.url", &bench.server.url("app")]).unwrap();
    repository.git(&add).unwrap();
    repository.commit("two").unwrap();
    let files = bench.fetch("").await.unwrap();
    assert_eq!(names(&files.join("vendor/library")), ["lib"]);
    let without = bench.fetch("?submodules=false").await.unwrap();
    assert_eq!(names(&without.join("vendor/library")), [""; 0]);
    let kept = bench.fetch("?keep-git-dir=1").await.unwrap();
    assert_eq!(names(&kept.join("vendor/library")), [".git", "lib"]);
}

#[tokio::test]
async fn nothing_of_a_repository_is_executed() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    let marker = bench.directory.path().join("executed");
    repository.write(".gitattributes", "* filter=evil\n");
    repository.write("file", "x");
    let config = format!("[filter \"evil\"]\n\tsmudge = touch {}; cat\n", marker.display());
    repository.write(".gitconfig", &config);
    // A submodule on this machine's own disk, and one with a command.
    let modules = format!(
        "[submodule \"x\"]\n\tpath = x\n\turl = file://{}\n\tupdate = !touch {}\n",
        repository.path().display(),
        marker.display()
    );
    let commit = repository.commit("one").unwrap();
    repository.write(".gitmodules", &modules);
    repository.git(&["add", "."]).unwrap();
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},x")]).unwrap();
    repository.git(&["commit", "--quiet", "-m", "two"]).unwrap();
    assert!(bench.fetch("").await.is_err());
    assert_eq!(read(&bench.fetch("?submodules=0").await.unwrap(), "file"), "x");
    assert!(!marker.exists());
}

#[tokio::test]
async fn a_commit_that_has_to_be_is_verified() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("file", "one");
    let first = repository.commit("one").unwrap();
    repository.git(&["tag", "-a", "-m", "x", "v1"]).unwrap();
    repository.write("file", "two");
    let second = repository.commit("two").unwrap();
    for rest in [
        format!("?checksum={second}#main"),
        format!("?checksum={}#main", &second[..7]),
        format!("?checksum={first}&tag=v1"),
        format!("?checksum={first}#{first}"),
    ] {
        bench.fetch(&rest).await.unwrap_or_else(|error| panic!("{rest}: {error}"));
    }
    let error = bench.fetch(&format!("?checksum={first}#main")).await.unwrap_err();
    let GitError::Checksum { expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((expected, found), (&first, &second));
    assert!(bench.fetch(&format!("?checksum={second}#{first}")).await.is_err());
}

#[tokio::test]
async fn what_is_not_there_is_told_with_what_is() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    let empty = bench.fetch("").await.unwrap_err();
    assert!(matches!(empty, GitError::NoDefaultBranch { .. }), "{empty}");
    repository.write("file", "one");
    repository.commit("one").unwrap();
    let error = bench.fetch("#mian").await.unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("did you mean `main`?"), "{error}");
    let absent = "0123456789abcdef0123456789abcdef01234567";
    let error = bench.fetch(&format!("#{absent}")).await.unwrap_err();
    assert!(matches!(&error, GitError::NoCommit { commit, .. } if commit == absent), "{error}");
    let client = bench.client().with_program("/nowhere/git");
    let error = client.resolve(&bench.source("")).await.unwrap_err();
    assert!(matches!(error, GitError::NoProgram { .. }), "{error}");
}

/// The old way: files of the repository, served as they are.
#[tokio::test]
async fn a_server_of_plain_files_is_enough() {
    let Some(bench) = bench() else { return };
    let repository = bench.repository();
    repository.write("file", "one");
    let first = repository.commit("one").unwrap();
    repository.write("file", "two");
    repository.commit("two").unwrap();
    repository.git(&["update-server-info"]).unwrap();
    let root = repository.path().to_owned();
    let web = WebServer::start(move |request| {
        let path = request.path.split('?').next().unwrap_or_default();
        match fs::read(root.join(path.trim_start_matches("/app.git/"))) {
            Ok(bytes) => Response::new(200, bytes),
            Err(_) => Response::new(404, ""),
        }
    })
    .unwrap();
    for (rest, content) in [("#main", "two"), (&*format!("#{first}"), "one")] {
        let url = format!("{}{rest}", web.url("/app.git"));
        let files = bench.fetch_from(GitUrl::parse(&url).unwrap().unwrap().into()).await;
        assert_eq!(read(&files.unwrap(), "file"), content, "{rest}");
    }
}

#[tokio::test]
async fn a_token_is_sent_and_never_shown() {
    if !tools::require("git") {
        return;
    }
    // `x-access-token:hunter2`
    let wanted = "basic eC1hY2Nlc3MtdG9rZW46aHVudGVyMg==".to_owned();
    let mut bench = Bench::new(GitServer::with_authorization(Some(wanted)).unwrap());
    let repository = bench.repository();
    repository.write("file", "one");
    repository.commit("one").unwrap();
    let error = bench.fetch("#main").await.unwrap_err();
    let hint = error.hint().unwrap();
    assert!(matches!(&error, GitError::Denied { tried: false, .. }), "{error}");
    assert!(hint.contains(&format!("id=GIT_AUTH_TOKEN.{},", bench.server.host())), "{hint}");

    bench.credentials = Credentials::new(|name| (name == "GIT_AUTH_TOKEN").then(|| b"hunter2".to_vec()));
    assert_eq!(read(&bench.fetch("#main").await.unwrap(), "file"), "one");

    bench.credentials = Credentials::new(|name| (name == "GIT_AUTH_TOKEN").then(|| b"hunter3".to_vec()));
    let error = bench.fetch("#main").await.unwrap_err();
    assert!(matches!(&error, GitError::Denied { tried: true, .. }), "{error}");
    assert!(!format!("{error:?}{error}").contains("hunter3"), "{error:?}");
    // It is not in the repository that is kept either.
    let config = fs::read_to_string(bench.directory.path().join("repository/config")).unwrap();
    assert!(!config.contains("hunter") && !config.contains(&bench.server.host()), "{config}");
}
