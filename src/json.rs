//! Values of a JSON file that know where they stand in it, so that each error names its key.

use crate::error::{Code, Error, Result};
use crate::quote::{quoted, shown};
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Descriptions have kilobytes; what is larger by far is something else.
const MOST_BYTES: u64 = 64 << 20;

/// A JSON file.
pub fn read(path: &Path) -> Result<Value> {
    parse(path, &bytes(path)?)
}

/// What a JSON file holds, before it is looked at.
pub fn bytes(path: &Path) -> Result<Vec<u8>> {
    let wrong = |error: std::io::Error| Error::new(Code::Io, format!("{} cannot be read: {error}", shown(path)));
    // Asked before it is opened, which for a pipe would wait until somebody writes.
    if !std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Err(Error::new(Code::Io, format!("{} is no file", shown(path))));
    }
    let file = File::open(path).map_err(wrong)?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(wrong)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(invalid(format!("{} is larger than {MOST_BYTES} bytes: it is no description", shown(path))));
    }
    Ok(bytes)
}

/// A JSON text, which errors call by its file.
pub fn parse(path: &Path, bytes: &[u8]) -> Result<Value> {
    let value =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("{} is no valid JSON: {error}", shown(path))))?;
    match given_twice(bytes) {
        Some(key) => Err(invalid(format!("{}: an object has {} twice", shown(path), quoted(&key)))),
        None => Ok(value),
    }
}

