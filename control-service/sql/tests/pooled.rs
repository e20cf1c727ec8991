//! What stands between this program and a server must leave it a session: on a real PostgreSQL, behind a stand-in for a pool
//! that gives sessions away after each transaction. The real PgBouncer is tried by `make test-full`.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use portcullis_sql::{Connection, Obstacle, Server, Tls};

const SOCKET: &str = ".s.PGSQL.5432";

/// Sessions of the server, and those of them that no client has just now.
struct Pool {
    server: PathBuf,
    idle: Mutex<Vec<UnixStream>>,
}

impl Pool {
    /// A pool that listens in a folder, for a server that listens in another one.
    fn start(folder: &Path, server: PathBuf) {
        let listener = UnixListener::bind(folder.join(SOCKET)).unwrap();
        let pool = Arc::new(Self { server: server.join(SOCKET), idle: Mutex::default() });
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (pool, client) = (Arc::clone(&pool), client.unwrap());
                // A client that goes away ends with an error, as it may.
                std::thread::spawn(move || pool.serve(client));
            }
        });
    }

    fn serve(&self, mut client: UnixStream) -> std::io::Result<()> {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut startup)?;
        let startup = [&length[..], &startup].concat();
        let mut session = UnixStream::connect(&self.server)?;
        session.write_all(&startup)?;
        answer(&mut session, &mut client)?;
        self.idle.lock().unwrap().push(session);
        loop {
            let mut asked = message(&mut client)?;
            let mut session = self.idle.lock().unwrap().pop().unwrap();
            loop {
                session.write_all(&asked)?;
                // A query, or the end of several messages.
                if matches!(asked[0], b'Q' | b'S') && answer(&mut session, &mut client)? == b'I' {
                    break;
                }
                asked = message(&mut client)?;
            }
            self.idle.lock().unwrap().push(session);
        }
    }
}

fn message(from: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut head = [0; 5];
    from.read_exact(&mut head)?;
    let mut body = vec![0; u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize - 4];
    from.read_exact(&mut body)?;
    Ok([&head[..], &body].concat())
}

/// Hands over what a session says until it is ready; returns whether it is idle, or in a transaction.
fn answer(session: &mut UnixStream, client: &mut UnixStream) -> std::io::Result<u8> {
    loop {
        let said = message(session)?;
        client.write_all(&said)?;
        if said[0] == b'Z' {
            return Ok(said[5]);
        }
    }
}

#[tokio::test]
async fn a_pool_that_gives_sessions_away_is_told_from_the_server_itself() {
    let folder = paths::target().join("postgres/sql-pooled");
    let server = Postgres::start(&folder).await.unwrap();
    let url = server.database("pooled").await.unwrap();
    let pool = tempfile::tempdir().unwrap();
    Pool::start(pool.path(), folder);
    let escaped = pool.path().to_str().unwrap().replace('/', "%2F");
    let pooled = format!("postgresql://postgres@{escaped}/pooled");
    tokio::task::spawn_blocking(move || {
        let connect = |url: &str| Server::parse(url).unwrap().connect();
        connect(&url).unwrap().batch("SELECT 1").unwrap();
        assert_eq!(connect(&pooled).unwrap_err().obstacle(), Some(Obstacle::Pool));
        // The stand-in does what it stands for: simple queries go through, one transaction after the other.
        let connection = Connection::postgres(&pooled.parse().unwrap(), Tls::Off).unwrap();
        connection.batch("BEGIN; SELECT 1").unwrap();
        connection.batch("COMMIT").unwrap();
    })
    .await
    .unwrap();
}
