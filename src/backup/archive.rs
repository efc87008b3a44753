//! The file of a backup: a tar of streams, each cut into members of a few MiB, with a last member that says what there is.
//!
//! ```text
//! backup.json            the beginning: format, program, migrations, tables with their columns
//! key.000000             the master key, in base64
//! table/NAME.000000 ..   the rows, as text of PostgreSQL's COPY
//! media/HASH.000000 ..   the bytes of a file
//! end.SHA-256.json       sequences, counts, and the length and SHA-256 of all before it; the name has its own SHA-256
//! ```
//!
//! The length of a stream is not known at its beginning, but that of a member of a tar must be.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read, Write};

use anyhow::{Context as _, bail};
use data_encoding::HEXLOWER;
use ring::digest::{Context as Hash, SHA256};
use serde::{Deserialize, Serialize};

use crate::db::copy::{CopiedSequence, CopiedTable, rows_in};
use crate::secrets;

/// In bytes.
const MEMBER: usize = 4 * 1024 * 1024;
/// The longest member that is read, in bytes: a damaged length must not take all memory.
const LONGEST_MEMBER: u64 = 64 * 1024 * 1024;
const BEGINNING: &str = "backup.json";
const END: &str = "end.";
pub const FORMAT: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
pub struct Beginning {
    /// Another one cannot be read.
    pub format: u32,
    /// The program that wrote it.
    pub version: String,
    /// Of the tables.
    pub migrations: Vec<i64>,
    pub tables: Vec<CopiedTable>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct End {
    pub sequences: Vec<CopiedSequence>,
    pub counts: Counts,
    /// Files that something refers to and the storage did not have. Older programs did not write it.
    #[serde(default)]
    pub missing: u64,
    streams: BTreeMap<String, Stream>,
    /// Its SHA-256, which no other backup has; in its name.
    #[serde(skip)]
    pub id: String,
}

/// What the streams hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub users: u64,
    pub accounts: u64,
    pub messages: u64,
    pub files: u64,
    /// Of all streams.
    pub bytes: u64,
}

impl Counts {
    /// Adds rows of a table; most tables are not counted.
    pub fn add_rows(&mut self, table: &str, rows: u64) {
        match table {
            "windu_user" => self.users += rows,
            "account" => self.accounts += rows,
            "message" => self.messages += rows,
            _ => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stream {
    size: u64,
    sha256: String,
}

impl Stream {
    fn of(bytes: &[u8]) -> Self {
        Self { size: bytes.len() as u64, sha256: HEXLOWER.encode(&secrets::sha256(bytes)) }
    }
}

/// Writes a backup.
pub struct Writer<W: Write> {
    tar: tar::Builder<W>,
    streams: BTreeMap<String, Stream>,
    bytes: u64,
}

/// One stream that is being written.
pub struct StreamWriter<'a, W: Write> {
    writer: &'a mut Writer<W>,
    name: String,
    buffer: Vec<u8>,
    members: u32,
    size: u64,
    hash: Hash,
}

impl<W: Write> Writer<W> {
    pub fn begin(out: W, beginning: &Beginning) -> anyhow::Result<Self> {
        let mut writer = Self { tar: tar::Builder::new(out), streams: BTreeMap::new(), bytes: 0 };
        let bytes = serde_json::to_vec_pretty(beginning)?;
        writer.member(BEGINNING, &bytes)?;
        writer.streams.insert(BEGINNING.to_owned(), Stream::of(&bytes));
        Ok(writer)
    }

    pub fn stream(&mut self, name: &str) -> StreamWriter<'_, W> {
        let (name, buffer) = (name.to_owned(), Vec::with_capacity(MEMBER));
        StreamWriter { writer: self, name, buffer, members: 0, size: 0, hash: Hash::new(&SHA256) }
    }

    /// Ends the backup, and returns the file and the counts with their bytes.
    pub fn finish(
        mut self,
        sequences: Vec<CopiedSequence>,
        counts: Counts,
        missing: u64,
    ) -> anyhow::Result<(W, Counts)> {
        let counts = Counts { bytes: self.bytes, ..counts };
        let streams = std::mem::take(&mut self.streams);
        let end = End { sequences, counts, missing, streams, id: String::new() };
        let bytes = serde_json::to_vec_pretty(&end)?;
        self.member(&format!("{END}{}.json", Stream::of(&bytes).sha256), &bytes)?;
        Ok((self.tar.into_inner()?, counts))
    }

    fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut header = header(bytes.len() as u64);
        self.tar.append_data(&mut header, name, bytes)
    }
}

