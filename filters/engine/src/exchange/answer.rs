//! The answer to a request, as stages may change it.

use std::borrow::Cow;

use crate::exchange::request_state::RequestState;
use crate::port::{PortResult, Stream};
use crate::reply::ReplyHeaders;

/// The head of an answer on its way to the client: of a response that passes, whoever gave it, or of a reply of
/// ours before it is sent.
pub struct Answer<'a> {
    /// What was decided about the request.
    pub exchange: &'a RequestState,
    headers: To<'a>,
}

enum To<'a> {
    Response(&'a dyn Stream),
    Reply(&'a mut ReplyHeaders),
}

impl<'a> Answer<'a> {
    /// A response that passes.
    pub(crate) fn response(exchange: &'a RequestState, stream: &'a dyn Stream) -> Self {
        Self { exchange, headers: To::Response(stream) }
    }

    /// A reply of ours.
    pub(crate) fn reply(exchange: &'a RequestState, headers: &'a mut ReplyHeaders) -> Self {
        Self { exchange, headers: To::Reply(headers) }
    }

    /// Adds a header.
    ///
    /// # Errors
    /// When the proxy fails; the response is withheld then.
    pub fn add(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> PortResult<()> {
        let value = value.into();
        match &mut self.headers {
            To::Response(stream) => stream.add_response_header(name, value.as_bytes()),
            To::Reply(headers) => {
                headers.push((name, value));
                Ok(())
            }
        }
    }

    /// Sets a header in place of all of that name.
    ///
    /// # Errors
    /// When the proxy fails; the response is withheld then.
    pub fn set(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> PortResult<()> {
        let value = value.into();
        match &mut self.headers {
            To::Response(stream) => stream.set_response_header(name, value.as_bytes()),
            To::Reply(headers) => {
                headers.retain(|(known, _)| *known != name);
                headers.push((name, value));
                Ok(())
            }
        }
    }

    /// Removes all headers of a name.
    ///
    /// # Errors
    /// When the proxy fails; the response is withheld then.
    pub fn remove(&mut self, name: &'static str) -> PortResult<()> {
        match &mut self.headers {
            To::Response(stream) => stream.remove_response_header(name.as_bytes()),
            To::Reply(headers) => {
                headers.retain(|(known, _)| *known != name);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::FakeProxy;

    #[test]
    fn a_reply_and_a_response_are_changed_alike() {
        let change = |answer: &mut Answer<'_>| {
            answer.set("a", "new").unwrap();
            answer.add("b", "2").unwrap();
            answer.remove("c").unwrap();
        };
        let exchange = RequestState::default();
        let mut ours: ReplyHeaders = vec![("a", "old".into()), ("b", "1".into()), ("c", "x".into())];
        let proxy = FakeProxy::new();
        *proxy.response.borrow_mut() =
            ours.iter().map(|(n, v)| (n.as_bytes().into(), v.as_bytes().into())).collect();
        change(&mut Answer::reply(&exchange, &mut ours));
        change(&mut Answer::response(&exchange, &proxy));
        let expected = [("b", "1"), ("a", "new"), ("b", "2")];
        assert_eq!(ours, expected.map(|(name, value)| (name, value.into())));
        let seen = proxy.response.borrow();
        assert!(
            seen.iter()
                .zip(expected)
                .all(|((n, v), (name, value))| n == name.as_bytes() && v == value.as_bytes())
        );
        proxy.broken.set(true);
        assert!(Answer::response(&exchange, &proxy).set("a", "b").is_err());
    }
}
