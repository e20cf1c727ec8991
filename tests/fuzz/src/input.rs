//! Reads decisions out of an input. Bytes that are missing are zero, so every input means something.

use serde_json::{Map, Value};

pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(crate) fn pick<'t, T: ?Sized>(&mut self, of: &[&'t T]) -> &'t T {
        of[usize::from(self.byte()) % of.len()]
    }

    pub(crate) fn bytes(&mut self, most: u8) -> &'a [u8] {
        let wanted = usize::from(self.byte() % most.max(1)).min(self.0.len());
        let (taken, rest) = self.0.split_at(wanted);
        self.0 = rest;
        taken
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes(48)).into_owned()
    }

    /// A text that the code knows, or any other.
    pub(crate) fn word(&mut self, known: &[&str]) -> String {
        if self.flag() { self.text() } else { self.pick(known).to_owned() }
    }

    /// Some JSON, with texts that the code knows among it.
    pub(crate) fn json(&mut self, known: &[&str], depth: u8) -> Value {
        match self.byte() % if depth == 0 { 7 } else { 9 } {
            0 => Value::Null,
            1 => self.flag().into(),
            2 => i64::from(i8::from_ne_bytes([self.byte()])).into(),
            3 => f64::from_ne_bytes(std::array::from_fn(|_| self.byte())).into(),
            4 => (crate::tokens::NOW + u64::from(self.byte())).saturating_sub(128).into(),
            5 => self.text().into(),
            6 => self.pick(known).into(),
            7 => (0..self.byte() % 5).map(|_| self.json(known, depth - 1)).collect(),
            _ => {
                let member = |input: &mut Self| (input.word(known), input.json(known, depth - 1));
                Value::Object((0..self.byte() % 4).map(|_| member(self)).collect())
            }
        }
    }

    /// Changes members of an object: sets, adds or takes away.
    pub(crate) fn change(&mut self, members: &mut Map<String, Value>, names: &[&str], known: &[&str]) {
        for _ in 0..self.byte() % 6 {
            let name = self.word(names);
            if self.byte().is_multiple_of(8) {
                members.remove(&name);
            } else {
                let value = self.json(known, 3);
                members.insert(name, value);
            }
        }
    }
}