/// A key that an object of a valid JSON text has twice: of two values the first would be lost without a word.
fn given_twice(text: &[u8]) -> Option<String> {
    // The keys of each object around the place; none for an array.
    let mut around: Vec<Option<HashSet<String>>> = Vec::new();
    let (mut at, mut is_key) = (0, false);
    while let Some(byte) = text.get(at) {
        let first = at;
        at += 1;
        match byte {
            b'{' => around.push(Some(HashSet::new())),
            b'[' => around.push(None),
            b'}' | b']' => drop(around.pop()),
            b'"' => {
                while text.get(at).is_some_and(|byte| *byte != b'"') {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            _ => {}
        }
        match byte {
            b'{' => is_key = true,
            b',' => is_key = matches!(around.last(), Some(Some(_))),
            b'"' if is_key => {
                is_key = false;
                let key: String = serde_json::from_slice(text.get(first..at)?).ok()?;
                if let Some(Some(keys)) = around.last_mut()
                    && !keys.insert(key.clone())
                {
                    return Some(key);
                }
            }
            _ => {}
        }
    }
    None
}

pub fn invalid(message: String) -> Error {
    Error::new(Code::InvalidModel, message)
}

/// A value, and where it stands.
#[derive(Clone)]
pub struct Node<'a> {
    pub value: &'a Value,
    /// As `tiling.patch[0]`; empty for the whole file.
    place: String,
    file: &'a Path,
}

impl<'a> Node<'a> {
    pub fn new(value: &'a Value, file: &'a Path) -> Self {
        Self { value, place: String::new(), file }
    }

    /// The same place with another value: what a reference or an expression stands for.
    pub fn with<'b>(&self, value: &'b Value) -> Node<'b>
    where
        'a: 'b,
    {
        Node { value, place: self.place.clone(), file: self.file }
    }

    /// An error about this value.
    pub fn wrong(&self, what: impl std::fmt::Display) -> Error {
        match self.place.is_empty() {
            true => invalid(format!("{}: {what}", shown(self.file))),
            false => invalid(format!("{}: {}: {what}", shown(self.file), quoted(&self.place))),
        }
    }

    fn expected(&self, what: &str) -> Error {
        self.wrong(format_args!("{what} is expected, and it is {}", quoted(&self.value.to_string())))
    }

    fn below(&self, value: &'a Value, key: &str) -> Self {
        let dot = if self.place.is_empty() { "" } else { "." };
        Node { value, place: format!("{}{dot}{key}", self.place), file: self.file }
    }

    fn map(&self) -> Result<&'a Map<String, Value>> {
        self.value.as_object().ok_or_else(|| self.expected("an object"))
    }

    /// The member of an object, if it is there; null is as if it were not.
    pub fn find(&self, key: &str) -> Result<Option<Self>> {
        Ok(self.map()?.get(key).filter(|value| !value.is_null()).map(|value| self.below(value, key)))
    }

    pub fn get(&self, key: &str) -> Result<Self> {
        match self.find(key)? {
            Some(member) => Ok(member),
            None => Err(self.wrong(format_args!("{} is missing", quoted(key)))),
        }
    }

    pub fn members(&self) -> Result<impl Iterator<Item = (&'a str, Self)>> {
        let members: Vec<_> = self.map()?.iter().map(|(key, value)| (key.as_str(), self.below(value, key))).collect();
        Ok(members.into_iter())
    }

    /// Refuses an object with a key that is not one of these.
    pub fn only(&self, known: &[&str]) -> Result<()> {
        for key in self.map()?.keys() {
            if !known.contains(&key.as_str()) {
                let known = known.join(", ");
                return Err(self.wrong(format_args!("{} is not known here; {known} are", quoted(key))));
            }
        }
        Ok(())
    }

    pub fn items(&self) -> Result<Vec<Self>> {
        let items = self.value.as_array().ok_or_else(|| self.expected("an array"))?;
        let item = |(i, value)| Node { value, place: format!("{}[{i}]", self.place), file: self.file };
        Ok(items.iter().enumerate().map(item).collect())
    }

    /// Three values.
    pub fn three<T>(&self, read: impl Fn(&Self) -> Result<T>) -> Result<[T; 3]> {
        let items = self.items()?.iter().map(read).collect::<Result<Vec<_>>>()?;
        items.try_into().map_err(|_| self.expected("three values"))
    }

    pub fn number(&self) -> Result<f64> {
        self.value.as_f64().filter(|number| number.is_finite()).ok_or_else(|| self.expected("a number"))
    }

    pub fn positive(&self) -> Result<f64> {
        Some(self.number()?).filter(|number| *number > 0.0).ok_or_else(|| self.expected("a number above 0"))
    }

    /// A whole number, also if it is written as 128.0.
    pub fn whole(&self, from: u64, to: u64) -> Result<u64> {
        let whole = self.value.as_u64().or_else(|| {
            let number = self.value.as_f64()?;
            (number >= 0.0 && number <= (1u64 << 53) as f64 && number.fract() == 0.0).then_some(number as u64)
        });
        whole
            .filter(|number| (from..=to).contains(number))
            .ok_or_else(|| self.expected(&format!("a whole number from {from} to {to}")))
    }

    pub fn boolean(&self) -> Result<bool> {
        self.value.as_bool().ok_or_else(|| self.expected("true or false"))
    }

    pub fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.expected("a text"))
    }

    /// One of the words.
    pub fn word<T: Clone>(&self, words: &[(&str, T)]) -> Result<T> {
        let found = self.value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
        found.map(|(_, meaning)| meaning.clone()).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
            self.expected(&format!("one of {}", words.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_object_has_a_key_twice() {
        let parse = |text: &str| super::parse(Path::new("a.json"), text.as_bytes());
        for text in [
            r#"{"a": 1, "b": 2, "a": 3}"#,
            r#"[{}, {"b": [{"a": {"a": 1}, "\u0061": "b"}]}]"#,
            r#"{"x": "\\", "a": "\"", "a" : [1, 2]}"#,
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.message().contains("an object has \"a\" twice"), "{text}: {error}");
        }
        for text in
            [r#"{"a": {"a": 1}, "b": {"a": ["a", "a"]}}"#, r#"["a", "a"]"#, r#"{"b": "a", "c": "a\\"}"#, r#""a""#, "1"]
        {
            assert!(parse(text).is_ok(), "{text}");
        }
        assert!(parse(r#"{"a": 1"#).unwrap_err().message().contains("no valid JSON"));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let pipe = std::env::temp_dir().join(format!("planrt-pipe-{}.json", std::process::id()));
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, Path::new("/dev/zero"), Path::new("/"), Path::new("/none.json")] {
            assert_eq!(read(path).unwrap_err().code(), Code::Io, "{}", path.display());
        }
        std::fs::remove_file(pipe).unwrap();
    }

    /// What is at .5 of a voxel is decided by the last digit of a spacing.
    #[test]
    fn numbers_are_read_to_their_last_digit() {
        for text in ["2.2399999999999998", "0.5599999999999999", "0.7675780057907104"] {
            let value = parse(Path::new("a test's"), text.as_bytes()).unwrap();
            assert_eq!(value.as_f64(), Some(text.parse().unwrap()), "{text}");
        }
    }
}
