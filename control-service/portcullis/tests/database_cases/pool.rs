//! The real PgBouncer.

use portcullis_mesh::paths;
use portcullis_mesh::postgres::{Pool, PoolMode, Postgres};

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
