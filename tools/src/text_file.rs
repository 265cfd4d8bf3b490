//! A file's bytes as a careful editor sees them: which encoding, which line ends, and whether it is text at all.

/// What kind of file the bytes are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text in this encoding.
    Text(Encoding),
    /// No text: what it is, as a noun.
    Binary(&'static str),
}

/// How text is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// UTF-8.
    Utf8,
    /// UTF-8 after a byte order mark.
    Utf8Marked,
    /// UTF-16, low byte first, after a byte order mark.
    Utf16Little,
    /// UTF-16, high byte first, after a byte order mark.
    Utf16Big,
    /// One byte a character (ISO 8859-1): what is left when it is no UTF-8.
    Latin1,
    /// UTF-8 with some bytes that are none; those are shown as U+FFFD.
    BrokenUtf8,
}

/// How lines end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineEnds {
    /// All with `\n`, or there is no line end.
    Lf,
    /// All with `\r\n`.
    CrLf,
    /// Some with `\r\n`, some with `\n`.
    Mixed,
}

/// Beginnings that tell a kind (the formats' own specifications).
const MAGIC: [(&[u8], &str); 14] = [
    (b"\x89PNG\r\n\x1a\n", "PNG image"),
    (b"\xff\xd8\xff", "JPEG image"),
    (b"GIF87a", "GIF image"),
    (b"GIF89a", "GIF image"),
    (b"%PDF-", "PDF document"),
    (b"PK\x03\x04", "ZIP archive"),
    (b"PK\x05\x06", "empty ZIP archive"),
    (b"\x7fELF", "ELF program or library"),
    (b"\x1f\x8b", "gzip archive"),
    (b"\xfd7zXZ\0", "xz archive"),
    (b"\x28\xb5\x2f\xfd", "zstd archive"),
    (b"SQLite format 3\0", "SQLite database"),
    (b"\0asm", "WebAssembly module"),
    (b"wOF2", "web font"),
];

/// Tells what `head`, the first bytes of a file, begins.
pub(crate) fn kind(head: &[u8]) -> Kind {
    if let Some((_, name)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return Kind::Binary(name);
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Kind::Binary("WebP image");
    }
    if head.starts_with(b"\xef\xbb\xbf") {
        return Kind::Text(Encoding::Utf8Marked);
    }
    if head.starts_with(b"\xff\xfe") && !head.starts_with(b"\xff\xfe\0\0") {
        return Kind::Text(Encoding::Utf16Little);
    }
    if head.starts_with(b"\xfe\xff") {
        return Kind::Text(Encoding::Utf16Big);
    }
    // git and ripgrep draw the same line: text holds no NUL byte.
    if head.contains(&0) { Kind::Binary("binary file") } else { Kind::Text(Encoding::Utf8) }
}

/// Decodes `bytes`, a whole file or lines of one, that begins as `encoding` says. [`Encoding::Utf8`] becomes another
/// one when the bytes are none. `cut` says that the last character may be incomplete.
pub(crate) fn decode(bytes: &[u8], encoding: Encoding, cut: Cut) -> (String, Encoding) {
    match encoding {
        Encoding::Utf16Little | Encoding::Utf16Big => (decode_utf16(bytes, encoding), encoding),
        Encoding::Utf8Marked => {
            let (text, found) = decode_bytes(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes), cut);
            (text, if found == Encoding::Utf8 { Encoding::Utf8Marked } else { Encoding::BrokenUtf8 })
        }
        Encoding::Utf8 | Encoding::Latin1 | Encoding::BrokenUtf8 => decode_bytes(bytes, cut),
    }
}

/// Whether the end of some bytes is the end of what they are part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It is.
    Whole,
    /// More follows.
    AtAnyByte,
}

fn decode_bytes(bytes: &[u8], cut: Cut) -> (String, Encoding) {
    let mut broken = 0;
    let mut wide = false;
    let mut text = String::with_capacity(bytes.len());
    let mut chunks = bytes.utf8_chunks().peekable();
    while let Some(chunk) = chunks.next() {
        wide |= !chunk.valid().is_ascii();
        text.push_str(chunk.valid());
        let incomplete = cut == Cut::AtAnyByte && chunks.peek().is_none() && is_incomplete(chunk.invalid());
        if !chunk.invalid().is_empty() && !incomplete {
            broken += 1;
            text.push('\u{fffd}');
        }
    }
    match (broken, wide) {
        (0, _) => (text, Encoding::Utf8),
        // UTF-8 elsewhere: an older one-byte encoding would not have made whole characters by accident.
        (_, true) => (text, Encoding::BrokenUtf8),
        (_, false) => (bytes.iter().map(|byte| char::from(*byte)).collect(), Encoding::Latin1),
    }
}

