/** What the tests share: the settings that tests/clients/run passes, and codes, waiting and a picture. */

import { readFileSync } from 'node:fs';

function setting(name: string): string {
    const value = process.env[name];
    if (value === undefined) throw new Error(`${name} is not set; tests/clients/run sets it`);
    return value;
}

export const server = {
    url: setting('TEST_URL'),
    clientId: setting('TEST_CLIENT_ID'),
    username: setting('TEST_USERNAME'),
    password: setting('TEST_PASSWORD'),
};

/** The program, for a test with a server of its own. */
export const windu = setting('TEST_WINDU');

/** The newest code that was sent to a number. */
export function code(number: string, file = setting('TEST_CODES')): string {
    const lines = readFileSync(file, 'utf8').split('\n');
    const line = lines.findLast((line) => line.includes(` code for ${number}: `));
    if (line === undefined) throw new Error(`no code for ${number} in codes.log`);
    return line.slice(line.lastIndexOf(' ') + 1);
}

/** Asks until the answer is accepted, for at most 30 seconds. */
export async function eventually<T>(what: string, ask: () => Promise<T>, accept: (answer: T) => boolean): Promise<T> {
    const end = Date.now() + 30_000;
    for (;;) {
        const answer = await ask();
        if (accept(answer)) return answer;
        if (Date.now() > end) throw new Error(`${what}: still ${JSON.stringify(answer)} after 30 seconds`);
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
}

/** A PNG of one pixel. */
export const picture = new Blob(
    [
        Buffer.from(
            'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==',
            'base64',
        ),
    ],
    { type: 'image/png' },
);
