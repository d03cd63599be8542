//! What somebody else gets who works for us: a token for what the work needs, and a password only where a registry
//! knows nothing better.
//!
//! Whoever asks is not believed. A registry itself says which server its tokens come from, and who may push where is
//! known here.

use archway_oci::Reference;
use reqwest::Url;

use crate::{
    Bearer, Client, Error,
    auth::{Challenge, may_hold_secrets, refused},
    credentials::Credential,
    endpoint::Endpoint,
    exchange, host,
    token::Question,
};

/// What a registry said to somebody who works for us.
#[derive(Debug, Clone, Copy)]
pub struct Challenged<'a> {
    /// The registry's host, with port if any, as it was reached: `registry-1.docker.io`.
    pub host: &'a str,
    /// `realm` of its challenge: URL of the token server.
    pub realm: &'a str,
    /// `service` of its challenge.
    pub service: Option<&'a str>,
    /// What a token is to be good for (distribution "token" specification): `repository:team/app:pull`.
    pub scopes: &'a [String],
}

impl Client {
    /// A token for somebody else, fetched with the user's credentials if there are some. It is good for pulling what
    /// `challenged` names, and for pushing to the repositories of `pushes`. It is not kept.
    ///
    /// # Errors
    /// [`Error::Withheld`] for other scopes, and for a token server that the registry does not name; those of the
    /// keychain, the registry and its token server.
    pub async fn token_for(
        &self,
        challenged: &Challenged<'_>,
        pushes: &[Reference],
    ) -> Result<Bearer, Error> {
        let registry = host::registry(challenged.host);
        let scopes = Scopes::parse(registry, challenged.scopes, pushes)?;
        let transport = &self.transport;
        let endpoint = transport.endpoint(registry).await?;
        let realm = token_server(registry, challenged, &endpoint)?;
        let credential = transport.find_credential(registry, &scopes.repository).await?;
        let client = transport.client(&realm, &endpoint)?;
        let question = Question { realm: &realm, service: challenged.service, scopes: challenged.scopes };
        let mut backoff = transport.backoff();
        loop {
            match question.ask(transport.exchange(), &client, credential.as_ref()).await {
                Ok(Some(bearer)) => return Ok(bearer),
                Ok(None) => return Err(refused(registry, scopes.description, credential.as_ref())),
                Err(error) => backoff.wait(error).await?,
            }
        }
    }

    /// User name and password for a registry that takes nothing else.
    ///
    /// # Errors
    /// [`Error::Withheld`] if the registry takes tokens; [`Error::Unauthorized`] if there is no password for it; those
    /// of the keychain and the registry.
    pub async fn password_for(&self, host: &str) -> Result<(String, String), Error> {
        let registry = host::registry(host);
        let endpoint = self.transport.endpoint(registry).await?;
        if let Some(Challenge::Bearer { .. }) = endpoint.challenge {
            let why = "it takes tokens".to_owned();
            return Err(Error::Withheld { host: registry.to_owned(), what: "password", why });
        }
        let found = self.transport.find_credential(registry, "").await?;
        match found.as_ref().map(|sourced| &sourced.credential) {
            Some(Credential::Password { username, password }) => Ok((username.clone(), password.clone())),
            _ => Err(refused(registry, "the registry".to_owned(), None)),
        }
    }
}

/// Scopes that the work needs.
#[derive(Debug, PartialEq, Eq)]
struct Scopes {
    /// The repository whose credentials are used: the one that is pushed to, else the first.
    repository: String,
    /// For messages.
    description: String,
}

