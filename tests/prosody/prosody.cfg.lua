-- Prosody 0.12 for Windu, in the container of docker-compose.yml.

local domain = ENV_WINDU_XMPP_DOMAIN
local tls = "/var/lib/prosody/tls/" .. domain

pidfile = "/run/prosody/prosody.pid"
data_path = "/var/lib/prosody"
log = { info = "*console" }
network_backend = "epoll"
network_settings = { tcp_backlog = 1024 }

c2s_ports = { 5222 }
c2s_direct_tls_ports = { }
s2s_ports = { 5269 }
http_ports = { }
https_ports = { 5281 }
component_ports = { }

c2s_require_encryption = true
ssl = { certificate = tls .. "/certificate.pem", key = tls .. "/key.pem" }

authentication = "internal_hashed"
allow_registration = false -- the administrator makes the accounts (XEP-0133)
admins = { "windu-admin@" .. domain }

-- The default storage of archives halts the server when an account has 10,000 messages.
default_storage = "internal"
storage = { archive = "sql"; muc_log = "sql" }
sql = { driver = "SQLite3", database = "prosody.sqlite" }
archive_expires_after = "1y"
default_archive_policy = true
max_archive_query_results = 250

modules_enabled = {
	"roster"; "saslauth"; "tls"; "disco"; "posix"; "private"; "blocklist";
	"carbons"; "pep"; "vcard4"; "vcard_legacy"; -- vcard_legacy shows the PEP avatar and vCard4 as vcard-temp
	"smacks"; "csi_simple"; "mam"; "offline"; "ping"; "time"; "uptime"; "version";
	"lastactivity"; "admin_adhoc"; "announce";
	"limits"; "http"; "bookmarks"; "user_account_management"; -- without tombstones: they keep a deleted name taken
}

-- The default for clients is 10 kB/s.
limits = { c2s = { rate = "1mb/s" }; s2sin = { rate = "100kb/s" } }
c2s_stanza_size_limit = 512 * 1024

smacks_hibernation_time = 300
smacks_max_hibernated_sessions = 10
smacks_max_queue_size = 5000

VirtualHost(domain)
	disco_items = { { "upload." .. domain }, { "rooms." .. domain } }

Component("rooms." .. domain) "muc"
	name = "Rooms"
	modules_enabled = { "muc_mam", "vcard_muc" }
	restrict_room_creation = "local"
	muc_room_default_public = false
	muc_room_default_members_only = true
	muc_room_default_persistent = true
	muc_room_default_public_jids = true -- non-anonymous
	muc_room_default_change_subject = true
	muc_log_by_default = true
	muc_log_expires_after = "1y"

Component("upload." .. domain) "http_file_share"
	http_host = domain
	http_external_url = "https://" .. domain .. ":5281/"
	http_file_share_size_limit = 64 * 1024 * 1024
	http_file_share_daily_quota = 1024 * 1024 * 1024
	http_file_share_expires_after = 30 * 86400
