// The official conformance suite against a server: every scenario that needs no fixtures must hold.
//
//   node suite.mjs CONFORMANCE_CLI URL

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [cli, url] = process.argv.slice(2);

// Scenarios that ask for tools, prompts or resources of a test server, or for capabilities that
// this server does not declare.
const FIXTURES = [
  /^tools-call-/,
  /^prompts-/,
  /^resources-(read|templates|subscribe|unsubscribe)/,
  /^completion-complete$/,
  /^logging-set-level$/,
  /^elicitation-/,
  /^input-required-result-/,
  /^tasks-/,
  /^json-schema-2020-12$/,
  /^http-custom-header-server-validation$/,
];
// A server without resources has no list of them.
const CORE = [/^resources-list$/, /^sep-2164-resource-not-found$/];
// Checks inside other scenarios that need the same: tools of the test server, or lists that this server does not
// declare and refuses with "Method not found".
const needsFixture = (name, check) =>
  /Not testable|'test_[a-z_]+'/.test(check.errorMessage) ||
  (name === "caching" && /(prompts|resources).*-32601/.test(check.errorMessage));

// Without these a run proves little: the suite may rename a scenario or leave it out.
const REQUIRED = ["dns-rebinding-protection", "tools-list"];

const excused = [...FIXTURES, ...(url.endsWith("/graph") ? [] : CORE)];
let bad = 0;
for (const suite of [["--requirements", "2026-07-28"], ["--suite", "active", "--spec-version", "2025-11-25"]]) {
  const out = mkdtempSync(join(tmpdir(), "conformance-"));
  const run = spawnSync(process.execPath, [cli, "server", "--url", url, ...suite, "-o", out], { encoding: "utf8" });
  const counts = { hold: 0, fixtures: 0, fail: 0, checks: 0 };
  const held = new Set();
  for (const directory of readdirSync(out, { recursive: true }).filter((name) => name.endsWith("checks.json"))) {
    const name = directory.split(/[\\/]/).at(-2).replace(/^server-/, "").replace(/-\d{4}-\d\d-\d\dT.*$/, "");
    const checks = JSON.parse(readFileSync(join(out, directory), "utf8"));
    const failed = checks.filter((check) => check.status === "FAILURE");
    const real = failed.filter((check) => !needsFixture(name, check));
    if (failed.length === 0 || (real.length === 0 && !excused.some((pattern) => pattern.test(name)))) {
      counts.hold += 1;
      held.add(name);
      counts.checks += checks.filter((check) => check.status === "SUCCESS").length;
    } else if (excused.some((pattern) => pattern.test(name))) {
      counts.fixtures += 1;
    } else {
      counts.fail += 1;
      for (const check of real) console.log(`  ${name}: ${check.name}: ${check.errorMessage}`);
    }
  }
  for (const name of REQUIRED.filter((name) => !held.has(name))) {
    counts.fail += 1;
    console.log(`  ${name}: it does not hold, or was not run`);
  }
  if (counts.hold === 0) console.log(run.stdout.slice(-2000), run.stderr.slice(-2000));
  bad += counts.fail;
  const { hold, checks, fixtures, fail } = counts;
  console.log(`${suite.at(-1)}: ${hold} scenarios hold (${checks} checks), ${fixtures} need fixtures, ${fail} fail`);
}
process.exit(bad === 0 ? 0 : 1);
