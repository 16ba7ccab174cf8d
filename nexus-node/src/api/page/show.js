// Making elements and texts. What others wrote becomes text and nothing else: no HTML is parsed.

/** An element: `make('p', { class: 'dim' }, 'text', child)`. */
export function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for the map. */
export function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** A moment, as far away as it is. */
export function ago(moment) {
  const seconds = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  if (seconds < 45) return 'just now';
  const units = [['day', 86_400], ['hour', 3_600], ['minute', 60]];
  const [unit, length] = units.find(([, length]) => seconds >= length) ?? units[2];
  const count = Math.max(1, Math.round(seconds / length));
  if (unit === 'day' && count > 30) return new Date(moment).toLocaleDateString();
  return `${count} ${unit}${count === 1 ? '' : 's'} ago`;
}

/** A moment to come, as far away as it is. */
export function ahead(moment) {
  const seconds = (Date.parse(moment) - Date.now()) / 1000;
  if (seconds < 0) return `over since ${ago(moment).replace(/ ago$/, '')}`;
  return seconds < 3_600 && seconds >= 60 ? `in ${count(Math.round(seconds / 60), 'minute', 'minutes')}` : `in ${span(Math.ceil(seconds))}`;
}

/** A moment that shows itself whole when it is pointed at. */
export function time(moment, says = ago) {
  const element = make('time', { datetime: moment, title: new Date(moment).toLocaleString() }, says(moment));
  if (says === ahead) element.dataset.ahead = '';
  return element;
}

/** Moments that stay on the screen say anew how far away they are. */
export function retell(within) {
  for (const element of within.querySelectorAll('time')) {
    const says = 'ahead' in element.dataset ? ahead(element.dateTime) : ago(element.dateTime);
    if (element.textContent !== says) element.textContent = says;
  }
}

/** Characters that nobody sees, or that turn the text around them. Those of emojis are left as they are. */
const UNSEEN = new RegExp([
  '[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u061c\\u115f\\u1160\\u180e\\u200b\\u200c\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufe00-\\ufe0d\\ufeff\\uffa0\\ufff9-\\ufffb\\u{e0000}-\\u{e0fff}]',
  '(?<![\\p{Extended_Pictographic}\\p{Emoji_Modifier}]\\ufe0f?)[\\u200d\\ufe0e\\ufe0f]',
].join('|'), 'gu');

