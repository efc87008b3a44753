"""An XMPP client that does what its standard input says: slixmpp, which shares no code with the program under test.

Standard input has one JSON object a line: {"number": 1, "do": "text", ...}. Standard output has one a line, too: the answers
({"event": "answer", "number": 1, "result": ...} or "error") and all that happens: "message", "presence", "iq", each with
what is in it and its XML; "stream_error"; "ended". The first command is "login". It ends with its standard input.
"""

import asyncio
import base64
import hashlib
import json
import logging
import os
import ssl
import sys
import traceback
import urllib.error
import urllib.request
from xml.etree import ElementTree

import slixmpp
from slixmpp.exceptions import IqError, IqTimeout

# Seconds for each step; whoever asks waits longer.
PATIENCE = 20
# The longest line, which may hold a file.
LINE = 256 * 1024 * 1024

CLIENT = "jabber:client"
FORWARD = "urn:xmpp:forward:0"
OMEMO = "eu.siacs.conversations.axolotl"
PUBSUB_EVENT = "http://jabber.org/protocol/pubsub#event"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
UPLOAD = "urn:xmpp:http:upload:0"

PLUGINS = [
    "xep_0004",  # forms
    "xep_0030",  # discovery
    "xep_0045",  # rooms
    "xep_0059",  # result sets
    "xep_0060",  # pubsub
    "xep_0066",  # out of band data
    "xep_0084",  # avatars
    "xep_0085",  # chat states
    "xep_0115",  # capabilities
    "xep_0163",  # personal eventing
    "xep_0172",  # nicknames
    "xep_0184",  # receipts
    "xep_0199",  # ping
    "xep_0249",  # direct invitations
    "xep_0280",  # carbons
    "xep_0300",  # hashes
    "xep_0308",  # corrections
    "xep_0313",  # archives
    "xep_0333",  # markers
    "xep_0334",  # hints
    "xep_0380",  # names of encryptions
    "xep_0424",  # retractions
    "xep_0428",  # fallbacks
    "xep_0444",  # reactions
    "xep_0446",  # metadata of files
    "xep_0447",  # shared files
    "xep_0461",  # replies
]


def write(event):
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def split(tag):
    namespace, _, name = tag.rpartition("}")
    return namespace.lstrip("{"), name


def text(element, path):
    found = None if element is None else element.find(path)
    return None if found is None else found.text or ""


def basics(stanza):
    """What a stanza says, without what it does not say."""
    said = {name: stanza.get(name) for name in ("from", "to", "type", "id")}
    said["children"] = [" ".join(split(child.tag)) for child in stanza]
    delay = stanza.find("{urn:xmpp:delay}delay")
    said["delay"] = None if delay is None else delay.get("stamp")
    error = stanza.find(f"{{{CLIENT}}}error")
    if error is not None:
        conditions = [split(child.tag) for child in error]
        said["error"] = next((name for namespace, name in conditions if namespace == STANZAS and name != "text"), "")
    name = split(stanza.tag)[1]
    if name == "message":
        said.update(message(stanza))
    elif name == "presence":
        said.update(presence(stanza))
    return {name: value for name, value in said.items() if value is not None}


