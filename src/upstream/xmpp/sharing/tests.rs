use super::*;
use crate::upstream::xmpp::outbound;
use crate::upstream::{Address, Outgoing};

fn message(inner: &str) -> Element {
    format!("<message xmlns='jabber:client' from='a@b/c' id='m1' type='chat'>{inner}</message>")
        .parse()
        .expect("XML")
}

/// The content of a message that was sent and has gone through XML.
fn received(sent: &Content, url: &str) -> Content {
    let outgoing = Outgoing { id: "m1".to_owned(), to: Address("d@e".to_owned()), content: sent.clone() };
    let file = file_of(sent);
    let stanza = outbound::message(&outgoing, file.as_ref().map(|file| (file, url))).expect("a stanza");
    let read: Element = String::from(&stanza).parse().expect("XML");
    content(&read).expect("a content")
}

fn remote(content: Content) -> (Option<MediaKind>, Option<String>, RemoteMedia) {
    let Content::Media(media) = content else { panic!("{content:?}") };
    let MediaFile::Remote(file) = media.file else { panic!("{:?}", media.file) };
    (media.kind, media.caption, file)
}

const URL: &str = "https://up.example/1/a%20b.jpg";

#[test]
fn what_is_sent_is_received_as_it_was() {
    let stored = StoredMedia {
        hash: BlobHash([7; 32]),
        mimetype: "audio/ogg".to_owned(),
        size: 12,
        width: None,
        height: None,
        duration: Some(1.5),
    };
    for kind in MediaKind::ALL {
        let caption = Some("a <b> & \"c\"".to_owned());
        let file = MediaFile::Stored(stored.clone());
        let sent = MediaContent { kind: Some(kind), caption: caption.clone(), file };
        let file = RemoteMedia {
            reference: URL.to_owned(),
            mimetype: Some("audio/ogg".to_owned()),
            size: Some(12),
            hash: Some(BlobHash([7; 32])),
        };
        let received = received(&Content::Media(Box::new(sent)), URL);
        assert_eq!(remote(received), (Some(kind), caption, file));
    }
    let vcard = "BEGIN:VCARD\r\nFN:Zoë\r\nEND:VCARD\r\n".to_owned();
    for name in [Some("Zoë".to_owned()), None] {
        let card = Content::VCard(Card { vcard: vcard.clone(), name });
        assert_eq!(received(&card, URL), card);
    }
    let caption = Some("a bench & a tree".to_owned());
    let place = Content::Location(Location { latitude: 51.477_811, longitude: -0.001_475, caption });
    assert_eq!(received(&place, URL), place);
}

#[test]
fn old_apps_see_a_url_that_is_also_out_of_band() {
    let file = MediaFile::Stored(StoredMedia {
        hash: BlobHash([7; 32]),
        mimetype: "image/png".to_owned(),
        size: 12,
        width: Some(3),
        height: Some(4),
        duration: None,
    });
    let media = MediaContent { kind: Some(MediaKind::Image), caption: Some("look".to_owned()), file };
    let content = Content::Media(Box::new(media));
    let shared = file_of(&content).expect("a file");
    assert_eq!((shared.name.as_str(), shared.size), ("image.png", 12));
    let outgoing = Outgoing { id: "m1".to_owned(), to: Address("d@e".to_owned()), content };
    assert_eq!(outbound::message(&outgoing, None).err(), Some(crate::domain::FailureReason::Refused));
    let stanza = outbound::message(&outgoing, Some((&shared, URL))).expect("a stanza");
    assert_eq!(child_text(&stanza, "body", ns::CLIENT).as_deref(), Some(URL));
    assert_eq!(out_of_band(&stanza).as_deref(), Some(URL));
    let sharing = stanza.get_child("file-sharing", ns::FILE_SHARING).expect("XEP-0447");
    let file = sharing.get_child("file", ns::FILE_METADATA).expect("XEP-0446");
    let text = |name| child_text(file, name, ns::FILE_METADATA);
    for (name, expected) in [("width", "3"), ("height", "4"), ("desc", "look"), ("media-type", "image/png")] {
        assert_eq!(text(name).as_deref(), Some(expected), "{name}");
    }
}

