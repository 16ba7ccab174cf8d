// Compares `--profile graph` with the memory server that it replaces, call by call. Both get the same calls, valid and
// invalid, and must give exactly the same answers. The intended differences are checked, too.
//
//   node graph.mjs SERVER_MEMORY_JS NEXUS_NODE DATA_DIR [SEQUENCES] [CALLS] [SEED]

import { spawn } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { isDeepStrictEqual } from "node:util";

const [reference, nexus, directory] = process.argv.slice(2);
const [sequences, calls, firstSeed] = [...process.argv.slice(5), ...[20, 150, 1].slice(process.argv.length - 5)].map(Number);

/** A server on stdio. */
class Server {
  #next = 1;
  #waiting = new Map();
  constructor(command, args, env = {}) {
    this.child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "ignore"] });
    createInterface({ input: this.child.stdout }).on("line", (line) => {
      const message = JSON.parse(line);
      this.#waiting.get(message.id)?.(message);
      this.#waiting.delete(message.id);
    });
  }
  ask(method, params = {}) {
    const id = this.#next++;
    const answer = new Promise((resolve) => this.#waiting.set(id, resolve));
    this.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", id, method, params })}\n`);
    return answer;
  }
  async begin() {
    const clientInfo = { name: "comparison", version: "1" };
    const { result } = await this.ask("initialize", { protocolVersion: "2025-11-25", capabilities: {}, clientInfo });
    this.child.stdin.write(`${JSON.stringify({ jsonrpc: "2.0", method: "notifications/initialized" })}\n`);
    return result;
  }
  call(name, args) {
    return this.ask("tools/call", args === undefined ? { name } : { name, arguments: args });
  }
  end() {
    this.child.stdin.end();
  }
}

/** Numbers from a seed (Numerical Recipes' generator: good enough to choose by). */
const random = (seed) => {
  let state = seed >>> 0;
  const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const below = (n) => Math.floor(next() * n);
  return { below, chance: (p) => next() < p, pick: (list) => list[below(list.length)] };
};

const NAMES = ["Ann", "bob", "Zoë", "A. Turing", "", " ", "x\ny", "nul\u0000", "🦀", "ann", "__proto__", '"q"', "日本", "ß"];
const TYPES = ["person", "Place", "", "событие", "a b"];
const SAID = ["likes tea", "LIKES coffee", "", "lives in Paris", "é\u0301", "tab\there", "two\nlines", "42", "\\", "tea"];
const QUERIES = ["", "tea", "TEA", "Ann", "likes", "person", "zoë", "\n", " ", "in paris", "none", "é", "ß", "🦀", "x\ny"];

const distinct = (list) => [...new Map(list.map((item) => [JSON.stringify(item), item])).values()];
const several = (dice, make, most = 4) => Array.from({ length: dice.below(most) }, make);

/** A call that fits. Nothing is said twice in one call: that is compared by itself. */
const valid = (dice) => {
  const name = () => dice.pick(NAMES);
  const texts = () => distinct(several(dice, () => dice.pick(SAID)));
  const relation = () => ({ from: name(), to: name(), relationType: dice.pick(TYPES) });
  const byName = (list, key) => [...new Map(list.map((item) => [item[key], item])).values()];
  const makers = {
    create_entities: () => ({
      entities: byName(several(dice, () => ({ name: name(), entityType: dice.pick(TYPES), observations: texts() })), "name"),
    }),
    create_relations: () => ({ relations: distinct(several(dice, relation)) }),
    add_observations: () => ({
      observations: byName(several(dice, () => ({ entityName: name(), contents: texts() }), 3), "entityName"),
    }),
    delete_entities: () => ({ entityNames: several(dice, name, 2) }),
    delete_observations: () => ({ deletions: several(dice, () => ({ entityName: name(), observations: texts() }), 3) }),
    delete_relations: () => ({ relations: several(dice, relation, 3) }),
    read_graph: () => ({}),
    search_nodes: () => ({ query: dice.pick(QUERIES) }),
    open_nodes: () => ({ names: several(dice, name) }),
  };
  const tool = dice.pick(Object.keys(makers));
  return [tool, makers[tool]()];
};

const ODD = [null, 1, 1.5, true, "text", [], {}, [null], { name: "x" }, undefined];

/** Puts something else into one place of the arguments. */
const spoil = (dice, value) => {
  if (value === null || typeof value !== "object" || dice.chance(0.3)) return dice.pick(ODD);
  const keys = Object.keys(value);
  if (keys.length === 0 || dice.chance(0.15)) return Array.isArray(value) ? [...value, dice.pick(ODD)] : { ...value, more: 1 };
  const key = dice.pick(keys);
  const copy = Array.isArray(value) ? [...value] : { ...value };
  copy[key] = spoil(dice, value[key]);
  if (copy[key] === undefined && !Array.isArray(copy)) delete copy[key];
  return copy;
};

const shown = (answer) =>
  answer.error
    ? { protocolError: true }
    : { content: answer.result.content, structured: answer.result.structuredContent, isError: answer.result.isError ?? false };

