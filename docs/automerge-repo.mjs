// One text, edited from any number of machines: node automerge-repo.mjs ADDRESS [URL]
import { splice } from "@automerge/automerge";
import { Repo } from "@automerge/automerge-repo";
import { WebSocketClientAdapter } from "@automerge/automerge-repo-network-websocket";
const [address, url] = process.argv.slice(2);
const repo = new Repo({ network: [new WebSocketClientAdapter(address)] });
const notes = url ? await repo.find(url) : repo.create({ text: "" });
console.log(notes.url);
notes.on("change", ({ doc }) => console.log(JSON.stringify(doc.text)));
process.stdin.on("data", (typed) => notes.change((doc) => splice(doc, ["text"], doc.text.length, 0, String(typed))));
