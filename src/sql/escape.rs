//! Bytes that are no UTF-8, carried in text. A database without an encoding (`SQL_ASCII`) takes any byte into a name, a
//! comment or a function's body; here, in JSON and in statements such a byte is one character, and the way back is exact.
//! Who reads text off a server escapes it with this, who sends text turns it back; the format is in `docs/format.md`.

use std::borrow::Cow;

use bytes::BytesMut;
use postgres_types::{FromSql, IsNull, ToSql, Type};

type BoxError = Box<dyn std::error::Error + Sync + Send>;

/// A byte `b` above 0x7F that is no part of a UTF-8 character stands as the character `FIRST + b`.
const FIRST: u32 = 0x10_FF00;

/// The byte for which a character stands, if it is one of the 128 that stand for bytes.
pub fn escaped_byte(c: char) -> Option<u8> {
    let byte = u8::try_from(u32::from(c).checked_sub(FIRST)?).ok()?;
    (byte >= 0x80).then_some(byte)
}

fn push_byte(byte: u8, out: &mut String) {
    let c = char::from_u32(FIRST + u32::from(byte));
    out.push(c.expect("plane 16 ends behind the last of them"));
}

/// Any bytes as text. UTF-8 stays as it is, but for the characters that stand for bytes, whose own bytes are escaped: so
/// different bytes never give the same text, and [`unescape`] gives them back.
pub fn escape(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !has_escapes(text)
    {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if escaped_byte(c).is_some() {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    push_byte(byte, &mut out);
                }
            } else {
                out.push(c);
            }
        }
        for byte in chunk.invalid() {
            push_byte(*byte, &mut out);
        }
    }
    Cow::Owned(out)
}

/// The bytes of a text that [`escape`] made.
pub fn unescape(text: &str) -> Cow<'_, [u8]> {
    if !has_escapes(text) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut out = Vec::with_capacity(text.len());
    for c in text.chars() {
        match escaped_byte(c) {
            Some(byte) => out.push(byte),
            None => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(out)
}

/// True if a byte stands escaped in the text.
pub fn has_escapes(text: &str) -> bool {
    has_escapes_in(text.as_bytes())
}

/// The same of UTF-8 text as bytes. All 128 characters begin with F4 8F BE or F4 8F BF, and nothing else does.
pub(crate) fn has_escapes_in(utf8: &[u8]) -> bool {
    let mut rest = utf8;
    while let Some(at) = rest.iter().position(|byte| *byte == 0xF4) {
        if matches!(rest[at..], [0xF4, 0x8F, 0xBE | 0xBF, ..]) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Text as a server sends it, escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadText(pub String);

impl<'a> FromSql<'a> for ReadText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(ReadText(escape(raw).into_owned()))
    }

    fn accepts(ty: &Type) -> bool {
        <String as FromSql>::accepts(ty)
    }
}

/// Escaped text as a parameter: the server gets the bytes.
#[derive(Debug, Clone, Copy)]
pub struct SentText<'a>(pub &'a str);

impl ToSql for SentText<'_> {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        out.extend_from_slice(&unescape(self.0));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        <&str as ToSql>::accepts(ty)
    }

    postgres_types::to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn utf8_stays_and_other_bytes_become_one_character_each() {
        assert!(matches!(escape("é日𝄞".as_bytes()), Cow::Borrowed("é日𝄞")));
        assert_eq!(escape(b"caf\xe9!"), "caf\u{10FFE9}!");
        assert_eq!(escape(b"\xc3"), "\u{10FFC3}");
        assert_eq!(unescape("caf\u{10FFE9}!").as_ref(), b"caf\xe9!");
    }

    #[test]
    fn characters_that_stand_for_bytes_are_escaped_themselves() {
        let own = "\u{10FFE9}";
        let escaped = escape(own.as_bytes());
        assert_eq!(
            escaped, "\u{10FFF4}\u{10FF8F}\u{10FFBF}\u{10FFA9}",
            "F4 8F BF A9"
        );
        assert_eq!(unescape(&escaped), own.as_bytes());
        // Their neighbours below are ordinary.
        assert!(!has_escapes("\u{10FF7F}"));
        assert!(has_escapes("\u{10FF80}") && has_escapes("x\u{F4000}\u{10FFFF}"));
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(0xF4), Just(0x8F), Just(0xBF), 0x80..=0xBF_u8], 0..40
        )) {
            let text = escape(&bytes).into_owned();
            let back = unescape(&text);
            prop_assert_eq!(back.as_ref(), bytes.as_slice());
        }

        #[test]
        fn text_without_escapes_is_its_own(text in "\\PC*") {
            prop_assume!(!has_escapes(&text));
            prop_assert_eq!(escape(text.as_bytes()), text.as_str());
        }
    }
}