#[test]
fn a_long_card_is_only_a_file() {
    let vcard = format!("BEGIN:VCARD\nNOTE:{}\nEND:VCARD\n", "a".repeat(LONGEST_CARD));
    let (kind, name, file) = remote(received(&Content::VCard(Card { vcard, name: None }), URL));
    assert_eq!((kind, name.as_deref()), (None, Some("contact.vcf")));
    assert_eq!(file.mimetype.as_deref(), Some(CARD));
}

#[test]
fn a_url_is_a_file_only_out_of_band() {
    let out_of_band = |url: &str| format!("<x xmlns='jabber:x:oob'><url>{url}</url></x>");
    assert_eq!(content(&message(&format!("<body>{URL}</body>"))), None);
    assert_eq!(content(&message(&out_of_band("ftp://up.example/a.jpg"))), None);
    for (url, body, kind, caption, mimetype) in [
        ("https://up.example/a.jpg", None, Some(MediaKind::Image), None, Some("image/jpeg")),
        (
            "https://up.example/a.mp3",
            Some("https://up.example/a.mp3"),
            Some(MediaKind::Audio),
            None,
            Some("audio/mpeg"),
        ),
        (
            "https://up.example/a.mp4",
            Some("look: https://up.example/a.mp4"),
            Some(MediaKind::Video),
            Some("look:"),
            Some("video/mp4"),
        ),
        ("https://up.example/a%20b.vcf", None, None, Some("a b.vcf"), Some("text/vcard")),
        ("https://up.example/", None, None, None, None),
    ] {
        let body = body.map(|body| format!("<body>{body}</body>")).unwrap_or_default();
        let received = content(&message(&format!("{body}{}", out_of_band(url)))).expect(url);
        let (found, below, file) = remote(received);
        assert_eq!((found, below.as_deref(), file.mimetype.as_deref()), (kind, caption, mimetype), "{url}");
        assert_eq!((file.size, file.hash, file.reference.as_str()), (None, None, url));
    }
}

#[test]
fn an_encrypted_file_is_never_a_text() {
    let link = "aesgcm://up.example/a.jpg#00ff";
    for inner in [
        format!("<body>{link}</body>"),
        format!("<body> {link}\n</body><x xmlns='jabber:x:oob'><url>{link}</url></x>"),
        "<body>a file</body><file-sharing xmlns='urn:xmpp:sfs:0'><sources><encrypted xmlns='urn:xmpp:esfs:0'/>
         </sources></file-sharing>"
            .to_owned(),
    ] {
        assert!(is_encrypted_file(&message(&inner)), "{inner}");
    }
    for inner in [format!("<body>see {link}</body>"), format!("<body>{URL}</body>"), String::new()] {
        assert!(!is_encrypted_file(&message(&inner)), "{inner}");
    }
}

#[test]
fn a_place_of_others_is_read() {
    let place = |inner: &str| match content(&message(inner)) {
        Some(Content::Location(place)) => Some((place.latitude, place.longitude, place.caption)),
        None => None,
        other => panic!("{other:?}"),
    };
    let geoloc = |inner: &str| format!("<geoloc xmlns='http://jabber.org/protocol/geoloc'>{inner}</geoloc>");
    let here = geoloc("<lat>52.5</lat><lon> 13.4 </lon>");
    assert_eq!(place(&here), Some((52.5, 13.4, None)));
    assert_eq!(place(&format!("<body>geo:52.5,13.4</body>{here}")), Some((52.5, 13.4, None)));
    assert_eq!(place(&format!("<body>here</body>{here}")), Some((52.5, 13.4, Some("here".to_owned()))));
    let named = geoloc("<lat>1</lat><lon>2</lon><text>home</text>");
    assert_eq!(place(&named), Some((1.0, 2.0, Some("home".to_owned()))));
    for wrong in ["<lat>91</lat><lon>0</lon>", "<lat>1</lat>", "<lat>NaN</lat><lon>0</lon>"] {
        assert_eq!(place(&geoloc(wrong)), None, "{wrong}");
    }
}

#[test]
fn a_card_of_strangers_must_look_like_one() {
    let card = |text: &str| {
        let text = BASE64.encode(text.as_bytes());
        content(&message(&format!("<card xmlns='urn:windu:content:0'>{text}</card>")))
    };
    assert!(matches!(card("begin:vcard\nEND:VCARD"), Some(Content::VCard(_))));
    for wrong in ["", "hello", "é".repeat(20).as_str()] {
        assert_eq!(card(wrong), None, "{wrong}");
    }
}
