//! vCards.

use windu::media::vcard::{LONGEST, VCardError, read};

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
