//! The real PgBouncer.

use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use portcullis_mesh::paths;
use portcullis_mesh::postgres::{Pool, PoolMode, Postgres, Setup};

use crate::common::outage::{is_well_again, refuses};
use crate::common::{self, Server, run_in};

#[tokio::test]
async fn a_pool_that_gives_sessions_away_is_refused_with_the_reason() {
    let folder = paths::target().join("postgres/pool");
    let server = Postgres::start(&folder.join("server")).await.unwrap();
    server.database("pooled").await.unwrap();
    for mode in [PoolMode::Transaction, PoolMode::Statement] {
        let pool = Pool::start(&folder, &server, mode).await.unwrap();
        // More than once, so that the pool has sessions that it can give away.
        for _ in 0..2 {
            let folder = tempfile::tempdir().unwrap();
            std::fs::write(folder.path().join("token"), common::MESH_TOKEN).unwrap();
            std::fs::write(folder.path().join("database-url"), pool.url()).unwrap();
            common::write_config(folder.path(), &common::configuration());
            let config = folder.path().join("control.yaml");
            for words in [&["serve"][..], &["bootstrap-admin"], &["store", "migrate"], &["store", "check"]] {
                let words = [words, &["--config", config.to_str().unwrap()]].concat();
                let output = run_in(folder.path(), &words);
                let told = String::from_utf8(output.stderr).unwrap();
                assert!(
                    !output.status.success() && told.contains("pool_mode=session"),
                    "{mode:?} {words:?}: {told}"
                );
            }
        }
    }
    let pool = Pool::start(&folder, &server, PoolMode::Session).await.unwrap();
    let service = Server::start_on(&pool.url()).await;
    service.register("orders").await;
    assert_eq!(service.state_of("orders").await, "pending");
}

/// An address that leads to one server, and later to another one.
#[derive(Clone)]
struct Way(Arc<Mutex<Leading>>);

struct Leading {
    to: String,
    /// Both ends of each connection.
    open: Vec<TcpStream>,
}

impl Way {
    /// Listens, and returns where.
    fn start(to: String) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let way = Self(Arc::new(Mutex::new(Leading { to, open: Vec::new() })));
        let taken = way.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|client| taken.join(client)));
        (way, address)
    }

    fn join(&self, client: TcpStream) {
        let mut leading = self.0.lock().unwrap();
        // Nobody is there: the client is told by the end of its connection.
        let Ok(server) = TcpStream::connect(&leading.to) else { return };
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            leading.open.push(from.try_clone().unwrap());
            std::thread::spawn(move || {
                // It ends with an error when the way is led elsewhere.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
        }
    }

    /// Leads elsewhere, and ends the connections that there are.
    fn lead_to(&self, to: String) {
        let mut leading = self.0.lock().unwrap();
        leading.to = to;
        for stream in leading.open.drain(..) {
            // One that has ended already is what is wanted.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

#[tokio::test]
async fn a_pool_that_comes_between_under_a_running_service_is_told_as_what_it_is() {
    let folder = paths::target().join("postgres/pool-later");
    let setup = Setup::new().unwrap().listening().unwrap();
    let server = Postgres::start_as(&folder.join("server"), setup).await.unwrap();
    server.database("pooled").await.unwrap();
    let direct = server.address().unwrap();
    let (way, address) = Way::start(direct.clone());
    let service = Server::start_on(&format!("postgresql://postgres@{address}/pooled?sslmode=disable")).await;
    service.register("orders").await;
    let pool = Pool::start(&folder, &server, PoolMode::Transaction).await.unwrap();
    way.lead_to(pool.address());
    common::until("it is not ready", async || !service.ready().await.0).await;
    refuses(&service).await;
    service.until_logged("pool_mode=session").await;
    way.lead_to(direct);
    is_well_again(&service).await;
}
