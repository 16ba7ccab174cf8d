// Nodes in directories and processes of their own, programs with automerge-repo, and waiting for what has to happen.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";
import { isDeepStrictEqual } from "node:util";

const [program, modules] = process.argv.slice(2);
const require = createRequire(join(modules, "x.js"));
/** A package of those that `run` installed. */
export const load = (name) => import(pathToFileURL(require.resolve(name)).href);
const { Repo } = await load("@automerge/automerge-repo");
const { WebSocketClientAdapter } = await load("@automerge/automerge-repo-network-websocket");
const A = await load("@automerge/automerge");

/** The longest wait for something that has to happen. */
const PATIENCE_MS = 60_000;
/** A directory for what a test makes. */
export const work = mkdtempSync(join(tmpdir(), "repo-"));
/** A node in a directory and process of its own. */
export class Machine {
  constructor(name) {
    this.name = name;
    this.data = join(work, name);
    this.port = 0;
  }

  run(...words) {
    const ran = spawnSync(program, ["--data-dir", this.data, "--json", ...words], { encoding: "utf8" });
    if (ran.status !== 0) throw new Error(`${this.name}: ${words.join(" ")} ended with ${ran.status}: ${ran.stderr}`);
    return JSON.parse(ran.stdout);
  }

  async up() {
    const words = ["--data-dir", this.data, "--quiet", "--json", "up", "--no-mdns", "--name", this.name];
    words.push("--api-addr", `127.0.0.1:${this.port}`, "--listen", "/ip4/127.0.0.1/tcp/0", "--until-stdin-closes");
    this.process = spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] });
    const [line] = await once(createInterface(this.process.stdout), "line");
    const ready = JSON.parse(line);
    this.port = Number(new URL(ready.api).port);
  }

  async end(signal) {
    const ended = once(this.process, "exit");
    if (signal) this.process.kill(signal);
    else this.process.stdin.end();
    await ended;
  }

  token(name, ...scopes) {
    return this.run("token", "create", "--name", name, ...scopes.flatMap((scope) => ["--scope", scope])).token;
  }

  address(token) {
    return `ws://127.0.0.1:${this.port}/automerge?token=${token}`;
  }
}

/** A program whose node is at an address. */
export function client(address) {
  const adapter = new WebSocketClientAdapter(address, 200);
  return { repo: new Repo({ network: [adapter] }), adapter };
}

/** Waits until something is so. */
export async function until(what, check) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const seen = await check();
    if (seen) return seen;
    if (Date.now() > end) throw new Error(`${what} did not happen`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export const heads = (handle) => [...A.getHeads(handle.doc())].sort();
export const alike = (one, other) => isDeepStrictEqual(heads(one), heads(other));

/** Ends what a test began. */
export async function end({ children = [], clients = [], machines = [] }) {
  for (const child of children) child.kill();
  for (const { repo } of clients) await Promise.race([repo.shutdown(), new Promise((resolve) => setTimeout(resolve, 2_000))]);
  for (const machine of machines) if (machine.process && machine.process.exitCode === null && machine.process.signalCode === null) await machine.end();
  rmSync(work, { recursive: true, force: true });
}
