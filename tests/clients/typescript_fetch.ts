/** The client of openapi-generator's `typescript-fetch`, from the first token to a group. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
    AccountApi,
    Configuration,
    ContactsApi,
    ErrorCode,
    GroupsApi,
    MessagesApi,
    OauthApi,
    type Problem,
    ProblemFromJSON,
    ResponseError,
} from './client/index.js';
import { code, eventually, picture, server } from './support.js';

const ANN = '15550100001';
const BOB = '15550100002';
const CLEO = '15550100003';

/** The error body of a request that must be refused, and the status. */
async function refused(request: Promise<unknown>): Promise<Problem & { status: number }> {
    try {
        await request;
    } catch (error) {
        if (!(error instanceof ResponseError)) throw error;
        return { ...ProblemFromJSON(await error.response.json()), status: error.response.status };
    }
    throw new Error('the request was not refused');
}

await test('typescript-fetch', async (t) => {
    const oauth = new OauthApi(new Configuration({ basePath: server.url }));
    const token = await oauth.postOToken({
        grantType: 'password',
        username: server.username,
        password: server.password,
        clientId: server.clientId,
    });
    assert.equal(token.tokenType, 'Bearer');
    assert.equal(token.expiresIn, 86_400);
    const signedIn = new Configuration({ basePath: server.url, accessToken: token.accessToken });
    const account = new AccountApi(signedIn);
    const contacts = new ContactsApi(signedIn);
    const messages = new MessagesApi(signedIn);
    const groups = new GroupsApi(signedIn);

    await t.test('accounts are created and proved', async () => {
        for (const [number, nickname] of [
            [ANN, 'Ann'],
            [BOB, 'Bob'],
        ] as const) {
            const sent = await account.postAccountCreateAccount({ body: { account: number, nickname } });
            assert.deepEqual(sent, { method: 'sms', length: 6 });
            const proved = await account.postAccountRegisterCode({
                body: { account: number, code: code(number) },
            });
            assert.equal(proved.login, number);
        }
        const { accounts } = await eventually(
            'the sessions',
            () => account.getAccount(),
            ({ accounts }) => accounts.every(({ session }) => session.state === 'online'),
        );
        assert.deepEqual(accounts.map(({ account }) => account).sort(), [ANN, BOB]);
        assert.ok(accounts.every(({ registered, network }) => registered && network === 'local'));
        assert.ok(accounts[0]?.session.sinceTimestamp instanceof Date);
        const { nickname } = await account.getAccountNickname({ account: BOB });
        assert.equal(nickname, 'Bob');
    });

    await t.test('contacts are added, imported and removed', async () => {
        const added = await contacts.postContactsAddContact({
            body: { contactId: BOB, firstName: 'Bob' },
        });
        assert.deepEqual(added, { contactId: BOB, _exists: true });
        const imported = await contacts.postContactsImportContacts({
            body: {
                contacts: [
                    { contactId: BOB, firstName: 'Bob' },
                    { contactId: CLEO, firstName: 'Cleo' },
                ],
            },
        });
        assert.deepEqual([imported.added, imported.removed, imported.existing], [1, 0, 1]);
        const removed = await contacts.postContactsRemoveContacts({
            body: { contacts: [CLEO] },
        });
        assert.equal(removed.totalDeleted, 1);
        const list = await contacts.getContacts();
        assert.deepEqual(list, [{ contactId: BOB, firstName: 'Bob', lastName: '', _exists: true }]);
    });

    await t.test('a text and a picture are sent, listed and read', async () => {
        const text = await messages.postMessagesSendMessage({
            idempotencyKey: 'order-4711',
            body: { contact: BOB, message: 'Hello Bob' },
        });
        const image = await messages.postMessagesSendImage({ contact: BOB, caption: 'The lake', filename: picture });
        assert.ok(image.url.startsWith(`${server.url}/media/`));
        const received = await eventually(
            "Bob's messages",
            () => messages.getMessagesChatsByChat({ chat: ANN, account: BOB }),
            ({ messages }) => messages.length === 2 && messages[1]?.media === 'stored',
        );
        const [first, second] = received.messages;
        assert.ok(first && second);
        assert.deepEqual([first.id, first.type, first.text, first.received], [text.messageId, 't', 'Hello Bob', true]);
        assert.deepEqual([second.id, second.type, second.caption], [image.messageId, 'i', 'The lake']);
        assert.deepEqual([second.width, second.height], [1, 1]);
        assert.ok(second.timestamp instanceof Date && second.timestamp >= first.timestamp);
        const file = await fetch(second.url ?? '');
        assert.deepEqual([file.status, file.headers.get('content-type')], [200, 'image/png']);

        const { chats } = await messages.getMessagesChats({ account: BOB });
        assert.deepEqual(
            chats.map(({ id, unread, isGroup, type }) => ({ id, unread, isGroup, type })),
            [{ id: ANN, unread: 2, isGroup: false, type: 'i' }],
        );
        const marked = await messages.postMessagesUpdateLastRead({
            body: { account: BOB, contact: ANN },
        });
        assert.equal(marked.read, 2);
        const read = await eventually(
            'the read receipts',
            () => messages.getMessagesReadByChat({ chat: BOB }),
            (read) => read.messages.length === 2,
        );
        assert.ok(read.messages.every(({ readTimestamp }) => readTimestamp instanceof Date));
    });

    await t.test('a person is blocked and unblocked', async () => {
        await contacts.postContactsBlockedList({ body: { numbers: [CLEO] } });
        const blocked = await contacts.postContactsByContactIdBlock({ contactId: CLEO });
        assert.equal(blocked.text, 'already-blocked');
        assert.deepEqual(await contacts.getContactsBlockedList(), { numbers: [CLEO] });
        await contacts.postContactsByContactIdUnblock({ contactId: CLEO });
        assert.deepEqual(await contacts.getContactsBlockedList(), { numbers: [] });
    });

    await t.test('a profile photo is set and fetched', async () => {
        await account.postAccountProfilePhoto({ account: BOB, photo: picture });
        const photo = await account.getAccountProfilePhoto({ account: BOB });
        assert.deepEqual([photo.type, photo.size > 0], ['image/jpeg', true]);
    });

    await t.test('a group is made and written to', async () => {
        const { groupid } = await groups.postGroupsCreateGroup({
            body: { subject: 'Lake', participants: [BOB] },
        });
        const details = await groups.getGroupsByGroupIdInfo({ groupId: groupid });
        assert.deepEqual([details.subject, details.creator, details.admins], ['Lake', ANN, [ANN]]);
        assert.deepEqual(details.participants, [ANN, BOB]);
        await messages.postMessagesSendMessage({
            body: { groupId: groupid, message: 'Who swims?' },
        });
        const received = await eventually(
            'the message in the group',
            () => messages.getMessagesChatsByChat({ chat: groupid, account: BOB }),
            ({ messages }) => messages.length === 1,
        );
        assert.equal(received.messages[0]?.participant, ANN);
    });

    await t.test('errors have a code and a text', async () => {
        const unknown = await refused(
            messages.postMessagesSendMessage({
                body: { contact: CLEO, message: 'Hello' },
            }),
        );
        assert.deepEqual([unknown.status, unknown.code], [400, ErrorCode.NotAContact]);
        assert.ok(unknown.error.length > 0);
        const unsigned = new AccountApi(new Configuration({ basePath: server.url, accessToken: 'no-such-token' }));
        const invalid = await refused(unsigned.getAccount());
        assert.deepEqual([invalid.status, invalid.code], [401, ErrorCode.TokenInvalid]);
    });
});
