-- A module for tests: one client port without TLS, although the others require it, the admin's account, occupants that
-- can be dropped, and a fast SQLite: what is written survives the end of the server, and not that of the machine.

local hosts = prosody.hosts;
local jid_host = require "util.jid".host;
local usermanager = require "core.usermanager";

local plain_port = module:get_option_number("windu_test_plain_port");
local admin = module:get_option_string("windu_test_admin");
local password = module:get_option_string("windu_test_password");

-- Before the modules that offer TLS and authentication.
module:hook("stream-features", function (event)
	local session = event.origin;
	local port = session.type == "c2s_unauthed" and session.conn and tonumber(session.conn:serverport());
	if port == plain_port then
		session.secure = true;
		session.ssl_ctx = false; -- TLS is not offered
	end
end, 1000);

-- Takes an occupant out of a room, of which nobody is told: <drop xmlns="urn:windu:test" room="..." nick="..."/>.
module:hook("message/host", function (event)
	local drop = event.stanza:get_child("drop", "urn:windu:test");
	if not drop then return; end
	local room_jid = drop.attr.room;
	local room = hosts[jid_host(room_jid)].modules.muc.get_room_from_jid(room_jid);
	local occupant_jid = room_jid .. "/" .. drop.attr.nick;
	room._occupants[occupant_jid] = nil;
	for real_jid, nick_jid in pairs(room._jid_nick) do
		if nick_jid == occupant_jid then room._jid_nick[real_jid] = nil; end
	end
	return true;
end);

module:hook_global("server-started", function ()
	if not usermanager.user_exists(admin, module.host) then
		assert(usermanager.create_user(admin, password, module.host));
	end
	for _, engine in pairs(module:shared("/*/sql/connections")) do
		assert(engine:connect());
		engine.conn:autocommit(true);
		assert(assert(engine.conn:prepare("PRAGMA synchronous = OFF")):execute());
		engine.conn:autocommit(false);
	end
end);
