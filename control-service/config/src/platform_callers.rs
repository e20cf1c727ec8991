//! Which people of an issuer may call the platform API, and by which role.

use std::collections::BTreeSet;

use portcullis_control_domain::caller::{Role, RoleName, RoleParts};
use portcullis_identity::ids::{ClusterId, IssuerId, TenantId};
use portcullis_model::claims::{Claims, claim, has_any};
use portcullis_model::mapping::TenantRule;
use portcullis_model::policy::RequiredClaim;
use serde_json::Value;

use super::issuer::{self, IssuerConfig};
use super::keys::KeySource;
use super::section::Section;

/// Rules of one issuer at most.
const MAX_RULES: usize = 64;

/// People of one of the configured issuers who may call the platform API.
#[derive(Debug, Clone, PartialEq)]
pub struct PlatformCallers {
    /// The issuer, one of `issuers`: its keys, algorithms and claims count here as they do at gateways.
    pub issuer: IssuerId,
    /// Audiences of tokens that are meant for the platform API.
    pub audiences: Vec<String>,
    /// By what its access tokens are known.
    pub access_tokens: AccessTokens,
    /// Of an issuer of the platform itself: the tenant that revocations name its people by, whatever their tokens say.
    pub tenant: Option<TenantId>,
    /// In order; the first that fits decides.
    pub roles: Vec<RoleRule>,
}

/// By what an issuer's access tokens are told from its ID tokens, which say who signed in somewhere: the same keys sign
/// both, and the audience of an ID token is whichever application asked (RFC 8725 §3.12).
#[derive(Debug, Clone, PartialEq)]
pub enum AccessTokens {
    /// By `typ: at+jwt` in their header (RFC 9068 §2.1).
    Type,
    /// By a claim.
    Claim(RequiredClaim),
    /// By an audience that no application has as its client id, so that it never stands in an ID token.
    Audience,
}

/// Who gets a role.
#[derive(Debug, Clone, PartialEq)]
pub struct RoleRule {
    /// The role.
    pub role: RoleName,
    /// What the token must say, all of it.
    pub when: Vec<RequiredClaim>,
    /// The tenant that the role is bound to, where it is not the token's.
    pub tenant: Option<TenantId>,
    /// The claim that names the cluster of a cluster owner.
    pub cluster_claim: Vec<String>,
}

impl PlatformCallers {
    /// The paths of all claims that the rules look at. Of two that lead into each other the shorter one comes first.
    fn looked_at(&self) -> BTreeSet<Vec<String>> {
        let of_rule = |rule: &RoleRule| {
            let conditions = rule.when.iter().map(|wanted| wanted.claim.clone());
            let cluster = Some(rule.cluster_claim.clone()).filter(|path| !path.is_empty());
            conditions.chain(cluster).collect::<Vec<_>>()
        };
        self.roles.iter().flat_map(of_rule).collect()
    }

    /// Those of the claims that the rules look at, and no others, and where they look. By them it can be told later what the
    /// rules of then make of somebody, also where another rule comes first.
    #[must_use]
    pub fn telling(&self, claims: &Claims) -> (Claims, BTreeSet<Vec<String>>) {
        let (mut told, paths) = (Claims::new(), self.looked_at());
        for path in &paths {
            if let Some(value) = claim(claims, path) {
                put(&mut told, path, value.clone());
            }
        }
        (told, paths)
    }

    /// The role of somebody of whom these claims were kept, and whether they had them. None where a rule that may come
    /// before theirs asks for what was not looked at then: it might have made them somebody else.
    #[must_use]
    pub fn role_again(
        &self,
        claims: &Claims,
        looked_at: &BTreeSet<Vec<String>>,
        tenant: &TenantId,
    ) -> Option<Role> {
        let is_known = |path: &[String]| looked_at.iter().any(|known| path.starts_with(known));
        for rule in &self.roles {
            if rule.when.iter().any(|wanted| is_known(&wanted.claim) && !fits(claims, wanted)) {
                continue;
            }
            let all_known = rule.when.iter().all(|wanted| is_known(&wanted.claim));
            return if all_known { self.role_by(rule, claims, tenant) } else { None };
        }
        None
    }

    /// The role of somebody whose verified token says this, and belongs to this tenant.
    #[must_use]
    pub fn role(&self, claims: &Claims, tenant: &TenantId) -> Option<Role> {
        let rule = self.roles.iter().find(|rule| rule.when.iter().all(|wanted| fits(claims, wanted)))?;
        self.role_by(rule, claims, tenant)
    }

