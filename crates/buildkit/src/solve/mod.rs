//! One build: request, progress, end.

mod failure;
mod progress;

use std::{collections::BTreeMap, time::Duration};

use archway_oci::{Digest, Reference};
use archway_report::Events;
use futures_util::{StreamExt as _, TryFutureExt as _};
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub use failure::{Failed, Place, SolveError};
pub use progress::Steps;

use self::progress::Progress;
use crate::{
    Daemon, Lent,
    proto::{control, sourcepolicy},
    session::Session,
};

/// How often a daemon is asked whether it is still there, and how long it may take to say so. Together they are
/// below ten seconds, so that nobody waits long for one that is gone.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(7);
/// How long the last messages about a build may be late.
const LAST_MESSAGES: Duration = Duration::from_secs(2);

/// A build of one platform by BuildKit's Dockerfile frontend.
#[derive(Debug, Clone, Default)]
pub struct Solve {
    /// Attributes of the frontend `dockerfile.v0`.
    pub frontend: BTreeMap<String, String>,
    /// What to do with the image, in the order of [`Lent::receivers`].
    pub exports: Vec<Entry>,
    /// Build caches to read.
    pub cache_from: Vec<Entry>,
    /// Build caches to write.
    pub cache_to: Vec<Entry>,
    /// `network.host`, `security.insecure`.
    pub entitlements: Vec<String>,
    /// Images by name, and what they were resolved to: `docker-image://docker.io/library/alpine:3` to the same with
    /// `@sha256:…`.
    pub pins: Vec<(String, String)>,
}

/// An exporter or a cache: its type, and its attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// `image`, `oci`, `registry`, …
    pub kind: String,
    /// Its attributes, as for `buildctl --output` and `--export-cache`.
    pub attributes: BTreeMap<String, String>,
}

/// What a build came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solved {
    /// What the exporters answered: `containerimage.digest`, ….
    pub response: BTreeMap<String, String>,
    /// Steps that were found in the daemon's cache, and steps that ran.
    pub cached: u32,
    /// See `cached`.
    pub run: u32,
}

impl Solved {
    /// Digest of what was exported.
    pub fn digest(&self) -> Option<Digest> {
        self.response.get("containerimage.digest")?.parse().ok()
    }
}

impl Daemon {
    /// Builds. Ends early when `cancel` is cancelled, or when the daemon is gone.
    ///
    /// `shared_key` names the source: a daemon that has seen it before asks for what changed since.
    ///
    /// # Errors
    /// [`SolveError`]: what a step, the frontend or an exporter said, or that the daemon is gone.
    pub async fn solve(
        &self,
        solve: Solve,
        lent: Lent,
        shared_key: &str,
        steps: &Steps,
        events: &Events,
        cancel: &CancellationToken,
    ) -> Result<Solved, SolveError> {
        let mut alive = std::pin::pin!(self.is_alive());
        let session = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(SolveError::Cancelled),
            session = Session::open(self, shared_key, lent, pushes(&solve)) => session,
            gone = &mut alive => return Err(SolveError::lost(self.endpoint(), &gone)),
        };
        let reference = uuid::Uuid::new_v4().simple().to_string();
        // What still runs when this ends, in whatever way, was stopped.
        let mut progress = Progress::new(steps.clone(), events.clone());
        let session = session.map_err(|status| SolveError::of(self.endpoint(), status, None, &progress))?;
        let (mut control, mut other) = (self.control(), self.control());
        let request = request(reference.clone(), session.id().to_owned(), solve);
        let mut solving = std::pin::pin!(async move { control.solve(request).await });
        let told = async move { other.status(control::StatusRequest { r#ref: reference }).await };
        let told = told.map_ok(tonic::Response::into_inner).try_flatten_stream();
        let mut status = std::pin::pin!(told);
        let mut is_open = true;
        let result = loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(SolveError::Cancelled),
                message = status.next(), if is_open => match message {
                    Some(Ok(message)) => progress.observe(message),
                    // Why is what the request itself ends with.
                    Some(Err(_)) | None => is_open = false,
                },
                result = &mut solving => break result,
                gone = &mut alive => return Err(SolveError::lost(self.endpoint(), &gone)),
            }
        };
        // What happened last may come after the answer.
        while is_open {
            match tokio::time::timeout(LAST_MESSAGES, status.next()).await {
                Ok(Some(Ok(message))) => progress.observe(message),
                Ok(Some(Err(_)) | None) | Err(_) => is_open = false,
            }
        }
        match result {
            Ok(response) => {
                let (cached, run) = progress.counts();
                let response = response.into_inner().exporter_response.into_iter().collect();
                Ok(Solved { response, cached, run })
            }
            Err(status) => {
                let cause = session.cause_of(status.message());
                Err(SolveError::of(self.endpoint(), status, cause, &progress))
            }
        }
    }

    /// Ends when the daemon does not answer any more.
    async fn is_alive(&self) -> Status {
        loop {
            tokio::time::sleep(PING_INTERVAL).await;
            if let Err(status) = self.ping(PING_TIMEOUT).await {
                return status;
            }
        }
    }
}

/// Where a build pushes to: its images, and its caches.
fn pushes(solve: &Solve) -> Vec<Reference> {
    let images = solve.exports.iter().filter_map(|export| export.attributes.get("name"));
    let caches = solve.cache_to.iter().filter_map(|cache| cache.attributes.get("ref"));
    // Several names are separated by commas, and quoted as in CSV for their sake.
    let names = images.chain(caches).flat_map(|names| names.split([',', '"']));
    names.filter_map(|name| name.parse().ok()).collect()
}

fn request(reference: String, session: String, solve: Solve) -> control::SolveRequest {
    let entries = |entries: Vec<Entry>| {
        let entry = |entry: Entry| control::CacheOptionsEntry {
            r#type: entry.kind,
            attrs: entry.attributes.into_iter().collect(),
        };
        entries.into_iter().map(entry).collect()
    };
    let exporter = |entry: Entry| control::Exporter {
        r#type: entry.kind,
        attrs: entry.attributes.into_iter().collect(),
    };
    let mut frontend = solve.frontend;
    // Where there is a frontend, it is the one that reads caches, and is told of them in this way.
    if !solve.cache_from.is_empty() {
        let entry = |entry: &Entry| serde_json::json!({"Type": entry.kind, "Attrs": entry.attributes});
        let list = solve.cache_from.iter().map(entry).collect::<serde_json::Value>();
        frontend.insert("cache-imports".to_owned(), list.to_string());
    }
    control::SolveRequest {
        r#ref: reference,
        session,
        frontend: "dockerfile.v0".to_owned(),
        frontend_attrs: frontend.into_iter().collect(),
        exporters: solve.exports.into_iter().map(exporter).collect(),
        cache: Some(control::CacheOptions { exports: entries(solve.cache_to), ..Default::default() }),
        entitlements: solve.entitlements,
        source_policy: policy(solve.pins),
        ..Default::default()
    }
}

/// Makes the daemon use the images that were resolved here, whatever their tags mean by now.
fn policy(pins: Vec<(String, String)>) -> Option<sourcepolicy::Policy> {
    let rule = |(name, pinned): (String, String)| sourcepolicy::Rule {
        action: sourcepolicy::PolicyAction::Convert.into(),
        selector: Some(sourcepolicy::Selector { identifier: name, ..Default::default() }),
        updates: Some(sourcepolicy::Update { identifier: pinned, ..Default::default() }),
    };
    let rules: Vec<sourcepolicy::Rule> = pins.into_iter().map(rule).collect();
    (!rules.is_empty()).then_some(sourcepolicy::Policy { version: 1, rules })
}
