//! vCards.

use windu::media::vcard::{LONGEST, VCardError, decode, read};

fn name(text: &str) -> Option<String> {
    read(text).unwrap_or_else(|error| panic!("{error}: {text:?}")).name
}

/// A card with these lines.
fn card(lines: &[&str], ending: &str) -> String {
    [&["BEGIN:VCARD"], lines, &["END:VCARD", ""]].concat().join(ending)
}

#[test]
fn the_name_is_read_from_each_version_with_either_line_ending() {
    for lines in [
        &["VERSION:2.1", "N:Doe;Jane", "FN:Jane Doe", "TEL;CELL:+15551230000"][..],
        &["VERSION:2.1", "FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=4A=61=6E=65=20=", "Doe"],
        &["VERSION:2.1", "N:Doe;Jane;;;"],
        &["VERSION:3.0", "N:Doe;Jane;;;", "FN:Jane Doe", "TEL;TYPE=CELL:+15551230000"],
        &["VERSION:3.0", "fn:Jane", "  Doe"],
        &["VERSION:3.0", "item1.FN:Jane Doe", "item1.X-ABLabel:_$!<HomePage>!$_"],
        &["VERSION:4.0", "FN:Jane Doe", "N:Other;Name;;;"],
        &["VERSION:4.0", "N:Doe;Jane;;;"],
        &["VERSION:4.0", "FN:  Jane\\n Doe "],
        &["FN:Jane Doe"],
    ] {
        for ending in ["\n", "\r\n"] {
            assert_eq!(name(&card(lines, ending)).as_deref(), Some("Jane Doe"), "{lines:?} {ending:?}");
        }
    }
}

#[test]
fn a_card_without_a_name_is_valid() {
    assert_eq!(name(&card(&["VERSION:3.0", "TEL:1"], "\n")), None);
    assert_eq!(name(&card(&["VERSION:3.0", "N:;;;;", "FN:"], "\n")), None);
    assert_eq!(name("\u{feff}begin:vcard\nFN:Zoë\nend:vcard").as_deref(), Some("Zoë"));
}

#[test]
fn the_first_name_of_several_cards_is_used() {
    let first = card(&["VERSION:3.0", "TEL:1"], "\r\n");
    let second = card(&["VERSION:3.0", "FN:Jane Doe"], "\r\n");
    let third = card(&["VERSION:3.0", "FN:John Doe"], "\r\n");
    assert_eq!(name(&format!("{first}{second}\r\n{third}")).as_deref(), Some("Jane Doe"));
}

#[test]
fn text_that_is_not_a_card_is_refused() {
    for text in [
        "",
        "Jane Doe",
        "BEGIN:VCARD",
        "END:VCARD",
        "BEGIN:VCARD\nFN:Jane",
        "FN:Jane\nEND:VCARD",
        "BEGIN:VCALENDAR\nEND:VCALENDAR",
        "BEGIN:VCARD FN:Jane END:VCARD",
        "hello\nBEGIN:VCARD\nFN:Jane\nEND:VCARD",
        "BEGIN:VCARD\nFN:Jane\nEND:VCARD\nhello",
        "BEGIN:VCARD\nFN:Jane\nEND:VCARD\nhello\nBEGIN:VCARD\nFN:Jane\nEND:VCARD",
        "BEGIN:VCARD\nFN:Jane\nEND:VCARD\nBEGIN:VCALENDAR\nEND:VCALENDAR\nBEGIN:VCARD\nEND:VCARD",
    ] {
        assert_eq!(read(text), Err(VCardError::Unreadable), "{text:?}");
    }
    let long = card(&["VERSION:3.0", "FN:Jane", &format!("NOTE:{}", "x".repeat(LONGEST))], "\n");
    assert_eq!(read(&long), Err(VCardError::TooLong));
}