    /// What a rule makes of somebody whom it fits.
    fn role_by(&self, rule: &RoleRule, claims: &Claims, tenant: &TenantId) -> Option<Role> {
        let of_token = self.tenant.is_none().then(|| tenant.clone());
        let cluster = match rule.role {
            RoleName::ClusterOwner => {
                let named = claim(claims, &rule.cluster_claim)?.as_str()?;
                Some(ClusterId::new(named).ok()?)
            }
            _ => None,
        };
        RoleParts { role: rule.role, tenant: rule.tenant.clone().or(of_token), cluster }.try_into().ok()
    }
}

/// Puts a value where a path leads to.
fn put(claims: &mut Claims, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else { return };
    let there = claims.entry(first).or_insert(Value::Null);
    match (there, rest) {
        (there, []) => *there = value,
        (Value::Object(inner), rest) => put(inner, rest, value),
        (there, rest) => {
            let mut inner = Claims::new();
            put(&mut inner, rest, value);
            *there = Value::Object(inner);
        }
    }
}

pub(crate) fn read(root: &mut Section<'_>, issuers: &[IssuerConfig]) -> Vec<PlatformCallers> {
    let mut all: Vec<PlatformCallers> = Vec::new();
    for mut section in root.list("platformCallers") {
        let name: Option<IssuerId> = section.required("issuer", "the `issuer` of one of `issuers`");
        let audiences = issuer::audiences(&mut section);
        let access_tokens = access_tokens(&mut section);
        let tenant: Option<TenantId> = section.optional("tenant");
        let found = name.as_ref().and_then(|name| issuers.iter().find(|issuer| issuer.issuer == *name));
        match (&name, found) {
            (Some(_), Some(issuer)) => check_issuer(&section, issuer, audiences.as_deref(), tenant.as_ref()),
            (Some(name), None) => {
                section.error("issuer", format!("{name} is none of `issuers`; write its entry there, too"));
            }
            (None, _) => {}
        }
        if name.as_ref().is_some_and(|name| all.iter().any(|callers| callers.issuer == *name)) {
            section.error("issuer", "has another entry already; put its rules into one");
        }
        let rules = section.list("roles");
        if !(1..=MAX_RULES).contains(&rules.len()) {
            section.error("roles", "must have from 1 to 64 rules; whom none of them fits gets in nowhere");
        }
        let roles = rules.into_iter().filter_map(|rule| role(rule, tenant.is_some())).collect();
        section.finish();
        if let (Some(issuer), Some(audiences)) = (name, audiences) {
            all.push(PlatformCallers { issuer, audiences, access_tokens, tenant, roles });
        }
    }
    all
}

fn fits(claims: &Claims, wanted: &RequiredClaim) -> bool {
    has_any(claims, &wanted.claim, &wanted.any_of)
}

/// A condition that names no claim, or no value of it.
fn asks_for_nothing(wanted: &RequiredClaim) -> bool {
    wanted.any_of.is_empty() || !issuer::is_path(&wanted.claim)
}

fn access_tokens(section: &mut Section<'_>) -> AccessTokens {
    let claim: Option<RequiredClaim> = section.filled("accessTokenClaim");
    let dedicated: bool = section.optional("dedicatedAudience").unwrap_or_default();
    if claim.as_ref().is_some_and(asks_for_nothing) {
        section.error(
            "accessTokenClaim",
            "needs `claim`, a path of member names, and `anyOf`, what only access tokens have there: for example {claim: [typ], anyOf: [Bearer]} of Keycloak",
        );
    }
    match (claim, dedicated) {
        (Some(_), true) => {
            section.error(
                "dedicatedAudience",
                "accessTokenClaim tells access tokens already; leave one of both out",
            );
            AccessTokens::Type
        }
        (Some(claim), false) => AccessTokens::Claim(claim),
        (None, true) => AccessTokens::Audience,
        (None, false) => AccessTokens::Type,
    }
}

/// What an issuer must be for its people to call the platform API.
fn check_issuer(
    section: &Section<'_>,
    issuer: &IssuerConfig,
    audiences: Option<&[String]>,
    tenant: Option<&TenantId>,
) {
    if matches!(issuer.keys, KeySource::Shared(_)) {
        section
            .error("issuer", "signs by a secret that gateways share; people need an issuer with public keys");
    }
    if issuer.introspection.is_some() {
        section.error("issuer", "has `introspection`, which nobody is asked for here; leave one of both out");
    }
    if let Some(both) = audiences.into_iter().flatten().find(|audience| issuer.audiences.contains(audience)) {
        section.error(
            "audiences",
            format!(
                "{both:?} is an audience of the issuer at gateways, so every Data API could call the platform API with the tokens that it sees; give the platform API one of its own"
            ),
        );
    }
    let is_bound = !issuer.tenants.is_empty() || matches!(issuer.claims.tenant, TenantRule::Fixed(_));
    match (tenant, is_bound) {
        (Some(_), true) => section.error(
            "tenant",
            "is for an issuer of the platform's own people, and this one is bound to tenants in `issuers`; leave it out",
        ),
        (None, false) => section.error(
            "tenant",
            "the issuer may vouch for every tenant: name those that it may vouch for in its `tenants`, or, if its people are the platform's own, write here the tenant that revocations name them by",
        ),
        _ => {}
    }
}

