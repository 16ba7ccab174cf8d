// Programs with samod, a Rust library of the same protocol, and one with stock automerge-repo, at two nodes: what one of
// them types is in the others, through a cut, a node that is killed, and a long time apart.
//
//   node samod.mjs NEXUS_NODE MODULES PEERS_SAMOD [KILLS]

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";

import { conclude, fail, same } from "./compare.mjs";
import { Machine, client, end, heads, load, until } from "./machines.mjs";

const [, , , , samod, kills = "5"] = process.argv;
const A = await load("@automerge/automerge");

const children = [];
/** A program with samod, in a process of its own. */
class Program {
  constructor(address) {
    this.child = spawn(samod, ["program", address], { stdio: ["pipe", "pipe", "inherit"] });
    // one that was killed takes no more lines
    this.child.stdin.on("error", () => {});
    children.push(this.child);
    this.lines = createInterface(this.child.stdout)[Symbol.asyncIterator]();
  }

  async ask(line) {
    this.child.stdin.write(`${line}\n`);
    const { value, done } = await this.lines.next();
    if (done) throw new Error(`samod ended at ${line}`);
    return JSON.parse(value);
  }

  async kill() {
    const ended = once(this.child, "exit");
    this.child.kill("SIGKILL");
    await ended;
  }
}

const count = (text, letter) => [...text].filter((other) => other === letter).length;
const one = new Machine("one");
const two = new Machine("two");
const clients = [];
try {
  await one.up();
  const { ticket } = one.run("invite", "--mine");
  two.run("join", ticket);
  await two.up();
  const write = ["documents:read", "documents:write"];
  const address = { one: one.address(one.token("tab", ...write)), two: two.address(two.token("tab", ...write)) };
  const [left, right] = [new Program(address.one), new Program(address.two)];
  const stock = client(address.two);
  clients.push(stock);

  // one makes a document, the others find it on the other machine
  const { url } = await left.ask("create");
  same("a document of samod's is on the other machine", await right.ask(`find ${url}`), { url });
  const tab = await stock.repo.find(url);
  await left.ask("type here");
  await until("samod follows on the other machine", async () => (await right.ask("show")).text === "here");
  await until("automerge-repo follows, too", () => tab.doc().text === "here");
  tab.change((doc) => A.splice(doc, ["text"], 4, 0, ";"));
  await until("and back", async () => (await left.ask("show")).text === "here;");

  /** All three and both nodes have the same heads. */
  const together = (what) =>
    until(what, async () => {
      const shown = await Promise.all([left.ask("show"), right.ask("show")]);
      const all = [...shown.map((it) => it.heads), heads(tab), one.run("doc", "get", url).heads, two.run("doc", "get", url).heads];
      return new Set(all.map((it) => JSON.stringify([...it].sort()))).size === 1 && shown[0].text;
    });
  await together("all have the same heads");

  // a cut between the nodes: both type
  await until("the machines know each other", () => two.run("peers").some(({ name, state }) => name === "one" && state === "up"));
  two.run("offline");
  for (let n = 0; n < 50; n += 1) {
    await left.ask("type l");
    await right.ask("type r");
    tab.change((doc) => A.splice(doc, ["text"], doc.text.length, 0, "s"));
  }
  await until("both on one side go on", async () => count((await right.ask("show")).text, "s") === 50);
  same("nothing comes through a cut", count((await left.ask("show")).text, "s"), 0);
  two.run("online");
  const healed = await together("all have the same heads after the cut");
  same("no letter is lost and none comes twice", ["l", "r"].map((letter) => count(healed.replace("here", ""), letter)), [50, 50]);
  same("nor of automerge-repo's", count(healed, "s"), 50);

  // a node is killed while programs type; each time a program that the node had answered is killed with it
  const words = [];
  for (let n = 0; n < Number(kills); n += 1) {
    const short = new Program(address.one);
    await until("a new program finds it", async () => (await short.ask(`find ${url}`)) !== null);
    const word = `<${n}>`;
    for (let letter = 0; letter < 5; letter += 1) {
      await left.ask("type L");
      await right.ask("type R");
    }
    await short.ask(`reach ${word}`);
    await Promise.all([one.end("SIGKILL"), short.kill()]);
    words.push(word);
    for (let letter = 0; letter < 5; letter += 1) {
      await left.ask("type L");
      await right.ask("type R");
    }
    await one.up();
    same(`kill ${n}: what the node had acknowledged is there`, one.run("doc", "get", url).value.text.includes(word), true);
  }
  const survived = await together("all have the same heads after the kills: programs connect again by themselves");
  same("every acknowledged word is there once", words.map((word) => survived.split(word).length - 1), words.map(() => 1));
  same("and every letter", ["L", "R"].map((letter) => count(survived, letter)), [10 * Number(kills), 10 * Number(kills)]);

  // a program that is away for long: it and the mesh each make a thousand changes meanwhile
  const away = client(address.one);
  clients.push(away);
  const notes = await away.repo.find(url);
  away.adapter.disconnect();
  for (let n = 0; n < 1_000; n += 1) {
    notes.change((doc) => A.splice(doc, ["text"], doc.text.length, 0, "+"));
    await right.ask("type -");
    if (n % 100 === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  }
  same("it typed alone", [count(notes.doc().text, "+"), count(notes.doc().text, "-")], [1_000, 0]);
  away.adapter.connect(away.repo.peerId, {});
  await until("it brings what it typed alone", async () => count((await right.ask("show")).text, "+") === 1_000);
  const all = await together("all have what was typed apart, and equal heads");
  same("nothing of a thousand changes apart is lost", ["+", "-"].map((letter) => count(all, letter)), [1_000, 1_000]);
  same("nor in the program that was away", await until("it has all", () => JSON.stringify(heads(notes)) === JSON.stringify(heads(tab))), true);
} catch (error) {
  fail(error.stack);
} finally {
  await end({ children, clients, machines: [one, two] });
}
conclude();
