//! The kinds of Skupper v2 (`skupper.io/v2alpha1`), as far as routes use them.

use serde::Serialize;

use crate::settings::LinkAccess;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Site {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) link_access: Option<LinkAccess>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) edge: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AccessGrant {
    pub(crate) redemptions_allowed: u32,
    pub(crate) expiration_window: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listener {
    pub(crate) routing_key: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Connector {
    pub(crate) routing_key: String,
    pub(crate) selector: String,
    pub(crate) port: u16,
}

#[derive(Debug, Serialize)]
pub(crate) struct AccessToken<'a> {
    pub(crate) url: &'a str,
    pub(crate) code: &'a str,
    pub(crate) ca: &'a str,
}