/// `of_platform`: the issuer is one of the platform's own people, so that tokens name no tenant that counts.
fn role(mut rule: Section<'_>, of_platform: bool) -> Option<RoleRule> {
    let role: Option<RoleName> =
        rule.required("role", "administrator, operator, auditor, tenant-admin or cluster-owner");
    let absent = !rule.stands("when");
    let when: Option<Vec<RequiredClaim>> = rule.filled("when");
    if absent || when.iter().flatten().any(asks_for_nothing) {
        rule.error("when", "must have conditions, each with `claim`, a path of member names, and `anyOf`, the accepted values; otherwise everybody of the issuer had this role");
    }
    let tenant: Option<TenantId> = rule.optional("tenant");
    let cluster_claim: Vec<String> = rule.optional("clusterClaim").unwrap_or_default();
    if role == Some(RoleName::ClusterOwner) && !issuer::is_path(&cluster_claim) {
        rule.error("clusterClaim", "a cluster-owner needs it: the path of the claim that names the cluster");
    }
    if role.is_some_and(|role| role != RoleName::ClusterOwner) && !cluster_claim.is_empty() {
        rule.error("clusterClaim", "is for role cluster-owner alone; leave it out");
    }
    match (role?, of_platform, &tenant) {
        (RoleName::Administrator | RoleName::Operator, false, _) => rule.error(
            "role",
            "an issuer that is bound to tenants never yields a role of the whole platform; auditor, tenant-admin and cluster-owner are bound to the token's tenant",
        ),
        (RoleName::Administrator | RoleName::Operator, true, Some(_)) => {
            rule.error("tenant", "this role is of the whole platform; leave it out");
        }
        (_, false, Some(_)) => rule.error("tenant", "the token says it; leave it out"),
        (RoleName::TenantAdmin | RoleName::ClusterOwner, true, None) => {
            rule.error("tenant", "this role is bound to a tenant, which no token of the platform's own people says");
        }
        _ => {}
    }
    rule.finish();
    Some(RoleRule { role: role?, when: when?, tenant, cluster_claim })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn callers(tenant: Option<&str>, roles: Vec<RoleRule>) -> PlatformCallers {
        let issuer = IssuerId::new("https://idp").unwrap();
        let tenant = tenant.map(|text| text.parse().unwrap());
        let (audiences, access_tokens) = (vec!["p".to_owned()], AccessTokens::Type);
        PlatformCallers { issuer, audiences, access_tokens, tenant, roles }
    }

    fn rule(role: RoleName, group: &str, tenant: Option<&str>) -> RoleRule {
        let when = serde_json::from_value(json!([{"claim": ["groups"], "anyOf": [group]}])).unwrap();
        let tenant = tenant.map(|text| text.parse().unwrap());
        RoleRule { role, when, tenant, cluster_claim: vec!["cluster".to_owned()] }
    }

    fn role_of(callers: &PlatformCallers, claims: serde_json::Value) -> Option<Role> {
        let serde_json::Value::Object(claims) = claims else { panic!("no claims") };
        callers.role(&claims, &"acme".parse().unwrap())
    }

    #[test]
    fn the_first_rule_that_fits_decides_and_a_bound_role_has_the_tokens_tenant() {
        let bound = callers(
            None,
            vec![rule(RoleName::TenantAdmin, "admins", None), rule(RoleName::ClusterOwner, "owners", None)],
        );
        let acme: TenantId = "acme".parse().unwrap();
        let both = json!({"groups": ["owners", "admins"], "cluster": "c-1"});
        assert_eq!(role_of(&bound, both), Some(Role::TenantAdmin(acme.clone())));
        let owner = json!({"groups": ["owners"], "cluster": "c-1"});
        assert_eq!(role_of(&bound, owner), Some(Role::ClusterOwner(acme, "c-1".parse().unwrap())));
        for nobody in [
            json!({"groups": []}),
            json!({}),
            json!({"groups": ["owners"]}),
            json!({"groups": ["owners"], "cluster": ["c-1"]}),
            json!({"groups": ["owners"], "cluster": "C 1"}),
        ] {
            assert_eq!(role_of(&bound, nobody.clone()), None, "{nobody}");
        }
    }

    #[test]
    fn what_the_rules_look_at_tells_a_role_again_and_nothing_else_of_the_person() {
        let mut two = rule(RoleName::ClusterOwner, "owners", None);
        let more = json!([
            {"claim": ["groups"], "anyOf": ["eu", "us"]},
            {"claim": ["realm", "verified"], "anyOf": [true]},
        ]);
        two.when.extend(serde_json::from_value::<Vec<RequiredClaim>>(more).unwrap());
        let own = callers(None, vec![two]);
        let claims = json!({"groups": ["owners", "choir", "eu"], "realm": {"verified": true, "name": "x"},
            "cluster": "c-1", "email": "ann@example.com", "sub": "ann"});
        let Value::Object(claims) = claims else { panic!("no claims") };
        let (told, paths) = own.telling(&claims);
        let wanted =
            json!({"groups": ["owners", "choir", "eu"], "realm": {"verified": true}, "cluster": "c-1"});
        assert_eq!(Value::Object(told.clone()), wanted);
        let acme = "acme".parse().unwrap();
        assert!(own.role(&claims, &acme).is_some());
        assert_eq!(own.role_again(&told, &paths, &acme), own.role(&claims, &acme));
        let gone = callers(None, vec![rule(RoleName::TenantAdmin, "nobody", None)]);
        assert_eq!(gone.role_again(&told, &paths, &acme), None);
        assert_eq!(own.telling(&Claims::new()).0, Claims::new());
    }

    #[test]
    fn a_rule_that_is_put_first_counts_for_claims_that_were_kept_before() {
        let root = rule(RoleName::Administrator, "root", None);
        let own = callers(Some("ops"), vec![root.clone()]);
        let claims = json!({"groups": ["root", "contractors"], "realm": {"kind": "guest"}});
        let Value::Object(claims) = claims else { panic!("no claims") };
        let (told, paths) = own.telling(&claims);
        let ops = "ops".parse().unwrap();
        let again = |first: RoleRule| {
            let now = callers(Some("ops"), vec![first, root.clone()]);
            now.role_again(&told, &paths, &ops)
        };
        let acme = Role::Auditor(Some("acme".parse().unwrap()));
        assert_eq!(again(rule(RoleName::Auditor, "contractors", Some("acme"))), Some(acme));
        assert_eq!(again(rule(RoleName::Auditor, "choir", Some("acme"))), Some(Role::Administrator));
        // Nobody looked at this claim, so nobody knows whether the rule fits.
        let mut unknown = rule(RoleName::Auditor, "root", Some("acme"));
        let more = json!([{"claim": ["realm", "kind"], "anyOf": ["guest"]}]);
        unknown.when.extend(serde_json::from_value::<Vec<RequiredClaim>>(more).unwrap());
        assert_eq!(again(unknown.clone()), None);
        // It does not, where what is known of it does not.
        unknown.when[0] = rule(RoleName::Auditor, "choir", None).when.remove(0);
        assert_eq!(again(unknown), Some(Role::Administrator));
        // Of a claim whose whole was kept every part is known, and what was not there is known to be missing.
        let whole = BTreeSet::from([vec!["groups".to_owned()], vec!["realm".to_owned()]]);
        let mut part = rule(RoleName::Auditor, "root", Some("acme"));
        part.when[0].claim = vec!["realm".to_owned(), "kind".to_owned()];
        let now = callers(Some("ops"), vec![part, root.clone()]);
        assert_eq!(now.role_again(&told, &whole, &ops), Some(Role::Administrator));
        assert_eq!(own.role_again(&told, &BTreeSet::new(), &ops), None);
    }

    #[test]
    fn of_the_platforms_own_people_the_rule_says_the_tenant() {
        let own = callers(
            Some("ops"),
            vec![
                rule(RoleName::Auditor, "all", None),
                rule(RoleName::Auditor, "acme", Some("acme")),
                rule(RoleName::Administrator, "root", None),
            ],
        );
        assert_eq!(role_of(&own, json!({"groups": "all"})), Some(Role::Auditor(None)));
        let acme = Role::Auditor(Some("acme".parse().unwrap()));
        assert_eq!(role_of(&own, json!({"groups": "acme"})), Some(acme));
        assert_eq!(role_of(&own, json!({"groups": "root"})), Some(Role::Administrator));
    }
}
