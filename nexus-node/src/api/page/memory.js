// One memory: read, edit, settle, forget, and its past.

import { ask, explain, memoryPath, send } from './api.js';
import { author, byId, coded, importedBy, make, named, plain, shortDid, tags, time, toast } from './show.js';

const dialog = byId('memory');
const text = byId('edit-text');
const tagsField = byId('edit-tags');
const forget = byId('forget');

/** The memory that is shown, as the node last had it. */
let shown = null;
let nameOf = shortDid;

/** Buttons that keep one of several values of each field in conflict. */
export function settling(memory, name, done) {
  // the rest of a text goes with its text
  return Object.entries(memory.conflicts).filter(([field]) => field !== 'attachment').map(([field, values]) =>
    make('div', { class: 'conflict' },
      make('p', {}, `Several machines wrote the field `, make('b', {}, field), ` without knowing of each other: ${values.length} values. Keep one:`),
      make('ul', {}, values.map(({ value, author: did, author_name: called, at }) =>
        make('li', {},
          make('div', { class: 'value' }, plain(value)),
          make('div', { class: 'dim' }, named(called ?? name(did)), ', ', time(at)),
          make('button', { type: 'button', click: (event) => keep(event.target, memory.id, field, value, done) }, 'Keep this'))))));
}

async function keep(button, id, field, value, done) {
  button.disabled = true;
  try {
    done(await send('PATCH', memoryPath(id), { [field]: value }));
    toast(`Settled: all machines will show this ${field}.`);
  } catch (problem) {
    button.disabled = false;
    toast(explain(problem), true);
  }
}

const isDirty = () => shown !== null && (text.value !== shown.text || tags(tagsField.value).join() !== shown.tags.join());

/** The memory with its whole text; `cut` if only the beginning is to be had. */
async function whole(memory) {
  if (!memory.attachment) return memory;
  try {
    return await ask(`${memoryPath(memory.id)}?whole=true`);
  } catch (problem) {
    return { ...memory, cut: explain(problem) };
  }
}

function show(memory) {
  const dirty = isDirty();
  const changed = shown !== null && shown.id === memory.id && shown.version !== memory.version;
  if (!dirty || shown.id !== memory.id) {
    text.value = memory.text;
    tagsField.value = memory.tags.join(', ');
  }
  byId('edit-note').textContent = dirty && changed ? 'Another machine changed this memory while you were writing. If you save, your text replaces that change.' : '';
  shown = memory;
  text.readOnly = Boolean(memory.cut);
  byId('memory-title').textContent = memory.kind === 'note' ? 'Memory' : `Memory · ${memory.kind}`;
  byId('save').disabled = !isDirty();
  text.rows = Math.min(14, Math.max(3, Math.ceil(memory.text.length / 60), memory.text.split('\n').length));
  byId('memory-conflicts').hidden = Object.keys(memory.conflicts).length === 0;
  byId('memory-conflicts').replaceChildren(...settling(memory, nameOf, async (settled) => { shown = null; show(await whole(settled)); past(); }));
  const facts = [
    ['Space', memory.space],
    ['Author', author(memory)],
    memory.imported && ['Imported', make('span', { title: memory.imported.mesh_did }, importedBy(memory.imported))],
    ['Created', time(memory.created_at)],
    memory.updated_at !== memory.created_at && ['Edited', time(memory.updated_at)],
    memory.expires_at && ['Expires', new Date(memory.expires_at).toLocaleString()],
    memory.valid_from && ['True from', new Date(memory.valid_from).toLocaleString()],
    memory.valid_to && ['True until', new Date(memory.valid_to).toLocaleString()],
    memory.cut && ['Text', coded(`Only the beginning is shown, ${memory.text.length} characters. The whole text has ${memory.attachment.bytes} bytes. ${memory.cut}`)],
    memory.supersedes && ['Replaces', make('code', {}, memory.supersedes)],
    ...Object.entries(memory.meta).map(([key, value]) => [key, plain(value)]),
    ['Id', make('code', {}, memory.id)],
    memory.was && ['Former id', make('code', {}, memory.was)],
    memory.more && ['More', 'This memory has more values than the page shows. Save it again until this line is gone, or forget it.'],
  ];
  byId('memory-facts').replaceChildren(
    ...facts.filter(Boolean).flatMap(([label, value]) => [make('dt', {}, label), make('dd', {}, ...[value].flat())]));
}

async function past() {
  const { id } = shown;
  const revisions = await ask(`${memoryPath(id)}/history`);
  if (shown?.id !== id) return;
  const earlier = revisions[0]?.earlier ? [make('li', { class: 'dim' }, 'Earlier changes are not shown.')] : [];
  byId('history').replaceChildren(...revisions.reverse().map(({ at, by, agent, source, changed }) =>
    make('li', {},
      make('div', { class: 'dim' }, author({ author_name: nameOf(by), agent, source }), ', ', time(at)),
      Object.entries(changed).map(([field, value]) =>
        make('div', {}, make('b', {}, field), ' ', make('span', { class: 'value' }, plain(value)))))), ...earlier);
}

/** Opens a memory. */
export async function open(id, name) {
  nameOf = name;
  try {
    shown = null;
    show(await whole(await ask(memoryPath(id))));
    byId('history').replaceChildren();
    calm();
    if (!dialog.open) dialog.showModal();
    await past();
  } catch (problem) {
    toast(explain(problem), true);
  }
}

/** A memory has changed, or is gone (`null`). */
export function changed(id, memory) {
  if (!dialog.open || shown?.id !== id) return;
  if (memory === null) {
    dialog.close();
    toast('This memory was forgotten.');
  } else if (memory.version !== shown.version) {
    whole(memory).then((memory) => { if (shown?.id === id) show(memory); return past(); }).catch(() => {});
  }
}

function calm() {
  forget.textContent = 'Forget';
  forget.classList.remove('sure');
}

for (const field of [text, tagsField]) field.addEventListener('input', () => { byId('save').disabled = !isDirty(); });

byId('edit').addEventListener('submit', async (event) => {
  event.preventDefault();
  const patch = {};
  if (text.value !== shown.text || 'text' in shown.conflicts) patch.text = text.value;
  if (tags(tagsField.value).join() !== shown.tags.join()) patch.tags = tags(tagsField.value);
  try {
    const memory = await send('PATCH', memoryPath(shown.id), patch);
    const saved = await whole(memory);
    shown = null;
    show(saved);
    await past();
    toast('Saved.');
  } catch (problem) {
    byId('edit-note').replaceChildren(...coded(explain(problem)));
  }
});

forget.addEventListener('click', async () => {
  if (!forget.classList.contains('sure')) {
    forget.textContent = 'Forget it everywhere, for good?';
    forget.classList.add('sure');
    return;
  }
  const { id } = shown;
  try {
    dialog.close();
    await send('DELETE', memoryPath(id));
    toast('Forgotten.');
  } catch (problem) {
    toast(explain(problem), true);
  }
});
forget.addEventListener('blur', calm);
byId('memory-close').addEventListener('click', () => dialog.close());
dialog.addEventListener('click', (event) => { if (event.target === dialog && !isDirty()) dialog.close(); });
dialog.addEventListener('close', () => { shown = null; });
