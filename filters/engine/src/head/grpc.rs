//! gRPC and gRPC-Web: how a request says that it is one, and how a refusal is told to it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Whether a request is gRPC, and in which encoding.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grpc {
    /// It is not.
    #[default]
    No,
    /// gRPC over HTTP/2: the proxy itself knows how to answer it.
    Native,
    /// gRPC-Web, which has its trailers in the body.
    Web,
    /// The same in base64, for browsers that cannot read bytes as they come.
    WebText,
}

/// What follows a media type: nothing, a format, or parameters.
fn ends(rest: &[u8]) -> bool {
    matches!(rest.first(), None | Some(b'+' | b';'))
}

impl Grpc {
    /// What a content type says. Types compare without case (RFC 9110 §8.3.1).
    #[must_use]
    pub fn of(content_type: &[u8]) -> Self {
        const PREFIX: &[u8] = b"application/grpc";
        let Some((prefix, rest)) = content_type.split_at_checked(PREFIX.len()) else { return Self::No };
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return Self::No;
        }
        let after = |name: &[u8]| {
            let (head, rest) = rest.split_at_checked(name.len())?;
            head.eq_ignore_ascii_case(name).then_some(rest)
        };
        match (ends(rest), after(b"-web-text").is_some_and(ends), after(b"-web").is_some_and(ends)) {
            (true, ..) => Self::Native,
            (_, true, _) => Self::WebText,
            (_, _, true) => Self::Web,
            _ => Self::No,
        }
    }

    /// The content type of an answer in an encoding of which the proxy knows nothing.
    #[must_use]
    pub(crate) fn content_type(self) -> Option<&'static str> {
        match self {
            Self::No | Self::Native => None,
            Self::Web => Some("application/grpc-web+proto"),
            Self::WebText => Some("application/grpc-web-text+proto"),
        }
    }

    /// The body of an answer of trailers alone: one frame of them (PROTOCOL-WEB of gRPC). The message is ours, and
    /// plain.
    #[must_use]
    pub(crate) fn trailers(self, status: u32, message: &str) -> Vec<u8> {
        let trailers = ["grpc-status:", &status.to_string(), "\r\ngrpc-message:", message, "\r\n"].concat();
        let length = u32::try_from(trailers.len()).unwrap_or_default();
        let frame = [&[0x80][..], &length.to_be_bytes(), trailers.as_bytes()].concat();
        if self == Self::WebText { STANDARD.encode(frame).into_bytes() } else { frame }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_is_grpc_alone_or_with_a_format_or_with_parameters() {
        for (text, expected) in [
            ("application/grpc", Grpc::Native),
            ("application/grpc+proto", Grpc::Native),
            ("application/grpc+json;x=y", Grpc::Native),
            ("application/grpc; charset=utf-8", Grpc::Native),
            ("Application/GRPC", Grpc::Native),
            ("application/grpc-web", Grpc::Web),
            ("application/grpc-web+proto", Grpc::Web),
            ("application/grpc-web-text", Grpc::WebText),
            ("application/grpc-web-text+proto;x=y", Grpc::WebText),
            ("application/grpcx", Grpc::No),
            ("application/grpc-webx", Grpc::No),
            ("application/grpc-web-textx", Grpc::No),
            ("application/grpc-status", Grpc::No),
            ("application/grpc.json", Grpc::No),
            ("application/json", Grpc::No),
            ("text/application/grpc", Grpc::No),
            ("", Grpc::No),
        ] {
            assert_eq!(Grpc::of(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn trailers_are_one_frame_of_the_body() {
        let frame = Grpc::Web.trailers(16, "no");
        assert_eq!(frame, b"\x80\x00\x00\x00\x21grpc-status:16\r\ngrpc-message:no\r\n".as_slice());
        assert_eq!(usize::from(frame[4]), frame.len() - 5);
        assert_eq!(STANDARD.decode(Grpc::WebText.trailers(16, "no")).unwrap(), frame);
    }
}