/** A text with the numbers of the characters that are not seen: nothing is hidden from somebody who decides about it. */
export const seen = (text) => text.replace(UNSEEN, (character) => `⟨U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);

const LONG = 600;
const LONG_LINES = 10;
/** A text that is longer by this alone is shown whole: its rest is not worth a button. */
const LONG_REST = 1.5;

/** A text of others, of which the beginning is shown until somebody asks for the rest. */
export function long(text) {
  const whole = seen(text);
  const lines = whole.split('\n', LONG_LINES * LONG_REST + 1);
  const isShort = whole.length <= LONG * LONG_REST && lines.length <= LONG_LINES * LONG_REST;
  const start = isShort ? whole : lines.slice(0, LONG_LINES).join('\n').slice(0, LONG);
  const value = make('pre', { class: 'value' }, start);
  if (start.length === whole.length) return value;
  const more = `Show ${(whole.length - start.length).toLocaleString()} more characters`;
  const button = make('button', { type: 'button', class: 'quiet rest', 'aria-expanded': 'false' }, more);
  button.addEventListener('click', () => {
    const open = button.getAttribute('aria-expanded') === 'false';
    value.textContent = open ? whole : start;
    button.textContent = open ? 'Show less' : more;
    button.setAttribute('aria-expanded', String(open));
  });
  return make('div', { class: 'long' }, value, button);
}

/** The row of an item: the one of before if nothing has changed, else a new one whose details stay open. */
export function redrawn(old, item, row) {
  const is = JSON.stringify(item);
  if (old?.is === is) return old;
  const made = row(item);
  made.querySelector('details').open = old?.row.querySelector('details').open ?? false;
  return { is, row: made };
}

/** Puts rows into a list. Those that are there already are not moved without need, so the keyboard stays where it is. */
export function arrange(list, rows) {
  const wanted = new Set(rows);
  for (const row of [...list.children]) if (!wanted.has(row)) row.remove();
  let at = list.firstElementChild;
  for (const row of rows) {
    if (row === at) at = at.nextElementSibling;
    else list.insertBefore(row, at);
  }
}

/** How a text came about, by its source. The program is named if it is known. */
const SOURCES = {
  user: { known: (agent) => (agent === 'nexus-node' ? 'typed at the command line' : `typed in ${agent}`), unknown: null },
  model: { known: (agent) => `an AI model wrote this in ${agent}`, unknown: 'an AI model wrote this' },
  tool: { known: (agent) => `the program ${agent} wrote this`, unknown: 'a program wrote this' },
  import: { known: (agent) => `imported from a file with ${agent}`, unknown: 'imported from a file' },
};

/** The author of the text that is shown, and how it came about: `laptop; an AI model wrote this in claude-code`. */
export function author({ author, author_name: name, agent, source, edited_by: editor }) {
  const { known, unknown } = SOURCES[source] ?? SOURCES.user;
  const how = agent ? known(seen(cut(agent, NAME_MAX))) : unknown;
  return [named(name ?? shortDid(author)), how, editor && 'edited since'].filter(Boolean).join('; ');
}

/** The author of an imported text, by a proof that the node has checked: `by laptop of mesh …q3vX9b2L`. */
export const importedBy = ({ name, mesh_did: mesh }) => `by ${name} of mesh ${shortDid(mesh)}`;

export function bytes(count) {
  for (const [unit, size] of [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]]) {
    if (count >= size) return `${(count / size).toFixed(1)} ${unit}`;
  }
  return `${count} B`;
}

export function span(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3_600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min` : `${seconds} s`;
}

export const count = (number, one, many) => (number === 1 ? `1 ${one}` : `${number.toLocaleString()} ${many}`);

/** The beginning of a text. No character is cut in two. */
export const cut = (text, length) => (text.length > length ? `${[...text.slice(0, 2 * length)].slice(0, Math.max(1, length - 1)).join('')}…` : text);

/** So many characters are shown of a name that others chose. */
const NAME_MAX = 80;

/** A name that others chose, as it is shown. */
export const named = (name) => seen(cut(name, NAME_MAX));

/** A command. A word of it is broken only if it is longer than the line: `-o` and `nexus-node` stay whole. */
const code = (text) => make('code', {}, ...text.split(/( +)/).map((word) => (word.trim() ? make('span', { class: 'word' }, word) : word)));

/** A text whose parts between backticks are commands. */
export const coded = (text) => text.split('`').map((part, n) => (n % 2 ? code(part) : part));

/** A command, and a button that copies it. `about` says what it does. */
export function command(text, about) {
  const shown = code(text);
  const button = make('button', { type: 'button', class: 'quiet', 'aria-label': `Copy the command ${text}` }, 'Copy');
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      toast('Copied.');
    } catch {
      // a page that came in the clear from another machine may not write there
      getSelection().selectAllChildren(shown);
      toast('Your browser does not let this page copy. The command is selected: copy it by hand.');
    }
  });
  return make('div', { class: 'command' }, about ? make('p', {}, about) : null, make('div', { class: 'row' }, shown, button));
}

export const shortDid = (did) => `…${did.slice(-8)}`;

/** A value of a field, as people write it. */
export const plain = (value) =>
  typeof value === 'string' ? value : Array.isArray(value) ? value.join(', ') : JSON.stringify(value);

export const tags = (text) => [...new Set(text.split(',').map((tag) => tag.trim()).filter(Boolean))];

let hiding;

/** Says something in passing. */
export function toast(text, bad = false) {
  const toast = byId('toast');
  toast.replaceChildren(...coded(text));
  toast.classList.toggle('bad', bad);
  toast.hidden = false;
  // above a dialog that is open
  toast.hidePopover?.();
  toast.showPopover?.();
  clearTimeout(hiding);
  hiding = setTimeout(() => { toast.hidden = true; }, bad ? 8_000 : 4_000);
}
