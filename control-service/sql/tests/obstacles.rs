//! What keeps a server from being used is told by its kind.

use std::io::{Read, Write};
use std::net::TcpListener;

use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use portcullis_sql::{Obstacle, Server};

/// What a connection to a server fails with that says this instead of letting anybody in.
fn refused_by(code: &'static str, routine: &'static str) -> Option<Obstacle> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgresql://u:p@{}/d?sslmode=disable", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let _startup = client.read(&mut [0; 512]).unwrap();
        let fields = format!("SFATAL\0VFATAL\0C{code}\0Mno\0R{routine}\0\0");
        let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
        client.write_all(&[b"E", &length[..], fields.as_bytes()].concat()).unwrap();
    });
    let refused = Server::parse(&url).unwrap().connect().unwrap_err();
    server.join().unwrap();
    assert!(refused.is_disconnected(), "{refused}");
    refused.obstacle()
}

#[test]
fn a_servers_refusals_are_told_apart() {
    for (code, routine, wanted) in [
        ("28P01", "auth_failed", Obstacle::Password),
        ("28000", "InitializeSessionUserId", Obstacle::Role),
        ("28000", "ClientAuthentication", Obstacle::Admission),
        ("3D000", "InitPostgres", Obstacle::Database),
        ("57P03", "ProcessStartupPacket", Obstacle::Starting),
        ("57P01", "ProcessInterrupts", Obstacle::Away),
        ("53300", "InitProcess", Obstacle::Crowded),
        ("XX000", "anything", Obstacle::Away),
    ] {
        assert_eq!(refused_by(code, routine), Some(wanted), "{code} {routine}");
    }
}

#[test]
fn a_server_without_tls_is_told_from_one_that_is_away() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let roots = tempfile::NamedTempFile::new().unwrap();
    let authority = portcullis_mesh::pki::Authority::new("test").unwrap();
    std::fs::write(roots.path(), authority.root()).unwrap();
    let url = format!("postgresql://u:p@{address}/d?sslrootcert={}", roots.path().display());
    let server = std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        // SSLRequest, and No.
        client.read_exact(&mut [0; 8]).unwrap();
        client.write_all(b"N").unwrap();
    });
    let connect = || Server::parse(&url).unwrap().connect().unwrap_err().obstacle();
    assert_eq!(connect(), Some(Obstacle::NoTls));
    server.join().unwrap();
    assert_eq!(connect(), Some(Obstacle::Away), "nobody listens any more");
}

#[tokio::test]
async fn a_real_server_is_understood() {
    let server = Postgres::start(&paths::target().join("postgres/sql-obstacles")).await.unwrap();
    let url = server.database("there").await.unwrap();
    let refused = move |from: &str, to: &str| {
        Server::parse(&url.replace(from, to)).unwrap().connect().unwrap_err().obstacle()
    };
    let told = tokio::task::spawn_blocking(move || {
        [refused("postgres@", "nobody@"), refused("/there", "/missing"), refused("sql-obstacles", "nowhere")]
    });
    assert_eq!(told.await.unwrap(), [Some(Obstacle::Role), Some(Obstacle::Database), Some(Obstacle::Away)]);
}
