//! Parameters of statements.

/// A parameter, borrowed from what it is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    /// No value.
    Null,
    /// A number.
    Integer(i64),
    /// A number that is never negative; above `i64::MAX` the statement fails.
    Unsigned(u64),
    /// A truth value.
    Boolean(bool),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// What a column holds, whatever it is. Both databases give the same for the same: a truth value is a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// No value.
    Null,
    /// A number, or a truth value.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What can be a parameter.
pub trait ToValue {
    /// As a parameter.
    fn to_value(&self) -> Value<'_>;
}

macro_rules! to_value {
    ($($type:ty => |$self:ident| $value:expr;)*) => {
        $(impl ToValue for $type {
            fn to_value(&self) -> Value<'_> {
                let $self = self;
                $value
            }
        })*
    };
}

to_value! {
    bool => |this| Value::Boolean(*this);
    i32 => |this| Value::Integer((*this).into());
    i64 => |this| Value::Integer(*this);
    u32 => |this| Value::Integer((*this).into());
    u64 => |this| Value::Unsigned(*this);
    usize => |this| Value::Unsigned(u64::try_from(*this).unwrap_or(u64::MAX));
    str => |this| Value::Text(this);
    String => |this| Value::Text(this);
    [u8] => |this| Value::Bytes(this);
    Vec<u8> => |this| Value::Bytes(this);
}

impl<const N: usize> ToValue for [u8; N] {
    fn to_value(&self) -> Value<'_> {
        Value::Bytes(self)
    }
}

impl ToValue for std::borrow::Cow<'_, str> {
    fn to_value(&self) -> Value<'_> {
        Value::Text(self)
    }
}

impl ToValue for Cell {
    fn to_value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Integer(number) => Value::Integer(*number),
            Self::Text(text) => Value::Text(text),
            Self::Bytes(bytes) => Value::Bytes(bytes),
        }
    }
}

impl<T: ToValue> ToValue for Option<T> {
    fn to_value(&self) -> Value<'_> {
        self.as_ref().map_or(Value::Null, T::to_value)
    }
}

impl<T: ToValue + ?Sized> ToValue for &T {
    fn to_value(&self) -> Value<'_> {
        (**self).to_value()
    }
}

/// The parameters of a statement: `params![id, &name, 5]`, in the order of `?1`, `?2`, `?3`.
#[macro_export]
macro_rules! params {
    () => { &[] as &[$crate::Value<'_>] };
    ($($value:expr),+ $(,)?) => { &[$($crate::ToValue::to_value(&$value)),+] as &[$crate::Value<'_>] };
}