def message(stanza):
    said = {"body": text(stanza, f"{{{CLIENT}}}body"), "subject": text(stanza, f"{{{CLIENT}}}subject")}
    for child in stanza:
        namespace, name = split(child.tag)
        match namespace, name:
            case "urn:xmpp:sid:0", "origin-id":
                said["origin_id"] = child.get("id")
            case "urn:xmpp:sid:0", "stanza-id":
                said.setdefault("stanza_ids", {})[child.get("by")] = child.get("id")
            case "urn:xmpp:occupant-id:0", "occupant-id":
                said["occupant_id"] = child.get("id")
            case "urn:xmpp:receipts", "request":
                said["wants_receipt"] = True
            case "urn:xmpp:receipts", "received":
                said["receipt"] = child.get("id")
            case "urn:xmpp:chat-markers:0", "markable":
                said["markable"] = True
            case "urn:xmpp:chat-markers:0", _:
                said[name] = child.get("id")
            case "http://jabber.org/protocol/chatstates", _:
                said["chat_state"] = name
            case "urn:xmpp:message-correct:0", "replace":
                said["replaces"] = child.get("id")
            case "urn:xmpp:reactions:0", "reactions":
                said["reacts_to"] = child.get("id")
                said["reactions"] = [reaction.text for reaction in child]
            case "urn:xmpp:message-retract:1", "retract":
                said["retracts"] = child.get("id")
            case "urn:xmpp:reply:0", "reply":
                said["replies_to"] = child.get("id")
            case "http://jabber.org/protocol/nick", "nick":
                said["nick"] = child.text
            case "jabber:x:oob", "x":
                said.setdefault("urls", []).append(text(child, "{jabber:x:oob}url"))
            case "jabber:x:conference", "x":
                said["invited_to"] = child.get("jid")
            case "urn:xmpp:sfs:0", "file-sharing":
                said["file"] = shared_file(child)
            case "urn:xmpp:eme:0", "encryption":
                said["encryption"] = child.get("namespace")
            case "http://jabber.org/protocol/muc#user", "x":
                said["statuses"] = statuses(child)
            case "urn:xmpp:carbons:2", "sent" | "received":
                inner = child.find(f"{{{FORWARD}}}forwarded/{{{CLIENT}}}message")
                if inner is not None:
                    said["carbon"] = {"which": name, **basics(inner)}
            case "urn:xmpp:mam:2", "result":
                said["archived"] = archived(child)
            case "http://jabber.org/protocol/pubsub#event", "event":
                items = child.find(f"{{{PUBSUB_EVENT}}}items")
                if items is not None:
                    said["node"] = items.get("node")
                    said["items"] = [part.get("id") for part in items]
                    said["nick"] = text(items, ".//{http://jabber.org/protocol/nick}nick")
    return said


def archived(result):
    inner = result.find(f"{{{FORWARD}}}forwarded/{{{CLIENT}}}message")
    stamp = result.find(f"{{{FORWARD}}}forwarded/{{urn:xmpp:delay}}delay")
    said = {} if inner is None else basics(inner)
    return {**said, "archive_id": result.get("id"), "stamp": None if stamp is None else stamp.get("stamp")}


def shared_file(sharing):
    metadata = sharing.find("{urn:xmpp:file:metadata:0}file")
    names = ("name", "media-type", "size", "desc", "width", "height", "length")
    said = {name: text(metadata, f"{{urn:xmpp:file:metadata:0}}{name}") for name in names}
    targets = sharing.iter("{http://jabber.org/protocol/url-data}url-data")
    return {**said, "disposition": sharing.get("disposition"), "urls": [target.get("target") for target in targets]}


def statuses(element):
    return [int(status.get("code")) for status in element if split(status.tag)[1] == "status"]


def presence(stanza):
    said = {name: text(stanza, f"{{{CLIENT}}}{name}") for name in ("show", "status", "priority")}
    idle = stanza.find("{urn:xmpp:idle:1}idle")
    said["idle"] = None if idle is None else idle.get("since")
    said["photo"] = text(stanza, "{vcard-temp:x:update}x/{vcard-temp:x:update}photo")
    room = stanza.find("{http://jabber.org/protocol/muc#user}x")
    if room is not None:
        item = room.find("{http://jabber.org/protocol/muc#user}item")
        said["statuses"] = statuses(room)
        said["occupant"] = None if item is None else dict(item.attrib)
    return said


class Refused(Exception):
    """A room's error."""


