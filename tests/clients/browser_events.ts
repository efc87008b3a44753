/** Events in Chromium: one page follows them with EventSource and one with a WebSocket, while the server is killed. */

import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import * as http from 'node:http';
import { createServer, type AddressInfo, type Server as Listener } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { chromium, type Page } from 'playwright-core';

import { ARGUMENTS } from './chromium.js';
import { code, eventually, server as settings, windu } from './support.js';

const ANN = '15550100021';
const BOB = '15550100022';
const KILLS = 4;

/** What both pages do: note the events in `events`, and come back with a new ticket from the last cursor on. */
const FOLLOW = `
    var events = [], opened = 0, after = 'oldest';
    async function ticket(url, token) {
        const headers = { Authorization: 'Bearer ' + token };
        const made = await fetch(url + '/api/events/ticket/', { method: 'POST', headers });
        return (await made.json()).ticket;
    }
    function take(event) {
        if (event.id) events.push(event.id);
        if (event.cursor) after = event.cursor;
    }
    function follow(open) {
        const again = () => setTimeout(() => follow(open), 100);
        open(again).catch(again);
    }
    function followStream(url, token) {
        follow(async (again) => {
            const query = '?ticket=' + await ticket(url, token) + '&after=' + after;
            const source = new EventSource(url + '/api/events/stream/' + query);
            source.onopen = () => { opened++ };
            source.onmessage = (message) => take(JSON.parse(message.data));
            source.onerror = () => { source.close(); again() };
        });
    }
    function followSocket(url, token) {
        follow(async (again) => {
            const query = '?ticket=' + await ticket(url, token) + '&after=' + after;
            const socket = new WebSocket(url.replace('http', 'ws') + '/api/events/ws/' + query, 'windu.events.v1');
            socket.onopen = () => { opened++ };
            socket.onmessage = (message) => take(JSON.parse(message.data));
            socket.onclose = again;
        });
    }
`;

async function listen(listener: Listener): Promise<number> {
    await new Promise<void>((resolve) => listener.listen(0, '127.0.0.1', resolve));
    return (listener.address() as AddressInfo).port;
}

async function freePort(): Promise<number> {
    const listener = createServer();
    const port = await listen(listener);
    await new Promise((resolve) => listener.close(resolve));
    return port;
}

/** A server that can be killed and started again on its port. */
class Server {
    readonly folder = mkdtempSync(join(tmpdir(), 'events-'));
    readonly url: string;
    private running: ChildProcess | undefined;

    constructor(port: number) {
        this.url = `http://127.0.0.1:${port}`;
        // The user of the private PostgreSQL must be able to enter the folder when this runs as root.
        chmodSync(this.folder, 0o711);
    }

    start() {
        this.running = spawn(windu, ['serve'], {
            env: {
                ...process.env,
                WINDU_DATA_DIR: join(this.folder, 'data'),
                WINDU_LISTEN: new URL(this.url).host,
                WINDU_BOOTSTRAP_USER: settings.username,
                WINDU_BOOTSTRAP_PASSWORD: settings.password,
            },
            stdio: 'ignore',
        });
    }

    async stop(signal: NodeJS.Signals) {
        const running = this.running;
        if (running === undefined || running.exitCode !== null || running.signalCode !== null) return;
        const ended = new Promise((resolve) => running.once('exit', resolve));
        running.kill(signal);
        await ended;
    }

    /** Asks until there is an answer with a status that is expected. */
    async ask(path: string, expected: number, request: RequestInit = {}): Promise<any> {
        const answer = await eventually(
            path,
            () => fetch(this.url + path, request).catch(() => undefined),
            (answer) => answer !== undefined && answer.status < 500,
        );
        const text = await answer!.text();
        assert.equal(answer!.status, expected, `${path}: ${text}`);
        return JSON.parse(text);
    }
}

await test('events in a browser', async (t) => {
    const server = new Server(await freePort());
    t.after(async () => {
        await server.stop('SIGTERM');
        rmSync(server.folder, { recursive: true });
    });
    server.start();
    const login = { grant_type: 'password', username: settings.username, password: settings.password };
    const token = (
        await server.ask('/o/token/', 200, {
            method: 'POST',
            body: new URLSearchParams({ ...login, client_id: settings.clientId }),
        })
    ).access_token;
    const headers = { Authorization: `Bearer ${token}` };
    const post = (path: string, expected: number, body: Record<string, string>, key = '') =>
        server.ask(path, expected, {
            method: 'POST',
            headers: key === '' ? headers : { ...headers, 'Idempotency-Key': key },
            body: new URLSearchParams(body),
        });
    for (const account of [ANN, BOB]) {
        await post('/api/account/create-account/', 201, { account });
        const proof = code(account, join(server.folder, 'data', 'codes.log'));
        await post('/api/account/register-code/', 200, { account, code: proof });
    }
    await post('/api/contacts/add-contact/', 201, { account: ANN, contact_id: BOB });

    // The pages come from another origin than the API.
    const site = http.createServer((_, answer) => {
        answer.setHeader('Content-Type', 'text/html');
        answer.end(`<!doctype html><script>${FOLLOW}</script>`);
    });
    const home = `http://127.0.0.1:${await listen(site)}/`;
    t.after(() => site.close());
    const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGUMENTS });
    t.after(() => browser.close());
    const pages: Page[] = [];
    for (const follow of ['followStream', 'followSocket']) {
        const page = await browser.newPage();
        await page.goto(home);
        await page.evaluate(`${follow}('${server.url}', '${token}')`);
        pages.push(page);
    }
    const opened = () => Promise.all(pages.map((page) => page.evaluate<number>('opened')));

    let sent = 0;
    const send = async () => {
        sent += 1;
        const body = { account: ANN, contact: BOB, message: String(sent) };
        await post('/api/messages/send-message/', 200, body, `message-${sent}`);
    };
    for (let kill = 0; kill < KILLS; kill++) {
        // Both are connected when it is killed.
        await eventually('the connections', opened, (counts) => counts.every((count) => count > kill));
        for (let count = 0; count < 20; count++) await send();
        const sending = send();
        await server.stop('SIGKILL');
        server.start();
        await sending;
    }
    for (let count = 0; count < 20; count++) await send();

    const stored = async () => {
        const ids: string[] = [];
        let received = 0;
        for (let after = 'oldest', more = true; more; ) {
            const page = await server.ask(`/api/events/?after=${after}&limit=1000`, 200, { headers });
            for (const { id, type } of page.events) {
                ids.push(id);
                if (type === 'message.received') received += 1;
            }
            [after, more] = [page.cursor, page.more];
        }
        return { ids, received };
    };
    await eventually('the messages', stored, ({ received }) => received === sent);
    // Receipts may come still.
    await eventually(
        'the events',
        async () => {
            const { ids } = await stored();
            const seen = await Promise.all(pages.map((page) => page.evaluate<string[]>('events')));
            return { stored: ids.length, seen: seen.map((ids) => ids.length), same: seen.every((seen) => seen.join() === ids.join()) };
        },
        ({ same }) => same,
    );
});
