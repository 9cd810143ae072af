//! The little JSON that planrt writes.

use std::fmt::Write;

/// Appends `text` as a JSON string, quotes included.
pub fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(json, "\\u{:04x}", u32::from(c));
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

/// Appends the texts as a JSON array of strings.
pub fn push_strings<'a>(json: &mut String, texts: impl IntoIterator<Item = &'a str>) {
    json.push('[');
    for (i, text) in texts.into_iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        push_string(json, text);
    }
    json.push(']');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        let mut json = String::new();
        push_strings(&mut json, ["a", "\"\\/", "\n\r\t\u{1}\u{1f}", "Größe 層 🧠"]);
        assert_eq!(json, r#"["a","\"\\/","\n\r\t\u0001\u001f","Größe 層 🧠"]"#);
        json.clear();
        push_strings(&mut json, []);
        assert_eq!(json, "[]");
    }
}
