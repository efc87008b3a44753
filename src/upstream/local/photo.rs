//! References to profile photos: `photo/NUMBER/SHA256`.

use crate::domain::{BlobHash, PhoneNumber, Photo, PhotoReference, Visible};
use crate::upstream::Address;

const PREFIX: &str = "photo/";

/// The references under which a watcher fetches a photo.
pub(super) fn reference(of: &Address, shown: Visible<Option<Photo>>) -> Visible<Option<PhotoReference>> {
    let reference = |hash: BlobHash| format!("{PREFIX}{}/{hash}", of.0);
    match shown {
        Visible::Hidden => Visible::Hidden,
        Visible::Value(photo) => Visible::Value(photo.map(|photo| PhotoReference {
            photo: reference(photo.photo),
            preview: Some(reference(photo.preview)),
        })),
    }
}

/// The owner and the file; `None` for the reference of a message's file.
pub(super) fn parse(reference: &str) -> Option<(PhoneNumber, BlobHash)> {
    let (number, hash) = reference.strip_prefix(PREFIX)?.split_once('/')?;
    Some((PhoneNumber::from_stored(number)?, hash.parse().ok()?))
}
