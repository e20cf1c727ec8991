//! Commands about service clients, signing keys, issuers and revocations.

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::{Value, json};

use super::client::{Call, Change, ClientError, Connection, run};

/// Clients of the token endpoint.
#[derive(Debug, Subcommand)]
pub(super) enum Clients {
    /// Make a client; prints its secret once.
    Create {
        /// Its id: svc- and a name.
        id: String,
        /// The tenant it belongs to.
        #[arg(long)]
        tenant: String,
        /// A role of its tokens; may be given several times.
        #[arg(long = "role")]
        roles: Vec<String>,
        /// A scope that it may ask for; may be given several times.
        #[arg(long = "scope")]
        scopes: Vec<String>,
        /// An audience that it may ask for; without any, those that gateways accept.
        #[arg(long = "audience")]
        audiences: Vec<String>,
        /// It may exchange somebody's token for one in which it acts for them.
        #[arg(long)]
        may_exchange: bool,
        /// Seconds that its tokens live, 30 to 900.
        #[arg(long)]
        lifetime: Option<u64>,
    },
    /// List clients.
    List {
        /// Only this tenant's.
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Give a client a new secret; prints it once.
    Rotate {
        /// Its id.
        id: String,
        /// Seconds for which the old secret stays good, up to 30 days.
        #[arg(long, default_value_t = 0)]
        overlap: u64,
    },
    /// Revoke a client and every token that it got.
    Revoke(Change),
}

/// What a key signs.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Purpose {
    /// Identity tokens, at the gateways.
    Identity,
    /// Service tokens.
    Service,
}

/// Signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum SigningKeys {
    /// List the keys that sign or are still published.
    List,
    /// Publish a new key; it signs once it is known everywhere.
    Rotate {
        /// What it is to sign.
        #[arg(value_enum)]
        purpose: Purpose,
    },
}

/// Revocations.
#[derive(Debug, Subcommand)]
pub(super) enum Revocations {
    /// Revoke something.
    Add {
        /// jti:…, sid:…, kid:…, client:…, or sub:… for everybody of that name at every issuer, in every tenant.
        #[arg(required_unless_present = "subject", conflicts_with = "subject")]
        name: Option<String>,
        /// Instead of a name, one person: together with --tenant and --issuer.
        #[arg(long, requires = "tenant")]
        subject: Option<String>,
        /// The tenant of that person.
        #[arg(long, requires = "subject")]
        tenant: Option<String>,
        /// Who issues that person's credentials; without it, those that no issuer gave: API keys and workloads.
        #[arg(long, requires = "subject")]
        issuer: Option<String>,
        /// Do not ask before everybody of a name is revoked.
        #[arg(long)]
        yes: bool,
        /// Why, for people.
        #[arg(long)]
        note: Option<String>,
        /// Seconds until there is nothing left to refuse: a token's remaining life.
        #[arg(long)]
        expires_in: Option<u64>,
        /// Seconds to wait until every proxy has it, up to 30; exit code 3 if one has not.
        #[arg(long, default_value_t = 0)]
        wait: u64,
    },
    /// List revocations.
    List,
    /// Take one back.
    Remove {
        /// Its name.
        name: String,
    },
}

/// Runs a command about clients of the token endpoint.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn clients(connection: &Connection, command: Clients) -> Result<(), ClientError> {
    let call = match command {
        Clients::Create { id, tenant, roles, scopes, audiences, may_exchange, lifetime } => {
            Call::new(Method::POST, &["v1", "service-clients"]).body([
                ("id", Some(json!(id))),
                ("tenant", Some(json!(tenant))),
                ("roles", Some(json!(roles))),
                ("scopes", Some(json!(scopes))),
                ("audiences", Some(json!(audiences))),
                ("may_exchange", Some(json!(may_exchange))),
                ("lifetime_s", lifetime.map(Value::from)),
            ])
        }
        Clients::List { tenant } => Call::new(Method::GET, &["v1", "service-clients"])
            .query("limit", Some(1000))
            .query("tenant", tenant),
        Clients::Rotate { id, overlap } => Call::new(Method::POST, &["v1", "service-clients", &id, "rotate"])
            .body([("overlap_s", Some(json!(overlap)))]),
        Clients::Revoke(c) => Call::change(Method::DELETE, &["v1", "service-clients", &c.id], c.wait),
    };
    run(connection, call).await
}

/// Runs a command about signing keys.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn signing_keys(connection: &Connection, command: SigningKeys) -> Result<(), ClientError> {
    let call = match command {
        SigningKeys::List => Call::new(Method::GET, &["v1", "signing-keys"]),
        SigningKeys::Rotate { purpose } => {
            let purpose = match purpose {
                Purpose::Identity => "identity",
                Purpose::Service => "service",
            };
            Call::new(Method::POST, &["v1", "signing-keys", purpose])
        }
    };
    run(connection, call).await
}

/// Shows how issuers' keys are doing.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn issuers(connection: &Connection) -> Result<(), ClientError> {
    run(connection, Call::new(Method::GET, &["v1", "issuers"])).await
}

/// Asks whether everybody of a name is meant.
fn confirm(name: &str) -> Result<(), ClientError> {
    use std::io::{IsTerminal, Write};
    if !std::io::stdin().is_terminal() {
        return Err(ClientError::Unconfirmed(name.to_owned()));
    }
    write!(
        std::io::stderr(),
        "{name} revokes everybody of that name, at every issuer and in every tenant, and whomever they act for. One person: --tenant, --issuer and --subject. Go on? [y/N] "
    )?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let yes = matches!(answer.trim(), "y" | "Y" | "yes");
    if yes { Ok(()) } else { Err(ClientError::Unconfirmed(name.to_owned())) }
}

/// Runs a command about revocations.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn revocations(connection: &Connection, command: Revocations) -> Result<(), ClientError> {
    let call = match command {
        Revocations::Add { name, subject, tenant, issuer, yes, note, expires_in, wait } => {
            let name = match (name, subject) {
                (Some(name), _) => name,
                (None, subject) => [
                    "user:",
                    &[tenant, issuer.or_else(|| Some("-".to_owned())), subject]
                        .map(Option::unwrap_or_default)
                        .join(" "),
                ]
                .concat(),
            };
            if name.starts_with("sub:") && !yes {
                confirm(&name)?;
            }
            Call::change(Method::POST, &["v1", "revocations"], wait).body([
                ("name", Some(json!(name))),
                ("note", note.map(Value::from)),
                ("expires_in_s", expires_in.map(Value::from)),
            ])
        }
        Revocations::List => Call::new(Method::GET, &["v1", "revocations"]).query("limit", Some(1000)),
        Revocations::Remove { name } => {
            Call::new(Method::DELETE, &["v1", "revocations"]).query("name", Some(name))
        }
    };
    run(connection, call).await
}
