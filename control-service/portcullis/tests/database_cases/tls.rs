//! TLS to a real server, which is of an older version than the pinned one besides.

use std::path::{Path, PathBuf};

use portcullis_mesh::paths;
use portcullis_mesh::pki::Authority;
use portcullis_mesh::postgres::{Postgres, Setup};
use portcullis_mesh::tools;

use crate::common::{self, Server, run_in};

/// A server with a certificate for `localhost` that lets `portcullis` in by password and TLS alone.
async fn server(folder: &Path, authority: &Authority) -> Postgres {
    std::fs::create_dir_all(folder).unwrap();
    let leaf = authority.server(&["localhost"]).unwrap();
    let setup = Setup {
        programs: tools::system_postgres().unwrap(),
        tls: Some(leaf.write(folder, "server").unwrap()),
        admits: vec!["hostssl portcullis portcullis all scram-sha-256".to_owned()],
        ..Setup::new().unwrap().listening().unwrap()
    };
    let server = Postgres::start_as(&folder.join("server"), setup).await.unwrap();
    server.database("portcullis").await.unwrap();
    server
        .run("portcullis", "CREATE ROLE portcullis LOGIN PASSWORD 'sesame-1'; ALTER DATABASE portcullis OWNER TO portcullis; ALTER SCHEMA public OWNER TO portcullis")
        .await
        .unwrap();
    server
}

fn roots(folder: &Path, authority: &Authority) -> PathBuf {
    std::fs::create_dir_all(folder).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, authority.root()).unwrap();
    file
}

#[tokio::test]
async fn a_server_is_used_when_its_certificate_is_good_and_refused_with_the_reason_otherwise() {
    let folder = paths::target().join("postgres/tls");
    let (authority, stranger) = (Authority::new("ours").unwrap(), Authority::new("another").unwrap());
    let mut server = server(&folder, &authority).await;
    let port = server.address().unwrap().rsplit_once(':').unwrap().1.to_owned();
    let (ours, others) = (roots(&folder, &authority), roots(&folder.join("other"), &stranger));
    let url = |user: &str, host: &str, database: &str, query: &str| {
        format!("postgresql://{user}@{host}:{port}/{database}?{query}")
    };
    let trusted = format!("sslrootcert={}", ours.display());
    let good = url("portcullis:sesame-1", "localhost", "portcullis", &trusted);
    let service = Server::start_on(&good).await;
    service.register("orders").await;
    let encrypted = "SELECT 1 / count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE ssl AND version IN ('TLSv1.2', 'TLSv1.3') AND usename = 'portcullis'";
    server.run("portcullis", encrypted).await.unwrap();
    drop(service);

    let distrusted = format!("sslrootcert={}", others.display());
    for (url, wanted) in [
        (
            url("portcullis:sesame-1", "localhost", "portcullis", &distrusted),
            "nobody whom sslrootcert trusts has signed",
        ),
        (url("portcullis:sesame-1", "127.0.0.1", "portcullis", &trusted), "certificate is for another name"),
        (
            url("portcullis:sesame-2", "localhost", "portcullis", &trusted),
            "refuses the password of DATABASE_URL",
        ),
        (url("portcullis", "localhost", "portcullis", &trusted), "refuses the password of DATABASE_URL"),
        (url("portcullis:sesame-1", "localhost", "elsewhere", &trusted), "does not admit this connection"),
        (
            url("portcullis:sesame-1", "localhost", "portcullis", "sslmode=disable"),
            "does not admit this connection",
        ),
    ] {
        refused(&url, wanted);
    }
    // The certificate that was good yesterday.
    let expired = authority.expired_server(&["localhost"]).unwrap();
    expired.write(&folder, "server").unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    refused(&good, "certificate is not valid now");
    server.kill().await.unwrap();
    refused_by(&["store", "check"], &good, "check that it runs");
}

/// A service is not started on a database, and says why, without the password.
fn refused(url: &str, wanted: &str) {
    refused_by(&["serve"], url, wanted);
}

/// The same of any command.
fn refused_by(words: &[&str], url: &str, wanted: &str) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), common::MESH_TOKEN).unwrap();
    std::fs::write(folder.path().join("database-url"), url).unwrap();
    common::write_config(folder.path(), &common::configuration());
    let config = folder.path().join("control.yaml");
    let output = run_in(folder.path(), &[words, &["--config", config.to_str().unwrap()]].concat());
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && told.contains(wanted), "{url}: {told}");
    assert!(!told.contains("sesame"), "{told}");
}
