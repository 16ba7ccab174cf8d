// Many documents, or many programs, at a sync server.
//
//     node many.js make ADDRESS 1000 10000    # makes documents of so many bytes, until the server has all; prints their URLs
//     node many.js open ADDRESS FILE          # opens the documents of such a file; prints the seconds
//     node many.js idle ADDRESS NUMBER PID    # programs that join, and then have one document open; prints the bytes of memory of
//                                             # the server for each of them

import { readFileSync } from "node:fs";
import { once } from "node:events";
import * as Automerge from "@automerge/automerge";
import { Repo, parseAutomergeUrl } from "@automerge/automerge-repo";
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket";
import { Encoder } from "cbor-x";
import WebSocket from "ws";

// How long a server has nothing to do before its memory is read.
const SETTLE_MS = 5_000;
// Sockets that are opened at once.
const AT_ONCE = 100;

// as automerge-repo writes its messages
const cbor = new Encoder({ tagUint8Array: false, useRecords: false });
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const client = (address) => new Repo({ network: [new WebSocketClientAdapter(address)] });

// The server has them all. A program asks no second time for what it was told is not there: another one asks then.
async function arrived(address, urls) {
    let repo = client(address);
    let times = 0;
    for (const url of urls) {
        for (;;) {
            try {
                await repo.find(url);
                break;
            } catch (error) {
                if (++times === 200) throw error;
                await pause(500);
                repo = client(address);
            }
        }
    }
}

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

async function make(address, number, bytes) {
    const maker = client(address);
    // letters that do not compress to nothing
    let seed = 7;
    const letter = () => {
        seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
        return String.fromCharCode(97 + (seed % 26));
    };
    const made = [];
    for (let n = 0; n < number; n++) {
        made.push(maker.create({ text: Array.from({ length: bytes }, letter).join("") }));
        if (n % 50 === 49) await pause(20);
    }
    await arrived(
        address,
        made.map((handle) => handle.url),
    );
    console.log(JSON.stringify(made.map((handle) => handle.url)));
}

async function open(address, file) {
    const urls = JSON.parse(readFileSync(file, "utf8"));
    const begin = performance.now();
    const repo = client(address);
    const handles = await Promise.all(urls.map((url) => found(repo, url)));
    const seconds = (performance.now() - begin) / 1_000;
    if (handles.some((handle) => handle.doc().text.length === 0)) throw new Error("a document is empty");
    console.log(JSON.stringify({ seconds }));
}

function memory(pid) {
    const [, kilobytes] = readFileSync(`/proc/${pid}/status`, "utf8").match(/^VmRSS:\s+(\d+) kB$/m);
    return Number(kilobytes) * 1_024;
}

async function idle(address, number, pid) {
    const { url } = client(address).create({ text: "one" });
    // the server has it
    await arrived(address, [url]);
    const { documentId } = parseAutomergeUrl(url);
    // one program first: what a server needs for any of them is there
    const sockets = [];
    const program = async (name) => {
        const socket = new WebSocket(address, { perMessageDeflate: false });
        socket.on("error", (error) => {
            throw error;
        });
        await once(socket, "open");
        const answer = once(socket, "message");
        socket.send(cbor.encode({ type: "join", senderId: name, peerMetadata: {}, supportedProtocolVersions: ["1"] }));
        const peer = cbor.decode((await answer)[0]);
        if (peer.type !== "peer") throw new Error(`the server said ${JSON.stringify(peer)}`);
        sockets.push({ socket, name, server: peer.senderId });
    };
    const [, data] = Automerge.generateSyncMessage(Automerge.init(), Automerge.initSyncState());
    const follow = async ({ socket, name, server }) => {
        const answer = new Promise((resolve) => {
            socket.on("message", (bytes) => cbor.decode(bytes).type === "sync" && resolve());
        });
        socket.send(cbor.encode({ type: "request", senderId: name, targetId: server, documentId, data }));
        await answer;
    };
    await program("first");
    await follow(sockets[0]);
    await pause(SETTLE_MS);
    const before = memory(pid);
    for (let n = 0; n < number; n += AT_ONCE) {
        await Promise.all(Array.from({ length: Math.min(AT_ONCE, number - n) }, (_, m) => program(`program ${n + m}`)));
    }
    await pause(SETTLE_MS);
    const joined = memory(pid);
    for (let n = 1; n < sockets.length; n += AT_ONCE) {
        await Promise.all(sockets.slice(n, n + AT_ONCE).map(follow));
    }
    await pause(SETTLE_MS);
    const open = memory(pid);
    const alive = sockets.filter(({ socket }) => socket.readyState === WebSocket.OPEN).length - 1;
    console.log(JSON.stringify({ alive, joined: (joined - before) / number, open: (open - before) / number }));
}

const [what, address, ...words] = process.argv.slice(2);
switch (what) {
    case "make":
        await make(address, Number(words[0]), Number(words[1]));
        break;
    case "open":
        await open(address, words[0]);
        break;
    case "idle":
        await idle(address, Number(words[0]), Number(words[1]));
        break;
    default:
        console.error("node many.js make ADDRESS NUMBER BYTES, open ADDRESS FILE, or idle ADDRESS NUMBER PID");
        process.exit(2);
}
process.exit(0);
