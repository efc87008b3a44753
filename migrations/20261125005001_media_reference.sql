-- All that refers to stored files, each column by its own index. A table that comes to refer to files has a foreign key
-- to media_blob and joins this view: so also an older program, which runs beside it, forgets no file of it.
CREATE VIEW media_reference (hash) AS
SELECT hash FROM message_media WHERE hash IS NOT NULL
UNION ALL SELECT hash FROM localnet_media
UNION ALL SELECT photo FROM account WHERE photo IS NOT NULL
UNION ALL SELECT photo_preview FROM account WHERE photo_preview IS NOT NULL
UNION ALL SELECT photo FROM photo_change WHERE photo IS NOT NULL
UNION ALL SELECT preview FROM photo_change WHERE preview IS NOT NULL
UNION ALL SELECT photo FROM chat_group WHERE photo IS NOT NULL
UNION ALL SELECT photo_preview FROM chat_group WHERE photo_preview IS NOT NULL
UNION ALL SELECT photo FROM localnet_group WHERE photo IS NOT NULL
UNION ALL SELECT photo_preview FROM localnet_group WHERE photo_preview IS NOT NULL
UNION ALL SELECT photo FROM localnet_subscriber WHERE photo IS NOT NULL
UNION ALL SELECT photo_preview FROM localnet_subscriber WHERE photo_preview IS NOT NULL;