/// Whether `bytes` can be the beginning of one UTF-8 character.
fn is_incomplete(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

fn decode_utf16(bytes: &[u8], encoding: Encoding) -> String {
    let units = bytes.chunks_exact(2).map(|pair| {
        let pair = [pair[0], pair[1]];
        if encoding == Encoding::Utf16Little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    });
    let units: Vec<u16> = units.collect();
    let units = units.strip_prefix(&[0xfeff]).unwrap_or(&units);
    String::from_utf16_lossy(units)
}

/// Encodes `text` again; `None` when the encoding cannot hold it.
pub(crate) fn encode(text: &str, encoding: Encoding) -> Option<Vec<u8>> {
    match encoding {
        Encoding::Utf8 => Some(text.as_bytes().to_vec()),
        Encoding::Utf8Marked => Some([b"\xef\xbb\xbf", text.as_bytes()].concat()),
        Encoding::Utf16Little => Some(units(text).flat_map(u16::to_le_bytes).collect()),
        Encoding::Utf16Big => Some(units(text).flat_map(u16::to_be_bytes).collect()),
        Encoding::Latin1 => text.chars().map(|character| u8::try_from(u32::from(character)).ok()).collect(),
        Encoding::BrokenUtf8 => None,
    }
}

fn units(text: &str) -> impl Iterator<Item = u16> {
    std::iter::once(0xfeff).chain(text.encode_utf16())
}

/// How the lines of `text` end.
pub(crate) fn line_ends(text: &str) -> LineEnds {
    let all = text.matches('\n').count();
    let with_return = text.matches("\r\n").count();
    if with_return == 0 {
        LineEnds::Lf
    } else if with_return == all {
        LineEnds::CrLf
    } else {
        LineEnds::Mixed
    }
}

impl Encoding {
    /// Its name for results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Utf8 => "utf-8",
            Self::Utf8Marked => "utf-8 with byte order mark",
            Self::Utf16Little => "utf-16le",
            Self::Utf16Big => "utf-16be",
            Self::Latin1 => "latin-1",
            Self::BrokenUtf8 => "utf-8 with invalid bytes",
        }
    }

    /// Whether a line end is the byte `\n`, so that the file can be cut into lines as bytes.
    pub(crate) fn has_byte_lines(self) -> bool {
        match self {
            Self::Utf8 | Self::Utf8Marked | Self::Latin1 | Self::BrokenUtf8 => true,
            Self::Utf16Little | Self::Utf16Big => false,
        }
    }
}

impl LineEnds {
    /// Its name for results.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lf => "lf",
            Self::CrLf => "crlf",
            Self::Mixed => "mixed",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn kinds_are_told_by_their_beginning() {
        assert_eq!(kind(b"\x89PNG\r\n\x1a\nxx"), Kind::Binary("PNG image"));
        assert_eq!(kind(b"RIFF\0\0\0\0WEBP"), Kind::Binary("WebP image"));
        assert_eq!(kind(b"a\0b"), Kind::Binary("binary file"));
        assert_eq!(kind(b""), Kind::Text(Encoding::Utf8));
        assert_eq!(kind(b"\xff\xfea\0"), Kind::Text(Encoding::Utf16Little));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_latin1_or_broken() {
        assert_eq!(decode(b"caf\xe9\n", Encoding::Utf8, Cut::Whole), ("café\n".into(), Encoding::Latin1));
        let mixed = decode("é \u{0}".as_bytes(), Encoding::Utf8, Cut::Whole);
        assert_eq!(mixed.1, Encoding::Utf8);
        let broken = decode(b"\xc3\xa9 \xff", Encoding::Utf8, Cut::Whole);
        assert_eq!(broken, ("é \u{fffd}".into(), Encoding::BrokenUtf8));
    }

    #[test]
    fn a_character_cut_at_the_end_is_no_error() {
        assert_eq!(decode(b"ab\xe2\x82", Encoding::Utf8, Cut::AtAnyByte), ("ab".into(), Encoding::Utf8));
        assert_eq!(decode(b"ab\xe2\x82", Encoding::Utf8, Cut::Whole).1, Encoding::Latin1);
    }

    #[test]
    fn line_ends_are_told() {
        assert_eq!(line_ends("a\nb\n"), LineEnds::Lf);
        assert_eq!(line_ends("a\r\nb\r\n"), LineEnds::CrLf);
        assert_eq!(line_ends("a\r\nb\n"), LineEnds::Mixed);
    }

    proptest! {
        #[test]
        fn what_is_decoded_and_encodable_comes_back_byte_for_byte(bytes: Vec<u8>) {
            if let Kind::Text(encoding) = kind(&bytes) {
                let (text, encoding) = decode(&bytes, encoding, Cut::Whole);
                let lossy = text.contains('\u{fffd}') || bytes.len() % 2 == 1 || text.starts_with('\u{feff}');
                if let Some(again) = encode(&text, encoding).filter(|_| encoding.has_byte_lines() || !lossy) {
                    prop_assert_eq!(again, bytes);
                }
            }
        }
    }
}
