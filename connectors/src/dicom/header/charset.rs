//! Texts in the character sets that SpecificCharacterSet names, with those that escape sequences switch to (ISO 2022).

use dicom_core::VR;
use dicom_encoding::text::{SpecificCharacterSet, TextCodec};
use encoding_rs::Encoding;

const ESCAPE: u8 = 0x1B;

/// The character sets of a data set.
#[derive(Debug)]
pub(crate) struct CharacterSet {
    /// The character set that is named first, in which texts begin.
    first: Set,
    /// Whether other sets may follow the first: UTF-8 and the Chinese sets of many bytes stand alone.
    switches: bool,
}

#[derive(Debug)]
enum Set {
    Known(SpecificCharacterSet),
    /// The Turkish set, which the codecs above leave out.
    Turkish,
}

/// The set that a name stands for: `ISO_IR 100`, `ISO 2022 IR 100`, and how these are misspelt.
fn named(name: &str) -> Option<Set> {
    let name = name.trim().to_ascii_uppercase().replace(['_', '-'], " ");
    let number = name.strip_prefix("ISO ").and_then(|rest| rest.rsplit(' ').next()).map(str::to_owned);
    Some(match (name.as_str(), number.as_deref()) {
        (_, Some("148")) => Set::Turkish,
        // The other sets of Japanese are switched to; what comes before is ASCII.
        (_, Some("159")) => Set::Known(SpecificCharacterSet::from_code("ISO_IR 6")?),
        ("UTF 8" | "UTF8", _) => Set::Known(SpecificCharacterSet::from_code("ISO_IR 192")?),
        ("GB18030" | "GBK" | "GB2312", _) => Set::Known(SpecificCharacterSet::from_code(&name)?),
        (_, Some("GBK")) => Set::Known(SpecificCharacterSet::from_code("GBK")?),
        (_, Some("58")) => Set::Known(SpecificCharacterSet::from_code("ISO 2022 IR 58")?),
        (_, Some(number)) => Set::Known(SpecificCharacterSet::from_code(&format!("ISO_IR {number}"))?),
        _ => return None,
    })
}

/// Whether all names in a value of SpecificCharacterSet are those of sets that can be read.
pub(crate) fn is_known(names: &str) -> bool {
    names.split('\\').all(|name| name.trim().is_empty() || named(name).is_some())
}

/// The sets that may be switched to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Switched {
    /// The set that the text began with.
    First,
    /// Two bytes below 0x80 for a character: Japanese.
    Jis0208,
    Jis0212,
    /// Bytes from 0x80 on, one or two for a character.
    High(&'static Encoding),
}

impl CharacterSet {
    /// Reads a value of SpecificCharacterSet, whose first name may be empty; `None` when nothing is named
    /// that is known.
    pub(crate) fn of(names: &str) -> Option<Self> {
        let first = names.split('\\').find(|name| !name.trim().is_empty()).and_then(named)?;
        let alone = matches!(first.name().as_str(), "ISO_IR 192" | "GB18030" | "GBK");
        // The codec takes GB 2312 for GBK, but other sets may follow it.
        let switches = !alone || names.contains("58");
        Some(Self { first, switches })
    }

