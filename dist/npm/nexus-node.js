#!/usr/bin/env node
// Starts the program of this platform: same arguments, same terminal, same end.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");

const platform = `nexus-node-${process.platform}-${process.arch}`;
const program = process.platform === "win32" ? "nexus-node.exe" : "nexus-node";

function fail(message, hint) {
  process.stderr.write(`error: ${message}\nhint: ${hint}\n`);
  process.exit(1);
}

let path;
try {
  path = require.resolve(`${platform}/${program}`);
} catch {
  const known = Object.keys(require("../package.json").optionalDependencies);
  if (known.includes(platform)) {
    fail(`the package ${platform} is not installed`, "install again, and leave --omit=optional and --no-optional away");
  }
  fail(`there is no program for ${process.platform} on ${process.arch}`, `there is one in ${known.join(", ")}`);
}

const child = spawn(path, process.argv.slice(2), { stdio: "inherit" });

// Ctrl-C in a terminal reaches the program by itself; it stops at the first signal, whichever way it comes.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => child.kill(signal));
}

child.on("error", (error) => fail(`${path}: ${error.message}`, "install the package again"));
child.on("exit", (code, signal) => {
  if (signal) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
    // where the signal does not end this process, the shell's way to say so
    process.exitCode = 128 + (constants.signals[signal] ?? 0);
  } else {
    process.exitCode = code;
  }
});