impl<W: Write> StreamWriter<'_, W> {
    pub fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            let (first, rest) = bytes.split_at(bytes.len().min(MEMBER - self.buffer.len()));
            self.buffer.extend_from_slice(first);
            bytes = rest;
            if self.buffer.len() == MEMBER {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Ends the stream; one without bytes has one empty member.
    pub fn end(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() || self.members == 0 {
            self.flush()?;
        }
        self.writer.bytes += self.size;
        let stream = Stream { size: self.size, sha256: HEXLOWER.encode(self.hash.finish().as_ref()) };
        self.writer.streams.insert(self.name, stream);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        let name = format!("{}.{:06}", self.name, self.members);
        self.writer.member(&name, &self.buffer)?;
        self.buffer.clear();
        self.members += 1;
        Ok(())
    }
}

/// The header of a member of `size` bytes that only its owner may read.
pub fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header.set_mtime(0);
    header
}

/// Reads a backup from its beginning: each member of each stream, with the stream's name.
///
/// # Errors
/// Also when a member is missing, damaged or of no stream, and when the counts are not those of the streams; then what `each`
/// was given may be damaged too.
pub fn read(
    file: impl Read,
    begin: impl FnOnce(&Beginning) -> anyhow::Result<()>,
    mut each: impl FnMut(&str, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<End> {
    let mut begin = Some(begin);
    let mut streams: BTreeMap<String, (u32, u64, Hash)> = BTreeMap::new();
    let (mut beginning_of_file, mut whole, mut counts) = (None, None, Counts::default());
    let mut archive = tar::Archive::new(file);
    for member in archive.entries().context("it is no tar")?.raw(true) {
        let mut member = member.context("it is damaged, or no tar")?;
        let name = String::from_utf8(member.path_bytes().into_owned()).context("a name is damaged")?;
        // Headers of other kinds, which may be of any length, are among the members and refused.
        if !member.header().entry_type().is_file() || name.chars().any(char::is_control) {
            bail!("it is no backup of Windu, or a name in it is damaged");
        }
        if whole.is_some() {
            bail!("{name} comes after its end");
        }
        if member.size() > LONGEST_MEMBER {
            bail!("{name} is longer than a part of a backup is");
        }
        let mut bytes = Vec::new();
        member.read_to_end(&mut bytes).with_context(|| format!("{name} is cut off"))?;
        if bytes.len() as u64 != member.size() {
            bail!("{name} is cut off");
        }
        if let Some(begin) = begin.take() {
            if name != BEGINNING {
                bail!("it is no backup of Windu: it begins with {name}");
            }
            let beginning: Beginning = serde_json::from_slice(&bytes).context("its beginning is damaged")?;
            if beginning.format != FORMAT {
                bail!("it is of format {}, and this program reads format {FORMAT}", beginning.format);
            }
            begin(&beginning)?;
            beginning_of_file = Some(Stream::of(&bytes));
        } else if let Some(hash) = name.strip_prefix(END) {
            let id = Stream::of(&bytes).sha256;
            if hash.strip_suffix(".json") != Some(&id) {
                bail!("its end is damaged");
            }
            let end = End { id, ..serde_json::from_slice(&bytes).context("its end is damaged")? };
            let found = std::mem::take(&mut streams).into_iter().map(|(name, (_, size, hash))| {
                (name, Stream { size, sha256: HEXLOWER.encode(hash.finish().as_ref()) })
            });
            let mut found: BTreeMap<String, Stream> = found.collect();
            found.extend(beginning_of_file.take().map(|stream| (BEGINNING.to_owned(), stream)));
            for (name, stream) in &end.streams {
                match found.get(name) {
                    None => bail!("{name} is missing"),
                    Some(read) if read != stream => bail!("{name} is damaged"),
                    Some(read) if name.strip_prefix("media/").is_some_and(|hash| hash != read.sha256) => {
                        bail!("{name} has another content than its name says")
                    }
                    Some(_) => {}
                }
            }
            if found.len() != end.streams.len() {
                bail!("it has more parts than it says");
            }
            if counts != end.counts {
                bail!("it holds {counts}, but says that it holds {}", end.counts);
            }
            whole = Some(end);
        } else {
            let (stream, number) = name.rsplit_once('.').with_context(|| format!("{name} is no part"))?;
            let known = streams.entry(stream.to_owned()).or_insert_with(|| (0, 0, Hash::new(&SHA256)));
            if number.parse() != Ok(known.0) {
                bail!("a part of {stream} is missing before {name}");
            }
            if let Some(table) = stream.strip_prefix("table/") {
                counts.add_rows(table, rows_in(&bytes));
            }
            counts.files += u64::from(known.0 == 0 && stream.starts_with("media/"));
            counts.bytes += bytes.len() as u64;
            known.0 += 1;
            known.1 += bytes.len() as u64;
            known.2.update(&bytes);
            each(stream, &bytes)?;
        }
    }
    let whole = whole.context("its end is missing: it is not whole")?;
    // A tar ends with zeros, as many as its writer likes.
    let mut rest = BufReader::new(archive.into_inner());
    loop {
        let block = rest.fill_buf()?;
        match block.len() {
            0 => return Ok(whole),
            _ if block.iter().any(|byte| *byte != 0) => bail!("something comes after its end"),
            length => rest.consume(length),
        }
    }
}
