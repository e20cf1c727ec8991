//! The SDS server: hands each Envoy the certificate of its workload (Envoy's secret discovery service v3,
//! state of the world). In a cluster the Istio agent beside each proxy does this.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use envoy_types::pb::envoy::config::core::v3::{DataSource, data_source::Specifier};
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::secret::v3::secret_discovery_service_server::{
    SecretDiscoveryService, SecretDiscoveryServiceServer,
};
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::error::Result;
use crate::pki::{Authority, Leaf, Workload};

/// The secret that istiod's configuration names for a proxy's own certificate.
const OWN: &str = "default";
/// The secret that istiod's configuration names for the mesh's root.
const ROOT: &str = "ROOTCA";
/// What a secret is called that stands in files of the proxy's machine: both paths follow, with this between them.
const FILES: (&str, &str) = ("file-cert:", "~");
const SECRET_TYPE: &str = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";

/// Which node gets which identity.
pub struct Secrets {
    root: String,
    leaves: HashMap<String, Leaf>,
}

impl Secrets {
    /// Makes a certificate for each node id.
    ///
    /// # Errors
    /// When a certificate cannot be made.
    pub fn new<'a>(
        authority: &Authority,
        nodes: impl IntoIterator<Item = (&'a str, Workload)>,
    ) -> Result<Self> {
        let leaves = nodes
            .into_iter()
            .map(|(node, workload)| Ok((node.to_owned(), authority.workload(workload)?)))
            .collect::<Result<_>>()?;
        Ok(Self { root: authority.root(), leaves })
    }

    fn answer(&self, node: &str, names: &[String], version: u64) -> DiscoveryResponse {
        let resources = names
            .iter()
            .filter_map(|name| self.secret(node, name))
            .map(|secret| Any { type_url: SECRET_TYPE.to_owned(), value: secret.encode_to_vec() });
        DiscoveryResponse {
            version_info: version.to_string(),
            nonce: version.to_string(),
            type_url: SECRET_TYPE.to_owned(),
            resources: resources.collect(),
            ..DiscoveryResponse::default()
        }
    }

    fn secret(&self, node: &str, name: &str) -> Option<tls::Secret> {
        let kind = match name {
            OWN => {
                let leaf = self.leaves.get(node)?;
                certificate(inline(&leaf.certificate), inline(&leaf.key))
            }
            ROOT => tls::secret::Type::ValidationContext(tls::CertificateValidationContext {
                trusted_ca: Some(inline(&self.root)),
                ..tls::CertificateValidationContext::default()
            }),
            _ => {
                let (chain, key) = name.strip_prefix(FILES.0)?.split_once(FILES.1)?;
                certificate(file(chain), file(key))
            }
        };
        Some(tls::Secret { name: name.to_owned(), r#type: Some(kind) })
    }
}

fn certificate(chain: DataSource, key: DataSource) -> tls::secret::Type {
    tls::secret::Type::TlsCertificate(tls::TlsCertificate {
        certificate_chain: Some(chain),
        private_key: Some(key),
        ..tls::TlsCertificate::default()
    })
}

fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..DataSource::default() }
}

fn inline(text: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineString(text.to_owned())), ..DataSource::default() }
}

/// Serves secrets until the task is dropped.
///
/// # Errors
/// When the address is in use.
pub async fn serve(secrets: Secrets, address: SocketAddr) -> Result<tokio::task::JoinHandle<()>> {
    let listener =
        TcpListener::bind(address).await.map_err(|_| crate::port::busy(address, "the SDS server"))?;
    let service = SecretDiscoveryServiceServer::new(Sds(Arc::new(secrets)));
    let server = tonic::transport::Server::builder().add_service(service);
    Ok(tokio::spawn(async move {
        // It ends with the listener, that is when the task is dropped.
        let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
    }))
}

struct Sds(Arc<Secrets>);

type Answers<T> = ReceiverStream<std::result::Result<T, Status>>;

#[tonic::async_trait]
impl SecretDiscoveryService for Sds {
    type DeltaSecretsStream = Answers<DeltaDiscoveryResponse>;
    type StreamSecretsStream = Answers<DiscoveryResponse>;

    async fn stream_secrets(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> std::result::Result<Response<Self::StreamSecretsStream>, Status> {
        let (sender, answers) = mpsc::channel(4);
        let (secrets, mut requests) = (Arc::clone(&self.0), request.into_inner());
        tokio::spawn(async move {
            let (mut node, mut names, mut version) = (String::new(), Vec::new(), 0);
            while let Some(Ok(request)) = requests.next().await {
                if let Some(sent) = request.node {
                    node = sent.id;
                }
                // An acknowledgement repeats the names that were answered last.
                if version > 0 && request.resource_names == names {
                    continue;
                }
                version += 1;
                names = request.resource_names;
                if sender.send(Ok(secrets.answer(&node, &names, version))).await.is_err() {
                    break;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn delta_secrets(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> std::result::Result<Response<Self::DeltaSecretsStream>, Status> {
        Err(Status::unimplemented("istiod configures SDS as state of the world"))
    }

    async fn fetch_secrets(
        &self,
        request: Request<DiscoveryRequest>,
    ) -> std::result::Result<Response<DiscoveryResponse>, Status> {
        let request = request.into_inner();
        let node = request.node.map(|node| node.id).unwrap_or_default();
        Ok(Response::new(self.0.answer(&node, &request.resource_names, 1)))
    }
}
