//! Spools in a folder of the test's own.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::domain::UserId;

const ONE: Uploader = Uploader::User(UserId(1));
const OTHER: Uploader = Uploader::User(UserId(2));

fn folders(data_dir: &Path) -> usize {
    fs::read_dir(data_dir.join("spool")).map_or(0, Iterator::count)
}

#[tokio::test]
async fn a_file_has_the_hash_and_size_of_what_was_written() {
    let data_dir = tempfile::tempdir().expect("a folder");
    let spools = Spools::new(data_dir.path(), 10_000_000);
    let whole: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    for content in [&whole[..], &whole[..1], &[]] {
        let mut spool = spools.spool(ONE);
        for chunk in content.chunks(70_000) {
            spool.write(chunk).await.expect("written");
        }
        let spooled = spool.finish().await.expect("finished");
        assert_eq!(spooled.hash().0, secrets::sha256(content));
        assert_eq!(spooled.size(), content.len() as u64);
        assert_eq!(fs::read(spooled.path()).expect("a file"), content);
        let path = spooled.path().to_owned();
        drop(spooled);
        assert!(!path.exists());
    }
    assert_eq!(spools.room.held(), 0);
    drop(spools);
    assert_eq!(folders(data_dir.path()), 0);
}

#[tokio::test]
async fn no_file_grows_beyond_the_limit() {
    let data_dir = tempfile::tempdir().expect("a folder");
    let spools = Spools::new(data_dir.path(), 1_000);
    let mut spool = spools.spool(ONE);
    spool.write(&[1; 1_000]).await.expect("fits");
    assert!(matches!(spool.write(&[1]).await, Err(MediaError::TooLarge { limit: 1_000 })));
    assert_eq!(spool.finish().await.expect("finished").size(), 1_000);
}

#[tokio::test]
async fn one_uploader_leaves_room_for_another() {
    let data_dir = tempfile::tempdir().expect("a folder");
    let spools = Spools::new(data_dir.path(), 10);
    let mut full = Vec::new();
    for _ in 0..LARGEST_FILES / 2 {
        let mut spool = spools.spool(ONE);
        spool.write(&[1; 10]).await.expect("fits");
        full.push(spool);
    }
    let mut more = spools.spool(ONE);
    assert!(matches!(more.write(&[1]).await, Err(MediaError::Busy)));
    let mut other = spools.spool(OTHER);
    other.write(&[1; 10]).await.expect("another uploader has room");
    full.truncate(2);
    more.write(&[1]).await.expect("fits again");
}

#[tokio::test]
async fn a_blank_file_becomes_an_upload_with_its_hash() {
    let data_dir = tempfile::tempdir().expect("a folder");
    let spools = Spools::new(data_dir.path(), 10);
    let deadline = Deadline::new(0, CancellationToken::new());
    let mut blank = spools.blank(ONE).await.expect("a file");
    fs::write(blank.path(), "clean").expect("written");
    let hash = blank.hash(&deadline).expect("a hash");
    let spooled = blank.into_spooled(hash);
    assert_eq!((spooled.hash().0, spooled.size(), spooled.uploader()), (secrets::sha256(b"clean"), 5, ONE));
    drop(spooled);
    assert_eq!(spools.room.held(), 0);
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    let mut blank = spools.blank(ONE).await.expect("a file");
    fs::write(blank.path(), "clean").expect("written");
    assert!(matches!(blank.hash(&Deadline::new(0, cancelled)), Err(MediaError::Unavailable { .. })));
}

#[tokio::test]
async fn only_the_folders_of_the_dead_are_swept() {
    let data_dir = tempfile::tempdir().expect("a folder");
    let living = Spools::new(data_dir.path(), 1_000);
    let mut spool = living.spool(ONE);
    spool.write(&[1]).await.expect("written");
    let spooled = spool.finish().await.expect("finished");
    let dead = data_dir.path().join("spool/dead");
    fs::create_dir(&dead).expect("a folder");
    fs::write(dead.join("left"), "over").expect("a file");
    let beside = Spools::new(data_dir.path(), 1_000);
    beside.prepare().await.expect("prepared");
    assert!(!dead.exists());
    assert!(spooled.path().exists());
    assert_eq!(folders(data_dir.path()), 2);
}

#[tokio::test]
async fn a_disk_that_does_not_take_it_is_said_and_tried_again() {
    let parent = tempfile::tempdir().expect("a folder");
    let data_dir = parent.path().join("data");
    fs::write(&data_dir, "in the way").expect("a file");
    let spools = Spools::new(&data_dir, 1_000);
    assert!(matches!(spools.prepare().await, Err(MediaError::Unavailable { .. })));
    fs::remove_file(&data_dir).expect("removed");
    assert!(spools.prepare().await.is_ok());
}
