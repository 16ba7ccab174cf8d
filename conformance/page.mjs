// The page of docs/automerge-repo.html in chromium, at two nodes: what is typed on one page stands on the other.
//
//   node page.mjs NEXUS_NODE MODULES CHROMIUM

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";

import { conclude, fail, same } from "./compare.mjs";
import { Machine, client, end, until, work } from "./machines.mjs";

const [, , , modules, chromium] = process.argv;

/** A browser, spoken to over a pipe (Chrome DevTools Protocol). */
class Browser {
  constructor() {
    const words = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--no-first-run", "--disable-gpu"];
    words.push("--disable-dev-shm-usage", "--disable-background-networking", `--user-data-dir=${join(work, "profile")}`);
    this.child = spawn(chromium, words, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    this.next = 1;
    this.waiting = new Map();
    this.errors = [];
    const decoder = new StringDecoder("utf8");
    let rest = "";
    this.child.stdio[4].on("data", (bytes) => {
      const all = (rest + decoder.write(bytes)).split("\0");
      rest = all.pop();
      for (const heard of all.map((it) => JSON.parse(it))) {
        if (heard.method === "Runtime.exceptionThrown") this.errors.push(heard.params.exceptionDetails);
        this.waiting.get(heard.id)?.(heard);
        this.waiting.delete(heard.id);
      }
    });
    this.child.on("exit", () => this.waiting.forEach((answer) => answer({ error: "the browser ended" })));
  }

  async ask(method, params, sessionId) {
    const id = this.next++;
    const answered = new Promise((resolve) => this.waiting.set(id, resolve));
    this.child.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    const { result, error } = await answered;
    if (error) throw new Error(`${method}: ${JSON.stringify(error)}`);
    return result;
  }

  /** A page at an address. */
  async open(url) {
    const { targetId } = await this.ask("Target.createTarget", { url: "about:blank" });
    const { sessionId } = await this.ask("Target.attachToTarget", { targetId, flatten: true });
    await this.ask("Runtime.enable", {}, sessionId);
    await this.ask("Page.navigate", { url }, sessionId);
    const value = async (expression) => {
      const { result, exceptionDetails } = await this.ask("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true }, sessionId);
      if (exceptionDetails) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`);
      return result.value;
    };
    const type = async (words) => {
      await value("document.querySelector('textarea').focus()");
      await this.ask("Input.insertText", { text: words }, sessionId);
    };
    return { value, type, text: () => value("document.querySelector('textarea')?.value"), title: () => value("document.title") };
  }

  async end() {
    const ended = once(this.child, "exit");
    this.child.kill();
    await ended;
  }
}

// the page as its first lines say that it is made
const site = join(work, "site");
mkdirSync(site);
symlinkSync(modules, join(site, "node_modules"));
for (const name of ["automerge-repo.html", "automerge-repo.page.mjs"]) copyFileSync(new URL(`../docs/${name}`, import.meta.url), join(site, name));
const [, words] = readFileSync(join(site, "automerge-repo.html"), "utf8").match(/`npx (esbuild [^`]*)`/);
const [tool, ...rest] = words.split(" ");
const made = spawnSync(join(modules, ".bin", tool), rest, { cwd: site, encoding: "utf8" });
same("the page's script is made as the page says", [made.status, made.status === 0 ? "" : made.stderr], [0, ""]);
const server = createServer((request, answer) => {
  const name = new URL(request.url, "http://x").pathname.slice(1);
  if (!["automerge-repo.html", "automerge-repo.bundle.js"].includes(name)) return answer.writeHead(404).end();
  answer.writeHead(200, { "content-type": name.endsWith("html") ? "text/html" : "text/javascript" }).end(readFileSync(join(site, name)));
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const page = `http://127.0.0.1:${server.address().port}/automerge-repo.html`;

const one = new Machine("one");
const two = new Machine("two");
const clients = [];
let browser;
try {
  await one.up();
  two.run("join", one.run("invite", "--mine").ticket);
  await two.up();
  const [here, there] = [one, two].map((machine) => machine.address(machine.token("page", "documents:write")));
  browser = new Browser();
  const left = await browser.open(`${page}#${here}`);
  const url = await until("a page has a text", async () => {
    const title = await left.title();
    return title.startsWith("automerge:") && title;
  });
  const right = await browser.open(`${page}#${there}&doc=${url}`);
  await until("the page of the other machine has it", async () => (await right.title()) === url);
  await left.type("typed here");
  await until("what is typed on one page is on the other", async () => (await right.text()) === "typed here");
  await right.type("and there, ");
  await until("and back", async () => (await left.text()).includes("and there, "));
  const program = client(there);
  clients.push(program);
  const shown = (await program.repo.find(url)).doc().text;
  same("a program finds the same text", [shown, await left.text(), await right.text()], [shown, shown, shown]);

  // apart, both pages go on; a node that is killed and comes again is found by its page
  await until("the machines know each other", () => two.run("peers").some(({ name, state }) => name === "one" && state === "up"));
  two.run("offline");
  await left.type("[left]");
  await right.type("[right]");
  same("a cut keeps the pages apart", (await left.text()).includes("[right]"), false);
  await one.end("SIGKILL");
  await left.type("[alone]");
  await one.up();
  two.run("online");
  const whole = await until("both pages have one text", async () => {
    const [text, other] = [await left.text(), await right.text()];
    return text === other && ["[left]", "[right]", "[alone]"].every((it) => text.includes(it)) && text;
  });
  await until("and the node", () => two.run("doc", "get", url).value.text === whole);
  same("nothing failed on the pages", browser.errors, []);
} catch (error) {
  fail(error.stack);
} finally {
  await browser?.end();
  server.close();
  await end({ clients, machines: [one, two] });
}
conclude();
