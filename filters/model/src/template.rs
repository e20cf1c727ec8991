//! Issuers that are many: one path segment of their name says which, and a claim of the token says the same.

use portcullis_identity::ids::IssuerId;

/// What Entra ID writes for the directory into the `issuer` of its keys.
const KEY_PLACEHOLDER: &str = "{tenantid}";

/// An issuer's name with one path segment left open, `https://login.example/{tid}/v2.0`: the segment is named by the
/// claim that must have the same value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerTemplate {
    before: Box<str>,
    claim: Box<str>,
    after: Box<str>,
}

/// Why a name with braces is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a template is an https URL in which one whole path segment is the name of a claim in braces: https://login.example/{{tid}}/v2.0"
)]
pub struct InvalidTemplate;

impl IssuerTemplate {
    /// Reads a name; `None` for one without braces, which is no template.
    ///
    /// # Errors
    /// [`InvalidTemplate`] when braces stand anywhere else than around one path segment.
    pub fn parse(name: &IssuerId) -> Result<Option<Self>, InvalidTemplate> {
        let text = name.as_str();
        if !text.contains(['{', '}']) {
            return Ok(None);
        }
        let parts = text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
        let (before, (claim, after)) = parts.ok_or(InvalidTemplate)?;
        let host = before.strip_prefix("https://").and_then(|rest| rest.split_once('/'));
        let sound = host.is_some_and(|(host, _)| !host.is_empty())
            && before.ends_with('/')
            && (after.is_empty() || after.starts_with('/'))
            && is_segment(claim)
            && !after.contains(['{', '}']);
        sound
            .then(|| Some(Self { before: before.into(), claim: claim.into(), after: after.into() }))
            .ok_or(InvalidTemplate)
    }

    /// The claim that the segment is bound to.
    #[must_use]
    pub fn claim(&self) -> &str {
        &self.claim
    }

    /// The segment of an issuer that the template fits.
    #[must_use]
    pub fn value<'a>(&self, issuer: &'a str) -> Option<&'a str> {
        between(issuer, &self.before, &self.after)
    }

    /// The issuer of a segment.
    #[must_use]
    pub fn fill(&self, value: &str) -> Option<IssuerId> {
        IssuerId::new(&[&self.before, value, &self.after].concat()).ok()
    }
}

/// One whole path segment that means nothing to who reads URLs.
#[must_use]
pub fn is_segment(text: &str) -> bool {
    let sound = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=128).contains(&text.len()) && text.bytes().all(sound) && !matches!(text, "." | "..")
}

/// Whether a key whose set says which issuer it is of signs for this one. In the sets of Entra ID that many
/// directories share, keys say so.
#[must_use]
pub fn key_is_of(key_issuer: &str, issuer: &str) -> bool {
    match key_issuer.split_once(KEY_PLACEHOLDER) {
        Some((before, after)) => between(issuer, before, after).is_some(),
        None => key_issuer == issuer,
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.strip_prefix(before)?.strip_suffix(after).filter(|segment| is_segment(segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Option<IssuerTemplate>, InvalidTemplate> {
        IssuerTemplate::parse(&IssuerId::new(text).unwrap())
    }

    #[test]
    fn a_template_fits_one_whole_segment_and_nothing_else() {
        let template = parse("https://login.example/{tid}/v2.0").unwrap().unwrap();
        assert_eq!(template.claim(), "tid");
        assert_eq!(template.value("https://login.example/a-1/v2.0"), Some("a-1"));
        assert_eq!(template.fill("a-1").unwrap().as_str(), "https://login.example/a-1/v2.0");
        for other in [
            "https://login.example//v2.0",
            "https://login.example/v2.0",
            "https://login.example/a/b/v2.0",
            "https://login.example/../v2.0",
            "https://login.example/a%2fb/v2.0",
            "https://login.example/{tid}/v2.0",
            "https://login.example/a?x=/v2.0",
            "https://login.example/a/v2.0/",
            "https://login.example/a/v2.00",
            "https://login.example.evil/a/v2.0",
            "http://login.example/a/v2.0",
            "https://LOGIN.example/a/v2.0",
        ] {
            assert_eq!(template.value(other), None, "{other}");
        }
        assert_eq!(parse("https://a/{t}").unwrap().unwrap().value("https://a/x"), Some("x"));
    }

    #[test]
    fn braces_stand_around_one_path_segment() {
        assert_eq!(parse("https://login.example/x"), Ok(None));
        for bad in [
            "https://{tid}.example/v2.0",
            "https://{tid}/v2.0",
            "https://a/x{tid}/v2.0",
            "https://a/{tid}x/v2.0",
            "https://a/{}/v2.0",
            "https://a/{a/b}/c",
            "https://a/{a}/{b}",
            "https://a/{{a}}",
            "https://a/}a{/",
            "https://a/{a",
            "https:///{a}",
            "http://a/{a}",
            "{a}",
        ] {
            assert_eq!(parse(bad), Err(InvalidTemplate), "{bad}");
        }
    }

    #[test]
    fn a_key_that_names_an_issuer_is_of_that_one() {
        let of = "https://login.microsoftonline.com/{tenantid}/v2.0";
        assert!(key_is_of(of, "https://login.microsoftonline.com/9188040d/v2.0"));
        assert!(!key_is_of(of, "https://login.microsoftonline.com/a/b/v2.0"));
        assert!(!key_is_of(of, "https://sts.windows.net/9188040d/"));
        let one = "https://login.microsoftonline.com/9188040d/v2.0";
        assert!(key_is_of(one, one) && !key_is_of(one, "https://login.microsoftonline.com/other/v2.0"));
    }
}
