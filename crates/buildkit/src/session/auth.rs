//! Tokens for registries, fetched here so that passwords stay here.
//!
//! A daemon that meets a registry with a token server asks for this session's *authority*, a public key. Whenever it
//! needs a token it asks for one, and keeps it under that key: another session gets to use it only after signing with
//! the same key, which shows that it has the same user's credentials. The key comes from a seed that is made for each
//! process, so that tokens serve all builds of one request and no other: a seed in a file would be one more secret
//! to keep, and save a request for each registry and build.

use std::sync::LazyLock;

use archway_oci::Reference;
use archway_registry::{Challenged, Client};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use tonic::{Request, Response, Status};

use super::{SessionError, problem::Problems};
use crate::proto::filesync::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse, GetTokenAuthorityRequest,
    GetTokenAuthorityResponse, VerifyTokenAuthorityRequest, VerifyTokenAuthorityResponse, auth_server,
};

/// Full names of the methods.
pub(super) const METHODS: [&str; 4] = [
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
];

/// What all keys of this process come from.
static SEED: LazyLock<hmac::Key> = LazyLock::new(|| {
    hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).expect("the system has random numbers")
});

pub(super) struct Auth {
    client: Client,
    /// What the build pushes to; tokens for all else are for pulling.
    pushes: Vec<Reference>,
    /// Whether nobody between the machines can read along.
    is_private: bool,
    problems: Problems,
}

impl Auth {
    pub(super) fn new(client: Client, pushes: Vec<Reference>, is_private: bool, problems: Problems) -> Self {
        Self { client, pushes, is_private, problems }
    }
}

/// The key with which this process speaks to one daemon about one registry. The salt is the daemon's, and lives as
/// long as it does; without the seed the daemon could choose what is signed.
fn authority(seed: &hmac::Key, host: &str, salt: &[u8]) -> Ed25519KeyPair {
    let mut context = hmac::Context::with_key(seed);
    // The length keeps `a` with the salt `bc` apart from `ab` with `c`.
    context.update(&(host.len() as u64).to_be_bytes());
    context.update(host.as_bytes());
    context.update(salt);
    Ed25519KeyPair::from_seed_unchecked(context.sign().as_ref()).expect("SHA-256 has as many bytes as a seed")
}

#[tonic::async_trait]
impl auth_server::Auth for Auth {
    /// A password, for registries that know nothing better. It is kept back as long as somebody could read along.
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        if !self.is_private {
            return Err(self.problems.refuse(SessionError::InTheClear { host }));
        }
        match self.client.password_for(&host).await {
            Ok((username, secret)) => Ok(Response::new(CredentialsResponse { username, secret })),
            Err(error) => Err(self.problems.refuse(error)),
        }
    }

    /// A token, which is good for little and not for long: it is given over every connection that the user allows.
    async fn fetch_token(
        &self,
        request: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        let request = request.into_inner();
        let challenged = Challenged {
            host: &request.host,
            realm: &request.realm,
            service: Some(request.service.as_str()).filter(|service| !service.is_empty()),
            scopes: &request.scopes,
        };
        match self.client.token_for(&challenged, &self.pushes).await {
            Ok(bearer) => Ok(Response::new(FetchTokenResponse {
                token: bearer.token,
                expires_in: i64::try_from(bearer.life.as_secs()).unwrap_or(i64::MAX),
                issued_at: bearer.issued_at.map_or(0, |time| time.as_second()),
            })),
            Err(error) => Err(self.problems.refuse(error)),
        }
    }

    async fn get_token_authority(
        &self,
        request: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        let request = request.into_inner();
        let key = authority(&SEED, &request.host, &request.salt);
        let public_key = key.public_key().as_ref().to_vec();
        Ok(Response::new(GetTokenAuthorityResponse { public_key }))
    }

    async fn verify_token_authority(
        &self,
        request: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        let request = request.into_inner();
        let signature = authority(&SEED, &request.host, &request.salt).sign(&request.payload);
        // As NaCl's `crypto_sign` has it.
        let signed = [signature.as_ref(), &request.payload].concat();
        Ok(Response::new(VerifyTokenAuthorityResponse { signed }))
    }
}

#[cfg(test)]
mod tests {
    use archway_registry::ClientOptions;
    use ring::signature::{ED25519, UnparsedPublicKey};

    use super::{auth_server::Auth as _, *};

    fn auth(is_private: bool) -> Auth {
        Auth::new(Client::new(ClientOptions::default()), Vec::new(), is_private, Problems::default())
    }

    async fn public_key(auth: &Auth, host: &str, salt: &[u8]) -> Vec<u8> {
        let request = GetTokenAuthorityRequest { host: host.into(), salt: salt.into() };
        auth.get_token_authority(Request::new(request)).await.unwrap().into_inner().public_key
    }

    #[tokio::test]
    async fn sessions_of_one_process_show_that_they_are_of_one_user() {
        let (first, second, salt, payload) = (auth(true), auth(true), [7; 32], b"anything".to_vec());
        let key = public_key(&first, "r.io", &salt).await;
        let request =
            VerifyTokenAuthorityRequest { host: "r.io".into(), salt: salt.into(), payload: payload.clone() };
        let signed = second.verify_token_authority(Request::new(request)).await.unwrap().into_inner().signed;
        let (signature, message) = signed.split_at(64);
        assert_eq!(message, payload);
        UnparsedPublicKey::new(&ED25519, key).verify(message, signature).unwrap();
    }

    #[tokio::test]
    async fn keys_differ_by_registry_daemon_and_process() {
        let auth = auth(true);
        let key = public_key(&auth, "ab", b"c").await;
        assert_eq!(key.len(), 32);
        for (host, salt) in [("ab", b"d".as_slice()), ("a", b"bc"), ("abc", b"")] {
            assert_ne!(public_key(&auth, host, salt).await, key, "{host}");
        }
        let other = hmac::Key::new(hmac::HMAC_SHA256, b"another process");
        assert_ne!(authority(&other, "ab", b"c").public_key().as_ref(), key);
    }

    #[tokio::test]
    async fn no_password_goes_over_a_connection_in_the_clear() {
        let auth = auth(false);
        let request = CredentialsRequest { host: "r.io".into() };
        let status = auth.credentials(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        assert_eq!(status.message(), "credentials for r.io are not sent over a connection in the clear");
        assert!(matches!(auth.problems.cause_of(status.message()), Some(SessionError::InTheClear { .. })));
    }
}