    /// Whether a text reads the same in ASCII.
    pub(crate) fn same_in_ascii(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|&byte| byte < 0x80 && byte != ESCAPE)
            && matches!(self.first.name().as_str(), "ISO_IR 6" | "ISO_IR 100" | "ISO_IR 148" | "ISO_IR 192")
    }

    /// Decodes a text of a representation; `None` where it is not one of its set.
    pub(crate) fn decode(&self, bytes: &[u8], vr: VR) -> Option<String> {
        if !self.switches || !bytes.contains(&ESCAPE) {
            return self.first.decode(bytes);
        }
        let (mut text, mut rest) = (String::new(), bytes);
        let (mut low, mut high) = (Switched::First, Switched::First);
        while let Some(&byte) = rest.first() {
            if let Some((to, after)) = escape(rest) {
                match to {
                    Switched::High(_) => high = to,
                    _ => low = to,
                }
                rest = after;
                continue;
            }
            let delimits = byte < 0x20 || byte == b'\\' || (vr == VR::PN && matches!(byte, b'^' | b'='));
            if delimits && (low == Switched::First || byte < 0x20) {
                // Behind each value, line and component of a name the first set holds again.
                (low, high) = (Switched::First, Switched::First);
                text.push(char::from(byte));
                rest = rest.get(1..)?;
                continue;
            }
            let side = byte < 0x80;
            let single = side && low == Switched::First;
            let ends = |&other: &u8| {
                (other < 0x80) != side || other < 0x20 || (single && matches!(other, b'\\' | b'^' | b'='))
            };
            let length = rest.iter().skip(1).position(ends).map_or(rest.len(), |at| at + 1);
            let (run, after) = rest.split_at_checked(length)?;
            text.push_str(&self.run(run, if side { low } else { high })?);
            rest = after;
        }
        Some(text)
    }

    /// Decodes bytes of one set.
    fn run(&self, run: &[u8], set: Switched) -> Option<String> {
        let high = |prefix: &[u8]| {
            let pair =
                |pair: &[u8]| [prefix, &pair.iter().map(|byte| byte | 0x80).collect::<Vec<_>>()].concat();
            run.chunks(2).flat_map(pair).collect::<Vec<u8>>()
        };
        match set {
            Switched::First => self.first.decode(run),
            Switched::Jis0208 => sound(encoding_rs::EUC_JP, &high(&[])),
            Switched::Jis0212 => sound(encoding_rs::EUC_JP, &high(&[0x8F])),
            Switched::High(encoding) => sound(encoding, run),
        }
    }
}

