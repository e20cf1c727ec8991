//! Where the platform is, and which way leads there.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use hyper::Uri;
use zeroize::Zeroizing;

/// The agents' listener of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// What is wrong with an address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AddressError {
    /// A server.
    #[error("the server must be https://HOST or https://HOST:PORT, and nothing else")]
    Server,
    /// A proxy.
    #[error("the proxy must be http://HOST:PORT or http://NAME:PASSWORD@HOST:PORT, and nothing else")]
    Proxy,
}

impl FromStr for Server {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (user, host, port) = parts(text, "https").ok_or(AddressError::Server)?;
        if user.is_some() { Err(AddressError::Server) } else { Ok(Self { host, port: port.unwrap_or(443) }) }
    }
}

/// Name and password, host, and port of a URL of this scheme that has nothing else.
fn parts(text: &str, scheme: &str) -> Option<(Option<String>, String, Option<u16>)> {
    let url: Uri = text.parse().ok()?;
    let bare = url.scheme_str() == Some(scheme) && matches!(url.path(), "" | "/") && url.query().is_none();
    let authority = url.authority().filter(|_| bare)?;
    let user = authority.as_str().rsplit_once('@').map(|(user, _)| user.to_owned());
    let host = url.host()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let after = authority.as_str().rsplit('@').next()?.rsplit(']').next()?.rsplit_once(':');
    // What stands behind a colon is a port, or wrong.
    let port = match after {
        Some(_) => Some(authority.port_u16()?),
        None => None,
    };
    (!host.is_empty() && port != Some(0)).then_some((user, host, port))
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "https://{}", authority(&self.host, self.port))
    }
}

/// HOST:PORT, with an address of IPv6 in brackets.
pub(crate) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// An HTTP proxy that lets connections through (`CONNECT`).
#[derive(Clone)]
pub struct Proxy {
    /// Its name.
    pub(crate) host: String,
    /// Its port.
    pub(crate) port: u16,
    /// What it asks for, as the header has it.
    pub(crate) authorization: Option<Zeroizing<String>>,
}

impl FromStr for Proxy {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (user, host, port) = parts(text, "http").ok_or(AddressError::Proxy)?;
        let authorization = user.map(|user| {
            let (name, password) = user.split_once(':').unwrap_or((&user, ""));
            let pair = Zeroizing::new([&*percent_decoded(name), ":", &*percent_decoded(password)].concat());
            let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
            Zeroizing::new(["Basic ", &encoded].concat())
        });
        Ok(Self { host, port: port.unwrap_or(80), authorization })
    }
}

/// What stands for itself in a URL's name and password, read back.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = match (first, tail) {
            (b'%', [high, low, ..]) => {
                let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
                digit(*high).zip(digit(*low)).map(|(high, low)| high * 16 + low)
            }
            _ => None,
        };
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", authority(&self.host, self.port))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Proxy {
    /// The proxy for a host by what the surroundings say: `HTTPS_PROXY`, but not for those of `NO_PROXY`.
    ///
    /// # Errors
    /// [`AddressError::Proxy`].
    pub fn of_surroundings(
        host: &str,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, AddressError> {
        let either =
            |upper: &str, lower: &str| variable(upper).or_else(|| variable(lower)).filter(|v| !v.is_empty());
        let Some(proxy) = either("HTTPS_PROXY", "https_proxy") else { return Ok(None) };
        let none = either("NO_PROXY", "no_proxy").unwrap_or_default();
        let excepted = none.split(',').map(str::trim).any(|pattern| excepts(pattern, host));
        if excepted { Ok(None) } else { proxy.parse().map(Some) }
    }
}

fn excepts(pattern: &str, host: &str) -> bool {
    let suffix = pattern.trim_start_matches('.');
    pattern == "*"
        || !suffix.is_empty()
            && host.strip_suffix(suffix).is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_name_and_a_port_and_nothing_else() {
        let server: Server = "https://agents.example.com".parse().unwrap();
        assert_eq!((server.host.as_str(), server.port), ("agents.example.com", 443));
        let server: Server = "https://[::1]:8444/".parse().unwrap();
        assert_eq!((server.host.as_str(), server.port), ("::1", 8444));
        assert_eq!(server.to_string(), "https://[::1]:8444");
        for wrong in ["http://a", "https://u:p@a", "https://a/b", "https://a?b", "a:443", "https://"] {
            assert_eq!(wrong.parse::<Server>(), Err(AddressError::Server), "{wrong}");
        }
    }

    #[test]
    fn a_proxy_never_shows_its_password() {
        let proxy: Proxy = "http://me:p%40ss@proxy.corp:3128".parse().unwrap();
        assert_eq!(format!("{proxy} {proxy:?}"), "http://proxy.corp:3128 http://proxy.corp:3128");
        // me:p@ss
        assert_eq!(proxy.authorization.unwrap().as_str(), "Basic bWU6cEBzcw==");
        assert!("https://proxy".parse::<Proxy>().is_err());
    }

    #[test]
    fn the_surroundings_name_a_proxy_but_for_those_that_they_except() {
        let said = |none: &'static str| {
            move |name: &str| match name {
                "https_proxy" => Some("http://p:1".to_owned()),
                "NO_PROXY" => Some(none.to_owned()),
                _ => None,
            }
        };
        let goes_by = |host, none| Proxy::of_surroundings(host, said(none)).unwrap().is_some();
        assert!(goes_by("agents.example.com", "") && goes_by("agents.example.com", "ample.com, localhost"));
        for none in ["*", "example.com", ".example.com", "a, agents.example.com"] {
            assert!(!goes_by("agents.example.com", none), "{none}");
        }
    }
}
