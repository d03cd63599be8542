//! The first contact with a registry: which scheme it speaks and what it asks for.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use reqwest::{StatusCode, Url, header::WWW_AUTHENTICATE};
use tokio::sync::OnceCell;

use crate::{
    ClientOptions, Error,
    auth::Challenge,
    exchange::{Exchange, authority, broken, protocol},
    host::{self, Scheme},
    transport::Backoff,
};

/// A registry that was reached.
pub(crate) struct Endpoint {
    pub(crate) scheme: Scheme,
    /// `…/v2/`.
    pub(crate) base: Url,
    /// What it asked for at the first contact.
    pub(crate) challenge: Option<Challenge>,
    client: reqwest::Client,
    /// Its certificate is not checked.
    insecure: bool,
}

impl Endpoint {
    /// Whether a URL is the registry's own, so that credentials may go there.
    pub(crate) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }
}

/// All registries that were reached, each once.
#[derive(Default)]
pub(crate) struct Endpoints {
    reached: Mutex<HashMap<String, Arc<OnceCell<Arc<Endpoint>>>>>,
    /// Clients for servers that registries send us to, by URL origin.
    elsewhere: Mutex<HashMap<String, reqwest::Client>>,
}

/// A scheme did not work.
struct Refusal {
    error: Error,
    /// It may work in a moment.
    again: bool,
}

impl Endpoints {
    /// The registry, reached at the first call.
    pub(crate) async fn get(&self, registry: &str, options: &ClientOptions) -> Result<Arc<Endpoint>, Error> {
        let cell = {
            let mut reached = self.reached.lock().expect("no holder panics");
            reached.entry(registry.to_owned()).or_default().clone()
        };
        cell.get_or_try_init(|| reach(registry, options)).await.cloned()
    }

    /// A client for a URL that is the registry's own, or to which it sends us.
    pub(crate) fn client(
        &self,
        url: &Url,
        endpoint: &Endpoint,
        options: &ClientOptions,
    ) -> Result<reqwest::Client, Error> {
        let https = url.scheme() == "https";
        // Another host of a registry with its own authority often has the same.
        if endpoint.owns(url) || (https && endpoint.scheme == Scheme::Https && !endpoint.insecure) {
            return Ok(endpoint.client.clone());
        }
        let mut elsewhere = self.elsewhere.lock().expect("no holder panics");
        let origin = url.origin().ascii_serialization();
        if let Some(client) = elsewhere.get(&origin) {
            return Ok(client.clone());
        }
        let server = authority(url);
        let client = if https {
            // No check of the registry's certificate says nothing about other machines.
            let same_machine = endpoint.insecure && url.host_str() == endpoint.base.host_str();
            host::tls_client(&server, options, same_machine || options.insecure.contains(&server))?
        } else {
            host::plain_client(&server, &options.user_agent)
        };
        elsewhere.insert(origin, client.clone());
        Ok(client)
    }
}

async fn reach(registry: &str, options: &ClientOptions) -> Result<Arc<Endpoint>, Error> {
    let insecure = options.insecure.iter().any(|host| host == registry);
    let mut backoff = Backoff::new(options);
    loop {
        let mut refusal: Option<Refusal> = None;
        for scheme in host::schemes(registry, insecure) {
            let next = match try_scheme(registry, *scheme, insecure, options).await {
                Ok(endpoint) => return Ok(Arc::new(endpoint)),
                Err(next) => next,
            };
            refusal = Some(match refusal {
                Some(first) if !tells_more(&next.error, &first.error) => {
                    Refusal { again: first.again || next.again, ..first }
                }
                Some(first) => Refusal { again: first.again || next.again, ..next },
                None => next,
            });
        }
        match refusal {
            Some(Refusal { error, again: true }) => backoff.wait(error).await?,
            Some(Refusal { error, again: false }) => return Err(error),
            None => return Err(protocol(registry, "there is no scheme to reach it by")),
        }
    }
}

/// Whether the error of the second scheme is the one to show: the first server turned out to speak TLS.
fn tells_more(second: &Error, first: &Error) -> bool {
    let certificate = |error: &Error| match error {
        Error::Unreachable { cause, .. } => cause.contains("certificate"),
        Error::Certificate { .. } => true,
        _ => false,
    };
    matches!(first, Error::Protocol { .. }) || (certificate(second) && !certificate(first))
}

async fn try_scheme(
    registry: &str,
    scheme: Scheme,
    insecure: bool,
    options: &ClientOptions,
) -> Result<Endpoint, Refusal> {
    let refused = |error| Refusal { error, again: false };
    let url = format!("{}://{}/v2/", scheme.as_str(), host::address(registry));
    let base: Url = url.parse().map_err(|_| refused(protocol(registry, "its name is not valid")))?;
    let client = match scheme {
        Scheme::Http => host::plain_client(registry, &options.user_agent),
        Scheme::Https => host::tls_client(registry, options, insecure).map_err(refused)?,
    };
    let response = tokio::time::timeout(options.silence, client.get(base.clone()).send()).await;
    let response = match response {
        // A refused connection or a bad certificate is refused again at once.
        Ok(answer) => {
            answer.map_err(|error| Refusal { again: !error.is_connect(), error: broken(registry, error) })?
        }
        Err(_) => return Err(refused(Exchange::new(options).silent(registry))),
    };
    // A TLS server says so when it is spoken to in plain HTTP.
    if scheme == Scheme::Http && response.status() == StatusCode::BAD_REQUEST {
        return Err(refused(protocol(registry, "it does not speak plain HTTP")));
    }
    let asked = response.headers().get_all(WWW_AUTHENTICATE);
    let challenge = Challenge::parse(asked.iter(), &base);
    let insecure = insecure && scheme == Scheme::Https;
    Ok(Endpoint { scheme, base, challenge, client, insecure })
}
