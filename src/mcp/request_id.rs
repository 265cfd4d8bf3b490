//! Finds the id of a request that cannot be read otherwise.
//!
//! A message may be too long, too deep or of the wrong shape for the reader; its sender still waits for an answer to
//! that id. This looks for the top-level `id` without recursion and without keeping anything.

use serde_json::Value;

/// The top-level `id` of the JSON object at the start of `message`: a number or a text.
#[must_use]
pub(super) fn find(message: &[u8]) -> Option<Value> {
    let mut scan = Scan { bytes: message, at: 0 };
    scan.skip_space();
    scan.take(b'{')?;
    loop {
        scan.skip_space();
        let name = scan.text()?;
        scan.skip_space();
        scan.take(b':')?;
        scan.skip_space();
        let value = scan.value();
        if name == b"\"id\"" {
            return value
                .and_then(|value| serde_json::from_slice(value).ok())
                .filter(|id: &Value| id.is_string() || id.is_i64() || id.is_u64());
        }
        value?;
        scan.skip_space();
        scan.take(b',')?;
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// A text with its quotation marks.
    fn text(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.take(b'"')?;
        loop {
            match self.peek()? {
                b'"' => {
                    self.at += 1;
                    return Some(&self.bytes[start..self.at]);
                }
                b'\\' => self.at += 2,
                _ => self.at += 1,
            }
        }
    }

    /// Any value, however deep.
    fn value(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => {
                    self.text()?;
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b'}' | b']' if depth == 0 => return (self.at > start).then(|| &self.bytes[start..self.at]),
                _ => {
                    self.at += 1;
                    continue;
                }
            }
            if depth == 0 {
                return Some(&self.bytes[start..self.at]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_is_found_wherever_it_stands() {
        assert_eq!(find(br#"{"jsonrpc":"2.0","id":7,"method":"#), Some(json!(7)));
        assert_eq!(find(br#" {"params":{"id":1,"a":"}\"id\":2"},"id":"x\"y"}"#), Some(json!("x\"y")));
        let deep = format!(r#"{{"params":{}{},"id":-3}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(find(deep.as_bytes()), Some(json!(-3)));
    }

    #[test]
    fn what_is_no_id_is_not_found() {
        for text in ["", "[1]", "{}", r#"{"id":null}"#, r#"{"id":1.5}"#, r#"{"id":{}}"#, r#"{"id":"#, "nonsense"] {
            assert_eq!(find(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_real_reader(id in any::<i64>(), text in ".*", number in any::<u32>()) {
            let message = json!({ "a": text, "method": "x", "nested": { "id": number }, "id": id }).to_string();
            prop_assert_eq!(find(message.as_bytes()), Some(json!(id)));
        }

        #[test]
        fn it_always_ends(bytes: Vec<u8>) {
            let _ = find(&bytes);
        }
    }
}
