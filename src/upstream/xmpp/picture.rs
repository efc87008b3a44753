//! The picture of the account, published for those who may see it.

use serde::{Deserialize, Serialize};

use super::pep::{self, Access, Affiliation, Affiliations};
use super::profile::{Own, OwnProfile};
use super::watching::Watching;
use crate::domain::{Audience, Photo};
use crate::upstream::Failure;

/// What is published of the picture, in the adapter's state.
pub(super) const PICTURE: &str = "profile.picture";

/// The picture as the server has it, in the adapter's state as JSON.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Picture {
    pub published: Option<Published>,
    access: Option<Access>,
    affiliations: Affiliations,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Published {
    /// Of the photo in our storage.
    hash: String,
    pub id: String,
}

impl Own {
    fn access(&self) -> Access {
        if self.privacy.photo == Audience::All { Access::Open } else { Access::Whitelist }
    }

    fn affiliations(&self, watching: &Watching) -> Affiliations {
        let members = self.contacts.iter().filter(|_| self.privacy.photo == Audience::Contacts);
        let mut affiliations: Affiliations = members.map(|who| (who.clone(), Affiliation::Member)).collect();
        affiliations.extend(watching.blocked().map(|who| (who.to_owned(), Affiliation::Outcast)));
        affiliations
    }
}

impl OwnProfile {
    pub(super) async fn set_photo(&self, photo: Option<Photo>) -> Result<(), Failure> {
        let mut own = self.0.own.lock().await;
        let Some(photo) = photo else {
            if own.picture.published.is_some() {
                pep::delete_picture(&self.0.link).await?;
            }
            own.picture = Picture::default();
            self.keep_picture(&own.picture).await?;
            return self.show(&mut own, Vec::new()).await;
        };
        let hash = photo.photo.hex();
        if own.picture.published.as_ref().is_none_or(|published| published.hash != hash) {
            let bytes = pep::picture_bytes(&*self.0.blobs, &photo).await?;
            let bytes = bytes
                .ok_or_else(|| Failure::Refused("the photo is too large for this network".to_owned()))?;
            let id = pep::picture_id(&bytes);
            let access = own.access();
            if own.picture.published.is_none() {
                // Nodes of an earlier account, or of a publication that did not end, may have any affiliations.
                pep::delete_picture(&self.0.link).await?;
                own.picture = Picture::default();
            }
            pep::publish_picture(&self.0.link, &id, &bytes, access).await?;
            own.picture.published = Some(Published { hash, id });
            own.picture.access = Some(access);
            self.keep_picture(&own.picture).await?;
        }
        self.guard_picture(&mut own).await?;
        self.show(&mut own, Vec::new()).await
    }

    /// Lets the server show the picture to whom the settings allow.
    pub(super) async fn guard_picture(&self, own: &mut Own) -> Result<(), Failure> {
        if own.picture.published.is_none() {
            return Ok(());
        }
        let access = own.access();
        let affiliations = own.affiliations(&self.watching());
        if own.picture.access == Some(access) && own.picture.affiliations == affiliations {
            return Ok(());
        }
        // What narrows comes first: the outcasts and the whitelist, then its members.
        if own.picture.access != Some(access) && access == Access::Whitelist {
            pep::set_picture_access(&self.0.link, access).await?;
        }
        let before = &own.picture.affiliations;
        let added = affiliations.iter().filter(|(who, affiliation)| before.get(*who) != Some(affiliation));
        let mut changes: Vec<_> = added.map(|(who, affiliation)| (who.clone(), Some(*affiliation))).collect();
        let gone = before.keys().filter(|who| !affiliations.contains_key(*who));
        changes.extend(gone.map(|who| (who.clone(), None)));
        pep::set_picture_affiliations(&self.0.link, &changes).await?;
        if own.picture.access != Some(access) && access == Access::Open {
            pep::set_picture_access(&self.0.link, access).await?;
        }
        own.picture.affiliations = affiliations;
        own.picture.access = Some(access);
        self.keep_picture(&own.picture).await
    }

    async fn keep_picture(&self, picture: &Picture) -> Result<(), Failure> {
        let value = serde_json::to_vec(picture).map_err(|error| Failure::Refused(error.to_string()))?;
        self.0.state.put(&[(PICTURE, value)]).await
    }
}
