//! Ready-to-paste `curl` lines, one for each kind of caller.

use portcullis_mesh::idp::{Algorithm, claims, now_s};
use portcullis_mesh::scenario::SELECTOR;
use portcullis_mesh::{CLIENT_AGENTS, CLIENT_PEOPLE, CLIENT_WORKERS, HOSTED, Mesh, ONPREM, Result, TENANT};
use serde_json::{Value, json};

/// How long the printed tokens are valid.
const LIFETIME_S: u64 = 12 * 3600;

/// Prints them.
pub(crate) async fn print(mesh: &Mesh) -> Result<()> {
    let token = |subject: &str, client: &str, algorithm, extra: &Value| {
        let mut all = json!({"client_id": client, "exp": now_s() + LIFETIME_S});
        if let (Some(all), Some(extra)) = (all.as_object_mut(), extra.as_object()) {
            all.extend(extra.clone());
        }
        let token = mesh.idp().sign(algorithm, &claims(subject, TENANT, &all))?;
        Ok(format!("authorization: Bearer {token}"))
    };
    let person = token("ann@acme.example", CLIENT_PEOPLE, Algorithm::Es256, &json!({}))?;
    let worker = token("pipeline-7", CLIENT_WORKERS, Algorithm::EdDsa, &json!({}))?;
    let act = json!({"act": {"sub": "research-agent"}});
    let agent = token("ann@acme.example", CLIENT_AGENTS, Algorithm::Rs256, &act)?;
    let key = mesh.admin()?.create_key(TENANT, "nightly-export", "worker").await?;
    let ingress = mesh.plan().ingress();
    for (who, cluster, credential) in [
        ("a person, to the hosted cluster", HOSTED, person.clone()),
        ("a person, to the on-premises cluster (tunnel)", ONPREM, person),
        ("a worker with a token", HOSTED, worker),
        ("a worker with an API key", ONPREM, format!("x-api-key: {}", key.key)),
        ("an MCP agent that acts for a person", ONPREM, agent),
    ] {
        println!("\n# {who}\ncurl -i http://{ingress}/tables -H '{SELECTOR}: {cluster}' -H '{credential}'");
    }
    println!("\n# nobody: refused\ncurl -i http://{ingress}/tables -H '{SELECTOR}: {HOSTED}'");
    let (platform, admin) = (mesh.plan().control_platform_api(), mesh.admin()?.token());
    println!("\n# an administrator: suspend a cluster, resume it, read the audit log");
    for (method, path) in [
        ("POST", format!("/v1/clusters/{HOSTED}/suspend?wait=5")),
        ("POST", format!("/v1/clusters/{HOSTED}/resume?wait=5")),
        ("GET", "/v1/audit/records?limit=5".to_owned()),
    ] {
        println!("curl -X {method} 'http://{platform}{path}' -H 'authorization: Bearer {admin}'");
    }
    println!();
    Ok(())
}
