// Programs with stock automerge-repo, each at a node of its own: what one of them types is in the other one.
//
//   node repo.mjs NEXUS_NODE MODULES

import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { isDeepStrictEqual } from "node:util";

import { conclude, fail, same } from "./compare.mjs";
import { Machine, alike, client, end, heads, load, until, work } from "./machines.mjs";

const modules = process.argv[3];
const { Repo } = await load("@automerge/automerge-repo");
const A = await load("@automerge/automerge");
const { default: WebSocket } = await load("ws");
const { decode, encode } = await load("cbor-x");

/** A number as sync messages have it. */
function leb(number) {
  const bytes = [];
  for (; number > 127; number = Math.floor(number / 128)) bytes.push((number % 128) + 128);
  return Buffer.from([...bytes, number]);
}

const one = new Machine("one");
const two = new Machine("two");
const three = new Machine("three");
const clients = [];
const children = [];
try {
  await one.up();
  const { ticket } = one.run("invite", "--mine");
  two.run("join", ticket);
  await two.up();
  const write = ["documents:read", "documents:write"];
  const address = { one: one.address(one.token("tab", ...write)), two: two.address(two.token("tab", ...write)) };
  const [left, right] = [client(address.one), client(address.two)];
  clients.push(left, right);

  // a document that a program made
  const mine = left.repo.create({ title: "plan", notes: "" });
  const theirs = await right.repo.find(mine.url);
  same("a document of a program is on the other machine", theirs.doc(), { title: "plan", notes: "" });

  // both type at once
  for (let n = 0; n < 50; n += 1) {
    mine.change((doc) => A.splice(doc, ["notes"], 0, 0, "l"));
    theirs.change((doc) => A.splice(doc, ["notes"], doc.notes.length, 0, "r"));
    if (n % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const typed = () => mine.doc().notes.length === 100 && alike(mine, theirs);
  await until("what both typed is on both", typed);
  const letters = [...mine.doc().notes].sort().join("");
  same("no letter is lost and none comes twice", letters, "l".repeat(50) + "r".repeat(50));
  const known = await until("the node has all", () => {
    const shown = two.run("doc", "get", mine.url);
    return isDeepStrictEqual([...shown.heads].sort(), heads(mine)) && shown;
  });
  same("a node shows what the programs show", known.value.notes, mine.doc().notes);

  // a node types
  one.run("doc", "set", mine.url, "/title", '"release"');
  await until("what a node writes is in a program of the other", () => theirs.doc().title === "release");

  // the program of docs/automerge-repo.mjs, once on each machine
  const place = join(work, "program");
  mkdirSync(place);
  symlinkSync(modules, join(place, "node_modules"));
  copyFileSync(new URL("../docs/automerge-repo.mjs", import.meta.url), join(place, "notes.mjs"));
  const notes = (...words) => {
    const child = spawn(process.execPath, [join(place, "notes.mjs"), ...words], { stdio: ["pipe", "pipe", "inherit"] });
    children.push(child);
    const lines = [];
    createInterface(child.stdout).on("line", (line) => lines.push(line));
    return { child, lines };
  };
  const here = notes(address.one);
  const [link] = await until("the program has a text", () => here.lines.length > 0 && here.lines);
  const there = notes(address.two, link);
  await until("it is found on the other machine", () => there.lines[0] === link);
  here.child.stdin.write("here ");
  there.child.stdin.write("there ");
  const both = (lines) => lines.length > 1 && ["here ", "there "].every((word) => JSON.parse(lines.at(-1)).includes(word));
  await until("both have both words", () => both(here.lines) && both(there.lines));
  same("two programs show one text", here.lines.at(-1), there.lines.at(-1));

  // nobody has it
  const unknown = new Repo({}).create({}).url;
  const missing = await right.repo.find(unknown).then(() => "found", (error) => String(error.message));
  same("a document that nobody has is unavailable", /unavailable/.test(missing), true);

  // a token that reads
  const reader = client(one.address(one.token("reader", "documents:read")));
  clients.push(reader);
  const read = await reader.repo.find(mine.url);
  read.change((doc) => (doc.title = "not by a reader"));
  theirs.change((doc) => (doc.after = 1));
  await until("what came later is on both", () => mine.doc().after === 1);
  await until("a token that reads goes on reading", () => read.doc().after === 1);
  same("a token that reads changes nothing", [mine.doc().title, theirs.doc().title], ["release", "release"]);

  // where the cursors of others are
  const words = (handle) => {
    const heard = [];
    handle.on("ephemeral-message", ({ senderId, message }) => heard.push({ senderId, ...message }));
    return heard;
  };
  const [heard, heardHere, heardByReader] = [words(theirs), words(mine), words(read)];
  await until("a cursor is on the other machine", () => {
    mine.broadcast({ cursor: 7 });
    return heard.some(({ cursor }) => cursor === 7) && heardByReader.some(({ cursor }) => cursor === 7);
  });
  same("a cursor comes in its program's name", new Set(heard.map(({ senderId }) => senderId)), new Set([left.repo.peerId]));
  await until("a program that reads says where its cursor is", () => {
    read.broadcast({ cursor: 8 });
    return [heard, heardHere].every((all) => all.some(({ cursor }) => cursor === 8));
  });
  same("a program does not hear its own cursor", heardHere.some(({ cursor }) => cursor === 7), false);
  same("and nothing of it is kept", isDeepStrictEqual(heads(mine), heads(theirs)) && mine.doc().cursor === undefined, true);

  // a program that would have the node keep a mebibyte for each of twenty documents
  const filter = Buffer.concat([leb(838_860), Buffer.from([10, 7]), Buffer.alloc(1_048_575, 0xff)]);
  const large = Buffer.concat([Buffer.from([0x42, 0, 0, 1, 0]), leb(filter.length), filter, Buffer.from([0])]);
  const socket = new WebSocket(address.one);
  const said = [];
  socket.on("message", (bytes) => said.push(decode(bytes)));
  await once(socket, "open");
  const send = (message) => socket.send(encode({ senderId: "glutton", targetId: "node", ...message }));
  const word = (documentId, count, bytes) => ({ type: "ephemeral", documentId, sessionId: "s", count, data: encode({ word: "x".repeat(bytes) }) });
  send({ type: "join", supportedProtocolVersions: ["1"] });
  for (let n = 0; n < 20; n += 1) send({ type: "request", documentId: new Repo({}).create({}).documentId, data: large });
  send({ type: "request", documentId: mine.documentId, data: Buffer.from([0x42, 0, 0, 0, 0]) });
  await until("its last message is answered", () => said.some(({ type }) => type === "sync"));
  const refused = said.filter(({ type, message }) => type === "error" && /keeps at most/.test(message));
  same("a program's messages are kept up to a bound", refused.length, 13);
  // it floods others with words
  const begun = Date.now();
  send({ senderId: "behind it", ...word(mine.documentId, 1, 10) });
  for (let n = 1; n <= 1_000; n += 1) send(word(mine.documentId, n, 3_000));
  const last = new Repo({}).create({}).documentId;
  send({ type: "request", documentId: last, data: Buffer.from([0x42, 0, 0, 0, 0]) });
  await until("the flood is over", () => said.some(({ documentId }) => documentId === last) && heard.some(({ word }) => word?.length === 3_000));
  same("a word of a program behind another one has its own name", heard.find(({ word }) => word?.length === 10)?.senderId, "behind it");
  const flood = heard.filter(({ word }) => word?.length === 3_000).length;
  const most = 20 * (2 + Math.ceil((Date.now() - begun) / 1_000));
  same(`of a thousand words at once no more than 20 a second are told`, flood <= most, true);
  const other = new WebSocket(address.one);
  const refusals = [];
  other.on("message", (bytes) => refusals.push(decode(bytes)));
  await once(other, "open");
  other.send(encode({ type: "join", senderId: "loud", targetId: "node", supportedProtocolVersions: ["1"] }));
  other.send(encode({ senderId: "loud", targetId: "node", ...word(mine.documentId, 1, 5_000) }));
  await once(other, "close");
  same("a word is bounded", /longer than 4096/.test(refusals.at(-1).message), true);

  send({ type: "join", supportedProtocolVersions: ["1"] });
  await once(socket, "close");
  same("a program joins once", /joins once/.test(said.at(-1).message), true);

  // the machine of a program loses its power while it types
  await one.end("SIGKILL");
  for (let n = 0; n < 20; n += 1) {
    mine.change((doc) => A.splice(doc, ["notes"], 0, 0, "L"));
    theirs.change((doc) => A.splice(doc, ["notes"], doc.notes.length, 0, "R"));
  }
  await one.up();
  await until("what both typed meanwhile is on both", () => mine.doc().notes.length === 140 && alike(mine, theirs));
  same("nothing is lost", [...mine.doc().notes].filter((letter) => "LR".includes(letter)).length, 40);
  // long messages that do not come to an end make room for others
  const long = [];
  for (let n = 0; n < 7; n += 1) {
    const part = new WebSocket(address.one);
    await once(part, "open");
    part.send(encode({ type: "join", senderId: `part ${n}`, targetId: "node", supportedProtocolVersions: ["1"] }));
    part.closed = once(part, "close").then(([code]) => { part.code = code; });
    part.on("error", () => {});
    long.push(part);
  }
  for (const part of long) for (let n = 0; n < 14; n += 1) part.send(Buffer.alloc(1 << 20, 0x41), { fin: false });
  await until("those that stall longest are closed", () => long.filter(({ code }) => code === 1013).length >= 3);
  mine.change((doc) => (doc.beside = 1));
  await until("others go on beside them", () => theirs.doc().beside === 1);
  same("and no more than make room", long.filter(({ code }) => code !== undefined).length < 7, true);
  for (const part of long) part.terminate();

  // what a revoked machine wrote goes, and what a program did on top of it is kept aside
  three.run("join", one.run("invite", "--mine").ticket);
  await three.up();
  const at = client(three.address(three.token("tab", ...write)));
  clients.push(at);
  const cached = await at.repo.find(mine.url);
  await until("two machines know each other", () => three.run("peers").some(({ name, state }) => name === "two" && state === "up"));
  one.run("offline");
  theirs.change((doc) => (doc.late = "by a revoked machine"));
  await until("it is on the third machine", () => cached.doc().late);
  one.run("revoke", "two", "--yes");
  one.run("online");
  await until("the third machine knows of it", () => three.run("doc", "get", mine.url).value.late === undefined);
  cached.change((doc) => (doc.mine = "typed on top"));
  const rescued = await until("it is kept aside", () => three.run("doc", "list").find(({ key }) => key?.startsWith(`rescued/${mine.documentId}/`)));
  const kept = await until("and all of it", () => {
    const { value } = three.run("doc", "get", rescued.key);
    return JSON.stringify(value).includes("typed on top") && value;
  });
  same("what is kept aside says where it belongs", [kept.document, kept.left_out], [mine.url, 0]);
  same("nothing of the revoked machine is in it", JSON.stringify(kept).includes("by a revoked machine"), false);
  cached.change((doc) => (doc.more = "typed later"));
  await until("what comes later is kept aside, too", () => JSON.stringify(three.run("doc", "get", rescued.key).value).includes("typed later"));
  const docs = three.run("doc", "list").filter(({ key }) => key?.startsWith("rescued/"));
  same("as one document", docs.length, 1);
  const standing = three.run("doc", "get", mine.url).value;
  same("and nothing of both comes back", [standing.late, standing.mine, standing.more], [undefined, undefined, undefined]);
  mine.change((doc) => (doc.after = 2));
  await until("the document goes on", () => three.run("doc", "get", mine.url).value.after === 2);
} catch (error) {
  fail(error.stack);
} finally {
  await end({ children, clients, machines: [one, two, three] });
}
conclude();
