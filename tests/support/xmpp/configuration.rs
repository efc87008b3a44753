//! The files and the command of a server.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::certificates::{Issued, authority_pem};
use super::ports::Port;
use super::{ADMIN, ADMIN_PASSWORD, Software};

/// Raises the limit of open files for thousands of sessions, leaves its process id in the folder `$0` for the watchdog
/// and becomes the server.
const LAUNCHER: &str = r#"
    set -e
    ulimit -n 20000 2>/dev/null || ulimit -n "$(ulimit -Hn)"
    echo $$ >"$0/pid"
    exec "$@"
"#;

const PROSODY: &str = "/usr/bin/prosody";
const ERLANG: &str = "/usr/bin/erl";
/// The tables of ejabberd in SQLite.
const TABLES: &str = "/usr/share/ejabberd/sql/lite.sql";

/// What is written survives the end of the server, and not that of the machine.
const FAST: &str = "PRAGMA synchronous = OFF;";

/// The ports of a server.
pub struct Ports {
    /// For clients, with STARTTLS.
    pub starttls: Port,
    /// For clients, with TLS from the first byte.
    pub direct_tls: Port,
    /// For clients, without TLS.
    pub plain: Port,
    /// For uploads.
    pub https: Port,
    /// For other servers.
    pub server: Port,
}

impl Ports {
    pub fn reserve() -> Self {
        Self {
            starttls: Port::reserve(),
            direct_tls: Port::reserve(),
            plain: Port::reserve(),
            https: Port::reserve(),
            server: Port::reserve(),
        }
    }
}

/// What a server does with files.
#[derive(Clone, Debug)]
pub struct Uploads {
    /// Whether it takes any.
    pub are_taken: bool,
    /// The port in their URLs, if it is another one than the server's.
    pub port: Option<u16>,
    /// Bytes of one file.
    pub largest: u64,
    /// Bytes of one person's files in a day; Prosody only.
    pub quota: u64,
}

impl Default for Uploads {
    fn default() -> Self {
        Self { are_taken: true, port: None, largest: 50 << 20, quota: 1 << 30 }
    }
}

/// What a configuration says.
pub struct Configuration<'a> {
    pub software: Software,
    pub domain: &'a str,
    pub folder: &'a Path,
    pub ports: &'a Ports,
    pub issued: &'a Issued,
    pub uploads: &'a Uploads,
    /// The port of the DNS by which it finds other servers; without it, it knows no others.
    pub dns: Option<u16>,
}

