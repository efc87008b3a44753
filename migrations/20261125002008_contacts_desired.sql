-- The networks do not know yet whom the accounts have in their lists.
INSERT INTO desired_state (account_id, aspect, value)
SELECT DISTINCT account_id, 'contacts', 'null'::jsonb FROM contact ON CONFLICT DO NOTHING;
