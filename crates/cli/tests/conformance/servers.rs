//! What Dockerfiles of the corpus reach on this machine: a registry with base images, a web server and
//! git repositories.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use archway_testkit::{
    GitServer, RealRegistry,
    web::{Request, Response, WebServer},
};
use jiff::Timestamp;
use tempfile::TempDir;

use crate::bases;

/// The context whose files are on the web.
const WEB: &str = "context.web";

/// The servers, and the directories of the fixtures, whose files one of them serves.
pub(crate) struct Servers {
    registry: RealRegistry,
    web: WebServer,
    git: GitServer,
    directory: TempDir,
}

/// Where the servers are, for one fixture.
pub(crate) struct Places {
    registry: String,
    web: String,
    git: String,
}

impl Servers {
    /// Starts them, with everything in place.
    pub(crate) fn start() -> Self {
        let registry = RealRegistry::start().unwrap();
        bases::push(&registry.host());
        let directory = tempfile::Builder::new().prefix("archway-fixtures-").tempdir().unwrap();
        let root = directory.path().to_owned();
        let web = WebServer::start(move |request| answer(&root, request)).unwrap();
        Self { registry, web, git: repositories(), directory }
    }

    /// `localhost:PORT` of the registry.
    pub(crate) fn registry(&self) -> String {
        self.registry.host()
    }

    /// The directory of the `number`th fixture.
    pub(crate) fn directory(&self, number: usize) -> PathBuf {
        self.directory.path().join(number.to_string())
    }

    /// What the words of the `number`th fixture stand for.
    pub(crate) fn places(&self, number: usize) -> Places {
        Places {
            registry: self.registry.host(),
            web: self.web.url(&format!("/{number}")),
            git: format!("http://{}", self.git.host()),
        }
    }
}

impl Places {
    /// `text` with `REGISTRY`, `WEB` and `GIT` replaced.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("REGISTRY", &self.registry)
            .replace("WEB", &self.web)
            .replace("GIT/", &format!("{}/", self.git))
    }
}

/// `/NUMBER/PATH` is a file of the named context `web` of that fixture.
fn answer(root: &Path, request: &Request) -> Response {
    let path = request.path.split('?').next().unwrap_or_default();
    let found = path
        .trim_start_matches('/')
        .split_once('/')
        .map(|(number, path)| root.join(number).join(WEB).join(path));
    found.and_then(|file| serve(&file).ok()).unwrap_or_else(|| Response::new(404, "not found"))
}

fn serve(file: &Path) -> io::Result<Response> {
    let modified = fs::metadata(file)?.modified()?.duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
    let time = Timestamp::from_second(modified.as_secs().try_into().map_err(io::Error::other)?)
        .map_err(io::Error::other)?;
    let time = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    Ok(Response::new(200, fs::read(file)?).header("Last-Modified", &time))
}

/// `project.git`: a tag `v1`, and a branch `dev` that has gone on.
fn repositories() -> GitServer {
    let server = GitServer::start().unwrap();
    let project = server.repository("project").unwrap();
    project.write("a.txt", "a of the project\n");
    project.write("sub/b.txt", "b\n");
    std::os::unix::fs::symlink("a.txt", project.files().join("link")).unwrap();
    project.write("run.sh", "#!/bin/sh\n");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(project.files().join("run.sh"), mode).unwrap();
    project.commit("one").unwrap();
    project.git(&["tag", "v1"]).unwrap();
    project.git(&["checkout", "--quiet", "-b", "dev"]).unwrap();
    project.write("sub/c.txt", "c\n");
    project.commit("two").unwrap();
    project.git(&["checkout", "--quiet", "main"]).unwrap();
    server
}