class Peer(slixmpp.ClientXMPP):
    def __init__(self, jid, password, ca_file, tls, resource, receipts):
        super().__init__(jid, password)
        if resource:
            self.requested_jid.resource = resource
        if tls == "off":
            for setting in ("unencrypted_plain", "unencrypted_scram"):
                setattr(self.plugin["feature_mechanisms"], setting, True)
        self.enable_starttls = tls == "starttls"
        self.enable_direct_tls = tls == "direct"
        self.enable_plaintext = tls == "off"
        # The private authority and no other.
        self.trust = ssl.create_default_context(cafile=ca_file)
        self.ssl_context = self.trust
        # Requests to be seen are answered by commands.
        self.auto_authorize = None
        self.auto_subscribe = False
        for plugin in PLUGINS:
            self.register_plugin(plugin, {"auto_ack": receipts} if plugin == "xep_0184" else {})
        self.add_filter("in", self.arrived)
        # Rooms with the own nick, until they have answered.
        self.joining = {}
        self.ready = self.loop.create_future()
        self.add_event_handler("session_start", lambda _: self.settle(None))
        self.add_event_handler("failed_all_auth", lambda _: self.settle("not-authorized"))
        self.add_event_handler("connection_failed", lambda error: self.failed("connection", error))
        self.add_event_handler("stream_error", self.stream_failed)
        self.add_event_handler("disconnected", self.ended)

    def settle(self, error):
        if not self.ready.done():
            self.ready.set_result(error)

    def stream_failed(self, error):
        write({"event": "stream_error", "condition": error["condition"], "text": error["text"]})
        self.settle(f"stream error: {error['condition']}")

    def failed(self, what, error):
        self.settle(f"{'certificate' if isinstance(error, ssl.SSLError) else what}: {error}")

    def ended(self, reason):
        self.failed("ended", reason)
        write({"event": "ended", "reason": str(reason)})

    def arrived(self, stanza):
        kind = split(stanza.xml.tag)[1]
        if kind in ("message", "presence", "iq"):
            said = basics(stanza.xml)
            write({"event": kind, **said, "xml": str(stanza)})
            joining = self.joining.get(said.get("from"))
            if kind == "presence" and joining and not joining.done():
                if said.get("type") == "error":
                    joining.set_result(said["error"])
                elif 110 in said.get("statuses", []):
                    joining.set_result(None)
        return stanza


