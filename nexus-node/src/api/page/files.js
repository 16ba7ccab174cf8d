// Files: the blobs of this node, the nodes that have each, and those that are on their way to it.

import { ask, explain } from './api.js';
import { arrange, byId, bytes, coded, command, count, make, named, redrawn, toast } from './show.js';

/** So many blobs are asked for at a time, by hash. */
const READ = 100;
/** How often transfers are looked at while the room is open. */
const TRANSFERS_MS = 1_000;
/** The list asks other nodes what they have, so it is read less often, and once a transfer has ended. */
const LIST_EVERY = 10;
/** So many names of nodes are shown beside a blob. */
const NAMES_MAX = 4;

let nameOf = (did) => did;
let me = null;
let looking = null;
let turn = 0;
let drawn = new Map();
let next = null;
/** The hashes of the transfers at the last look. */
let running = '';

export function setPeople(people) {
  ({ nameOf, me } = people);
}

/** So many of the names that lead to a blob are shown. */
const TAGS_MAX = 8;

/** A name for the copy that a shell takes as it is, and that stays in its directory. Else the beginning of the hash. */
const fileName = ({ hash, tags = [] }) => tags.find((tag) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$/.test(tag)) ?? hash.slice(0, 10);

const shortHash = (hash) => make('code', { title: hash }, hash.slice(0, 10));

function copies(providers) {
  const names = providers.slice(0, NAMES_MAX).map((did) => (did === me ? 'this node' : named(nameOf(did))));
  if (providers.length > NAMES_MAX) names.push(`${count(providers.length - NAMES_MAX, 'other member', 'other members')}`);
  const tag = make('span', { class: `tag ${providers.length > 1 ? 'good' : 'dim'}` }, count(providers.length, 'copy', 'copies'));
  return make('span', { title: providers.join('\n') }, tag, ' ', names.join(', '));
}

function row(blob) {
  const { hash, size, files, pinned, tags = [], copies: wanted, kept_for: keptFor = [] } = blob;
  const [name, ...others] = tags.slice(0, TAGS_MAX).map(named);
  const why = [pinned && 'pinned', tags.length > 0 && 'tagged', ...keptFor.slice(0, NAMES_MAX).map((did) => `kept for ${named(nameOf(did))}`)].filter(Boolean);
  const enough = wanted && wanted.count >= wanted.wanted;
  return make('li', { class: 'card file' },
    make('div', { class: 'row' },
      make('b', { class: 'grow' }, name ?? shortHash(hash)),
      make('span', {}, files === undefined ? bytes(size) : `${count(files, 'file', 'files')}, ${bytes(size)}`)),
    make('div', { class: 'about' },
      name ? shortHash(hash) : null,
      ...others.map((other) => make('span', { class: 'tag' }, other)),
      tags.length > TAGS_MAX ? make('span', {}, `and ${count(tags.length - TAGS_MAX, 'more name', 'more names')}`) : null,
      ...why.map((word) => make('span', { class: 'tag' }, word)),
      why.length || wanted ? null : make('span', { class: 'tag dim', title: 'This node may remove it to make room.' }, 'not kept'),
      wanted ? make('span', { class: `tag ${enough ? 'good' : 'odd'}` }, `${wanted.count} of ${wanted.wanted} wanted copies`) : null,
      copies(blob.providers)),
    make('details', {},
      make('summary', {}, files === undefined ? 'Get this file' : 'Get these files'),
      command(`nexus-node blob get ${hash} -o ${fileName(blob)}`, 'On this machine, or on any other member. The last word is the path to write.')));
}

function transfer({ hash, progress: { bytes: here, size, sources, lied = [] } }) {
  const bar = size ? make('progress', { max: size, value: here, 'aria-label': 'Progress' }) : null;
  const from = sources.length ? `from ${sources.slice(0, NAMES_MAX).map((did) => named(nameOf(did))).join(', ')}${sources.length > NAMES_MAX ? ` and ${count(sources.length - NAMES_MAX, 'other member', 'other members')}` : ''}` : 'no member has sent a part yet';
  const said = size ? `${bytes(here)} of ${bytes(size)}` : 'looking for a member that has it';
  return make('li', { class: 'card file' },
    make('div', { class: 'row' }, make('b', { class: 'grow' }, shortHash(hash)), bar, make('span', {}, said)),
    make('div', { class: 'about' }, from,
      lied.length ? make('span', { class: 'tag bad' }, `sent wrong data: ${lied.slice(0, NAMES_MAX).map((did) => named(nameOf(did))).join(', ')}`) : null));
}

/** Shows blobs; those that have not changed keep their rows. */
function show(blobs, isMore) {
  const before = drawn;
  drawn = new Map([...(isMore ? before : []), ...blobs.map((blob) => [blob.hash, redrawn(before.get(blob.hash), blob, row)])]);
  arrange(byId('files-list'), [...drawn.values()].map(({ row }) => row));
  byId('files-none').hidden = drawn.size > 0;
  byId('files-more').hidden = next === null;
}

async function read(after) {
  const page = await ask(`/v1/blobs?limit=${READ}${after ? `&after=${after}` : ''}`);
  next = page.next ?? null;
  show(page.items, Boolean(after));
}

async function look() {
  if (document.hidden) return;
  const transfers = await ask('/v1/transfers');
  byId('transfers').hidden = transfers.length === 0;
  byId('transfers-list').replaceChildren(...transfers.map(transfer));
  const now = transfers.map(({ hash }) => hash).join();
  const hasEnded = running.split(',').some((hash) => hash && !now.includes(hash));
  running = now;
  // somebody who has asked for more keeps what is shown
  if ((turn % LIST_EVERY === 0 || hasEnded) && drawn.size <= READ) await read();
  turn += 1;
}

/** Shows the room, or stops doing so. */
export function enter(here) {
  clearTimeout(looking);
  looking = null;
  if (!here) return;
  turn = 0;
  const again = async () => {
    let failed = false;
    await look().catch((problem) => {
      failed = true;
      // a program that was built without blobs has no such route
      byId('files-problem').replaceChildren(...coded(problem.status === 404 ? 'This program was built without files.' : explain(problem)));
    });
    byId('files-problem').hidden = !failed;
    if (looking !== null) looking = setTimeout(again, TRANSFERS_MS);
  };
  looking = setTimeout(again, 0);
}

byId('files-add').replaceChildren(
  command('nexus-node blob add PATH', 'Add a file or a directory on this machine. PATH is where it is.'),
  command('nexus-node blob add PATH --tag NAME', 'Add it under a name, which this page shows, and which other commands take.'));

byId('files-more').addEventListener('click', () => read(next).catch((problem) => toast(explain(problem), true)));