/// As phones write them: encodings without the parameter's name, other character sets, cards within cards, photos.
#[test]
fn the_name_is_read_beside_what_phones_write() {
    let photo = format!("PHOTO;ENCODING=BASE64;JPEG:{}", "QUJD".repeat(70_000));
    let folded = format!("PHOTO;BASE64:\n {}\n", vec!["QUJD".repeat(19); 3_600].join("\n "));
    for lines in [
        &["VERSION:2.1", "N;QUOTED-PRINTABLE:D=6Fe;Jane", "FN;QUOTED-PRINTABLE:=4A=61ne Doe"][..],
        &["VERSION:2.1", "FN;CHARSET=UTF-8;QUOTED-PRINTABLE:=4A=61=6E=65=20=", "=44=6F=", "=65"],
        &["VERSION:2.1", "NOTE;QUOTED-PRINTABLE:a=", "FN:Other=", "x", "FN:Jane Doe"],
        &["VERSION:2.1", "FN;CHARSET=UTF-8:Jane Doe"],
        &["VERSION:2.1", "AGENT:", "BEGIN:VCARD", "VERSION:2.1", "FN:Other", "END:VCARD", "FN:Jane Doe"],
        &["VERSION:2.1", "AGENT:BEGIN:VCARD", "FN:Other", "END:VCARD", "N:Doe;Jane"],
        &["VERSION:3.0", "AGENT:BEGIN:VCARD\\nFN:Other\\nEND:VCARD\\n", "FN:Jane Doe"],
        &["VERSION:2.1", &photo, "FN:Jane Doe"],
        &["VERSION:2.1", &folded, "FN:Jane Doe"],
    ] {
        for ending in ["\n", "\r\n"] {
            assert_eq!(name(&card(lines, ending)).as_deref(), Some("Jane Doe"), "{:?}", &lines[..2]);
        }
    }
    let quoted =
        |charset: &str, value: &str| card(&[&format!("FN;{charset}ENCODING=QUOTED-PRINTABLE:{value}")], "\n");
    for (charset, value) in [
        ("CHARSET=ISO-8859-1;", "Zo=EB"),
        ("CHARSET=windows-1252;", "Zo=EB"),
        ("CHARSET=UTF-8;", "Zo=C3=AB"),
        ("", "Zo=C3=AB"),
        ("", "Zo=EB"),
    ] {
        assert_eq!(name(&quoted(charset, value)).as_deref(), Some("Zo\u{eb}"), "{charset} {value}");
    }
}

#[test]
fn files_in_other_character_sets_are_converted() {
    let card = |name: &[u8]| [&b"BEGIN:VCARD\r\nVERSION:2.1\r\n"[..], name, b"\r\nEND:VCARD\r\n"].concat();
    for (bytes, line, name) in [
        (&b"FN;CHARSET=ISO-8859-1:Zo\xeb"[..], "FN;CHARSET=UTF-8:Zo\u{eb}", "Zo\u{eb}"),
        (b"FN:Zo\xeb", "FN:Zo\u{eb}", "Zo\u{eb}"),
        ("FN:Zo\u{eb}".as_bytes(), "FN:Zo\u{eb}", "Zo\u{eb}"),
        (b"FN;CHARSET=SHIFT_JIS:\x83n\x83\x8d", "FN;CHARSET=UTF-8:\u{30cf}\u{30ed}", "\u{30cf}\u{30ed}"),
        (
            b"FN;CHARSET=koi8-r:\xed\xc9\xd2",
            "FN;CHARSET=UTF-8:\u{41c}\u{438}\u{440}",
            "\u{41c}\u{438}\u{440}",
        ),
    ] {
        let text = decode(card(bytes));
        assert!(text.contains(line), "{text}");
        assert_eq!(self::name(&text).as_deref(), Some(name));
    }
    let wide: Vec<u8> =
        "\u{feff}BEGIN:VCARD\nFN:Zo\u{eb}\nEND:VCARD".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(name(&decode(wide)).as_deref(), Some("Zo\u{eb}"));
}
