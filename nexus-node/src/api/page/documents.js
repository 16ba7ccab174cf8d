// Documents: JSON that several machines change at once. A text is typed into while others type, too.

import { Problem, ask, explain, send, sendFile } from './api.js';
import { arrange, byId, coded, command, count, cut, make, named, redrawn, seen, time, toast } from './show.js';

/** So many changes of a document are on its slider. */
const HISTORY = 1_000;
/** How long the slider rests before the version is read. */
const SLIDE_MS = 120;
/** How often the list is read while the room is open. */
const LIST_MS = 5_000;
/** So many parts of a value are shown in one map or list. */
const PARTS_MAX = 500;
/** So many authors have colours of their own. */
const COLOURS = 6;
/** So many marks of a text are shown. */
const MARKS_MAX = 500;
/** The marks that programs show in a way of their own, by the names that most of them use. */
const LOOKS = { bold: 'bold', strong: 'bold', b: 'bold', italic: 'italic', em: 'italic', i: 'italic', code: 'code', strike: 'strike' };

let listing = null;
let drawn = new Map();
/** The document that is open: its name, its parts on the page, and how far it is. */
let open = null;

const path = (document, part = '', asked = {}) => {
  const query = new URLSearchParams({ space: document.space, ...asked });
  return `/v1/documents/${encodeURIComponent(document.key ?? document.url)}${part}?${query}`;
};

const title = ({ key, url }) => (key === null ? url : named(key));

const failed = (problem) => toast(explain(problem), true);

function row(document) {
  const button = make('button', { type: 'button', class: 'link grow' }, title(document));
  button.addEventListener('click', () => show(document));
  return make('li', { class: 'card file' },
    make('div', { class: 'row' }, button, make('code', { title: document.url }, cut(document.url, 24))),
    document.others?.length ? make('p', { class: 'dim' }, `${count(document.others.length, 'other document has', 'other documents have')} this key, too.`) : null,
    make('details', {},
      make('summary', {}, 'Commands'),
      command(`nexus-node doc get ${document.key ?? document.url}`, 'Show it on this machine, or on any other member.'),
      command(`nexus-node doc history ${document.key ?? document.url}`, 'Who changed it, and when.')));
}

async function list() {
  const space = byId('documents-space').value;
  const page = await ask(`/v1/documents${space ? `?space=${encodeURIComponent(space)}` : ''}`);
  const documents = page.items;
  drawn = new Map(documents.map((document) => [document.url, redrawn(drawn.get(document.url), document, row)]));
  arrange(byId('documents-list'), [...drawn.values()].map(({ row }) => row));
  byId('documents-none').hidden = drawn.size > 0;
  byId('documents-more').hidden = page.next === null;
}

