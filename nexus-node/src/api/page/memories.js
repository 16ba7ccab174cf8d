// The list: what there is, what was asked for, and what is in conflict.

import { api, ask, explain, memoryPath, send } from './api.js';
import { changed as changedOpen, open, settling } from './memory.js';
import { author, byId, coded, count, importedBy, make, shortDid, tags, time, toast } from './show.js';

const PAGE = 50;
/** The most conflicts that are shown above the list. */
const CONFLICTS = 50;
/** The most pages that are read for one that is full: conditions leave many memories out. */
const PAGES = 20;
/** More changes than this at once, and everything is read anew. */
const MANY = 24;

const query = byId('query');
const space = byId('space');
const list = byId('list');
const [kind, project, tag, only] = ['kind', 'project', 'tag', 'in-conflict'].map(byId);
const projects = new Set();

let items = [];
let next = null;
let asking = null;
let nameOf = shortDid;
const conflicts = new Map();

export function setNames(name) { nameOf = name; }

/** The conditions, as parameters of an address. A question is for all but conflicts. */
function conditions(asked) {
  const values = { space: space.value, kind: kind.value, project: project.value.trim(), tag: tag.value.trim() };
  if (asked && values.project) {
    // the question for a project also finds what is personal, and these fields say what they say
    values.tag = [values.tag, `project:${values.project}`].filter(Boolean);
    delete values.project;
  }
  const given = Object.entries(values).flatMap(([name, value]) => [value].flat().filter(Boolean).map((one) => [name, one]));
  if (only.checked && !asked) given.push(['conflicts', 'true']);
  return given.map(([name, value]) => `&${name}=${encodeURIComponent(value)}`).join('');
}

const isNarrow = () => Boolean(kind.value || project.value.trim() || tag.value.trim() || only.checked);

/** A page of the list. Where conditions leave most memories out, several pages are read. */
async function page(after, signal) {
  const found = { items: [], next: after };
  for (let read = 0; read < PAGES; read += 1) {
    const from = found.next ? `&after=${encodeURIComponent(found.next)}` : '';
    const listing = await ask(`/v1/memories?limit=${PAGE - found.items.length}${from}${conditions(false)}`, { signal });
    found.items.push(...listing.items);
    found.next = listing.next;
    if (!found.next || found.items.length >= PAGE) break;
  }
  return found;
}

/** Reads what is to be shown: what was asked for, or the newest. */
export async function refresh() {
  asking?.abort();
  const mine = asking = new AbortController();
  const words = query.value.trim();
  list.setAttribute('aria-busy', 'true');
  try {
    if (words) {
      const path = `/v1/memories?q=${encodeURIComponent(words)}&limit=${PAGE}${conditions(true)}`;
      const { document: all, truncated } = await api('GET', path, undefined, { signal: mine.signal });
      const hits = only.checked ? all.filter(inConflict) : all;
      [items, next] = [hits, null];
      const nearest = hits.length && !hits.some(hit => hit.telling) ? 'No memory clearly answers this. The closest: ' : '';
      byId('found').textContent = hits.length ? nearest + `${truncated ? 'The best ' : ''}${count(hits.length, 'memory', 'memories')}${truncated || hits.length < 2 ? '' : ', the best first'}` : 'No memory answers this. Try other words.';
    } else {
      const listing = await page(null, mine.signal);
      [items, next] = [listing.items, listing.next];
      const none = isNarrow() ? 'No memory meets all these conditions.' : 'Nothing is remembered yet.';
      byId('found').textContent = items.length ? 'Newest first' : none;
    }
  } catch (problem) {
    if (problem.name === 'AbortError') return;
    [items, next] = [[], null];
    byId('found').replaceChildren(...coded(explain(problem)));
  }
  list.removeAttribute('aria-busy');
  show();
  showConflicts();
}

async function older() {
  const listing = await page(next);
  items.push(...listing.items);
  ({ next } = listing);
  show();
}

/** Looks for conflicts. */
export async function findConflicts() {
  const listing = await ask(`/v1/memories?limit=${CONFLICTS}&conflicts=true`);
  conflicts.clear();
  listing.items.filter(inConflict).forEach((memory) => conflicts.set(memory.id, memory));
  showConflicts();
}

const inConflict = (memory) => Object.keys(memory.conflicts).length > 0;

function show() {
  showProjects();
  list.replaceChildren(...items.map(row));
  byId('more').hidden = next === null;
}

/** The projects that were seen, to choose from. */
function showProjects() {
  const before = projects.size;
  for (const name of items.flatMap((memory) => memory.tags)) {
    if (name.startsWith('project:') && projects.size < 200) projects.add(name.slice('project:'.length));
  }
  if (projects.size > before) byId('projects').replaceChildren(...[...projects].sort().map((name) => make('option', { value: name })));
}

function row(memory) {
  const facts = [make('span', {}, author(memory)), time(memory.updated_at)];
  if (memory.imported) facts.push(make('span', { title: memory.imported.mesh_did }, `imported; ${importedBy(memory.imported)}`));
  if (memory.space !== 'default') facts.push(make('span', {}, memory.space));
  if (memory.kind !== 'note') facts.push(make('span', {}, memory.kind));
  facts.push(...memory.tags.map((tag) => make('span', { class: 'tag' }, tag)));
  if (inConflict(memory)) facts.push(make('span', { class: 'tag odd' }, 'conflict'));
  if (memory.valid_to) facts.push(make('span', { class: 'tag' }, 'until ', new Date(memory.valid_to).toLocaleDateString()));
  if (memory.weak) facts.push(make('span', { class: 'tag' }, 'matches few of your words'));
  const relevance = memory.score === undefined ? null
    : make('meter', { min: 0, max: 1, value: Math.max(0.05, memory.score), title: 'how likely it answers the question' });
  return make('li', {},
    make('button', { type: 'button', class: 'memory', 'data-id': memory.id, click: () => open(memory.id, nameOf) },
      make('span', { class: 'text' }, memory.text),
      memory.why ? make('span', { class: 'why' }, relevance, memory.why) : null,
      make('span', { class: 'about' }, facts)),
    ...contradictions(memory));
}

