//! A sent file and its URL.

use std::collections::BTreeMap;
use std::path::Path;

use reqwest::header::HeaderMap;
use reqwest::multipart::{Form, Part};
use reqwest::{Body, Method};
use windu::config::{Env, MediaSettings};
use windu::db::Db;
use windu::media::Media;
use windu::secrets::MasterKey;
use windu::store::Store;

use crate::support::client::{Answer, Client};
use crate::support::people::Person;
use crate::support::server::{SECRET_KEY, Server};

/// A sound file of about `size` bytes; `mark` makes it unique.
pub fn sound_file(size: u32, mark: u8) -> Vec<u8> {
    let mut bytes = header(size);
    bytes.extend((0..size).map(|at| mark.wrapping_add(u8::try_from(at % 251).expect("below 256"))));
    bytes
}

/// The header of a WAVE file with `size` bytes of samples: one channel, 44,100 samples a second, 16 bits each.
pub fn header(size: u32) -> Vec<u8> {
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((size + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend(44_100_u32.to_le_bytes());
    bytes.extend(88_200_u32.to_le_bytes());
    bytes.extend(b"\x02\0\x10\0data");
    bytes.extend(size.to_le_bytes());
    bytes
}

/// Sends a sound file and returns the response.
pub async fn try_send_file(from: &Person, to: &Person, content: impl Into<Body>) -> Answer {
    let form = Form::new()
        .text("contact", to.number.clone())
        .part("filename", Part::stream(content).file_name("a.wav"));
    from.api.send(from.api.request(Method::POST, "/api/messages/send-audio/").multipart(form)).await
}

/// Sends a sound file. Returns the id of the message, and the path and query of the URL of the file.
pub async fn send_file(from: &Person, to: &Person, content: Vec<u8>) -> (String, String) {
    let sent = try_send_file(from, to, content).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let text = |name: &str| sent.json()[name].as_str().expect("text").to_owned();
    (text("id"), path(from, &text("url")))
}

/// The path and query of a URL of a server.
pub fn path(person: &Person, url: &str) -> String {
    url.strip_prefix(person.api.base()).unwrap_or_else(|| panic!("{url}")).to_owned()
}

/// Gets a file without a token.
pub async fn get(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    ask(server, Method::GET, path, headers).await
}

/// Requests a file without a token.
pub async fn ask(server: &Server, method: Method, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    let stranger = Client::new(server.url().to_owned());
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(*name, value.parse().expect("a value"));
    }
    stranger.send(stranger.request(method, path).headers(map)).await
}

/// The database of a server, for this process.
pub fn store(server: &Server) -> Store {
    Store::new(Db::from_url(&server.database().url(), 2).expect("a URL"))
}

/// The media of a server, in this process.
pub fn media(server: &Server, settings: &BTreeMap<&str, String>) -> Media {
    let store = store(server);
    let keys = MasterKey::from_base64(SECRET_KEY, None).expect("a key");
    let env = Env::of(settings.iter().map(|(name, value)| (*name, value.as_str())));
    let data_dir: &Path = server.folder();
    let settings = MediaSettings::read(&env, data_dir).expect("settings");
    Media::new(store, keys, &settings, server.url().into())
}

/// Ages all files by more than an hour.
pub fn age(server: &Server) {
    server.database().sql("UPDATE media_blob SET put_at = put_at - interval '61 minutes'");
}
