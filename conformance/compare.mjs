// Comparisons that are counted. A wrong one is shown at once, and the program ends with 1.

import { isDeepStrictEqual } from "node:util";

let checks = 0;
let wrong = 0;

/** Compares two values. */
export function same(what, got, wanted) {
  checks += 1;
  if (!isDeepStrictEqual(got, wanted)) fail(`${what}: ${JSON.stringify(got)} instead of ${JSON.stringify(wanted)}`);
}

/** Notes something that must not be. */
export function fail(why) {
  wrong += 1;
  console.log(`  ${why}`);
}

/** Ends the program as the comparisons did. */
export function conclude(beside = "") {
  console.log(`${checks} comparisons${beside}, ${wrong} wrong`);
  process.exit(wrong === 0 ? 0 : 1);
}
