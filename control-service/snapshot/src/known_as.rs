//! By which names sidecars know who is revoked. They are told no issuers, so they cannot know that one has several
//! names; whoever revokes a person may write any of them.

use std::collections::BTreeSet;

use portcullis_identity::ids::IssuerId;
use portcullis_model::claims::{REVOKED_USER, read_user_name, user_name};
use portcullis_model::policy::IssuerDocument;

/// The issuers of the snapshot.
#[derive(Debug, Default)]
pub struct Issuers(Vec<IssuerDocument>);

impl<'a> FromIterator<&'a [u8]> for Issuers {
    /// Reads the documents of the snapshot. One that an earlier version wrote and this one cannot read has no filter
    /// that reads it either.
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(documents: I) -> Self {
        Self(documents.into_iter().filter_map(|document| serde_json::from_slice(document).ok()).collect())
    }
}

impl Issuers {
    /// The names of each.
    #[must_use]
    pub fn names(&self) -> BTreeSet<Vec<IssuerId>> {
        self.0.iter().map(IssuerDocument::names).collect()
    }

    /// Everything that something revoked is called: for a person, their name with each name of their issuer.
    #[must_use]
    pub fn known_as(&self, revoked: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::from([revoked.to_owned()]);
        let user = revoked.split_once(':').filter(|(kind, _)| *kind == REVOKED_USER);
        if let Some((tenant, issuer, subject)) = user.and_then(|(_, name)| read_user_name(name)) {
            let names = self.0.iter().flat_map(|document| document.names_of(&issuer));
            let user = |issuer| [REVOKED_USER, ":", &user_name(&tenant, Some(&issuer), &subject)].concat();
            all.extend(names.map(user));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_is_known_by_every_name_of_the_issuer_and_nobody_else_is() {
        let document = |text: &str| text.replace('\'', "\"").into_bytes();
        let rest = "'audiences': ['a'], 'algorithms': [], 'jwks': {'keys': []}";
        let documents = [
            document(&format!("{{'issuer': 'https://a', 'aliases': ['https://b', 'https://c'], {rest}}}")),
            document(&format!(
                "{{'issuer': 'https://t/{{tid}}', 'aliases': ['https://u/{{tid}}'], 'issuerValues': ['1', '2'], {rest}}}"
            )),
            document("not one"),
        ];
        let issuers: Issuers = documents.iter().map(Vec::as_slice).collect();
        assert_eq!(issuers.names().len(), 2);
        let known_as = |name| issuers.known_as(name).into_iter().collect::<Vec<_>>();
        let all = ["user:acme https://a ann", "user:acme https://b ann", "user:acme https://c ann"];
        all.iter().for_each(|name| assert_eq!(known_as(name), all));
        let of_one_value = ["user:acme https://t/1 ann", "user:acme https://u/1 ann"];
        of_one_value.iter().for_each(|name| assert_eq!(known_as(name), of_one_value));
        for alone in
            ["user:acme https://d ann", "user:acme https://t/3 ann", "sub:https://a", "user:ann", "jti:x"]
        {
            assert_eq!(known_as(alone), [alone]);
        }
    }
}
