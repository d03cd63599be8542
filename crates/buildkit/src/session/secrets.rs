//! Values of `--secret`, given when a step asks for one.

use std::collections::BTreeMap;

use tonic::{Request, Response, Status};

use super::Secret;
use crate::proto::secrets::{GetSecretRequest, GetSecretResponse, secrets_server};

pub(super) struct Secrets {
    by_id: BTreeMap<String, Secret>,
}

impl Secrets {
    pub(super) fn new(by_id: BTreeMap<String, Secret>) -> Self {
        Self { by_id }
    }
}

#[tonic::async_trait]
impl secrets_server::Secrets for Secrets {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        let secret = self.by_id.get(&id);
        let secret = secret.ok_or_else(|| Status::not_found(format!("secret {id}: not given")))?;
        Ok(Response::new(GetSecretResponse { data: secret.0.to_vec() }))
    }
}