class Commands:
    """Their names and arguments are those of peer.rs."""

    def __init__(self, peer):
        self.peer = peer

    def sends(self, stanza):
        stanza.send()
        return stanza["id"]

    def blank(self, to, kind, id=None):
        stanza = self.peer.make_message(mto=to, mtype=kind)
        if id:
            stanza["id"] = id
        return stanza

    async def text(self, to, body, kind, id=None, receipt=False, markable=False):
        stanza = self.blank(to, kind, id)
        stanza["body"] = body
        if receipt:
            stanza["request_receipt"] = True
        if markable:
            stanza.enable("markable")
        if kind == "chat":
            stanza["chat_state"] = "active"
        return self.sends(stanza)

    async def receipt(self, to, of):
        stanza = self.blank(to, "chat")
        stanza["receipt"] = of
        stanza.enable("store")
        return self.sends(stanza)

    async def displayed(self, to, of, kind):
        stanza = self.blank(to, kind)
        stanza["displayed"]["id"] = of
        stanza.enable("store")
        return self.sends(stanza)

    async def chat_state(self, to, state, kind):
        stanza = self.blank(to, kind)
        stanza["chat_state"] = state
        return self.sends(stanza)

    async def correct(self, to, of, body, kind):
        stanza = self.peer.plugin["xep_0308"].build_correction(of, slixmpp.JID(to), mtype=kind, mbody=body)
        return self.sends(stanza)

    async def react(self, to, of, reactions, kind):
        stanza = self.blank(to, kind)
        self.peer.plugin["xep_0444"].set_reactions(stanza, of, reactions)
        stanza.enable("store")
        return self.sends(stanza)

    async def retract(self, to, of, kind):
        return self.peer.plugin["xep_0424"].send_retraction(slixmpp.JID(to), of, mtype=kind)["id"]

    async def reply(self, to, of, author, quoted, body, kind):
        stanza = self.peer.plugin["xep_0461"].make_reply(author, of, fallback=quoted, mto=to, mbody=body, mtype=kind)
        return self.sends(stanza)

    async def encrypted(self, to, kind):
        stanza = self.blank(to, kind)
        stanza["body"] = (
            "I sent you an OMEMO encrypted message but your client doesn't seem to support that. "
            "Find more information on https://conversations.im/omemo"
        )
        stanza.append(
            ElementTree.fromstring(
                f"<encrypted xmlns='{OMEMO}'><header sid='27183'>"
                "<key rid='31415' prekey='true'>bm9ib2R5IGhhcyB0aGUga2V5</key><iv>AAAAAAAAAAAAAAAA</iv>"
                "</header><payload>bm9ib2R5IHJlYWRzIHRoaXM=</payload></encrypted>"
            )
        )
        self.peer.plugin["xep_0380"].add_eme(stanza, OMEMO)
        stanza.enable("store")
        return self.sends(stanza)

    async def nickname(self, nick):
        await self.peer.plugin["xep_0172"].publish_nick(nick)

    async def avatar(self, data, mime, width, height):
        picture = base64.b64decode(data)
        await self.peer.plugin["xep_0084"].publish_avatar(picture)
        info = {
            "id": hashlib.sha1(picture).hexdigest(),
            "type": mime,
            "bytes": str(len(picture)),
            "width": str(width),
            "height": str(height),
        }
        await self.peer.plugin["xep_0084"].publish_avatar_metadata(info)
        return info["id"]

    async def avatar_of(self, jid, id):
        answer = await self.peer.plugin["xep_0084"].retrieve_avatar(slixmpp.JID(jid), id)
        value = answer["pubsub"]["items"]["item"]["avatar_data"]["value"]
        return fingerprint(value)

    async def presence(self, to=None, kind=None, show=None, status=None, idle=None, priority=None):
        stanza = self.peer.make_presence(pto=to, ptype=kind, pshow=show, pstatus=status, ppriority=priority)
        if idle:
            stanza.append(ElementTree.Element("{urn:xmpp:idle:1}idle", {"since": idle}))
        stanza.send()

    async def roster(self):
        # Not get_roster: it asks for what changed only.
        request = self.peer.make_iq_get()
        request.enable("roster")
        answer = await request.send(timeout=PATIENCE)
        items = answer["roster"]["items"]
        return {str(jid): item["subscription"] for jid, item in items.items()}

    async def upload(self, data, name, mime, service=None):
        content = base64.b64decode(data)
        service = service or await self.upload_service()
        request = self.peer.make_iq_get(ito=service)
        attributes = {"filename": name, "size": str(len(content)), "content-type": mime}
        request.append(ElementTree.Element(f"{{{UPLOAD}}}request", attributes))
        slot = (await request.send(timeout=PATIENCE)).xml.find(f"{{{UPLOAD}}}slot")
        put = slot.find(f"{{{UPLOAD}}}put")
        headers = {header.get("name"): header.text for header in put}
        headers["Content-Type"] = mime
        sent = urllib.request.Request(put.get("url"), data=content, headers=headers, method="PUT")
        await self.http(sent)
        return slot.find(f"{{{UPLOAD}}}get").get("url")

    async def upload_service(self):
        for item in (await self.peer.plugin["xep_0030"].get_items(jid=self.peer.boundjid.domain))["disco_items"]["items"]:
            try:
                info = await self.peer.plugin["xep_0030"].get_info(jid=item[0])
            except IqError:
                continue
            if UPLOAD in info["disco_info"]["features"]:
                return item[0]
        raise ValueError("no upload service")

    async def send_url(self, to, url, kind):
        stanza = self.blank(to, kind)
        stanza["body"] = url
        stanza["oob"]["url"] = url
        stanza["request_receipt"] = True
        return self.sends(stanza)

    async def share_file(self, to, url, data, name, mime, disposition, kind):
        stanza = self.blank(to, kind)
        stanza["body"] = url
        content = base64.b64decode(data)
        sharing = self.peer.plugin["xep_0447"].get_sfs(uris=[url], media_type=mime, disposition=disposition, data=content)
        sharing["file"]["name"] = name
        stanza.append(sharing)
        # For those that do not know the element.
        stanza["oob"]["url"] = url
        stanza["request_receipt"] = True
        return self.sends(stanza)

    async def fetch(self, url):
        status, mime, content = await self.http(urllib.request.Request(url))
        return {"status": status, "mime": mime, **fingerprint(content)}

    async def http(self, request):
        def run():
            # No proxy of the environment is asked: everything is on this machine.
            opener = urllib.request.build_opener(
                urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.peer.trust)
            )
            with opener.open(request, timeout=PATIENCE) as answer:
                return answer.status, answer.headers.get("content-type"), answer.read()

        return await self.peer.loop.run_in_executor(None, run)

    async def join(self, room, nick, history):
        # Not join_muc_wait: it does not know an error that does not repeat what was asked.
        answer = self.peer.joining[f"{room}/{nick}"] = self.peer.loop.create_future()
        self.peer.plugin["xep_0045"].make_join_stanza(slixmpp.JID(room), nick, maxstanzas=history).send()
        error = await answer
        if error:
            raise Refused(error)

    async def leave(self, room, nick):
        self.peer.plugin["xep_0045"].leave_muc(slixmpp.JID(room), nick)

    async def create_room(self, room, nick, form, affiliations):
        await self.join(room, nick, 0)
        config = self.peer.plugin["xep_0004"].make_form(ftype="submit")
        config.add_field("FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/muc#roomconfig")
        for name, value in form.items():
            config.add_field(name, value=value)
        await self.peer.plugin["xep_0045"].set_room_config(slixmpp.JID(room), config)
        for jid, affiliation in affiliations.items():
            await self.affiliate(room, jid, affiliation)

    async def affiliate(self, room, jid, affiliation):
        await self.peer.plugin["xep_0045"].set_affiliation(slixmpp.JID(room), affiliation, jid=slixmpp.JID(jid))

    async def affiliates(self, room, affiliation):
        jids = await self.peer.plugin["xep_0045"].get_affiliation_list(slixmpp.JID(room), affiliation)
        return [str(jid) for jid in jids]

    async def invite(self, room, jid):
        self.peer.plugin["xep_0249"].send_invitation(slixmpp.JID(jid), slixmpp.JID(room))

    async def subject(self, room, subject):
        self.peer.plugin["xep_0045"].set_subject(slixmpp.JID(room), subject)

    async def archive(self, jid=None, after=None, limit=50):
        rsm = {"max": limit, **({"after": after} if after else {})}
        answer = await self.peer.plugin["xep_0313"].retrieve(jid=jid, rsm=rsm, timeout=PATIENCE)
        results = (message.xml.find("{urn:xmpp:mam:2}result") for message in answer["mam"]["results"])
        return [archived(result) for result in results]

    async def carbons(self):
        await self.peer.plugin["xep_0280"].enable()

    async def receipts(self, automatic):
        self.peer.plugin["xep_0184"].auto_ack = automatic

    async def raw(self, xml):
        self.peer.send_raw(xml)

    async def request(self, xml):
        answer = await self.peer.Iq(xml=ElementTree.fromstring(xml)).send(timeout=PATIENCE)
        return str(answer)

    async def logout(self):
        await self.peer.disconnect()


