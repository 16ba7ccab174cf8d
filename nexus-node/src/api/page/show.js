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

/** A moment that shows itself whole when it is pointed at. */
export function time(moment) {
  return make('time', { datetime: moment, title: new Date(moment).toLocaleString() }, ago(moment));
}

/** The author of the text that is shown, with the program and source: `laptop (claude-code, model)`. */
export function author({ author, author_name: name, agent, source, edited_by: editor }) {
  const more = [agent, source, editor && 'edit'].filter(Boolean);
  return `${name ?? shortDid(author)}${more.length ? ` (${more.join(', ')})` : ''}`;
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

export const shortDid = (did) => `…${did.slice(-8)}`;

/** A value of a field, as people write it. */
export const plain = (value) =>
  typeof value === 'string' ? value : Array.isArray(value) ? value.join(', ') : JSON.stringify(value);

export const tags = (text) => [...new Set(text.split(',').map((tag) => tag.trim()).filter(Boolean))];

let hiding;

/** Says something in passing. */
export function toast(text, bad = false) {
  const toast = byId('toast');
  toast.textContent = text;
  toast.classList.toggle('bad', bad);
  toast.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { toast.hidden = true; }, bad ? 8_000 : 4_000);
}
