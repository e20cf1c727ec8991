//! A case: who asks for what, and what should come of it.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use hyper::Method;
use serde_json::Value;

use super::place::{Entrance, Place};

/// A case of a file.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    /// The line on which it begins.
    pub line: usize,
    /// In which state data clusters are meanwhile, by their ids; online if nothing is said.
    pub clusters: BTreeMap<&'static str, State>,
    /// Who asks.
    pub caller: Caller,
    /// For what.
    pub request: Ask,
    /// What should come of it.
    pub expect: Expect,
}

/// The state of a data cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It can be reached.
    Online,
    /// An operator has closed it.
    Suspended,
    /// It sends no heartbeats.
    Offline,
}

/// What a caller presents; nothing at all if there is no member.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// A JWT of the sample identity provider.
    pub jwt: Option<Claims>,
    /// An opaque token of the same provider.
    pub oauth_token: Option<Claims>,
    /// An API key.
    pub api_key: Option<ApiKey>,
    /// A token that the control service made for a client.
    pub service_token: Option<ServiceClient>,
    /// The SPIFFE id of the certificate by which it speaks mutual TLS.
    pub workload: Option<String>,
}

/// What the sample identity provider says of somebody.
#[derive(Debug, Clone)]
pub struct Claims {
    /// `sub`.
    pub subject: String,
    /// The tenant.
    pub tenant: String,
    /// Everything else; null takes a claim away.
    pub others: Value,
}

/// An API key, in the words of the platform API.
#[derive(Debug, Clone)]
pub struct ApiKey(pub Value);

/// A client of the token endpoint.
#[derive(Debug, Clone)]
pub struct ServiceClient {
    /// Its id.
    pub id: String,
    /// The tenant, roles and scopes, in the words of the platform API.
    pub of: Value,
    /// The scopes that its token has.
    pub scopes: Vec<String>,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Where it is sent.
    pub at: Entrance,
    /// Its method.
    pub method: Method,
    /// Its path, with the query.
    pub path: String,
    /// Its headers, those among them that name host and cluster.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: String,
}

/// What should come of a request.
#[derive(Debug, Clone)]
pub enum Expect {
    /// It is let through.
    Allowed(Allowed),
    /// It is not.
    Refused(Refused),
}

/// How it should be let through.
#[derive(Debug, Clone)]
pub struct Allowed {
    /// Who answers it.
    pub to: Place,
    /// With what status.
    pub status: u16,
    /// Facts of the identity that the Data API verified.
    pub identity: Vec<(String, Value)>,
    /// Headers that the Data API gets.
    pub headers: Vec<(String, String)>,
    /// Headers that it must not get.
    pub absent: Vec<String>,
}

/// How it should be refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// By whom, and why.
    pub by: By,
    /// Where.
    pub at: Option<Place>,
    /// With what status.
    pub status: Option<u16>,
}

/// Who refuses a request, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The filter, with the reason code.
    Portcullis(String),
    /// A DENY policy, by its namespace and name.
    Policy(String),
    /// No ALLOW policy lets it in.
    DefaultDeny,
    /// A `RequestAuthentication`.
    RequestAuthentication,
    /// An external authorizer (`action: CUSTOM`).
    Custom,
    /// There is no route for it.
    Route,
    /// The connection is not taken, or cut off: TLS, or nothing listens.
    Connection,
    /// A proxy, for another reason, which its access log gives.
    Proxy(String),
}

impl Display for State {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Online => "online",
            Self::Suspended => "suspended",
            Self::Offline => "offline",
        })
    }
}

impl Display for By {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Portcullis(reason) => write!(f, "portcullis: {reason}"),
            Self::Policy(policy) => write!(f, "policy {policy}"),
            Self::DefaultDeny => f.write_str("default deny"),
            Self::RequestAuthentication => f.write_str("request authentication"),
            Self::Custom => f.write_str("external authorizer"),
            Self::Route => f.write_str("no route"),
            Self::Connection => f.write_str("connection cut off"),
            Self::Proxy(details) => write!(f, "proxy: {details}"),
        }
    }
}

impl Display for Refused {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused by {}", self.by)?;
        if let Some(place) = self.at {
            write!(f, " at {}", place.name())?;
        }
        self.status.map_or(Ok(()), |status| write!(f, " ({status})"))
    }
}

impl Display for Expect {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Allowed(allowed) => write!(f, "allowed to {} ({})", allowed.to.name(), allowed.status),
            Self::Refused(refused) => refused.fmt(f),
        }
    }
}
