//! What stages keep of a request for its answer, and the answer as they may change it.

use std::any::Any;
use std::borrow::Cow;
use std::fmt;

use crate::port::{PortResult, Stream};
use crate::reply::ReplyHeaders;
use crate::request_state::RequestState;

/// What stages keep of a request: at most one thing of each type, which is private to the stage that keeps it.
/// Only requests of which something is kept have their answer shown to the stages.
#[derive(Default)]
pub struct Kept(Vec<Box<dyn Any>>);

impl fmt::Debug for Kept {
    /// Without what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Kept").field(&self.0.len()).finish()
    }
}

impl Kept {
    /// Keeps something, in place of what was kept of that type.
    pub fn keep<T: Any>(&mut self, thing: T) {
        self.forget::<T>();
        self.0.push(Box::new(thing));
    }

    /// What is kept of a type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.iter().find_map(|kept| kept.downcast_ref())
    }

    /// Forgets what is kept of a type.
    pub fn forget<T: Any>(&mut self) {
        self.0.retain(|kept| !kept.is::<T>());
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

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

    #[derive(Debug, PartialEq)]
    struct Mine(u8);

    #[test]
    fn one_thing_of_each_type_is_kept() {
        let mut kept = Kept::default();
        assert!(kept.is_empty() && kept.get::<Mine>().is_none());
        kept.keep(Mine(1));
        kept.keep("another stage's");
        kept.keep(Mine(2));
        assert_eq!((kept.get(), kept.get::<&str>()), (Some(&Mine(2)), Some(&"another stage's")));
        kept.forget::<&str>();
        assert!(kept.get::<&str>().is_none() && !kept.is_empty());
        kept.clear();
        assert!(kept.is_empty());
    }

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
