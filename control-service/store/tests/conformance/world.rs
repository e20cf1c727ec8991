//! A store of a test's own on either database.

use std::sync::Arc;

use portcullis_control_domain::Refused;
use portcullis_control_domain::audit::{AuditEvent, RecordedCaller};
use portcullis_control_domain::caller::{Caller, CallerCredential, Role};
use portcullis_control_domain::cluster::{NewCluster, Placement};
use portcullis_control_domain::sealing::SealingKeySource;
use portcullis_control_snapshot::Settings;
use portcullis_control_store::{Database, Location, Server, Store, StoreError};
use portcullis_mesh::paths;
use portcullis_mesh::postgres::Postgres;
use portcullis_sql::Connection;
use tempfile::TempDir;
use tokio::sync::OnceCell;

/// Where a test's database is, and the folder that goes with it.
pub(crate) struct World {
    pub(crate) location: Location,
    /// Of a server's database.
    pub(crate) url: Option<String>,
    _folder: TempDir,
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { location: Location::folder(&folder.path().join("data")), url: None, _folder: folder }
    }

    pub(crate) async fn postgres(test: &str) -> Self {
        let name = test.replace("::", "_").replace("conformance_", "");
        Self::on(server().await, &name).await
    }

    /// A new database of a server.
    pub(crate) async fn on(server: &Postgres, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = server.database(name).await.unwrap();
        let sealing_key = SealingKeySource::File(folder.path().join("sealing.key"));
        let server = Arc::new(Server::parse(&url).unwrap());
        let location = Location::Server { server, folder: folder.path().to_owned(), sealing_key };
        Self { location, url: Some(url), _folder: folder }
    }

    /// The same database by another URL.
    pub(crate) fn as_user(&self, url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sealing_key = SealingKeySource::File(folder.path().join("sealing.key"));
        let server = Arc::new(Server::parse(url).unwrap());
        let location = Location::Server { server, folder: folder.path().to_owned(), sealing_key };
        Self { location, url: Some(url.to_owned()), _folder: folder }
    }

    /// Opens the database, and begins to serve it.
    pub(crate) async fn store(&self) -> Store {
        self.try_store().await.unwrap()
    }

    pub(crate) async fn try_store(&self) -> Result<Store, StoreError> {
        let location = self.location.clone();
        let serve = move || {
            let settings = Settings {
                identity_issuer: "https://portcullis.example".to_owned(),
                identity_lifetime_s: 60,
                issuer_secrets: [(b"https://hmac.example".to_vec(), b"a shared secret".to_vec())].into(),
            };
            Store::start(Database::open_to_serve(&location)?, settings)
        };
        tokio::task::spawn_blocking(serve).await.unwrap()
    }

    /// Does something with the tables themselves.
    pub(crate) async fn sql<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> T + Send + 'static,
    ) -> T {
        let location = self.location.clone();
        let job = move || match location {
            Location::Folder { folder, .. } => {
                std::fs::create_dir_all(&folder).unwrap();
                let file = rusqlite::Connection::open(folder.join("portcullis.db")).unwrap();
                job(&Connection::sqlite(file))
            }
            Location::Server { server, .. } => job(&server.connect().unwrap()),
        };
        tokio::task::spawn_blocking(job).await.unwrap()
    }

    /// All bytes of a file's database, what it has not written over yet included; nothing of a server.
    pub(crate) fn files(&self) -> Vec<u8> {
        let Location::Folder { folder, .. } = &self.location else { return Vec::new() };
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files
            .filter(|file| file.is_file())
            .map(|file| std::fs::read(file).unwrap())
            .collect::<Vec<_>>()
            .concat()
    }

    /// Does something with the opened database, where that may block.
    pub(crate) async fn database<T: Send + 'static>(
        &self,
        job: impl FnOnce(Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let location = self.location.clone();
        tokio::task::spawn_blocking(move || job(Database::open(&location)?)).await.unwrap()
    }
}

/// The server that all tests share. It ends with this process.
async fn server() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    let folder = paths::target().join("postgres/conformance");
    SERVER.get_or_init(|| async move { Postgres::start(&folder).await.unwrap() }).await
}

pub(crate) fn refused<T: std::fmt::Debug>(outcome: Result<T, StoreError>) -> Refused {
    match outcome {
        Err(StoreError::Refused(refused)) => refused,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn new_cluster(id: &str, tenant: &str) -> NewCluster {
    NewCluster {
        id: id.parse().unwrap(),
        tenant: tenant.parse().unwrap(),
        placement: Placement::OnPremises,
        region: None,
    }
}

/// A caller of this role, whom nothing ends.
pub(crate) fn caller(role: Role) -> Caller {
    let (issuer, subject) = ("https://staff.example".to_owned(), "root".to_owned());
    let credential = CallerCredential::Person { issuer, subject, key_id: None };
    Caller { credential, role, expires_at_s: None, voucher: None, made_at_ms: None }
}

/// An action of an administrator.
pub(crate) fn action(path: &str) -> AuditEvent {
    AuditEvent {
        by: RecordedCaller::Token { id: "1".to_owned() },
        role: Some(Role::Administrator),
        method: "POST".to_owned(),
        path: path.to_owned(),
        ..AuditEvent::default()
    }
}

/// The same, by somebody of another role.
pub(crate) fn action_of(role: Role, path: &str) -> AuditEvent {
    AuditEvent { role: Some(role), ..action(path) }
}