/** A place in a document as a JSON Pointer. */
const pointer = (parts) => parts.map((part) => `/${String(part).replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');

/** A value as a tree. Texts have a button that opens them. */
function tree(value, parts = []) {
  if (typeof value === 'string') {
    const button = make('button', { type: 'button', class: 'link' }, seen(cut(value, 80)) || '(an empty text)');
    button.addEventListener('click', () => openText(pointer(parts)));
    return button;
  }
  if (value === null || typeof value !== 'object') return make('code', {}, JSON.stringify(value));
  const entries = Array.isArray(value) ? value.map((item, at) => [at, item]) : Object.entries(value);
  if (entries.length === 0) return make('code', {}, Array.isArray(value) ? '[]' : '{}');
  const shown = entries.slice(0, PARTS_MAX).map(([key, item]) => make('li', {}, make('b', {}, named(String(key))), ' ', tree(item, [...parts, key])));
  if (entries.length > PARTS_MAX) shown.push(make('li', { class: 'dim' }, `and ${count(entries.length - PARTS_MAX, 'more', 'more')}`));
  return make('ul', { class: 'tree' }, ...shown);
}

/** The first text of a value, with the shortest way to it. */
function firstText(value) {
  const waiting = [[value, []]];
  while (waiting.length) {
    const [now, parts] = waiting.shift();
    if (typeof now === 'string') return pointer(parts);
    if (now && typeof now === 'object') waiting.push(...Object.entries(now).slice(0, PARTS_MAX).map(([key, item]) => [item, [...parts, key]]));
  }
  return null;
}

const letters = (text) => [...text];

/** The one part in which two texts differ, in characters. */
function difference(before, after) {
  const [old, now] = [letters(before), letters(after)];
  let at = 0;
  while (at < old.length && at < now.length && old[at] === now[at]) at += 1;
  let same = 0;
  while (same < old.length - at && same < now.length - at && old[old.length - 1 - same] === now[now.length - 1 - same]) same += 1;
  return { at, remove: old.length - at - same, insert: now.slice(at, now.length - same).join('') };
}

/** Where a position is after a change of others. */
const carried = (position, { at, remove, insert }) => {
  if (position <= at) return position;
  return position <= at + remove ? at + letters(insert).length : position - remove + letters(insert).length;
};

function spliced(text, { at, remove, insert }) {
  const all = letters(text);
  all.splice(at, remove, ...letters(insert));
  return all.join('');
}

/** Shows a text that changed elsewhere. The place where somebody types stays between the same letters. */
function replaceText(area, text) {
  if (area.value === text) return;
  const change = difference(area.value, text);
  const place = (unit) => carried(letters(area.value.slice(0, unit)).length, change);
  const [start, end] = [place(area.selectionStart), place(area.selectionEnd)];
  area.value = text;
  const unit = (position) => letters(text).slice(0, position).join('').length;
  if (document.activeElement === area) area.setSelectionRange(unit(start), unit(end));
}

/** Brings the text on the page and that of the node together: sends what was typed, and shows what others typed. */
async function meet(now) {
  if (now.meeting || now.path === null || now.past) {
    now.again = Boolean(now.meeting);
    return;
  }
  now.meeting = true;
  const area = byId('document-text');
  try {
    do {
      now.again = false;
      const sent = area.value;
      const of = now.path;
      if (sent !== now.base) {
        const { at, remove, insert } = difference(now.base, sent);
        const edit = { text: { path: of, at, delete: remove, insert, version: now.version } };
        await send('POST', path(now.document, '/edits'), { edits: [edit] });
      }
      const answer = await ask(path(now.document, '', { path: of }));
      if (open !== now || now.path !== of) return;
      if (typeof answer.value !== 'string') {
        now.path = null;
        byId('document-editor').hidden = true;
        return;
      }
      // letters that were typed meanwhile come on top of what others did
      const typed = difference(sent, area.value);
      const others = difference(sent, answer.value);
      const isTyped = typed.remove > 0 || typed.insert !== '';
      const shown = isTyped ? spliced(answer.value, { ...typed, at: carried(typed.at, others) }) : answer.value;
      replaceText(area, shown);
      [now.base, now.version] = [answer.value, answer.version];
      if (isTyped) now.again = true;
    } while (now.again && open === now);
  } finally {
    now.meeting = false;
  }
  await showAuthors(now);
}

/** Runs of letters by their authors, cut where marks begin and end. */
function cutAtMarks(runs, marks) {
  const ends = [...new Set(marks.flatMap(({ start, end }) => [start, end]))].sort((one, other) => one - other);
  const parts = [];
  let from = 0;
  for (const { by, text } of runs) {
    const all = letters(text);
    const places = [from, ...ends.filter((end) => end > from && end < from + all.length), from + all.length];
    places.slice(1).forEach((to, number) => {
      const at = places[number];
      parts.push({ by, text: all.slice(at - from, to - from).join(''), on: marks.filter(({ start, end }) => start <= at && at < end) });
    });
    from += all.length;
  }
  return parts;
}

/** A mark for people: its name, and its value if that is more than yes. */
const markWord = ({ name, value }) => (value === true ? named(name) : `${named(name)}: ${seen(cut(String(value), 80))}`);

/** The text once more, with a colour for each author, and with its marks. */
async function showAuthors(now) {
  if (open !== now || now.path === null) return;
  const { runs, marks } = await ask(path(now.document, '/text', { path: now.path }));
  if (open !== now) return;
  const authors = [...new Set(runs.map(({ by }) => by))];
  const colour = (by) => `author author-${authors.indexOf(by) % COLOURS}`;
  const name = (by) => (by === null ? 'a program' : named(by));
  const looks = (on) => [...new Set(on.map((mark) => `mark-${LOOKS[mark.name] ?? 'other'}`))];
  byId('document-runs').replaceChildren(...cutAtMarks(runs, marks.slice(0, MARKS_MAX)).map(({ by, text, on }) => make('span', { class: [colour(by), ...looks(on)].join(' '), title: [name(by), ...on.map(markWord)].join('; ') }, seen(text))));
  byId('document-authors').replaceChildren(...authors.map((by) => make('li', { class: colour(by) }, name(by))));
}

function openText(at) {
  if (!open || open.past) return;
  open.path = at;
  open.base = '';
  byId('document-text').value = '';
  byId('document-editor').hidden = false;
  byId('document-path').textContent = at;
  const now = open;
  ask(path(now.document, '', { path: at })).then((answer) => {
    if (open !== now || now.path !== at || typeof answer.value !== 'string') return;
    [now.base, now.version] = [answer.value, answer.version];
    byId('document-text').value = answer.value;
    return showAuthors(now);
  }).catch(failed);
}

/** Shows the whole as it is now. */
async function refresh(now) {
  now.turn += 1;
  const { turn } = now;
  const [whole, { items }] = await Promise.all([ask(path(now.document)), ask(path(now.document, '/history', { limit: HISTORY }))]);
  // a later look has begun, and an answer may overtake another one
  if (open !== now || turn !== now.turn) return;
  now.history = items;
  const slider = byId('document-slider');
  slider.max = Math.max(0, items.length - 1);
  if (now.past) return;
  slider.value = slider.max;
  showValue(whole.value, items[0], true);
  const odd = [whole.missing && `${count(whole.missing, 'change of it has', 'changes of it have')} not come yet.`, ...(whole.refused ?? []).map(({ by, why }) => `A change by ${by.map(named).join(', ')} does not count: ${seen(why)}.`), ...(whole.former ?? []).map(({ url, later }) => `${count(later, 'entry about the former document is', 'entries about the former document are')} not in this one: nexus-node doc get ${url}`)];
  byId('document-odd').replaceChildren(...odd.filter(Boolean).map((text) => make('p', { class: 'notice' }, text)));
  if (now.path === null) {
    const first = firstText(whole.value);
    if (first !== null) openText(first);
  }
}

function showValue(value, item, isNow) {
  byId('document-tree').replaceChildren(tree(value));
  const when = item && !item.at.startsWith('1970') ? [item.by.map(named).join(', '), ' ', time(item.at)] : ['the beginning'];
  byId('document-when').replaceChildren(...(isNow ? ['now; last change: ', ...when] : ['as it was after a change by ', ...when]));
}

let sliding;

function slide() {
  const now = open;
  if (!now) return;
  const slider = byId('document-slider');
  const back = Number(slider.max) - Number(slider.value);
  now.past = back > 0;
  byId('document-editor').hidden = now.past || now.path === null;
  clearTimeout(sliding);
  sliding = setTimeout(async () => {
    if (!now.past) {
      await refresh(now);
      await meet(now);
      return;
    }
    const item = now.history[back];
    const { value } = await ask(path(now.document, '', { version: item.version }));
    if (open === now && now.past) showValue(value, item, false);
  }, SLIDE_MS);
}

function close() {
  open?.changes?.close();
  open = null;
  byId('document').hidden = true;
  byId('documents-all').hidden = false;
}

function show(document) {
  close();
  open = { document, path: null, base: '', version: null, history: [], past: false, turn: 0, meeting: false, again: false };
  const now = open;
  byId('documents-all').hidden = true;
  byId('document').hidden = false;
  byId('document-editor').hidden = true;
  byId('document-title').textContent = title(document);
  byId('document-url').textContent = document.url;
  byId('document-runs').replaceChildren();
  byId('document-authors').replaceChildren();
  refresh(now).catch(failed);
  now.changes = new EventSource(path(document, '/changes'));
  now.changes.addEventListener('change', () => {
    refresh(now).then(() => meet(now)).catch(() => {});
  });
}

/** Shows the room, or stops doing so. */
export function enter(here) {
  clearTimeout(listing);
  listing = null;
  if (!here) {
    close();
    return;
  }
  const again = async () => {
    let problem = null;
    if (!open && !globalThis.document.hidden) {
      await list().catch((error) => { problem = error; });
      // a program that was built without documents has no such route
      byId('documents-problem').replaceChildren(...coded(problem?.status === 404 ? 'This program was built without documents.' : problem ? explain(problem) : ''));
      byId('documents-problem').hidden = problem === null;
    }
    if (listing !== null) listing = setTimeout(again, LIST_MS);
  };
  listing = setTimeout(again, 0);
}

/** The most bytes of a document's file. */
const FILE_BYTES_MAX = 16 * 1024 * 1024;
/** The name of a file that is an address of automerge-repo. */
const ADDRESS = /^[1-9A-HJ-NP-Za-km-z]{26,28}$/;

/** Takes in files of Automerge: each becomes a document, under the id or the key that its name says. */
export async function takeFiles(files) {
  const space = byId('documents-space').value;
  const refused = [];
  for (const file of files) {
    const name = file.name.replace(/\.automerge$/, '');
    try {
      if (file.size > FILE_BYTES_MAX) throw new Error('it has more than 16 MiB');
      const query = new URLSearchParams({ ...(space && { space }), ...(ADDRESS.test(name) ? { id: name } : { key: name }) });
      await sendFile(`/v1/documents?${query}`, file);
    } catch (problem) {
      refused.push(`${named(file.name)}: ${problem instanceof Problem ? explain(problem) : problem.message}`);
    }
  }
  const taken = files.length - refused.length;
  toast([taken > 0 ? `${count(taken, 'document is', 'documents are')} taken in.` : '', ...refused].join(' ').trim(), refused.length > 0);
  if (taken > 0 && listing !== null && !open) await list().catch(failed);
}

/** The spaces to choose from. */
export function setSpaces(names) {
  const select = byId('documents-space');
  const before = select.value;
  select.replaceChildren(make('option', { value: '' }, 'default'), ...names.filter((name) => name !== 'default').map((name) => make('option', { value: name }, named(name))));
  select.value = names.includes(before) ? before : '';
}

byId('documents-space').addEventListener('change', () => list().catch(failed));
byId('document-close').addEventListener('click', () => { close(); list().catch(failed); });
byId('document-slider').addEventListener('input', slide);
byId('document-text').addEventListener('input', () => { if (open) meet(open).catch(failed); });
byId('document-new').addEventListener('submit', async (event) => {
  event.preventDefault();
  const [key, space] = [byId('document-key').value.trim(), byId('documents-space').value];
  try {
    const made = await send('POST', '/v1/documents', { key, ...(space && { space }) });
    // a new document has a text to type into
    if (made.changed) await send('POST', path(made, '/edits'), { edits: [{ set: { path: '/text', value: '' } }] });
    byId('document-key').value = '';
    show(made);
  } catch (problem) {
    failed(problem);
  }
});
