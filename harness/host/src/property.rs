//! Properties: what `proxy_get_property` can read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::pairs;

/// The value of a property, with the type that decides how the ABI encodes it.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text or bytes, as they are.
    Bytes(Vec<u8>),
    /// A signed number: eight bytes, little endian.
    Int(i64),
    /// An unsigned number: eight bytes, little endian.
    Uint(u64),
    /// A floating-point number: eight bytes, little endian.
    Double(f64),
    /// One byte.
    Bool(bool),
    /// Nanoseconds: eight bytes, little endian.
    Duration(Duration),
    /// Nanoseconds since 1970: eight bytes, little endian.
    Timestamp(u64),
    /// Pairs of keys and encoded values.
    Map(BTreeMap<String, Value>),
    /// Pairs of encoded values and nothing.
    List(Vec<Value>),
}

impl Value {
    /// The bytes that a module reads.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Int(number) => number.to_le_bytes().to_vec(),
            Self::Uint(number) | Self::Timestamp(number) => number.to_le_bytes().to_vec(),
            Self::Double(number) => number.to_le_bytes().to_vec(),
            Self::Bool(yes) => vec![u8::from(*yes)],
            Self::Duration(duration) => {
                let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                nanos.to_le_bytes().to_vec()
            }
            Self::Map(map) => {
                let entries: Vec<_> = map.iter().map(|(k, v)| (k.clone().into_bytes(), v.encode())).collect();
                pairs::encode(entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice())))
            }
            Self::List(list) => {
                let entries: Vec<_> = list.iter().map(Self::encode).collect();
                pairs::encode(entries.iter().map(|v| (v.as_slice(), &[][..])))
            }
        }
    }

    /// The value at a path below this one.
    pub(crate) fn descend(&self, path: &[&str]) -> Option<&Self> {
        let Some((first, rest)) = path.split_first() else { return Some(self) };
        match self {
            Self::Map(map) => map.get(*first)?.descend(rest),
            Self::List(list) => list.get(first.parse::<usize>().ok()?)?.descend(rest),
            _ => None,
        }
    }
}

macro_rules! from {
    ($($ty:ty => |$value:ident| $make:expr;)*) => {
        $(impl From<$ty> for Value { fn from($value: $ty) -> Self { $make } })*
    };
}

from! {
    &str => |value| Self::Bytes(value.as_bytes().to_vec());
    String => |value| Self::Bytes(value.into_bytes());
    Vec<u8> => |value| Self::Bytes(value);
    &[u8] => |value| Self::Bytes(value.to_vec());
    i64 => |value| Self::Int(value);
    u64 => |value| Self::Uint(value);
    f64 => |value| Self::Double(value);
    bool => |value| Self::Bool(value);
    Duration => |value| Self::Duration(value);
}

/// The path of a property: `"request.path"`, or its parts where one contains a dot:
/// `["metadata", "filter_metadata", "envoy.filters.http.jwt_authn"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PropertyPath(Vec<String>);

impl From<&str> for PropertyPath {
    fn from(path: &str) -> Self {
        Self(path.split('.').map(str::to_owned).collect())
    }
}

impl<const N: usize> From<[&str; N]> for PropertyPath {
    fn from(path: [&str; N]) -> Self {
        Self(path.into_iter().map(str::to_owned).collect())
    }
}

/// Properties that a test sets, for all requests or for one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PropertyTree {
    root: BTreeMap<String, Value>,
}

impl PropertyTree {
    pub(crate) fn set(&mut self, path: impl Into<PropertyPath>, value: impl Into<Value>) {
        let PropertyPath(path) = path.into();
        let Some((last, parents)) = path.split_last() else { return };
        let mut map = &mut self.root;
        for part in parents {
            let entry = map.entry(part.clone()).or_insert_with(|| Value::Map(BTreeMap::new()));
            if !matches!(entry, Value::Map(_)) {
                *entry = Value::Map(BTreeMap::new());
            }
            let Value::Map(inner) = entry else { return };
            map = inner;
        }
        map.insert(last.clone(), value.into());
    }

    pub(crate) fn get(&self, path: &[&str]) -> Option<&Value> {
        let (first, rest) = path.split_first()?;
        self.root.get(*first)?.descend(rest)
    }
}