let failures = 0;
const fail = (what, ...more) => {
  failures += 1;
  console.log(`  ${what}`, ...more.map((item) => JSON.stringify(item)));
};

const open = async (project, strict) => {
  const file = join(mkdtempSync(join(tmpdir(), "memory-")), "memory.jsonl");
  const theirs = new Server(process.execPath, [reference], { MEMORY_FILE_PATH: file });
  const args = ["--data-dir", directory, "mcp", "--no-start", "--profile", "graph", "--project", project];
  const ours = new Server(nexus, strict ? [...args, "--strict"] : args);
  const welcome = [await theirs.begin(), await ours.begin()];
  return { theirs, ours, welcome };
};

// The tools' descriptions. Ours have fewer keywords: some providers of models refuse a schema for one that they do not know.
const LEFT_OUT = new Set(["$schema", "additionalProperties"]);
{
  const { theirs, ours, welcome } = await open("descriptions", true);
  const described = async (server) => {
    const { result } = await server.ask("tools/list");
    return result.tools.map(({ name, title, description, inputSchema, outputSchema, annotations }) => {
      const sorted = (schema) =>
      JSON.parse(JSON.stringify(schema), (key, value) => (LEFT_OUT.has(key) ? undefined : key === "required" ? value.sort() : value));
      return { name, title, description, annotations, in: sorted(inputSchema), out: sorted(outputSchema) };
    });
  };
  const [one, other] = [await described(theirs), await described(ours)];
  one.forEach((tool, place) => isDeepStrictEqual(tool, other[place]) || fail("described differently", tool, other[place]));
  if (one.length !== other.length) fail("not as many tools");
  for (const [method, params] of [["resources/list"], ["resources/templates/list"], ["resources/read", { uri: "memory://knowledge-graph" }]]) {
    const [a, b] = [await theirs.ask(method, params), await ours.ask(method, params)];
    for (const noise of ["ttlMs", "cacheScope"]) delete b.result?.[noise];
    if (!isDeepStrictEqual(a.result, b.result)) fail(`${method} differs`, a, b);
  }
  if (!welcome.every((info) => info.capabilities.resources.subscribe)) fail("not subscribable", welcome);
  theirs.end();
  ours.end();
  console.log(`descriptions: ${one.length} tools, the resource`);
}

// Generated sequences.
let compared = 0;
let invalid = 0;
for (let seed = firstSeed; seed < firstSeed + sequences; seed += 1) {
  const dice = random(seed);
  const { theirs, ours } = await open(`sequence-${process.pid}-${seed}`, true);
  for (let step = 0; step < calls; step += 1) {
    let [tool, args] = valid(dice);
    if (dice.chance(0.3)) {
      [tool, args] = dice.chance(0.05) ? ["no_such_tool", args] : [tool, spoil(dice, args)];
      invalid += 1;
    }
    const [a, b] = (await Promise.all([theirs.call(tool, args), ours.call(tool, args)])).map(shown);
    compared += 1;
    if (!isDeepStrictEqual(a, b)) {
      fail(`seed ${seed}, call ${step}: ${tool}`, args, a, b);
      break;
    }
  }
  theirs.end();
  ours.end();
}
console.log(`answers: ${compared} calls in ${sequences} sequences (${invalid} spoilt), ${failures} differences`);

// Intended differences.
{
  const { theirs, ours } = await open(`purpose-${process.pid}`, false);
  const both = async (tool, args) => (await Promise.all([theirs.call(tool, args), ours.call(tool, args)])).map((answer) => answer.result);
  const twice = { name: "twice", entityType: "t", observations: ["one", "one", "two words"] };
  const [a, b] = await both("create_entities", { entities: [twice, twice] });
  if (a.structuredContent.entities.length !== 2 || b.structuredContent.entities.length !== 1) fail("said twice in one call is there once", b);
  await both("create_entities", { entities: [{ name: "words", entityType: "t", observations: ["two kinds of words"] }] });
  const [none, found] = await both("search_nodes", { query: "words kinds" });
  if (none.structuredContent.entities.length !== 0 || found.structuredContent.entities[0]?.name !== "words") fail("words that do not stand together", found);
  const [, ranked] = await both("search_nodes", { query: "words" });
  if (ranked.structuredContent.entities[0]?.name !== "words") fail("the best first", ranked);
  const many = Array.from({ length: 3000 }, (_, n) => ({ name: `many ${n}`, entityType: "t", observations: ["some text that takes room"] }));
  await both("create_entities", { entities: many });
  const [all, some] = await both("read_graph", {});
  if (!some._meta.truncated || some.structuredContent.entities.length >= all.structuredContent.entities.length) fail("bounded", some._meta);
  if (!some.content[1].text.startsWith("truncated")) fail("says so", some.content[1]);
  theirs.end();
  ours.end();
  console.log("on purpose: said twice is there once, words apart are found, the best first, bounded");
}
process.exit(failures === 0 ? 0 : 1);