impl Set {
    fn name(&self) -> String {
        match self {
            Self::Known(codec) => codec.name().into_owned(),
            Self::Turkish => "ISO_IR 148".to_owned(),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Option<String> {
        match self {
            Self::Known(codec) => codec.decode(bytes).ok(),
            Self::Turkish => sound(encoding_rs::WINDOWS_1254, bytes),
        }
    }
}

fn sound(encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    encoding.decode_without_bom_handling_and_without_replacement(bytes).map(std::borrow::Cow::into_owned)
}

/// Reads the escape sequence ahead (PS3.3, tables C.12-3 and C.12-4): what it switches to, and what follows
/// it.
fn escape(bytes: &[u8]) -> Option<(Switched, &[u8])> {
    let rest = bytes.strip_prefix(&[ESCAPE])?;
    Some(match rest {
        // These switch to ASCII, or to the Latin of JIS X 0201, which is nearly the same.
        [b'(', b'B' | b'J', rest @ ..] => (Switched::First, rest),
        [b'$', b'@' | b'B', rest @ ..] => (Switched::Jis0208, rest),
        [b'$', b'(', b'D', rest @ ..] => (Switched::Jis0212, rest),
        [b'$', b')', b'C', rest @ ..] => (Switched::High(encoding_rs::EUC_KR), rest),
        [b'$', b')', b'A', rest @ ..] => (Switched::High(encoding_rs::GBK), rest),
        [b')', b'I', rest @ ..] => (Switched::High(encoding_rs::SHIFT_JIS), rest),
        [b'-', set, rest @ ..] => (Switched::High(single(*set)?), rest),
        _ => return None,
    })
}

/// The encoding of a set whose right-hand part takes one byte a character.
fn single(set: u8) -> Option<&'static Encoding> {
    Some(match set {
        b'A' => encoding_rs::WINDOWS_1252,
        b'B' => encoding_rs::ISO_8859_2,
        b'C' => encoding_rs::ISO_8859_3,
        b'D' => encoding_rs::ISO_8859_4,
        b'F' => encoding_rs::ISO_8859_7,
        b'G' => encoding_rs::ISO_8859_6,
        b'H' => encoding_rs::ISO_8859_8,
        b'L' => encoding_rs::ISO_8859_5,
        b'M' => encoding_rs::WINDOWS_1254,
        b'T' => encoding_rs::WINDOWS_874,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(names: &str, bytes: &[u8], vr: VR) -> Option<String> {
        CharacterSet::of(names).unwrap().decode(bytes, vr)
    }

    /// Bytes as pydicom writes them, and the examples of PS3.5, annexes H to K.
    #[test]
    fn texts_are_decoded_as_others_do() {
        let cases: [(&str, &[u8], &str); 17] = [
            (
                "ISO 2022 IR 13\\ISO 2022 IR 87",
                b"\x1b)I\xbc\xad\xd6\xb3\x1b(J \x1b$BG><pag\x1b(J T2",
                "ｼｭﾖｳ 脳腫瘍 T2",
            ),
            ("ISO 2022 IR 13\\ISO 2022 IR 87", b"\xbc\xad\xd6\xb3 \x1b$BG><pag\x1b(J T2", "ｼｭﾖｳ 脳腫瘍 T2"),
            ("\\ISO 2022 IR 149", b"\x1b$)C\xb3\xfa \xc1\xbe\xbe\xe7 T2", "뇌 종양 T2"),
            ("\\ISO 2022 IR 87\\ISO 2022 IR 159", b"\x1b$BG>\x1b(B \x1b$(D0!0\"\x1b(B x", "脳 丂丄 x"),
            ("ISO 2022 IR 100\\ISO 2022 IR 144", b"\x1b-AM\xfcller \x1b-L\xb4\xd8\xe1\xda", "Müller Диск"),
            ("ISO 2022 IR 100\\ISO 2022 IR 144", b"\x1b-L\xb4\xd8\xe1\xda\\M\xfcller", "Диск\\Müller"),
            ("\\ISO 2022 IR 58", b"\x1b$)A\xc4\xd4 \xd6\xd7\xc1\xf6", "脑 肿瘤"),
            ("ISO_IR 148", b"beyin t\xfcm\xf6r\xfc \xfd\xf0\xfe", "beyin tümörü ığş"),
            ("GB18030", b"\xc4\xd4\xd6\xd7\xc1\xf6\xa2\xe3", "脑肿瘤€"),
            ("GBK", b"\xc4\xd4\xd6\xd7\xc1\xf6", "脑肿瘤"),
            ("ISO_IR 166", b"\xca\xc1\xcd\xa7", "สมอง"),
            ("ISO_IR 126", b"\xfc\xe3\xea\xef\xf2", "όγκος"),
            ("ISO_IR 127", b"\xe8\xd1\xe5", "ورم"),
            ("ISO_IR 138", b"\xe2\xe9\xe3\xe5\xec", "גידול"),
            ("ISO-IR 101", b"n\xe1dor \xf5\xfb", "nádor őű"),
            ("ISO_IR 13", b"\xbc\xad\xd6\xb3", "ｼｭﾖｳ"),
            ("utf-8", "腫瘍".as_bytes(), "腫瘍"),
        ];
        for (names, bytes, wanted) in cases {
            assert_eq!(decoded(names, bytes, VR::LO).as_deref(), Some(wanted), "{names}");
        }
    }

    #[test]
    fn the_first_set_holds_again_behind_a_component_of_a_name() {
        // The names are Yamada^Tarou in PS3.5, H.3.1, and Hong^Gildong in I.2.
        let japanese =
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B";
        let name = decoded("\\ISO 2022 IR 87", japanese, VR::PN);
        assert_eq!(name.as_deref(), Some("Yamada^Tarou=山田^太郎=やまだ^たろう"));
        let korean =
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf";
        let name = decoded("\\ISO 2022 IR 149", korean, VR::PN);
        assert_eq!(name.as_deref(), Some("Hong^Gildong=洪^吉洞=홍^길동"));
        let back = b"\x1b-L\xb4^\xfc";
        assert_eq!(decoded("ISO 2022 IR 100\\ISO 2022 IR 144", back, VR::PN).as_deref(), Some("Д^ü"));
        assert_eq!(decoded("ISO 2022 IR 100\\ISO 2022 IR 144", back, VR::LO).as_deref(), Some("Д^ќ"));
    }

    #[test]
    fn names_that_nobody_knows_are_told() {
        assert!(
            ["", "ISO_IR 100", "\\ISO 2022 IR 149", "ISO 2022 IR 13\\ISO 2022 IR 87"].map(is_known)
                == [true; 4]
        );
        assert!(["ISO_IR 999", "\\WINDOWS-31J", "latin", "ISO"].map(is_known) == [false; 4]);
        assert!(CharacterSet::of("latin").is_none());
    }

    #[test]
    fn any_bytes_are_a_text_or_none() {
        let sets =
            ["ISO 2022 IR 13\\ISO 2022 IR 87\\ISO 2022 IR 159", "\\ISO 2022 IR 149", "\\ISO 2022 IR 58"];
        let mut state = 1u32;
        for round in 0..3000 {
            let bytes: Vec<u8> = (0..24)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let bytes = [ESCAPE, b'$', b'(', b')', b'B', b'C', b'D', b'\\', (state >> 16) as u8];
                    bytes[(state >> 8) as usize % bytes.len()]
                })
                .collect();
            drop(decoded(sets[round % 3], &bytes, VR::PN));
        }
    }
}
