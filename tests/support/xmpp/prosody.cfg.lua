-- Prosody 0.12 for tests. The program that starts it replaces the names between at signs, and keeps the lines that
-- begin with "@federated ", "@alone ", "@uploads " or "@no-uploads " only in a server of that kind.

pidfile = "@FOLDER@/prosody.pid"
data_path = "@FOLDER@/data"
plugin_paths = { "@FOLDER@/plugins" }
log = { info = "*console" }
network_backend = "epoll"
network_settings = { tcp_backlog = 1024 }

interfaces = { "127.0.0.1" }
local_interfaces = { "127.0.0.1" }
c2s_ports = { @PORT@, @PLAIN_PORT@ }
c2s_direct_tls_ports = { @DIRECT_TLS_PORT@ }
http_interfaces = { "127.0.0.1" }
http_ports = { }
https_interfaces = { "127.0.0.1" }
https_ports = { @HTTPS_PORT@ }
component_ports = { }
component_interfaces = { "127.0.0.1" }

c2s_require_encryption = true
ssl = { certificate = "@FOLDER@/certificate.pem", key = "@FOLDER@/key.pem", cafile = "@FOLDER@/ca.pem" }

-- Names of other servers come from the test's own DNS. libunbound asks no server on loopback unless told to.
@federated s2s_ports = { @SERVER_PORT@ }
@federated unbound = { resolvconf = false; forward = "127.0.0.1@@DNS_PORT@"; options = { ["do-not-query-localhost:"] = "no" } }
@alone modules_disabled = { "s2s" }

authentication = "internal_hashed"
-- The default storage of archives freezes the server when a user has 10,000 items.
default_storage = "internal"
storage = { archive = "sql"; muc_log = "sql" }
sql = { driver = "SQLite3", database = "@FOLDER@/data/prosody.sqlite" }
admins = { "@ADMIN@@@DOMAIN@" }

modules_enabled = {
	"roster"; "saslauth"; "tls"; "disco"; "posix"; "private"; "blocklist";
	"carbons"; "pep"; "vcard4"; "vcard_legacy"; -- vcard_legacy shows the PEP avatar and vCard4 as vcard-temp
	"smacks"; "csi_simple"; "mam"; "offline"; "ping"; "time"; "uptime"; "version";
	"lastactivity"; "admin_adhoc"; "announce";
	"limits"; "http"; "bookmarks"; "user_account_management"; -- without tombstones: they keep a deleted name taken
	"windu_test";
}

-- For the module windu_test.
windu_test_plain_port = @PLAIN_PORT@
windu_test_admin = "@ADMIN@"
windu_test_password = "@PASSWORD@"

allow_registration = false -- the admin makes the accounts, by XEP-0133
-- The default of 10 kB/s slows tests down.
limits = { c2s = { rate = "10mb/s" }; s2sin = { rate = "10mb/s" } }
c2s_stanza_size_limit = 1024 * 512

smacks_hibernation_time = 300
smacks_max_hibernated_sessions = 10
smacks_max_queue_size = 5000
archive_expires_after = "4w"
default_archive_policy = true
max_archive_query_results = 250

VirtualHost "@DOMAIN@"
@uploads 	disco_items = { { "upload.@DOMAIN@" }, { "rooms.@DOMAIN@" } }
@no-uploads 	disco_items = { { "rooms.@DOMAIN@" } }

Component "rooms.@DOMAIN@" "muc"
	name = "Rooms"
	modules_enabled = { "muc_mam", "vcard_muc" }
	restrict_room_creation = "local"
	muc_room_locking = true
	muc_room_default_public = false
	muc_room_default_members_only = true
	muc_room_default_persistent = true
	muc_room_default_public_jids = true -- non-anonymous
	muc_room_default_change_subject = true
	muc_log_by_default = true

@uploads Component "upload.@DOMAIN@" "http_file_share"
@uploads 	http_host = "127.0.0.1"
@uploads 	http_external_url = "https://127.0.0.1:@UPLOAD_PORT@/"
@uploads 	http_file_share_size_limit = @UPLOAD_LIMIT@
@uploads 	http_file_share_daily_quota = @UPLOAD_QUOTA@
@uploads 	http_file_share_expires_after = 7 * 86400
