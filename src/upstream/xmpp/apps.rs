//! What people with other apps publish of themselves: their nickname (XEP-0172) and which picture is theirs (XEP-0084).
//!
//! Windu's accounts tell each other by their presences. Of others it is looked up when they come online, and when a
//! presence says that the picture has changed (XEP-0153).

use std::convert::Infallible;

use super::link::Link;
use super::pep::{PICTURE_METADATA, item};
use super::profile::OwnProfile;
use super::xml::{Element, child_text, ns};
use crate::domain::Visible;

/// Of a nickname, more is not shown.
const LONGEST_NICKNAME: usize = 64;
/// The digits of a picture's id.
const PICTURE_ID: usize = 40;

/// What somebody publishes; `None` where nobody knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Published {
    pub nickname: Option<String>,
    pub photo: Option<Visible<Option<String>>>,
}

impl OwnProfile {
    /// Looks up people who have come online, one after the other. It runs as long as the connection.
    pub async fn look_up(&self) -> Infallible {
        loop {
            let who = self.next_lookup().await;
            let published = published(self.link(), &who).await;
            self.found(&who, published);
        }
    }
}

async fn published(link: &Link, who: &str) -> Published {
    // Whether there is none or it is not for this account, nobody knows.
    let nickname = item(link, who, ns::NICK, None).await.ok().flatten();
    let nickname =
        nickname.and_then(|item| child_text(&item, "nick", ns::NICK)).map(|nickname| cut(&nickname));
    let metadata = item(link, who, PICTURE_METADATA, None).await.ok().flatten();
    let metadata = metadata.as_ref().and_then(|item| item.get_child("metadata", PICTURE_METADATA));
    Published { nickname, photo: metadata.map(|metadata| Visible::Value(picture(metadata))) }
}

/// The nickname, as long as one may be.
pub(super) fn cut(nickname: &str) -> String {
    nickname.chars().take(LONGEST_NICKNAME).collect()
}

/// The picture that is published itself, rather than at a URL.
fn picture(metadata: &Element) -> Option<String> {
    let is_published = |info: &&Element| info.is("info", PICTURE_METADATA) && info.attr("url").is_none();
    let id = metadata.children().find(is_published)?.attr("id")?;
    let is_id = id.len() == PICTURE_ID && id.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_id.then(|| id.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_an_id_and_no_url() {
        let of = |infos: &str| {
            let metadata = format!("<metadata xmlns='{PICTURE_METADATA}'>{infos}</metadata>");
            picture(&metadata.parse().expect("XML"))
        };
        let id = "ab".repeat(20);
        assert_eq!(of(""), None);
        assert_eq!(
            of(&format!("<info id='{id}' url='https://a'/><info id='{}'/>", id.to_uppercase())),
            Some(id)
        );
        assert_eq!(of("<info id='../1'/>"), None);
    }

    #[test]
    fn a_nickname_is_cut() {
        assert_eq!(cut(&"🌊".repeat(65)).chars().count(), LONGEST_NICKNAME);
    }
}
