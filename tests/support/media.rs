//! Stored files of a test.

use std::path::Path;
use std::time::Duration;

use windu::config::{MediaLocation, MediaSettings};
use windu::media::Media;
use windu::secrets::MasterKey;
use windu::store::Store;

/// Files stored below this folder, which several processes of a test may share.
pub fn in_folder(store: &Store, folder: &Path) -> Media {
    let settings = MediaSettings {
        location: MediaLocation::Folder(folder.join("media")),
        url_lifetime: Duration::from_hours(24),
        max_upload: 64 * 1024 * 1024,
        data_dir: folder.to_owned(),
    };
    let keys = MasterKey::from_base64(&MasterKey::generate_base64(), None).expect("a key");
    Media::new(store.clone(), keys, &settings, "http://windu.test".into())
}
