//! What a server that was killed has kept.

use std::collections::{HashMap, HashSet};
use std::process::Command;

use super::{Software, XmppServer};

/// Prints what is in ejabberd's archive for a user: the ids of messages to them, and those of receipts with their senders.
const SCRIPT: &str = r"
import sqlite3, sys
from xml.etree import ElementTree
file, user, jid = sys.argv[1:]
with sqlite3.connect('file:' + file + '?mode=ro', uri=True, timeout=30) as database:
    for (xml,) in database.execute('SELECT xml FROM archive WHERE username = ? ORDER BY timestamp, id', (user,)):
        message = ElementTree.fromstring(xml)
        if message.get('to', '').split('/')[0] != jid: continue
        received = message.findall('{urn:xmpp:receipts}received')
        if not received: print('message', message.get('id'))
        for receipt in received: print('receipt', receipt.get('id'), message.get('from', '').split('/')[0])
";

/// The ids of what a server has in its archive for a user.
#[derive(Debug, Default)]
pub struct Kept {
    /// Messages to the user, in their order.
    pub messages: Vec<String>,
    /// Messages of the user, with the addresses of those who have received them.
    pub receipts: HashMap<String, HashSet<String>>,
}

impl XmppServer {
    /// What ejabberd has kept for a user. Killed, it forgets what it was about to pass on, although it has acknowledged
    /// it: the recipient's archive is written by another process of it.
    pub fn kept_for(&self, user: &str) -> Kept {
        assert_eq!(self.software, Software::Ejabberd, "Prosody forgets nothing");
        let file = self.folder.join("data/ejabberd.sqlite");
        let output =
            Command::new("python3").args(["-c", SCRIPT]).arg(file).arg(user).arg(self.jid(user)).output();
        let output = output.expect("python3");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut kept = Kept::default();
        for line in String::from_utf8(output.stdout).expect("UTF-8").lines() {
            match line.split_once(' ').expect("a kind and an id") {
                ("receipt", receipt) => {
                    let (id, from) = receipt.split_once(' ').expect("an id and a sender");
                    kept.receipts.entry(id.to_owned()).or_default().insert(from.to_owned());
                }
                (_, id) => kept.messages.push(id.to_owned()),
            }
        }
        kept
    }
}
