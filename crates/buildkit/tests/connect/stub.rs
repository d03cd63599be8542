//! Servers that are no daemon of today: each listens on a free port of the loopback address until the test ends.

use std::pin::Pin;

use bollard_buildkit_proto::{
    health::health_server::{Health, HealthServer},
    health::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse},
    moby::buildkit::v1::{
        control_server::{Control, ControlServer},
        *,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tonic::{Request, Response, Status, Streaming, service::Routes, transport::Server};

type Stream<T> = Pin<Box<dyn futures_util::Stream<Item = Result<T, Status>> + Send>>;

/// A daemon that says this of its version, and has no workers.
struct Stub(Option<&'static str>);

pub(crate) async fn daemon(version: Option<&'static str>) -> u16 {
    serve(Routes::new(ControlServer::new(Stub(version)))).await
}

/// gRPC, and nothing of BuildKit.
pub(crate) async fn other_service() -> u16 {
    serve(Routes::new(HealthServer::new(Other))).await
}

/// A web server of the old kind.
pub(crate) async fn http1() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    port
}

async fn serve(routes: Routes) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let incoming = futures_util::stream::unfold(listener, async |listener| {
        let stream = listener.accept().await.map(|(stream, _)| stream);
        Some((stream, listener))
    });
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(incoming));
    port
}

fn no<T>() -> Result<T, Status> {
    Err(Status::unimplemented("unknown method"))
}

#[tonic::async_trait]
impl Control for Stub {
    type PruneStream = Stream<UsageRecord>;
    type StatusStream = Stream<StatusResponse>;
    type SessionStream = Stream<BytesMessage>;
    type ListenBuildHistoryStream = Stream<BuildHistoryEvent>;

    async fn info(&self, _: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let Some(version) = self.0 else { return no() };
        let version = types::BuildkitVersion { version: version.to_owned(), ..Default::default() };
        Ok(Response::new(InfoResponse { buildkit_version: Some(version) }))
    }

    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        Ok(Response::new(ListWorkersResponse::default()))
    }

    async fn disk_usage(&self, _: Request<DiskUsageRequest>) -> Result<Response<DiskUsageResponse>, Status> {
        no()
    }

    async fn prune(&self, _: Request<PruneRequest>) -> Result<Response<Self::PruneStream>, Status> {
        no()
    }

    async fn solve(&self, _: Request<SolveRequest>) -> Result<Response<SolveResponse>, Status> {
        no()
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<Self::StatusStream>, Status> {
        no()
    }

    async fn session(
        &self,
        _: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        no()
    }

    async fn listen_build_history(
        &self,
        _: Request<BuildHistoryRequest>,
    ) -> Result<Response<Self::ListenBuildHistoryStream>, Status> {
        no()
    }

    async fn update_build_history(
        &self,
        _: Request<UpdateBuildHistoryRequest>,
    ) -> Result<Response<UpdateBuildHistoryResponse>, Status> {
        no()
    }
}

struct Other;

#[tonic::async_trait]
impl Health for Other {
    type WatchStream = Stream<HealthCheckResponse>;

    async fn check(&self, _: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        no()
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        no()
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        no()
    }
}
