//! The attributes of a request, as `proxy_get_property` reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::reply::grpc_from_http;
use super::stream::{Dir, Stream};
use crate::headers::HeaderMap;
use crate::property::Value;

impl Stream {
    /// A property of this stream: what the test set comes first, then what the stream itself knows.
    pub(crate) fn property(&mut self, path: &[&str], now: Duration) -> Option<Value> {
        if let Some(value) = self.properties.get(path) {
            return Some(value.clone());
        }
        let (first, rest) = path.split_first()?;
        match *first {
            "request" => self.request(rest, now),
            "response" => self.response(rest),
            "source" => self.source(rest),
            "destination" => match rest {
                ["address"] => Some("127.0.0.1:8080".into()),
                ["port"] => Some(Value::Int(8080)),
                _ => None,
            },
            "connection" => match rest {
                ["id"] => Some(Value::Uint(self.id)),
                ["mtls"] => Some(Value::Bool(false)),
                ["requested_server_name"] => Some("".into()),
                _ => None,
            },
            "connection_id" if rest.is_empty() => Some(Value::Uint(self.id)),
            "xds" => match rest {
                ["cluster_name"] => self.route.clone().flatten().map(Value::from),
                ["route_name"] => Some("".into()),
                ["listener_direction"] => Some(Value::Int(0)),
                _ => None,
            },
            "upstream" => self.upstream_property(rest),
            "filter_state" => {
                let value = self.filter_state.get(rest.first()?.as_bytes())?;
                (rest.len() == 1).then(|| value.clone().into())
            }
            _ => None,
        }
    }

    fn request(&self, rest: &[&str], now: Duration) -> Option<Value> {
        let headers = self.way(Dir::Request).headers.as_ref();
        let header = |name: &str| headers?.get_bytes(name).map(Value::from);
        let total = || self.way(Dir::Request).bytes + headers.map_or(0, |map| map.byte_size() as u64);
        let path = || headers?.get_bytes(":path").map(split_query);
        match rest {
            ["path"] => header(":path"),
            ["url_path"] => path().map(|(path, _)| path.into()),
            ["query"] => path().map(|(_, query)| query.into()),
            ["host"] => header(":authority"),
            ["scheme"] => header(":scheme"),
            ["method"] => header(":method"),
            ["referer"] => header("referer"),
            ["useragent"] => header("user-agent"),
            ["id"] => header("x-request-id"),
            ["protocol"] => Some("HTTP/1.1".into()),
            ["headers", rest @ ..] => map(headers?).descend(rest).cloned(),
            ["time"] => Some(Value::Timestamp(self.started_unix)),
            ["duration"] => {
                let end = self.finished.unwrap_or(now);
                self.finished.map(|_| Value::Duration(end.saturating_sub(self.started)))
            }
            ["size"] => {
                let declared = headers.and_then(|map| map.get("content-length")?.parse().ok());
                Some(Value::Int(declared.unwrap_or(self.way(Dir::Request).bytes).cast_signed()))
            }
            ["total_size"] => Some(Value::Int(total().cast_signed())),
            _ => None,
        }
    }

    fn response(&self, rest: &[&str]) -> Option<Value> {
        let way = self.way(Dir::Response);
        let headers = way.headers.as_ref();
        match rest {
            ["code"] => self.status().map(|status| Value::Int(status.into())),
            ["code_details"] => self.details.clone().map(Value::from),
            ["flags"] => Some(Value::Int(self.flags.cast_signed())),
            ["headers", rest @ ..] => map(headers?).descend(rest).cloned(),
            ["trailers", rest @ ..] => map(way.trailers.as_ref()?).descend(rest).cloned(),
            ["size"] => Some(Value::Int(way.bytes.cast_signed())),
            ["total_size"] => {
                let trailers = way.trailers.as_ref().map_or(0, HeaderMap::byte_size);
                let maps = headers.map_or(0, HeaderMap::byte_size) + trailers;
                Some(Value::Int((way.bytes + maps as u64).cast_signed()))
            }
            ["grpc_status"] => {
                let status = way.trailers.as_ref().and_then(|map| map.get("grpc-status"));
                let status = status.or_else(|| headers?.get("grpc-status"));
                let given = status.and_then(|status| status.parse().ok());
                given.or_else(|| Some(grpc_from_http(self.status()?.into()).into())).map(Value::Int)
            }
            _ => None,
        }
    }

    /// The status that the client saw, else the one on its way to it.
    fn status(&self) -> Option<u16> {
        let seen = self.downstream.as_ref().and_then(super::Seen::status);
        seen.or_else(|| self.way(Dir::Response).headers.as_ref()?.get(":status")?.parse().ok())
    }

    fn source(&self, rest: &[&str]) -> Option<Value> {
        match rest {
            ["address"] => Some("127.0.0.1:50000".into()),
            ["port"] => Some(Value::Int(50000)),
            _ => None,
        }
    }

    fn upstream_property(&self, rest: &[&str]) -> Option<Value> {
        self.upstream.as_ref()?;
        match rest {
            ["address"] => Some("127.0.0.1:9000".into()),
            ["port"] => Some(Value::Int(9000)),
            _ => None,
        }
    }
}

fn split_query(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().position(|byte| *byte == b'?') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (path, &[]),
    }
}

fn map(headers: &HeaderMap) -> Value {
    let mut map = BTreeMap::<String, Value>::new();
    for (name, value) in headers.iter() {
        let name = String::from_utf8_lossy(name).into_owned();
        match map.get_mut(&name) {
            Some(Value::Bytes(present)) => {
                present.push(b',');
                present.extend_from_slice(value);
            }
            _ => {
                map.insert(name, value.into());
            }
        }
    }
    Value::Map(map)
}
