/** `openapi-fetch` with the types of `openapi-typescript`. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import createClient from 'openapi-fetch';

import { code, eventually, picture, server } from './support.js';
import type { components, paths } from './windu.js';

const EVE = '15550100011';
const FRED = '15550100012';

/** These types write a file as a string. */
const file = picture as unknown as string;

function form(fields: object): FormData {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    return form;
}

await test('openapi-fetch', async () => {
    const client = createClient<paths>({ baseUrl: server.url });
    const token = await client.POST('/o/token/', {
        body: {
            grant_type: 'password',
            username: server.username,
            password: server.password,
            client_id: server.clientId,
        },
        headers: { 'Content-Type': 'application/x-www-form-urlencoded' },
    });
    assert.ok(token.data, JSON.stringify(token.error));
    client.use({
        onRequest({ request }) {
            request.headers.set('Authorization', `Bearer ${token.data.access_token}`);
        },
    });

    for (const account of [EVE, FRED]) {
        const created = await client.POST('/api/account/create-account/', { body: { account } });
        assert.equal(created.response.status, 201);
        assert.equal(created.data?.length, 6);
        const proved = await client.POST('/api/account/register-code/', { body: { account, code: code(account) } });
        assert.equal(proved.data?.login, account);
    }
    await eventually(
        'the sessions',
        () => client.GET('/api/account/'),
        ({ data }) => data?.accounts.every(({ session }) => session.state === 'online') === true,
    );

    const imported = await client.POST('/api/contacts/import-contacts/', {
        body: { account: EVE, contacts: [{ contact_id: FRED, first_name: 'Fred' }, { contact_id: 'no number' }] },
    });
    assert.deepEqual([imported.data?.added, imported.data?.invalid], [1, 1]);
    const sent = await client.POST('/api/messages/send-message/', {
        params: { header: { 'Idempotency-Key': 'order-4712' } },
        body: { account: EVE, contact: FRED, message: 'Hello Fred' },
    });
    assert.ok(sent.data, JSON.stringify(sent.error));
    const image = await client.POST('/api/messages/send-image/', {
        body: { account: EVE, contact: FRED, filename: file },
        bodySerializer: form,
    });
    assert.ok(image.data, JSON.stringify(image.error));

    const query = { account: FRED, limit: 1, received_only: true };
    const received = await eventually(
        "Fred's messages",
        () => client.GET('/api/messages/chats/{chat}/', { params: { path: { chat: EVE }, query } }),
        ({ data }) => data?.messages[0]?.type === 'i',
    );
    const message: components['schemas']['MessageInfo'] | undefined = received.data?.messages[0];
    assert.equal(message?.id, image.data.message_id);

    const refused = await client.GET('/api/groups/{group_id}/info/', {
        params: { path: { group_id: '15550100011-1' }, query: { account: EVE } },
    });
    assert.equal(refused.response.status, 404);
    const problem: components['schemas']['Problem'] | undefined = refused.error;
    assert.equal(problem?.code, 'group_not_found');
});
