-- A message that is sent changes soon after it was stored: it finds room in its own page.
ALTER TABLE message SET (fillfactor = 75);
