//! URLs of profile photos, in responses and in events.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::{BlobHash, ChatId, Photo, Reference, Visible};
use crate::media::Media;
use crate::store::SeenPhoto;

/// The two files of a photo.
#[derive(Clone, Copy)]
pub enum PhotoSize {
    Whole,
    Preview,
}

impl PhotoSize {
    #[must_use]
    pub fn of(self, photo: Photo) -> BlobHash {
        match self {
            Self::Whole => photo.photo,
            Self::Preview => photo.preview,
        }
    }
}

#[derive(Serialize, ToSchema)]
pub struct PhotoUrl {
    /// Signed; opens without a token for 24 h. Null unless `photo_status` is 200.
    #[schema(required = true)]
    pub photo_url: Option<String>,
    /// `200`, `404` when there is no photo, `401` when it is hidden.
    pub photo_status: &'static str,
}

impl PhotoUrl {
    #[must_use]
    pub fn of(media: &Media, photo: &Visible<Option<SeenPhoto>>, size: PhotoSize) -> Self {
        let (photo_url, photo_status) = match photo {
            Visible::Hidden => (None, "401"),
            Visible::Value(None) => (None, "404"),
            Visible::Value(Some(seen)) => {
                let url = media.url(Reference::PeerPhoto(seen.change), &size.of(seen.photo));
                (Some(url), "200")
            }
        };
        Self { photo_url, photo_status }
    }

    /// A group's photo, with the account's chat with the group.
    #[must_use]
    pub fn of_group(media: &Media, photo: Option<(ChatId, Photo)>, size: PhotoSize) -> Self {
        let url = |(chat, photo)| media.url(Reference::GroupPhoto(chat), &size.of(photo));
        let photo_url = photo.map(url);
        let photo_status = if photo_url.is_some() { "200" } else { "404" };
        Self { photo_url, photo_status }
    }
}
