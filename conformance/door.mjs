// A proxy to a node for clients that cannot send a token: it adds the token, and changes nothing else. A host or
// origin that names the proxy then names the node. Any other host or origin stays, for the node to refuse.
//
//   node door.mjs DATA_DIR    prints its address, and serves until stdin closes

import { readFileSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";

const directory = process.argv[2];
const read = (name) => readFileSync(join(directory, name), "utf8").trim();
const node = new URL(read("api-url"));
const token = read("api-token");

const server = http.createServer((incoming, outgoing) => {
  const port = server.address().port;
  const own = ["127.0.0.1", "localhost", "[::1]"].map((name) => `${name}:${port}`);
  const headers = { ...incoming.headers };
  if (own.includes(headers.host)) headers.host = node.host;
  if (headers.origin && own.some((host) => headers.origin === `http://${host}`)) headers.origin = node.origin;
  headers.authorization = `Bearer ${token}`;
  const options = { host: node.hostname, port: node.port, method: incoming.method, path: incoming.url, headers };
  const request = http.request(options, (answer) => {
    outgoing.writeHead(answer.statusCode, answer.headers);
    answer.pipe(outgoing);
  });
  request.on("error", () => outgoing.destroy());
  outgoing.on("close", () => request.destroy());
  incoming.pipe(request);
});

server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}`));
process.stdin.resume().on("end", () => process.exit(0));
