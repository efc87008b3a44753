//! Files in S3, on the server moto, which tests/run installs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use reqwest::Method;

use crate::sent_file::{age, ask, get, media, send_file, sound_file, try_send_file};
use crate::support::client::Client;
use crate::support::not_run::not_run;
use crate::support::people::Person;
use crate::support::server::Server;

const BUCKET: &str = "windu";
const PREFIX: &str = "files/of/windu";

/// A running server; killed when dropped.
struct S3 {
    process: Child,
    url: String,
}

impl S3 {
    /// `None`, with a printed line, when it is not installed.
    fn start() -> Option<Self> {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto/bin/moto_server");
        if !program.exists() {
            not_run("files in S3: moto is not installed (tests/run does that)");
            return None;
        }
        // The shell kills it when this process has ended and its standard input is closed.
        let mut process = Command::new("/bin/sh")
            .args(["-c", "\"$0\" -H 127.0.0.1 -p 0 2>&1 </dev/null & cat >/dev/null; kill -9 $!"])
            .arg(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh");
        let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let url = lines.find_map(|line| line.split_once("Running on ").map(|(_, url)| url.trim().to_owned()));
        // Reads on, so that the server does not block on its output.
        std::thread::spawn(move || lines.for_each(drop));
        Some(Self { process, url: url.expect("its address") })
    }

    fn settings(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("WINDU_MEDIA_URL", format!("s3://{BUCKET}/{PREFIX}")),
            ("AWS_ENDPOINT_URL", self.url.clone()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            ("AWS_ACCESS_KEY_ID", "windu".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "windu's secret".to_owned()),
        ])
    }

    fn client(&self) -> Client {
        Client::new(self.url.clone())
    }

    /// The names of the objects in the bucket.
    async fn objects(&self) -> Vec<String> {
        let list = self.client().get(&format!("/{BUCKET}?list-type=2")).await.text();
        let keys = list.split("<Key>").skip(1);
        keys.map(|rest| rest.split('<').next().expect("a key").to_owned()).collect()
    }

    fn ends(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("sh");
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.ends();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_stored_streamed_and_deleted_in_s3() {
    let Some(mut s3) = S3::start() else { return };
    let made = s3.client().send(s3.client().request(Method::PUT, &format!("/{BUCKET}"))).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let settings = s3.settings();
    let start = settings.iter().fold(Server::setup(), |setup, (name, value)| setup.env(name, value));
    let server = start.start();
    assert!(server.run(&["check"], "").contains(&format!("ok      media: s3://{BUCKET}/{PREFIX}")));
    let (anna, bert) = Person::two_friends(&server).await;
    // In one piece, and in three.
    let files = [sound_file(1_000, 1), sound_file(12 * 1024 * 1024, 2)];
    let mut paths = Vec::new();
    for file in &files {
        let (id, path) = send_file(&anna, &bert, file.clone()).await;
        bert.waits_until(&anna.number, &id, |message| message["url"].is_string()).await;
        let whole = get(&server, &path, &[]).await;
        assert_eq!((whole.status, whole.bytes.len()), (200, file.len()));
        assert!(whole.bytes == *file);
        let end = file.len();
        let part = get(&server, &path, &[("range", &format!("bytes={}-", end - 100))]).await;
        assert_eq!((part.status, &part.bytes[..]), (206, &file[end - 100..]));
        let head = ask(&server, Method::HEAD, &path, &[]).await;
        assert_eq!((head.status, head.header("content-length")), (200, end.to_string().as_str()));
        paths.push(path);
    }
    let names = s3.objects().await;
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| name.starts_with(&format!("{PREFIX}/"))), "{names:?}");
    assert_eq!(std::fs::read_dir(server.folder().join("media")).map_or(0, Iterator::count), 0);

    // The clean-up.
    server.database().sql("DELETE FROM localnet_media");
    let large = paths[1].split(['/', '?']).nth(4).expect("a name");
    server.database().sql(&format!("DELETE FROM message_media WHERE hash = '\\x{large}'"));
    age(&server);
    media(&server, &settings).delete_unreferenced(None, 1_000).await.expect("looked");
    let names = s3.objects().await;
    assert!(names.len() == 1 && !names[0].contains(large), "{names:?}");
    assert_eq!(get(&server, &paths[1], &[]).await.status, 404);
    assert_eq!(get(&server, &paths[0], &[]).await.status, 200);

    // Without the storage, text messages still work.
    s3.ends();
    let refused = try_send_file(&anna, &bert, sound_file(1_000, 3)).await;
    refused.refused(503, "storage_unavailable");
    assert!(!refused.header("retry-after").is_empty());
    get(&server, &paths[0], &[]).await.refused(503, "storage_unavailable");
    anna.delivers(&bert, "text goes on").await;
}
