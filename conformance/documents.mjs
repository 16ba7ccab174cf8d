// Documents go out to the JavaScript library of Automerge, are changed there, and come back: both show the same.
//
//   node documents.mjs NEXUS_NODE DATA_DIR MODULES

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { conclude, same } from "./compare.mjs";

const [program, data, modules] = process.argv.slice(2);
const A = createRequire(join(modules, "x.js"))("@automerge/automerge");

const work = mkdtempSync(join(tmpdir(), "documents-"));

/** A command of the program; its JSON. */
function nexus(...words) {
  const ran = spawnSync(program, ["--data-dir", data, "--json", ...words], { encoding: "utf8" });
  if (ran.status !== 0) throw new Error(`${words.join(" ")} ended with ${ran.status}: ${ran.stderr}`);
  return JSON.parse(ran.stdout);
}

/** A document of the node, as the library loads it from a file. */
function taken(key) {
  const file = join(work, "out");
  nexus("doc", "export", key, file);
  return A.load(readFileSync(file));
}

/** Gives the node bytes of the library, as a new document. */
function given(key, bytes) {
  const file = join(work, "in");
  writeFileSync(file, bytes);
  return nexus("doc", "import", file, "--key", key);
}

/** A value of the library as the node shows it. */
function shown(value) {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Date) return value.getTime();
  if (value instanceof A.Counter) return value.value;
  if (value instanceof A.ImmutableString) return value.toString();
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(shown);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, shown(item)]));
}

function alike(what, key, doc) {
  const here = nexus("doc", "get", key);
  same(`${what}: the value`, here.value, shown(doc));
  same(`${what}: the heads`, [...here.heads].sort(), [...A.getHeads(doc)].sort());
}

function outAndBack() {
  const value = {
    title: "Release 2 \u{1f600} fünf",
    steps: [{ text: "tests", done: false }, { text: "notes", done: true }],
    numbers: { whole: 42, below: -7, large: 9007199254740991, part: 0.5, none: null },
    bytes: { $bytes: "AAEC/w==" },
    "a/b": { "": "an empty key", "~": [] },
  };
  nexus("doc", "create", "out");
  nexus("doc", "set", "out", "", JSON.stringify(value));
  const first = taken("out");
  alike("a document of the node", "out", first);
  same("a document of the node: as it was written", nexus("doc", "get", "out").value, value);
  const second = A.change(A.clone(first), { message: "by the library" }, (doc) => {
    // the library counts UTF-16 code units: the smiling face is two
    A.splice(doc, ["title"], 10, 2, "\u{1f680}!");
    doc.steps.push({ text: "announce", done: false });
    doc.steps[0].done = true;
    delete doc.numbers.none;
    doc.more = { counter: new A.Counter(3), at: new Date(1_700_000_000_000) };
  });
  given("back", A.save(second));
  alike("a document that the library changed", "back", second);
  same("its text", nexus("doc", "get", "back", "title").value, "Release 2 \u{1f680}! fünf");
  const item = nexus("doc", "history", "back").items[0];
  same("the message of its last change", item.message, "by the library");
  same("its former version", nexus("doc", "at", "back", A.getHeads(first).join(".")).value, value);

  // the node counts characters: the rocket is one
  nexus("doc", "text", "back", "title", "--at", "11", "--insert", "?");
  const third = taken("back");
  same("a letter after the rocket", third.title, "Release 2 \u{1f680}?! fünf");
  // both have typed apart
  const apart = A.change(A.clone(second), (doc) => A.splice(doc, ["title"], 0, 0, "\u{1f468}\u200d\u{1f469} "));
  const merged = A.merge(A.clone(third), apart);
  same("both texts in one", merged.title, "\u{1f468}\u200d\u{1f469} Release 2 \u{1f680}?! fünf");
  given("merged", A.save(merged));
  alike("two branches", "merged", merged);
  // a whole file with the changes after it behind it, as programs append them
  const whole = A.save(merged);
  const longer = A.change(merged, (doc) => doc.more.counter.increment(4));
  given("appended", Buffer.concat([whole, ...A.getChanges(merged, longer)]));
  alike("a file with changes behind it", "appended", longer);
}

function byTheLibraryAlone() {
  let doc = A.from({
    text: "x\u{1f600}y\u{10348}z",
    name: new A.ImmutableString("no text"),
    list: [1, [2, [3, {}]], "four", null, true],
    counter: new A.Counter(-5),
    at: new Date(0),
    bytes: new Uint8Array([0, 255, 7]),
  });
  doc = A.change(doc, (doc) => {
    A.mark(doc, ["text"], { start: 1, end: 3, expand: "both" }, "bold", true);
    doc.counter.increment(2);
    doc.list.splice(1, 1, "two");
  });
  given("alone", A.save(doc));
  alike("a document of the library alone", "alone", doc);
  // past both letters of two code units
  nexus("doc", "text", "alone", "text", "--at", "4", "--delete", "1", "--insert", "\u{1f40b}");
  same("a text with letters of two code units", taken("alone").text, "x\u{1f600}y\u{10348}\u{1f40b}");
  nexus("doc", "edit", "alone", '{"counter": 7, "name": "a text"}');
  const edited = taken("alone");
  same("a counter that was set", edited.counter.value, 7);
  same("a string that became a text", edited.name, "a text");
  alike("after edits of the node", "alone", edited);
  // several writers at once, who are conflicting
  const writers = ["a", "b", "c"].map((name) => A.change(A.clone(edited), (doc) => { doc.name = name; }));
  const all = writers.reduce((one, other) => A.merge(one, other));
  given("conflict", A.save(all));
  alike("three who wrote the same key", "conflict", all);
  given("empty", A.save(A.init()));
  alike("an empty document", "empty", A.init());
}

try {
  outAndBack();
  byTheLibraryAlone();
} finally {
  rmSync(work, { recursive: true });
}
conclude(" with the library");
