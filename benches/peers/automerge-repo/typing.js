// Characters that are typed into a document of automerge-repo until a second client has them: two clients through its
// WebSocket server, each of the three in a process of its own, in memory, on loopback.
//
//     node typing.js each 10000        # a change for each character
//     node typing.js together 10000    # the first at once, and then what comes within 20 ms as one change, 1,000 at most
//
// With the address of a server behind it, the two clients are at that one.
//
// It prints characters a second and the changes that they became, as JSON.

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as Automerge from "@automerge/automerge";
import { Repo } from "@automerge/automerge-repo";
import { WebSocketClientAdapter, WebSocketServerAdapter } from "@automerge/automerge-repo-network-websocket";
import { WebSocketServer } from "ws";

// The time within which characters after the first are one change, and the most of them: those of our node.
const TOGETHER_MS = 20;
const TOGETHER_MAX = 1_000;
// Changes after which the network has a turn.
const TURN = 64;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const turn = () => new Promise((resolve) => setImmediate(resolve));
// A clock that all processes share.
const now = () => performance.timeOrigin + performance.now();
const message = () => new Promise((resolve) => process.once("message", resolve));
const letters = (handle, count) =>
    handle.change((document) => {
        for (let n = 0; n < count; n++) Automerge.splice(document, ["text"], 0, 0, "x");
    });
const changes = (handle) => Automerge.stats(handle.doc()).numChanges;
const client = (address) => new Repo({ network: [new WebSocketClientAdapter(address)] });

const seen = (handle, characters) =>
    new Promise((resolve) => {
        const look = () => {
            if (handle.doc().text.length < characters) return;
            handle.off("change", look);
            resolve();
        };
        handle.on("change", look);
        look();
    });

// A server may not have it yet, and say so.
async function found(repo, url) {
    for (let times = 0; ; times++) {
        try {
            return await repo.find(url);
        } catch (error) {
            if (times === 50) throw error;
            await pause(100);
        }
    }
}

async function server() {
    const sockets = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    await new Promise((resolve) => sockets.once("listening", resolve));
    new Repo({ network: [new WebSocketServerAdapter(sockets)], sharePolicy: async () => false });
    process.send(`ws://127.0.0.1:${sockets.address().port}`);
}

async function typist(address, characters, together) {
    const handle = client(address).create({ text: "" });
    await handle.whenReady();
    process.send(handle.url);
    await message();
    // the first one is seen before the clock starts: all are in step then
    letters(handle, 1);
    await message();
    const before = changes(handle);
    const begin = now();
    if (together) {
        letters(handle, 1);
        for (let typed = 1; typed < characters; typed += TOGETHER_MAX) {
            await pause(TOGETHER_MS);
            letters(handle, Math.min(TOGETHER_MAX, characters - typed));
        }
    } else {
        for (let typed = 0; typed < characters; typed++) {
            letters(handle, 1);
            if (typed % TURN === TURN - 1) await turn();
        }
    }
    process.send({ begin, changes: changes(handle) - before });
}

async function reader(address, url, characters) {
    const handle = await found(client(address), url);
    await handle.whenReady();
    process.send("ready");
    await seen(handle, 1);
    process.send("in step");
    await seen(handle, characters + 1);
    process.send(now());
}

async function all(how, characters, server) {
    const started = [];
    const start = (...words) => {
        const child = fork(fileURLToPath(import.meta.url), words.map(String), { stdio: ["ignore", "ignore", "inherit", "ipc"] });
        started.push(child);
        const inbox = [];
        let wake = () => {};
        child.on("message", (said) => {
            inbox.push(said);
            wake();
        });
        child.on("exit", (code) => {
            if (code) throw new Error(`a process ended with ${code}`);
        });
        return {
            say: (said) => child.send(said),
            async hear() {
                while (inbox.length === 0) await new Promise((resolve) => (wake = resolve));
                return inbox.shift();
            },
        };
    };
    try {
        const address = server ?? (await start("server").hear());
        const typing = start("typist", address, characters, how);
        const reading = start("reader", address, await typing.hear(), characters);
        await reading.hear();
        typing.say("the reader is there");
        await reading.hear();
        typing.say("in step");
        const [{ begin, changes }, end] = [await typing.hear(), await reading.hear()];
        console.log(JSON.stringify({ characters_per_second: (characters * 1_000) / (end - begin), changes }));
    } finally {
        for (const child of started) child.kill();
    }
}

const [what, ...words] = process.argv.slice(2);
switch (what) {
    case "server":
        await server();
        break;
    case "typist":
        await typist(words[0], Number(words[1]), words[2] === "together");
        break;
    case "reader":
        await reader(words[0], words[1], Number(words[2]));
        break;
    case "each":
    case "together":
        await all(what, Number(words[0]), words[1]);
        break;
    default:
        console.error("node typing.js each|together CHARACTERS [ADDRESS]");
        process.exit(2);
}
