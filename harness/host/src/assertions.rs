//! What a test asserts of an exchange. Every failure says what was expected, what was found instead, and
//! then everything about the exchange.

use crate::exchange::Exchange;
use crate::flow::Seen;
use crate::headers::Printable;

impl Exchange {
    #[track_caller]
    fn fail(&self, expected: &str, found: &str) -> ! {
        panic!("expected {expected}, but {found}\n{self}")
    }

    /// Asserts the status that the client saw.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it is another one.
    #[track_caller]
    pub fn assert_status(&self, status: u16) -> &Self {
        if self.status() != Some(status) {
            self.fail(&format!("status {status}"), &self.outcome());
        }
        self
    }

    /// How the exchange stands, in a few words.
    fn outcome(&self) -> String {
        match (self.status(), self.local_reply(), self.reset()) {
            (Some(status), Some(reply), _) => match reply.plugin {
                Some(plugin) => format!("plugin {plugin} answered {status} ({})", reply.details),
                None => format!("the host answered {status} ({})", reply.details),
            },
            (Some(status), None, _) => format!("the client saw {status}"),
            (None, _, Some(reason)) => format!("the stream was reset ({reason})"),
            (None, _, None) if self.death().is_some() => {
                format!("nothing will come: {}", self.death().unwrap_or_default())
            }
            (None, _, None) => "the client has seen nothing yet (Host::advance moves the time on)".to_owned(),
        }
    }

    /// Asserts that the request reached the upstream, and answers what the upstream saw.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it did not.
    #[track_caller]
    pub fn assert_forwarded(&self) -> Seen {
        match self.upstream() {
            Some(seen) => seen,
            None => self.fail("the request to be forwarded", &self.outcome()),
        }
    }

    /// Asserts that a plugin answered with this status and the request did not reach the upstream.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if that is not so.
    #[track_caller]
    pub fn assert_refused(&self, status: u16) -> Seen {
        let by_plugin =
            self.local_reply().is_some_and(|reply| reply.plugin.is_some() && reply.status == status);
        match self.response() {
            Some(seen) if by_plugin && self.upstream().is_none() => seen,
            _ => {
                let forwarded = if self.upstream().is_some() { "it was forwarded, and " } else { "" };
                let found = format!("{forwarded}{}", self.outcome());
                self.fail(&format!("a plugin to refuse the request with {status}"), &found)
            }
        }
    }

    /// Asserts that the exchange waits.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it is over.
    #[track_caller]
    pub fn assert_paused(&self) -> &Self {
        if self.is_over() {
            self.fail("the exchange to wait", &self.outcome());
        }
        self
    }

    /// Asserts that the upstream saw this header once, with this value.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it saw another value, several, or none.
    #[track_caller]
    pub fn assert_upstream_header(&self, name: &str, value: impl AsRef<[u8]>) -> &Self {
        self.assert_header("the upstream", self.upstream().as_ref(), name, value.as_ref());
        self
    }

    /// Asserts that the upstream did not see a header.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it did, or if the request did not get there.
    #[track_caller]
    pub fn assert_no_upstream_header(&self, name: &str) -> &Self {
        let seen = self.assert_forwarded();
        if seen.headers.get_bytes(name).is_some() {
            self.fail(&format!("the upstream not to see {name}"), &values(Some(&seen), name));
        }
        self
    }

    /// Asserts the whole body that the upstream saw.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it saw another one.
    #[track_caller]
    pub fn assert_upstream_body(&self, body: impl AsRef<[u8]>) -> &Self {
        self.assert_body("the upstream", self.upstream().as_ref(), body.as_ref());
        self
    }

    /// Asserts that the client saw this header once, with this value.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it saw another value, several, or none.
    #[track_caller]
    pub fn assert_response_header(&self, name: &str, value: impl AsRef<[u8]>) -> &Self {
        self.assert_header("the client", self.response().as_ref(), name, value.as_ref());
        self
    }

    /// Asserts that the client did not see a header.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it did, or if it saw no response yet.
    #[track_caller]
    pub fn assert_no_response_header(&self, name: &str) -> &Self {
        match self.response() {
            Some(seen) if seen.headers.get_bytes(name).is_none() => self,
            seen => self.fail(&format!("the client not to see {name}"), &values(seen.as_ref(), name)),
        }
    }

    /// Asserts the whole body that the client saw.
    ///
    /// # Panics
    /// With the whole exchange and its trace, if it saw another one.
    #[track_caller]
    pub fn assert_response_body(&self, body: impl AsRef<[u8]>) -> &Self {
        self.assert_body("the client", self.response().as_ref(), body.as_ref());
        self
    }

    #[track_caller]
    fn assert_header(&self, who: &str, seen: Option<&Seen>, name: &str, value: &[u8]) {
        let found = seen.map(|seen| seen.headers.get_all(name).collect::<Vec<_>>()).unwrap_or_default();
        if found != [value] {
            self.fail(&format!("{who} to see {name}: {}", Printable(value)), &values(seen, name));
        }
    }

    #[track_caller]
    fn assert_body(&self, who: &str, seen: Option<&Seen>, body: &[u8]) {
        let found = seen.map(Seen::body_bytes);
        if found.as_deref() == Some(body) {
            return;
        }
        let found = match found {
            None => "it saw nothing".to_owned(),
            Some(found) => {
                let common = found.iter().zip(body).take_while(|(found, expected)| found == expected).count();
                format!("it saw \"{}\" (the first difference is at byte {common})", Printable(&found))
            }
        };
        self.fail(&format!("{who} to see the body \"{}\"", Printable(body)), &found);
    }
}

/// What someone saw of a header.
fn values(seen: Option<&Seen>, name: &str) -> String {
    let Some(seen) = seen else { return "it saw nothing".to_owned() };
    let values: Vec<String> =
        seen.headers.get_all(name).map(|value| format!("{name}: {}", Printable(value))).collect();
    if values.is_empty() { format!("it saw no {name}") } else { format!("it saw {}", values.join(" and ")) }
}
