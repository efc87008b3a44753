/** The documentation page in Chromium: it loads without complaint, signs in, and sends a request. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { chromium } from 'playwright-core';

import { ARGUMENTS } from './chromium.js';
import { server } from './support.js';

await test('documentation in a browser', async (t) => {
    const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ARGUMENTS });
    t.after(() => browser.close());
    const page = await browser.newPage();
    page.setDefaultTimeout(30_000);

    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('requestfailed', (request) => complaints.push(`${request.url()} failed`));
    // A violation of the Content-Security-Policy is an error on the console, too.
    page.on('console', (message) => {
        if (message.type() === 'error' || message.type() === 'warning') complaints.push(message.text());
    });
    await page.exposeFunction('complain', (text: string) => complaints.push(text));
    await page.addInitScript(
        `addEventListener('securitypolicyviolation', (event) => complain(event.violatedDirective + ' ' + event.blockedURI))`,
    );
    const origins = new Set<string>();
    page.on('request', (request) => {
        if (!request.url().startsWith('data:')) origins.add(new URL(request.url()).origin);
    });

    await page.goto(`${server.url}/api/docs/`);
    await page.locator('.scheme-container .btn.authorize').click();
    const dialog = page.locator('.modal-ux');
    await dialog.locator('#oauth_username').fill(server.username);
    await dialog.locator('#oauth_password').fill(server.password);
    assert.equal(await dialog.locator('#client_id_password').inputValue(), server.clientId);
    const token = page.waitForResponse(`${server.url}/o/token/`);
    await dialog.getByRole('button', { name: 'Apply given OAuth2 credentials' }).click();
    assert.equal((await token).status(), 200);
    await dialog.getByRole('button', { name: 'Remove authorization' }).waitFor();
    await dialog.locator('.close-modal').click();

    const operation = page.locator('#operations-account-get_account');
    await operation.locator('.opblock-summary-control').click();
    await operation.getByRole('button', { name: 'Try it out' }).click();
    const answer = page.waitForResponse(`${server.url}/api/account/`);
    await operation.getByRole('button', { name: 'Execute' }).click();
    assert.equal((await answer).status(), 200);
    const shown = operation.locator('.live-responses-table .response-col_status').last();
    assert.match(await shown.innerText(), /^200/);

    assert.deepEqual([...origins], [new URL(server.url).origin]);
    assert.deepEqual(complaints, []);
});