impl Scopes {
    fn parse(registry: &str, scopes: &[String], pushes: &[Reference]) -> Result<Self, Error> {
        let withheld = |why| Error::Withheld { host: registry.to_owned(), what: "token", why };
        let (mut pushed, mut pulled) = (None, None);
        // One text may hold several.
        for scope in scopes.iter().flat_map(|text| text.split_whitespace()) {
            let beyond = || withheld(format!("`{scope}` is neither pulling nor pushing"));
            // Names of repositories may hold a colon: `localhost:5000/app` behind some proxies.
            let (repository, actions) = scope
                .strip_prefix("repository:")
                .and_then(|rest| rest.rsplit_once(':'))
                .ok_or_else(beyond)?;
            for action in actions.split(',') {
                match action {
                    "pull" => pulled = pulled.or(Some(repository)),
                    "push" => {
                        let is_ours = |reference: &Reference| {
                            reference.registry == registry && reference.repository == repository
                        };
                        if !pushes.iter().any(is_ours) {
                            return Err(withheld(format!("nothing is to be pushed to `{repository}`")));
                        }
                        pushed = pushed.or(Some(repository));
                    }
                    _ => return Err(beyond()),
                }
            }
        }
        let (repository, description) = match (pushed, pulled) {
            (Some(repository), _) => (repository, format!("pushing to {repository}")),
            (None, Some(repository)) => (repository, format!("pulling {repository}")),
            (None, None) => ("", "the registry".to_owned()),
        };
        Ok(Self { repository: repository.to_owned(), description })
    }
}

/// The token server, if it is the registry's: the one that the registry names at the first contact - its path may be
/// another for each repository - or, if it names none there, one on the same machine.
fn token_server(registry: &str, challenged: &Challenged<'_>, endpoint: &Endpoint) -> Result<Url, Error> {
    let withheld = |why| Error::Withheld { host: registry.to_owned(), what: "token", why };
    let realm = Url::parse(challenged.realm)
        .map_err(|_| exchange::protocol(registry, "the URL of its token server is not valid"))?;
    let is_its = match &endpoint.challenge {
        Some(Challenge::Bearer { realm: known, service }) => {
            let is_its = realm.origin() == known.origin();
            if is_its && service.is_some() && service.as_deref() != challenged.service {
                let service = challenged.service.unwrap_or_default();
                return Err(withheld(format!("`{service}` is not its name at the token server")));
            }
            is_its
        }
        Some(Challenge::Basic) | None => {
            may_hold_secrets(&realm, &endpoint.base) && realm.host_str() == endpoint.base.host_str()
        }
    };
    if !is_its {
        let why = format!("`{}` is not its token server", exchange::authority(&realm));
        return Err(withheld(why));
    }
    Ok(realm)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(scopes: &[&str]) -> Result<Scopes, String> {
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let pushes = ["r.io/team/app:1", "other.io/lib"].map(|text| text.parse().unwrap());
        Scopes::parse("r.io", &scopes, &pushes).map_err(|error| error.to_string())
    }

    #[test]
    fn everything_may_be_pulled_and_only_what_is_ours_pushed() {
        for (scopes, repository, description) in [
            (&["repository:lib/base:pull"][..], "lib/base", "pulling lib/base"),
            (
                &["repository:lib/base:pull", "repository:team/app:pull,push"],
                "team/app",
                "pushing to team/app",
            ),
            (&["repository:team/app:push repository:b:pull"], "team/app", "pushing to team/app"),
            (&[], "", "the registry"),
        ] {
            let want = Scopes { repository: repository.into(), description: description.into() };
            assert_eq!(parse(scopes), Ok(want), "{scopes:?}");
        }
        for (scope, why) in [
            ("repository:lib:pull,push", "nothing is to be pushed to `lib`"),
            ("repository:team/app:pull,push,delete", "neither pulling nor pushing"),
            ("repository:team/app:*", "neither pulling nor pushing"),
            ("registry:catalog:*", "neither pulling nor pushing"),
            ("repository:team/app", "neither pulling nor pushing"),
        ] {
            let error = parse(&["repository:x:pull", scope]).unwrap_err();
            assert!(error.starts_with("no token for r.io is given away") && error.contains(why), "{error}");
        }
    }
}
