//! EXIF (CIPA DC-008, a TIFF file inside): only the orientation is preserved.

use image::metadata::Orientation;

/// The longest record that is read, in bytes. A JPEG cannot hold a longer one.
pub const LONGEST: u64 = 64 << 10;

/// The prefix of the record in a JPEG, and by mistake in some other files.
pub const PREFIX: &[u8] = b"Exif\0\0";

/// A record that has only the orientation; `None` when the picture is upright or has no orientation.
pub fn orientation_only(record: &[u8]) -> Option<[u8; 26]> {
    let record = record.strip_prefix(PREFIX).unwrap_or(record);
    let orientation = Orientation::from_exif_chunk(record)?;
    if orientation == Orientation::NoTransforms {
        return None;
    }
    let mut minimal = *b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x00\0\0\0\0\0\0";
    minimal[19] = orientation.to_exif();
    Some(minimal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_to_turn_a_picture_is_kept() {
        for value in 2..=8 {
            let orientation = Orientation::from_exif(value).expect("an orientation");
            let mut record = b"II\x2a\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x00\0\0\0\0\0\0\0".to_vec();
            record[18] = value;
            let minimal = orientation_only(&record).expect("a record");
            assert_eq!(Orientation::from_exif_chunk(&minimal), Some(orientation));
            assert_eq!(orientation_only(&[PREFIX, &record].concat()), Some(minimal));
        }
        assert_eq!(orientation_only(b""), None);
        assert_eq!(orientation_only(b"Exif\0\0II*"), None);
    }
}
