//! What a command needs from this machine, in the order in which it can be had: user namespace and
//! sandbox helper before any thread, then the runtime.

use std::{ops::Deref, path::PathBuf, sync::Arc, time::Duration};

use archway_engine::Engine;
use archway_layer::extract::Ownership;
use archway_orchestrator::Context;
use archway_registry::{Client, ClientOptions, Keychain};
use archway_report::{Event, Events};
use archway_sandbox::{
    Sandbox,
    rootless::{self, Identity},
};
use archway_store::Store;
use tokio::runtime::{Builder, Runtime};

use crate::{args::RegistryArgs, error::CliError};

/// Work that blocks may go on for this long when a command is done, so that mostly it tidies up.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everything a command works with.
pub(crate) struct Session {
    /// For asynchronous work.
    pub(crate) runtime: Threads,
    engine: Engine,
    identity: Identity,
}

impl Session {
    /// Prepares this process for building and running images.
    pub(crate) fn start(registries: &RegistryArgs) -> Result<Self, CliError> {
        let root = store_root();
        let identity = rootless::enter()?;
        let sandbox = Arc::new(Sandbox::start()?);
        let runtime = Threads(Some(runtime()));
        let store = Store::open(root)?;
        let registry = client(registries);
        let ownership = match identity {
            Identity::Root | Identity::Mapped => Ownership::Keep,
            Identity::SingleId { .. } => Ownership::Squash,
        };
        Ok(Self { runtime, engine: Engine { store, registry, sandbox, ownership }, identity })
    }

    /// The context for operations that report to `events`.
    pub(crate) fn context(&self, events: Events) -> Context {
        if let Identity::SingleId { why } = &self.identity {
            events.send(Event::Warning {
                message: format!(
                    "only one user id is available, files of other users in images become yours: {why}"
                ),
            });
        }
        Context { engine: self.engine.clone(), events }
    }
}

/// A runtime that does not wait for work that was given up.
///
/// A thread that unpacks or reads a layer does not notice an interrupt, and a layer may be much larger than
/// it looks. It ends with the program, as all of it does when it is killed: the store is made for that.
pub(crate) struct Threads(Option<Runtime>);

impl Deref for Threads {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}

/// Opens the local store, for commands that need nothing else.
pub(crate) fn store() -> Result<Store, CliError> {
    store_as().map(|(store, _)| store)
}

/// The same, and as whom.
pub(crate) fn store_as() -> Result<(Store, Identity), CliError> {
    let root = store_root();
    // Files in the store may belong to other users of our namespace.
    let identity = rootless::enter()?;
    Ok((Store::open(root)?, identity))
}

/// A runtime for commands that only talk to registries.
pub(crate) fn runtime() -> Runtime {
    Builder::new_multi_thread().enable_all().build().expect("threads can be started")
}

/// A registry client with the user's credentials.
pub(crate) fn client(registries: &RegistryArgs) -> Client {
    Client::new(ClientOptions {
        credentials: Keychain::from_environment(),
        insecure: registries.insecure_registry.clone(),
        ca_files: registries.registry_ca.clone(),
        ..ClientOptions::default()
    })
}

/// `$ARCHWAY_ROOT`, else the system's place for root and the user's for others.
fn store_root() -> PathBuf {
    if let Some(root) = std::env::var_os("ARCHWAY_ROOT").filter(|root| !root.is_empty()) {
        return root.into();
    }
    if rustix::process::geteuid().is_root() {
        return "/var/lib/archway".into();
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/share");
    data.unwrap_or_else(home).join("archway")
}
