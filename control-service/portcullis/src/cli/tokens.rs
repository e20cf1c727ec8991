//! Commands about service clients, signing keys, issuers and revocations.

use clap::Subcommand;
use clap::builder::TypedValueParser;
use portcullis_control_contract::clients::{
    ClientCreation, ClientList, ClientRevoked, ClientRotation, ClientWithSecret,
};
use portcullis_control_contract::issuers::{IssuerList, RotationBegun, SigningKeyList};
use portcullis_control_contract::revocations::{
    NewRevocation, RemovalQuery, RevocationChanged, RevocationList,
};
use portcullis_control_contract::{ListQuery, TenantListQuery};
use portcullis_control_domain::signing::Purpose;
use portcullis_identity::ids::{ClientId, Role, Scope, TenantId};

use super::client::{Call, Change, ClientError, Connection, MOST, change, one_of, run};

/// Clients of the token endpoint.
#[derive(Debug, Subcommand)]
pub(super) enum Clients {
    /// Make a client; prints its secret once.
    Create {
        /// Its id: svc- and a name.
        id: ClientId,
        /// The tenant it belongs to.
        #[arg(long)]
        tenant: TenantId,
        /// A role of its tokens; may be given several times.
        #[arg(long = "role")]
        roles: Vec<Role>,
        /// A scope that it may ask for; may be given several times.
        #[arg(long = "scope")]
        scopes: Vec<Scope>,
        /// An audience that it may ask for; without any, those that gateways accept.
        #[arg(long = "audience")]
        audiences: Vec<String>,
        /// It may exchange somebody's token for one in which it acts for them.
        #[arg(long)]
        may_exchange: bool,
        /// Seconds that its tokens live, 30 to 900.
        #[arg(long)]
        lifetime: Option<u32>,
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

/// Signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum SigningKeys {
    /// List the keys that sign or are still published.
    List,
    /// Publish a new key; it signs once it is known everywhere.
    Rotate {
        /// What it is to sign: identity or service tokens.
        #[arg(value_parser = purpose())]
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

fn purpose() -> impl TypedValueParser<Value = Purpose> {
    one_of([Purpose::Identity, Purpose::Service].map(|p| (p.as_str(), p)).to_vec())
}

/// Runs a command about clients of the token endpoint.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn clients(connection: &Connection, command: Clients) -> Result<(), ClientError> {
    match command {
        Clients::Create { id, tenant, roles, scopes, audiences, may_exchange, lifetime: lifetime_s } => {
            let (roles, scopes) = (roles.into_iter().collect(), scopes.into_iter().collect());
            let client = ClientCreation { id, tenant, roles, scopes, audiences, may_exchange, lifetime_s };
            run::<ClientWithSecret>(connection, Call::post(&["v1", "service-clients"]).body(&client)).await
        }
        Clients::List { tenant } => {
            let query = TenantListQuery { tenant, limit: MOST, ..TenantListQuery::default() };
            run::<ClientList>(connection, Call::get(&["v1", "service-clients"]).query(&query)).await
        }
        Clients::Rotate { id, overlap } => {
            let how = ClientRotation { overlap_s: overlap };
            let call = Call::post(&["v1", "service-clients", &id, "rotate"]).body(&how);
            run::<ClientWithSecret>(connection, call).await
        }
        Clients::Revoke(Change { id, wait }) => {
            change::<ClientRevoked>(connection, Call::delete(&["v1", "service-clients", &id]).wait(wait))
                .await
        }
    }
}

/// Runs a command about signing keys.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn signing_keys(connection: &Connection, command: SigningKeys) -> Result<(), ClientError> {
    match command {
        SigningKeys::List => run::<SigningKeyList>(connection, Call::get(&["v1", "signing-keys"])).await,
        SigningKeys::Rotate { purpose } => {
            run::<RotationBegun>(connection, Call::post(&["v1", "signing-keys", purpose.as_str()])).await
        }
    }
}

/// Shows how issuers' keys are doing.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn issuers(connection: &Connection) -> Result<(), ClientError> {
    run::<IssuerList>(connection, Call::get(&["v1", "issuers"])).await
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

/// What names one person.
fn user(tenant: Option<String>, issuer: Option<String>, subject: Option<String>) -> String {
    let issuer = issuer.or_else(|| Some("-".to_owned()));
    ["user:", &[tenant, issuer, subject].map(Option::unwrap_or_default).join(" ")].concat()
}

/// Runs a command about revocations.
///
/// # Errors
/// [`ClientError`].
pub(super) async fn revocations(connection: &Connection, command: Revocations) -> Result<(), ClientError> {
    let revocations = ["v1", "revocations"];
    match command {
        Revocations::Add { name, subject, tenant, issuer, yes, note, expires_in, wait } => {
            let name = name.unwrap_or_else(|| user(tenant, issuer, subject));
            if name.starts_with("sub:") && !yes {
                confirm(&name)?;
            }
            let note = note.unwrap_or_default();
            let revocation = NewRevocation { name, note, expires_in_s: expires_in };
            change::<RevocationChanged>(connection, Call::post(&revocations).wait(wait).body(&revocation))
                .await
        }
        Revocations::List => {
            let query = ListQuery { limit: MOST, ..ListQuery::default() };
            run::<RevocationList>(connection, Call::get(&revocations).query(&query)).await
        }
        Revocations::Remove { name } => {
            change::<RevocationChanged>(connection, Call::delete(&revocations).query(&RemovalQuery { name }))
                .await
        }
    }
}