def fingerprint(content):
    return {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}


async def run(commands, command):
    """Does a command and answers it."""
    number, do = command.pop("number"), command.pop("do")
    try:
        result = await asyncio.wait_for(getattr(commands, do)(**command), PATIENCE)
        write({"event": "answer", "number": number, "result": result})
    except (IqTimeout, asyncio.TimeoutError):
        write({"event": "answer", "number": number, "error": "no answer in time"})
    except IqError as error:
        write({"event": "answer", "number": number, "error": error.condition or "error"})
    except Refused as error:
        write({"event": "answer", "number": number, "error": str(error)})
    except urllib.error.HTTPError as error:
        write({"event": "answer", "number": number, "error": f"status {error.code}"})
    except Exception as error:
        traceback.print_exc()
        write({"event": "answer", "number": number, "error": f"{type(error).__name__}: {error}"})


async def main():
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=LINE)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    login = json.loads(await lines.readline())
    number, host, port = login.pop("number"), login.pop("host"), login.pop("port")
    login.pop("do")
    peer = Peer(**login)
    peer.connect(host, port)
    try:
        error = await asyncio.wait_for(peer.ready, PATIENCE)
    except asyncio.TimeoutError:
        error = "no login in time"
    if error:
        write({"event": "answer", "number": number, "error": error})
        return
    write({"event": "answer", "number": number, "result": str(peer.boundjid)})
    # They start in order; those that wait for an answer run beside each other.
    commands, tasks = Commands(peer), set()
    while line := await lines.readline():
        task = asyncio.ensure_future(run(commands, json.loads(line)))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
try:
    asyncio.run(main())
finally:
    # Without waiting for threads and reconnections.
    sys.stdout.flush()
    os._exit(0)