/** Others that seem to say something else of the same, each with a button that ends it. */
function contradictions(memory) {
  const others = (memory.contradicts ?? []).map((id) => items.find((item) => item.id === id)).filter(Boolean);
  return others.map((other) => make('div', { class: 'conflict' },
    make('p', {}, 'Another memory may contradict this one: ', make('b', {}, other.text.split('\n')[0].slice(0, 120))),
    make('button', { type: 'button', click: (event) => end(event.target, other.id) }, 'The other one is no longer true')));
}

async function end(button, id) {
  button.disabled = true;
  try {
    await send('PATCH', memoryPath(id), { valid_to: 'now' });
    toast('Settled: searches no longer find the other memory.');
    await refresh();
  } catch (problem) {
    button.disabled = false;
    toast(explain(problem), true);
  }
}

function showConflicts() {
  const found = [...conflicts.values()];
  byId('conflicts').hidden = found.length === 0 || query.value.trim() !== '';
  byId('conflicts-title').textContent = `${count(found.length, 'memory is', 'memories are')} in conflict`;
  byId('conflicts-list').replaceChildren(...found.map((memory) =>
    make('li', { class: 'card' },
      make('button', { type: 'button', class: 'link', click: () => open(memory.id, nameOf) }, memory.text.split('\n')[0].slice(0, 120)),
      settling(memory, nameOf, (settled) => put(settled)))));
}

/** Whether a memory has what the fields ask for. Groups of words and records of projects are listed by their kind alone. */
function isAsked(memory) {
  const same = (one, other) => one.toLowerCase() === other.toLowerCase();
  const has = (wanted) => memory.tags.some((own) => same(own, wanted));
  const own = project.value.trim();
  return (!space.value || space.value === memory.space)
    && (kind.value ? same(kind.value, memory.kind) : !['vocabulary', 'project-marks'].includes(memory.kind))
    && (!own || has(`project:${own}`)) && (!tag.value.trim() || has(tag.value.trim()))
    && (!only.checked || inConflict(memory));
}

/** Takes over a memory as it is now. */
function put(memory) {
  const at = items.findIndex((item) => item.id === memory.id);
  if (at >= 0) items[at] = { ...items[at], ...memory };
  else if (!query.value.trim() && isAsked(memory)) items.unshift(memory);
  if (inConflict(memory)) conflicts.set(memory.id, memory);
  else conflicts.delete(memory.id);
  changedOpen(memory.id, memory);
}

function remove(id) {
  items = items.filter((item) => item.id !== id);
  conflicts.delete(id);
  changedOpen(id, null);
}

let waiting = new Map();
let timer = null;

/** Something has changed: soon it is shown, together with what else has by then. */
export function changed({ id, kind }) {
  waiting.set(id, kind);
  timer ??= setTimeout(() => {
    timer = null;
    catchUp().catch(() => {});
  }, 120);
}

async function catchUp() {
  const ids = waiting;
  waiting = new Map();
  if (ids.size > MANY) {
    await Promise.all([refresh(), findConflicts()]);
    return;
  }
  await Promise.all([...ids].map(async ([id, kind]) => {
    if (kind === 'forgotten') return remove(id);
    try {
      put(await ask(memoryPath(id)));
    } catch (problem) {
      if (problem.status === 404) remove(id);
    }
  }));
  // Somebody who is among the list with the keyboard stays there.
  const held = document.activeElement?.dataset?.id;
  show();
  showConflicts();
  if (held) [...list.querySelectorAll('button')].find((button) => button.dataset.id === held)?.focus();
}

export function setSpaces(names) {
  for (const [select, first] of [[space, 'all spaces'], [byId('new-space'), null]]) {
    const before = select.value;
    const options = names.map((name) => make('option', { value: name }, name));
    select.replaceChildren(...(first ? [make('option', { value: '' }, first)] : []), ...options);
    select.value = names.includes(before) ? before : first ? '' : 'default';
    select.hidden = names.length < 2;
  }
}

const text = byId('new-text');

byId('write').addEventListener('submit', async (event) => {
  event.preventDefault();
  try {
    const memory = { text: text.value, tags: tags(byId('new-tags').value), space: byId('new-space').value || 'default' };
    const written = await send('POST', '/v1/memories', memory);
    toast(written.duplicate_of ? 'Remembered. Another memory says nearly the same.' : 'Remembered.');
    byId('write').reset();
    text.rows = 1;
  } catch (problem) {
    toast(explain(problem), true);
  }
});
text.addEventListener('input', () => { text.rows = Math.min(8, Math.max(1, text.value.split('\n').length)); });
text.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) byId('write').requestSubmit();
});

let typing = null;
for (const field of [query, project, tag]) {
  field.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(refresh, 120);
  });
}
for (const field of [space, kind, only]) field.addEventListener('change', refresh);
byId('more').addEventListener('click', () => older().catch((problem) => toast(explain(problem), true)));
document.addEventListener('keydown', (event) => {
  const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? '') || document.querySelector('dialog[open]');
  if (event.key === '/' && !writing && query.offsetParent) {
    event.preventDefault();
    query.focus();
  }
});
