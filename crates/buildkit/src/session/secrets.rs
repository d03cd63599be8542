//! Values of `--secret`, given when a step asks for one.

use std::collections::BTreeMap;

use tonic::{Request, Response, Status};

use super::{Secret, SessionError, problem::Problems};
use crate::proto::secrets::{GetSecretRequest, GetSecretResponse, secrets_server};

pub(super) struct Secrets {
    by_id: BTreeMap<String, Secret>,
    problems: Problems,
}

impl Secrets {
    pub(super) fn new(by_id: BTreeMap<String, Secret>, problems: Problems) -> Self {
        Self { by_id, problems }
    }
}

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        match self.by_id.get(&id) {
            Some(secret) => Ok(Response::new(GetSecretResponse { data: secret.value().to_vec() })),
            // To a daemon "not found" means that a step that can do without the secret runs without it.
            None => Err(self.problems.refuse(SessionError::NoSecret { id })),
        }
    }
}
