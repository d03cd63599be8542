//! `--load`: into a running Docker daemon, by its HTTP API (`POST /images/load`).

use std::path::PathBuf;

use archway_engine::BuiltImage;
use archway_oci::Reference;
use futures_util::TryStreamExt as _;
use serde::Deserialize;
use tokio_util::io::{ReaderStream, SyncIoBridge};

use super::docker;
use crate::{Context, Error, build::Published};

/// Where Docker listens if `$DOCKER_HOST` does not say.
const DEFAULT_SOCKET: &str = "unix:///var/run/docker.sock";
/// Bytes between the archive's writer and the connection.
const BUFFER: usize = 1 << 20;

/// One line of the daemon's answer.
#[derive(Deserialize)]
struct Progress {
    error: Option<String>,
}

pub(crate) async fn load(
    context: &Context,
    references: &[Reference],
    image: &BuiltImage,
) -> Result<Vec<Published>, Error> {
    let address = std::env::var("DOCKER_HOST").unwrap_or_else(|_| DEFAULT_SOCKET.to_owned());
    let failed = |message: String| Error::Daemon { address: address.clone(), message };
    let (client, url) = client(&address).map_err(failed)?;

    let (reader, writer) = tokio::io::duplex(BUFFER);
    let archive = tokio::task::spawn_blocking({
        let (context, references, image) = (context.clone(), references.to_vec(), image.clone());
        move || docker::archive(&context, &references, &image, SyncIoBridge::new(writer))
    });
    let body = reqwest::Body::wrap_stream(ReaderStream::new(reader).map_err(std::io::Error::other));
    let answer = client
        .post(format!("{url}/images/load?quiet=1"))
        .header("content-type", "application/x-tar")
        .body(body)
        .send()
        .await
        .map_err(|error| failed(root_cause(&error)))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| failed(root_cause(&error)))?;
    if !status.is_success() {
        return Err(failed(format!("{status}: {}", text.trim())));
    }
    // The daemon answers 200 before it has read the archive; errors come as a line of JSON.
    if let Some(error) = text.lines().find_map(|line| serde_json::from_str::<Progress>(line).ok()?.error) {
        return Err(failed(error));
    }
    archive.await.expect("writing does not panic")?;
    let target = |reference: &Reference| format!("docker:{}", reference.familiar());
    Ok(references.iter().map(|name| Published { target: target(name), digest: None }).collect())
}

/// A client for the daemon at `address`, and the start of its URLs.
fn client(address: &str) -> Result<(reqwest::Client, String), String> {
    let builder = reqwest::Client::builder();
    let (builder, url) = match address.split_once("://") {
        Some(("unix", path)) => (builder.unix_socket(PathBuf::from(path)), "http://docker".to_owned()),
        Some(("tcp", host)) => (builder, format!("http://{host}")),
        _ => return Err("DOCKER_HOST must be unix:// or tcp://".to_owned()),
    };
    builder.build().map(|client| (client, url)).map_err(|error| root_cause(&error))
}

/// The innermost error: "No such file or directory" says more than "error sending request".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
