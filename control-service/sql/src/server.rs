//! The URL of a PostgreSQL server, and how its connections are protected.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ::postgres::Config;
use ::postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::{Connection, SqlError, Tls};

/// How long a server may take to accept a connection, and to answer on one that is quiet.
const PATIENCE: Duration = Duration::from_secs(5);

/// A PostgreSQL database, as `postgresql://user:password@host/database?sslmode=verify-full&sslrootcert=FILE` names it.
///
/// Of `sslmode` there are two values, since those between them protect against nobody who can change what is sent:
/// `verify-full`, which is the default, and `disable`, which is the default for a socket's folder.
#[derive(Clone)]
pub struct Server {
    config: Config,
    tls: Tls,
}

/// What is wrong with the URL of a database. It is never repeated, since it holds a password.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// It cannot be read.
    #[error(
        "it is no URL of a PostgreSQL database: {0}; write postgresql://USER:PASSWORD@HOST/DATABASE?sslrootcert=FILE"
    )]
    Url(String),
    /// A mode of TLS that protects nothing.
    #[error(
        "sslmode={0} does not protect the connection; write sslmode=verify-full with sslrootcert=FILE, or sslmode=disable"
    )]
    Mode(String),
    /// TLS without anybody to trust.
    #[error(
        "it says not whom to trust; add sslrootcert=FILE with the authority's certificate in PEM, or sslmode=disable"
    )]
    NoRoots,
    /// The file of the authority cannot be used.
    #[error("sslrootcert {path} cannot be used: {problem}; it must hold certificates in PEM")]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("database", &self.config.get_dbname()).finish_non_exhaustive()
    }
}

impl Server {
    /// Reads the URL of a database.
    ///
    /// # Errors
    /// [`ServerError`] with what to write instead.
    pub fn parse(url: &str) -> Result<Self, ServerError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value),
                Some(("sslrootcert", value)) => roots = Some(decoded(value)?),
                _ => rest.push(pair),
            }
        }
        let url = if rest.is_empty() { base.to_owned() } else { [base, "?", &rest.join("&")].concat() };
        if !(url.starts_with("postgresql://") || url.starts_with("postgres://")) {
            return Err(ServerError::Url("it does not begin with postgresql://".to_owned()));
        }
        let mut config: Config = url.parse().map_err(|e: ::postgres::Error| ServerError::Url(reason(&e)))?;
        // An address of its own goes before the name of the host.
        let sockets = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let local = sockets && !config.get_hosts().is_empty() && config.get_hostaddrs().is_empty();
        let tls = match mode.unwrap_or(if local { "disable" } else { "verify-full" }) {
            "disable" => Tls::Off,
            "verify-full" => Tls::On(Box::new(trusting(&roots.ok_or(ServerError::NoRoots)?)?)),
            other => return Err(ServerError::Mode(other.to_owned())),
        };
        config.ssl_mode(if matches!(tls, Tls::Off) { SslMode::Disable } else { SslMode::Require });
        // A standby would serve what it cannot change, and give its own locks to a second one.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        config.connect_timeout(PATIENCE).tcp_user_timeout(PATIENCE);
        config.keepalives_idle(PATIENCE).keepalives_interval(Duration::from_secs(1)).keepalives_retries(3);
        if config.get_application_name().is_none() {
            config.application_name("portcullis");
        }
        Ok(Self { config, tls })
    }

    /// Connects, and makes sure that the connection has a session of the server's to itself until it ends: a second one
    /// speaks, and it must hear.
    ///
    /// # Errors
    /// [`SqlError::Postgres`] when the server cannot be reached, or refuses; [`SqlError::NoSession`] when a pool stands
    /// between that gives sessions away after each transaction or statement.
    pub fn connect(&self) -> Result<Connection, SqlError> {
        let reach = || Connection::postgres(&self.config, self.tls.clone());
        let (connection, other) = (reach()?, reach()?);
        if connection.hears(&other)? { Ok(connection) } else { Err(SqlError::NoSession) }
    }
}

/// What the library says, without what was given to it.
fn reason(error: &::postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| "it has another form".to_owned(), ToString::to_string)
}

fn decoded(value: &str) -> Result<PathBuf, ServerError> {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let escaped = || ServerError::Url("sslrootcert holds a % that two digits do not follow".to_owned());
        let digit = |digit: Option<u8>| digit.and_then(|d| char::from(d).to_digit(16)).ok_or_else(escaped);
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).map_err(|_| escaped())?
            }
            other => other,
        });
    }
    String::from_utf8(bytes)
        .map(PathBuf::from)
        .map_err(|_| ServerError::Url("sslrootcert is no UTF-8".to_owned()))
}

fn trusting(path: &Path) -> Result<ClientConfig, ServerError> {
    let unfit = |problem: String| ServerError::Roots { path: path.to_owned(), problem };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|e| unfit(e.to_string()))? {
        let certificate = certificate.map_err(|e| unfit(e.to_string()))?;
        roots.add(certificate).map_err(|e| unfit(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unfit("it holds no certificate".to_owned()));
    }
    let builder = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into());
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| unfit(e.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(url: &str) -> String {
        Server::parse(url).map(|_| String::new()).unwrap_or_else(|error| error.to_string())
    }

    #[test]
    fn a_connection_is_verified_or_plainly_not_protected() {
        assert_eq!(told("postgresql://portcullis@%2Frun%2Fpostgresql/portcullis"), "");
        assert_eq!(told("postgresql://u:p@db.example/portcullis?sslmode=disable&connect_timeout=3"), "");
        for mode in ["prefer", "require", "verify-ca", "allow"] {
            let told = told(&["postgresql://u:p@db.example/portcullis?sslmode=", mode].concat());
            assert!(told.contains("verify-full"), "{told}");
        }
        for url in [
            "postgresql://u:p@db.example/portcullis",
            "postgresql:///portcullis?user=u&hostaddr=10.0.0.5",
            "postgresql:///portcullis?host=/run/postgresql&hostaddr=10.0.0.5",
        ] {
            assert!(told(url).contains("sslrootcert=FILE"), "{url}: {}", told(url));
        }
        let missing = told("postgresql://u:p@db.example/portcullis?sslrootcert=/no%20where.pem");
        assert!(missing.contains("/no where.pem cannot be used"), "{missing}");
    }

    #[test]
    fn a_url_that_cannot_be_read_is_not_repeated() {
        for url in [
            "mysql://u:secret@h/d",
            "postgresql://u:secret@h:port/d",
            "secret",
            "postgresql://u:secret@h/d?unknown=secret",
        ] {
            let told = told(url);
            assert!(told.contains("no URL of a PostgreSQL database") && !told.contains("secret"), "{told}");
        }
        let shown = format!("{:?}", Server::parse("postgresql://u:secret@h/d?sslmode=disable").unwrap());
        assert!(!shown.contains("secret"), "{shown}");
    }
}
