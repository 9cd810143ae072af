//! Protobuf messages, read field by field and written the same way; what the fields mean is their reader's to know.

use crate::error::{Code, Error, Result};

pub enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Four or eight bytes, least significant first.
    Fixed(&'a [u8]),
}

/// The fields of a message with their numbers.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn bytes(&mut self, count: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let key = self.number()?;
        let field = match key & 7 {
            0 => Field::Number(self.number()?),
            1 => Field::Fixed(self.bytes(8)?),
            2 => {
                let count = self.number()?;
                Field::Bytes(self.bytes(count)?)
            }
            5 => Field::Fixed(self.bytes(4)?),
            _ => return None,
        };
        Some((key >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        let damaged = || Error::new(Code::InvalidModel, "the ONNX model is damaged or cut short");
        Some(field.ok_or_else(damaged))
    }
}

/// A message under construction.
#[derive(Default)]
pub struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number > 0x7f {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub fn number(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    pub fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.add_bytes(field, bytes);
        self
    }

    pub fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub fn message(self, field: u64, message: Self) -> Self {
        self.bytes(field, &message.0)
    }

    pub fn add_bytes(&mut self, field: u64, bytes: &[u8]) {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub fn add_message(&mut self, field: u64, message: Self) {
        self.add_bytes(field, &message.0);
    }

    /// A field of another message's, as it is there.
    pub fn copy(&mut self, number: u64, field: &Field<'_>) {
        match field {
            Field::Bytes(bytes) => self.add_bytes(number, bytes),
            Field::Number(value) => {
                self.varint(number << 3);
                self.varint(*value);
            }
            Field::Fixed(bytes) => {
                self.varint(number << 3 | if bytes.len() == 8 { 1 } else { 5 });
                self.0.extend_from_slice(bytes);
            }
        }
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
