//! The types of files by the endings of their names, as many apps know files by these alone.

/// Endings with their types. The first of a type is its usual one.
const TYPES: &[(&str, &str)] = &[
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("png", "image/png"),
    ("gif", "image/gif"),
    ("webp", "image/webp"),
    ("avif", "image/avif"),
    ("heic", "image/heic"),
    ("mp4", "video/mp4"),
    ("m4v", "video/mp4"),
    ("mov", "video/quicktime"),
    ("webm", "video/webm"),
    ("avi", "video/x-msvideo"),
    ("mkv", "video/x-matroska"),
    ("3gp", "video/3gpp"),
    ("3gp", "audio/3gpp"),
    ("mp3", "audio/mpeg"),
    ("ogg", "audio/ogg"),
    ("oga", "audio/ogg"),
    ("opus", "audio/ogg"),
    ("m4a", "audio/mp4"),
    ("aac", "audio/aac"),
    ("wav", "audio/wav"),
    ("aif", "audio/aiff"),
    ("aiff", "audio/aiff"),
    ("caf", "audio/x-caf"),
    ("wma", "audio/x-ms-wma"),
    ("flac", "audio/flac"),
    ("amr", "audio/amr"),
    ("weba", "audio/webm"),
    ("vcf", "text/vcard"),
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("zip", "application/zip"),
];

/// The usual ending of a type; `bin` for one that is not known.
pub(super) fn ending(mimetype: &str) -> &'static str {
    let found = TYPES.iter().find(|(_, known)| mimetype.eq_ignore_ascii_case(known));
    found.map_or("bin", |(ending, _)| ending)
}

/// The type that the ending of a file's name stands for.
pub(super) fn of_name(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    let found = TYPES.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known));
    found.map(|(_, mimetype)| *mimetype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_type_lead_to_each_other() {
        for (name, mimetype) in [
            ("a.JPEG", Some("image/jpeg")),
            ("voice.note.ogg", Some("audio/ogg")),
            ("c.vcf", Some("text/vcard")),
            ("a.xyz", None),
            ("jpg", None),
        ] {
            assert_eq!(of_name(name), mimetype, "{name}");
        }
        assert_eq!([ending("Image/JPEG"), ending("audio/3gpp"), ending("x/y")], ["jpg", "3gp", "bin"]);
    }
}
