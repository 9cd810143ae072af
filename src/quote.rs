//! Names and paths in messages. They come from callers and from models, may be of any length, and hold what a terminal or a
//! log would act on.

use std::borrow::Cow;
use std::fmt::{self, Write};
use std::path::Path;

/// The most characters of a name that a message quotes: what is left out in the middle is said by an ellipsis.
const MOST: usize = 120;
/// Of these so many from the end, where paths differ.
const FROM_END: usize = 60;

/// A name as messages quote it: in quotation marks, cut, with everything escaped that is no plain text.
pub fn quoted(name: &str) -> impl fmt::Display {
    Quoted(name.as_bytes(), Some('"'))
}

/// A name that may not be UTF-8.
pub fn quoted_bytes(name: &[u8]) -> impl fmt::Display {
    Quoted(name, Some('"'))
}

/// A path: the same without the quotation marks.
pub fn shown(path: &Path) -> impl fmt::Display {
    Quoted(path.as_os_str().as_encoded_bytes(), None)
}

struct Quoted<'a>(&'a [u8], Option<char>);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not more than is needed of a name that is megabytes long.
        let (first, last) = (MOST - FROM_END, FROM_END);
        let is_long = self.0.len() > MOST && self.0.utf8_chunks().flat_map(pieces).nth(MOST).is_some();
        if let Some(mark) = self.1 {
            f.write_char(mark)?;
        }
        let write = |f: &mut fmt::Formatter<'_>, piece: Piece| match piece {
            Piece::Char(c) if c == '\\' || Some(c) == self.1 => write!(f, "\\{c}"),
            Piece::Char(c) if acts(c) => write!(f, "{}", c.escape_default()),
            Piece::Char(c) => f.write_char(c),
            Piece::Byte(byte) => write!(f, "\\x{byte:02x}"),
        };
        if is_long {
            self.0.utf8_chunks().flat_map(pieces).take(first).try_for_each(|piece| write(f, piece))?;
            f.write_char('…')?;
            // The last bytes hold at least the last characters.
            let tail = &self.0[self.0.len() - (4 * last).min(self.0.len())..];
            let skipped = tail.utf8_chunks().flat_map(pieces).count().saturating_sub(last);
            tail.utf8_chunks().flat_map(pieces).skip(skipped).try_for_each(|piece| write(f, piece))?;
        } else {
            self.0.utf8_chunks().flat_map(pieces).try_for_each(|piece| write(f, piece))?;
        }
        if let Some(mark) = self.1 {
            f.write_char(mark)?;
        }
        Ok(())
    }
}

enum Piece {
    Char(char),
    /// No UTF-8.
    Byte(u8),
}

fn pieces(chunk: std::str::Utf8Chunk<'_>) -> impl Iterator<Item = Piece> {
    chunk.valid().chars().map(Piece::Char).chain(chunk.invalid().iter().copied().map(Piece::Byte))
}

/// Whether a terminal or an editor acts on a character instead of showing it: controls (escape sequences begin with one),
/// line and paragraph separators, and what turns the direction of text or has no width.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A whole text on its way out, in which the libraries underneath may have quoted what they liked: what acts is escaped, but
/// line ends and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| acts(c) && !matches!(c, '\n' | '\t');
    if !text.contains(is_bad) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_bad(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn plain_names_stay() {
        assert_eq!(quoted("image").to_string(), "\"image\"");
        assert_eq!(quoted("Bild über 3/4 µm, 画像").to_string(), "\"Bild über 3/4 µm, 画像\"");
        assert_eq!(shown(Path::new("/a b/it's.onnx")).to_string(), "/a b/it's.onnx");
    }

    #[test]
    fn what_acts_is_escaped() {
        let name = "a\u{1b}[31mred\r\n\t\0\u{7f}\u{9b}2J\u{202e}gnp\"\\";
        let escaped = quoted(name).to_string();
        assert_eq!(escaped, "\"a\\u{1b}[31mred\\r\\n\\t\\u{0}\\u{7f}\\u{9b}2J\\u{202e}gnp\\\"\\\\\"");
        assert_eq!(quoted_bytes(b"\xffa\xc3").to_string(), "\"\\xffa\\xc3\"");
        assert_eq!(
            shown(Path::new(OsStr::from_bytes(b"/tmp/\xfe\x1b[2J.onnx"))).to_string(),
            "/tmp/\\xfe\\u{1b}[2J.onnx"
        );
        assert_eq!(printable("line one\n\ttwo \u{1b}[2J\0"), "line one\n\ttwo \\u{1b}[2J\\u{0}");
        assert!(matches!(printable("as it is\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn long_names_are_cut() {
        for one in ["x", "ß", "画", "\u{1f9e0}"] {
            let name = format!("begin{}end", one.repeat(1 << 20));
            let cut = quoted(&name).to_string();
            assert_eq!(cut.chars().count(), MOST + 3, "{cut}");
            assert!(cut.starts_with("\"begin") && cut.ends_with("end\"") && cut.contains('…'), "{cut}");
        }
        let just = "x".repeat(MOST);
        assert_eq!(quoted(&just).to_string(), format!("\"{just}\""));
        let bytes = quoted_bytes(&[0xff; 4096]).to_string();
        assert!(bytes.len() < 4 * MOST + 16, "{bytes}");
    }
}
