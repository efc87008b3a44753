//! A file that was sent, and the URL that it is given out under.

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

/// A sound file of about so many bytes, told from others by its beginning.
pub fn sound_file(size: u32, mark: u8) -> Vec<u8> {
    let mut bytes = header(size);
    bytes.extend((0..size).map(|at| mark.wrapping_add(u8::try_from(at % 251).expect("below 256"))));
    bytes
}

/// The head of a WAVE file with so many bytes of samples: one channel, 44,100 samples a second, 16 bits each.
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

/// Sends a sound file, whatever comes of it.
pub async fn try_send_file(from: &Person, to: &Person, content: impl Into<Body>) -> Answer {
    let form = Form::new()
        .text("contact", to.number.clone())
        .part("filename", Part::stream(content).file_name("a.wav"));
    from.api.send(from.api.request(Method::POST, "/api/messages/send-audio/").multipart(form)).await
}

/// Sends a sound file. Gives the message's id and the path and query of the file's URL.
pub async fn send_file(from: &Person, to: &Person, content: Vec<u8>) -> (String, String) {
    let sent = try_send_file(from, to, content).await;
    assert_eq!(sent.status, 200, "{}", sent.text());
    let text = |name: &str| sent.json()[name].as_str().expect("text").to_owned();
    (text("id"), path(from, &text("url")))
}

/// The path and query of a URL that a server gave out.
pub fn path(person: &Person, url: &str) -> String {
    url.strip_prefix(person.api.base()).unwrap_or_else(|| panic!("{url}")).to_owned()
}

/// Asks for a file without a token.
pub async fn get(server: &Server, path: &str, headers: &[(&'static str, &str)]) -> Answer {
    ask(server, Method::GET, path, headers).await
}

/// Asks about a file without a token.
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

/// The same media as a server has, in this process.
pub fn media(server: &Server, settings: &BTreeMap<&str, String>) -> Media {
    let store = store(server);
    let keys = MasterKey::from_base64(SECRET_KEY, None).expect("a key");
    let env = Env::of(settings.iter().map(|(name, value)| (*name, value.as_str())));
    let data_dir: &Path = server.folder();
    let settings = MediaSettings::read(&env, data_dir).expect("settings");
    Media::new(store, keys, &settings, server.url().into())
}

/// Makes as if all files were put over an hour ago.
pub fn age(server: &Server) {
    server.database().sql("UPDATE media_blob SET put_at = put_at - interval '61 minutes'");
}
