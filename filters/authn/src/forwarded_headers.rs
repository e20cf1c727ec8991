//! The headers that tell upstreams and `AuthorizationPolicy` who asks.

/// The subject.
pub const SUBJECT: &str = "x-portcullis-subject";
/// The tenant.
pub const TENANT: &str = "x-portcullis-tenant";
/// Roles, separated by commas.
pub const ROLES: &str = "x-portcullis-roles";
/// Scopes, separated by spaces.
pub const SCOPES: &str = "x-portcullis-scopes";
/// `true` when the credential grants roles that are not among those; else absent.
pub const ROLES_INCOMPLETE: &str = "x-portcullis-roles-incomplete";
