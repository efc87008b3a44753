//! Obstacles that keep a program waiting at a certain point, so that it can be killed there.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use crate::support::postgres::{Database, OpenTransaction};

/// Updates of a table wait while a condition holds: a lock in a trigger.
pub struct Blocked {
    database: Arc<Database>,
    lock: Option<OpenTransaction>,
}

impl Blocked {
    const WAITING: &str =
        "FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'advisory'";

    pub fn new(database: &Arc<Database>, updates: &str, condition: &str) -> Self {
        let lock = database.hold("SELECT pg_advisory_xact_lock(4711)");
        database.sql(&format!(
            "CREATE FUNCTION blocked() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF {condition} THEN PERFORM pg_advisory_xact_lock_shared(4711); END IF;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER blocked BEFORE UPDATE {updates} FOR EACH STATEMENT EXECUTE FUNCTION blocked()"
        ));
        Self { database: Arc::clone(database), lock: Some(lock) }
    }

    pub fn has_somebody(&self) -> bool {
        self.database.sql(&format!("SELECT count(*) > 0 {}", Self::WAITING)) == "t"
    }

    /// Releases the waiting updates.
    pub fn lift(mut self) {
        self.lock.take();
    }
}

impl Drop for Blocked {
    fn drop(&mut self) {
        let database = &self.database;
        if self.lock.is_some() {
            // Waiting writes of a killed program must not be executed after all.
            database.sql(&format!("SELECT pg_terminate_backend(pid, 10000) {}", Self::WAITING));
        }
        self.lock.take();
        database.sql("DROP FUNCTION blocked CASCADE");
    }
}

/// A code provider that holds its requests until the test sets a status.
pub struct Provider {
    pub url: String,
    asked: Arc<AtomicUsize>,
    status: Arc<AtomicU16>,
}

impl Provider {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let (asked, status) = (Arc::<AtomicUsize>::default(), Arc::<AtomicU16>::default());
        let (count, answer) = (Arc::clone(&asked), Arc::clone(&status));
        std::thread::spawn(move || {
            let mut waiting = Vec::new();
            for mut socket in listener.incoming().map_while(Result::ok) {
                read_request(&mut socket);
                count.fetch_add(1, Ordering::Relaxed);
                match answer.load(Ordering::Relaxed) {
                    0 => waiting.push(socket),
                    status => {
                        let head =
                            format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                        let _ = socket.write_all(head.as_bytes());
                    }
                }
            }
        });
        Self { url, asked, status }
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }
}

/// Reads to the end of a JSON object.
fn read_request(socket: &mut TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"}") {
        match socket.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
    }
}
