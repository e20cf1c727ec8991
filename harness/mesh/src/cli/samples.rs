//! The samples alone: a Data API and an identity provider.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use portcullis_identity::{ClusterId, Verifier};
use portcullis_mesh::data_api::{DataApi, Trust, serve};
use portcullis_mesh::idp::{Algorithm, Idp, claims};
use portcullis_mesh::{MeshError, Result};

use super::console::interrupted;

#[derive(Debug, Args)]
pub(crate) struct DataApiArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// The cluster that it stands in: the `aud` that it accepts.
    #[arg(long)]
    cluster: ClusterId,
    /// Key set of the control service (`GET /v1/identity/jwks`).
    #[arg(long)]
    jwks: PathBuf,
    /// `iss` of the identity tokens.
    #[arg(long)]
    issuer: String,
}

#[derive(Debug, Args)]
pub(crate) struct IdpArgs {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
}

/// Serves until it is interrupted.
pub(crate) async fn data_api(args: DataApiArgs) -> Result<ExitCode> {
    let jwks = std::fs::read_to_string(&args.jwks).map_err(|source| MeshError::Io {
        action: "read",
        path: args.jwks.clone(),
        source,
    })?;
    let verifier = Verifier::from_jwks(&jwks, &args.issuer, args.cluster.clone()).map_err(|error| {
        MeshError::Token { what: "the trusted keys".to_owned(), reason: error.to_string() }
    })?;
    let trust = Trust::default();
    trust.set(verifier);
    let server = serve(DataApi { cluster: args.cluster, trust, require_identity: true }, args.listen).await?;
    println!("Data API on http://{}", args.listen);
    interrupted().await?;
    server.abort();
    Ok(ExitCode::SUCCESS)
}

/// Serves until it is interrupted, and prints a token to try.
pub(crate) async fn idp(args: IdpArgs) -> Result<ExitCode> {
    let idp = Idp::new()?;
    let server = portcullis_mesh::idp::serve(idp.served().clone(), args.listen).await?;
    println!("key set: http://{}/jwks.json", args.listen);
    let token = idp.sign(Algorithm::Es256, &claims("ann", "acme", &serde_json::json!({})))?;
    println!("a token of five minutes: {token}");
    interrupted().await?;
    server.abort();
    Ok(ExitCode::SUCCESS)
}