impl Configuration<'_> {
    /// Writes all files, for the user that the server runs as.
    pub fn write(&self) {
        let Issued { certificate, key } = self.issued;
        let mut files = vec![
            ("ca.pem", authority_pem().to_owned()),
            ("certificate.pem", certificate.clone()),
            ("key.pem", key.clone()),
            ("both.pem", format!("{certificate}{key}")),
        ];
        match self.software {
            Software::Prosody => {
                files.push(("prosody.cfg.lua", self.fill(include_str!("prosody.cfg.lua"))));
                files.push(("plugins/mod_windu_test.lua", include_str!("mod_windu_test.lua").to_owned()));
            }
            Software::Ejabberd => {
                files.push(("ejabberd.yml", self.fill(include_str!("ejabberd.yml"))));
                // Without a DNS of the test it asks none.
                let dns = self.dns.map(|port| format!("{{nameserver, {{127,0,0,1}}, {port}}}.\n"));
                files.push(("inetrc", format!("{{resolv_conf, \"\"}}.\n{}", dns.unwrap_or_default())));
            }
        }
        for folder in ["data", "plugins", "certs"] {
            fs::create_dir(self.folder.join(folder)).expect("a folder");
            self.give(folder, 0o755);
        }
        for (name, text) in files {
            fs::write(self.folder.join(name), text).expect("written");
            self.give(name, if text_is_secret(name) { 0o600 } else { 0o644 });
        }
    }

    /// Writes the settings anew, for the next start.
    pub fn rewrite(&self) {
        let (name, template) = match self.software {
            Software::Prosody => ("prosody.cfg.lua", include_str!("prosody.cfg.lua")),
            Software::Ejabberd => ("ejabberd.yml", include_str!("ejabberd.yml")),
        };
        fs::write(self.folder.join(name), self.fill(template)).expect("written");
    }

    /// The server; the caller says where its output goes.
    pub fn command(&self) -> Command {
        let folder = self.folder.display();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LAUNCHER]).arg(self.folder);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", self.folder);
        match self.software {
            Software::Prosody => {
                command.args([PROSODY, "-F", "--config"]).arg(self.folder.join("prosody.cfg.lua"));
            }
            // Without a node name it needs neither epmd nor a port for other nodes. Idle schedulers do not spin.
            Software::Ejabberd => {
                command
                    .args([ERLANG, "-noinput", "+Q", "32000", "+P", "250000"])
                    .args(["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"])
                    .args(["-mnesia", "dir", &format!("\"{folder}/data/mnesia\"")])
                    .args(["-eval", &self.tables(), "-s", "ejabberd", "-eval", &self.admin()])
                    .env("ERL_LIBS", ejabberd().expect("ejabberd is installed"))
                    .env("ERL_INETRC", self.folder.join("inetrc"))
                    .env("ERL_CRASH_DUMP_SECONDS", "0")
                    .env("EJABBERD_CONFIG_PATH", self.folder.join("ejabberd.yml"))
                    .env("EJABBERD_LOG_PATH", self.folder.join("ejabberd.log"));
            }
        }
        command.current_dir(self.folder).stdin(Stdio::null()).process_group(0);
        if let Some((user, group)) = self.software.unprivileged() {
            command.uid(user).gid(group);
        }
        command
    }

    /// Erlang: makes the tables once.
    fn tables(&self) -> String {
        let file = self.folder.join("data/ejabberd.sqlite");
        format!(
            "filelib:is_file(\"{file}\") orelse begin \
             {{ok, _}} = sqlite3:open(tables, [{{file, \"{file}\"}}]), {{ok, Script}} = file:read_file(\"{TABLES}\"), \
             Answers = sqlite3:sql_exec_script(tables, \"{FAST} \" ++ binary_to_list(Script)), \
             [] = [Answer || Answer <- Answers, Answer =/= ok], sqlite3:close(tables) end.",
            file = file.display()
        )
    }

    /// Erlang: makes the admin's account, unless it exists, and makes SQLite fast.
    fn admin(&self) -> String {
        let domain = self.domain;
        format!(
            "ejabberd_auth:try_register(<<\"{ADMIN}\">>, <<\"{domain}\">>, <<\"{ADMIN_PASSWORD}\">>), \
             sqlite3:sql_exec(ejabberd_sql:sqlite_db(<<\"{domain}\">>), \"{FAST}\")."
        )
    }

    fn fill(&self, template: &str) -> String {
        let (wanted, other) = match self.dns {
            Some(_) => ("@federated ", "@alone "),
            None => ("@alone ", "@federated "),
        };
        let (taken, not_taken) = if self.uploads.are_taken {
            ("@uploads ", "@no-uploads ")
        } else {
            ("@no-uploads ", "@uploads ")
        };
        let lines = template.lines().filter(|line| !line.starts_with(other) && !line.starts_with(not_taken));
        let lines = lines.map(|line| line.strip_prefix(wanted).or(line.strip_prefix(taken)).unwrap_or(line));
        let mut text: String = lines.flat_map(|line| [line, "\n"]).collect();
        let values = [
            ("@FOLDER@", self.folder.display().to_string()),
            ("@DOMAIN@", self.domain.to_owned()),
            ("@ADMIN@", ADMIN.to_owned()),
            ("@PASSWORD@", ADMIN_PASSWORD.to_owned()),
            ("@PORT@", self.ports.starttls.number().to_string()),
            ("@DIRECT_TLS_PORT@", self.ports.direct_tls.number().to_string()),
            ("@PLAIN_PORT@", self.ports.plain.number().to_string()),
            ("@HTTPS_PORT@", self.ports.https.number().to_string()),
            ("@UPLOAD_PORT@", self.uploads.port.unwrap_or_else(|| self.ports.https.number()).to_string()),
            ("@UPLOAD_LIMIT@", self.uploads.largest.to_string()),
            ("@UPLOAD_QUOTA@", self.uploads.quota.to_string()),
            ("@SERVER_PORT@", self.ports.server.number().to_string()),
            ("@DNS_PORT@", self.dns.unwrap_or_default().to_string()),
        ];
        for (name, value) in values {
            text = text.replace(name, &value);
        }
        text
    }

    fn give(&self, name: &str, mode: u32) {
        let path = self.folder.join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("permissions");
        if let Some((user, group)) = self.software.unprivileged() {
            chown(&path, Some(user), Some(group)).expect("chown to the user of the server");
        }
    }
}

fn text_is_secret(name: &str) -> bool {
    ["key.pem", "both.pem"].contains(&name)
}

/// The names of the missing packages.
pub fn missing_packages() -> Vec<&'static str> {
    let versions =
        libraries().flat_map(|folder| fs::read_dir(folder.join("lua")).into_iter().flatten().flatten());
    let lua: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    let erlang = fs::read_dir("/usr/lib/erlang/lib").into_iter().flatten().flatten();
    let mut erlang = erlang.filter_map(|entry| entry.file_name().into_string().ok());
    let installed = [
        ("prosody", Path::new(PROSODY).exists()),
        ("prosody-modules", Path::new("/usr/lib/prosody/modules/mod_vcard_muc").exists()),
        ("lua-dbi-sqlite3", lua.iter().any(|folder| folder.join("dbd/sqlite3.so").exists())),
        ("lua-unbound", lua.iter().any(|folder| folder.join("lunbound.so").exists())),
        ("ejabberd", ejabberd().is_some() && Path::new(ERLANG).exists() && Path::new(TABLES).exists()),
        ("erlang-p1-sqlite3", erlang.any(|name| name.starts_with("p1_sqlite3-"))),
    ];
    installed.into_iter().filter_map(|(package, is_there)| (!is_there).then_some(package)).collect()
}

/// The folders of the libraries of this machine's architecture.
fn libraries() -> impl Iterator<Item = PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    folders.filter(|folder| folder.display().to_string().contains("-linux-"))
}

/// The folder in which ejabberd is an Erlang library.
fn ejabberd() -> Option<PathBuf> {
    libraries().find(|folder| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().display().to_string().starts_with("ejabberd-")).count() > 0
    })
}
