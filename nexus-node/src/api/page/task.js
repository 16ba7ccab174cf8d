// One task: its plan, the decisions on it, and what happened to it.

import { ask, explain, send, taskPath } from './api.js';
import { ahead, arrange, byId, bytes, coded, count, long, make, named, seen, shortDid, time, toast } from './show.js';

/** Each state: its word, its colour, and whether the task is over. */
export const STATES = {
  awaiting_approval: { word: 'awaiting approval', mood: 'odd' },
  pending: { word: 'pending', mood: 'dim' },
  assigned: { word: 'assigned', mood: 'busy' },
  running: { word: 'running', mood: 'busy' },
  succeeded: { word: 'succeeded', mood: 'good', over: true },
  failed: { word: 'failed', mood: 'bad', over: true },
  unknown: { word: 'unknown', mood: 'odd', over: true },
  cancelled: { word: 'cancelled', mood: 'dim', over: true },
  rejected: { word: 'rejected', mood: 'bad', over: true },
};

/** A later version of the node may have further states. */
export const stateOf = ({ state }) => STATES[state] ?? { word: state, mood: 'dim' };

/** So many events are shown, the last ones. */
const EVENTS_MAX = 200;

const dialog = byId('task');

let people = { me: null, nameOf: shortDid, readersOf: () => [] };
let told = () => {};
/** The id of the task that is shown, and the task as the node last had it. */
let shown = null;

/** The people of this mesh: this node's DID, the names of members, the readers of a space. */
export function setPeople(now) { people = now; }

/** Calls back with a task on which something was decided here. */
export function onDecided(call) { told = call; }

export const badge = (task) => make('span', { class: `tag ${stateOf(task).mood}` }, stateOf(task).word);

/** A member, with its whole DID when it is pointed at. Two may have one name, so a plan shows the DID's end, too. */
export function member(did, name, exact = false) {
  const called = name ?? people.nameOf(did);
  const tail = shortDid(did);
  return make('span', { title: did }, named(called), exact && called !== tail ? make('code', { class: 'dim' }, ` ${tail}`) : null);
}

export function worker({ node, name, agent }) {
  return make('span', {}, agent ? `${seen(agent)} at ` : '', member(node, name));
}

/** The beginning of an id, which commands take, too. Ids of tasks that were written together differ in their ends alone. */
export function shortId(id) {
  const [start, number] = id.split('.');
  return make('code', { title: id }, number ? `${start.slice(0, 12)}….${number}` : id.slice(0, 12));
}

/** A value as text: a text as it is, anything else as JSON. */
export const written = (value) => (typeof value === 'string' ? value : JSON.stringify(value, null, 2));

export function progress({ percent, text }) {
  const said = seen(text);
  const bar = percent === null ? null : make('progress', { max: 100, value: percent, 'aria-label': 'Progress' });
  return make('span', { class: 'progress' }, bar, [percent === null ? null : `${percent} %`, said].filter(Boolean).join(', '));
}

/** So many readers of a space are named. */
const READERS_MAX = 4;

/** Everybody who reads what is in a space. */
function readers(space) {
  const all = people.readersOf(space);
  const others = all.filter((did) => did !== people.me).map((did) => named(people.nameOf(did)));
  const names = all.length > others.length ? ['this node', ...others] : others;
  // a number in the place of one name would not be shorter
  const some = names.length > READERS_MAX + 1 ? names.slice(0, READERS_MAX) : names;
  const more = names.length > some.length ? ` and ${count(names.length - some.length, 'other member', 'other members')}` : '';
  const who = some.length ? `${some.join(', ')}${more}` : 'all members who may read the space';
  return make('span', { title: all.join('\n') }, `${who} (space ${named(space)})`);
}

/** The facts that somebody who approves it has to know. */
export function plan(task) {
  return [
    ['From', make('span', {}, member(task.submitter, task.submitter_name, true), task.agent ? `, from the program ${named(task.agent)}` : '')],
    ['To', task.to ? member(task.to, null, true) : `any worker that does ${task.capability}`],
    ['Read by', readers(task.space)],
    task.approval?.rule === 'other' && ['Approved by', 'an admin who is somebody else than its submitter'],
    task.sandbox && ['Sandbox', `${seen(task.sandbox)} at least`],
    task.heirs?.length && ['Managed by', make('span', {}, member(task.settler, task.settler_name, true), `; if it fails, ${count(task.heirs.length, 'other member takes', 'other members take')} over`)],
    ['Priority', task.priority],
    ['Deadline', task.deadline ? time(task.deadline, ahead) : 'none'],
    ['One attempt', `${task.timeout} at most; ${count(task.attempts, 'attempt', 'attempts')}`],
  ];
}

/** The approval of a task, in words. */
function approval(given) {
  if (!given || given.approved === null) return 'a person had to approve it';
  return make('span', {}, given.approved ? 'approved at ' : 'rejected at ', member(given.by, given.by_name, true));
}

export const facts = (list) => list.filter(Boolean).flatMap(([label, value]) => [make('dt', {}, label), make('dd', {}, value)]);

/** So many characters are shown of an input or an output that is in a blob. */
const BEGIN = 300;

/** The stand-in for an input or an output that is in a blob. */
export function inBlob(value) {
  const known = ['$blob', 'bytes', 'begin'];
  const is = value !== null && typeof value === 'object' && typeof value.$blob === 'string' && Object.keys(value).every((key) => known.includes(key));
  return is ? value : null;
}

/** An input or an output in a blob: the beginning, by its sender's word, and a button for all of it. */
function elsewhere(name, { bytes: size, begin }, id) {
  const place = make('div', { class: 'titled' });
  const label = size === undefined ? 'Show all of it' : `Show all ${bytes(size)} of it`;
  const get = make('button', { type: 'button', class: 'quiet rest', 'aria-expanded': 'false', click: load }, label);
  async function load() {
    get.disabled = true;
    try {
      const task = await ask(`${taskPath(id)}?whole=true`);
      place.replaceWith(titled(name, task[name.toLowerCase()]));
    } catch (problem) {
      get.disabled = false;
      toast(explain(problem), true);
    }
  }
  const start = begin ? [make('p', { class: 'dim' }, 'It is stored as a file. The sender says that it begins:'), make('pre', { class: 'value' }, `${seen(begin.slice(0, BEGIN))}…`)] : [];
  place.append(make('h4', {}, name), ...start, get);
  return place;
}

/** So many lines of a change to files are marked. */
const CHANGE_LINES = 200;

/** The change to files that an input names, if it is one: a text in the form of `diff -u`. */
function changeIn(value) {
  const text = value?.diff ?? value?.patch;
  return typeof text === 'string' && /^(@@ |--- |diff )/m.test(text) ? text : null;
}

/** The mark of a line in such a text. */
function markOf(line) {
  if (/^(\+\+\+|---|diff |index )/.test(line)) return 'file';
  return { '+': 'add', '-': 'del', '@': 'hunk' }[line[0]] ?? null;
}

/** The lines of a change, each with its mark. The input beside them has all of it. */
function changes(text) {
  const lines = seen(text).replace(/\n$/, '').split('\n');
  const rows = lines.slice(0, CHANGE_LINES).map((line) => make('span', { class: markOf(line) }, `${line}\n`));
  const more = lines.length > CHANGE_LINES ? `${count(lines.length - CHANGE_LINES, 'more line is', 'more lines are')} in the input below.` : null;
  return make('div', { class: 'titled' },
    make('h4', {}, 'Changes ', make('small', { class: 'dim' }, 'as the input says')),
    make('pre', { class: 'value change', tabindex: '0' }, ...rows),
    more ? make('p', { class: 'dim' }, more) : null);
}

/** A text with its name above it. A text and its JSON are told apart, so neither passes for the other. */
export function titled(name, value, id) {
  if (id && inBlob(value)) return elsewhere(name, value, id);
  const kind = typeof value === 'string' ? 'text' : 'JSON';
  if (value === null) return make('div', { class: 'titled' }, make('h4', {}, name), make('p', { class: 'dim' }, 'none'));
  const whole = make('div', { class: 'titled' }, make('h4', {}, `${name} `, make('small', { class: 'dim' }, kind)), long(written(value)));
  const change = name === 'Input' ? changeIn(value) : null;
  return change === null ? whole : make('div', { class: 'texts' }, changes(change), whole);
}

/** Whether the whole input is on the screen. If not, it is then: nobody approves what is behind a button. */
function isWhole(within) {
  const rest = within.querySelector('.rest[aria-expanded="false"]');
  if (!rest) return true;
  rest.click();
  toast('Here is the rest of the input. Read it, and click once more.');
  return false;
}

/** The buttons for a task, such as its state allows. Its input is `within`, and `isSteady` can hold a click back. */
export function decisions(task, within, isSteady = () => true) {
  const button = (label, kind, act) => make('button', { type: 'button', class: kind, click: ({ currentTarget }) => act(currentTarget) }, label);
  const retry = button('Retry', '', (at) => decide(at, task, 'retry', 'Submitted once more, as another task.'));
  if (stateOf(task).over) return [retry];
  const cancel = button('Cancel it', 'bad', (at) => askWhy(at, task, CANCEL));
  if (task.state !== 'awaiting_approval') return [cancel];
  if (!task.approval?.here) {
    return [make('p', { class: 'dim grow' }, notHere(task)), cancel];
  }
  return [
    button('Approve', 'main', (at) => isSteady() && isWhole(within) && decide(at, task, 'approve', 'Approved: a worker may do it now.')),
    button('Reject…', 'bad', (at) => isSteady() && askWhy(at, task, REJECT)),
  ];
}

/** Why a person at this node does not approve a task. */
function notHere(task) {
  switch (task.approval?.rule) {
    case 'person': return 'It is approved at a machine of the person who submitted it, or at an admin\'s.';
    case 'other': return 'Another person has to approve it: an admin that does not stand below its submitter.';
    default: return 'It has a rule of a later version, which this node does not know.';
  }
}

async function decide(button, task, word, said, why, passphrase) {
  button.disabled = true;
  try {
    const now = await send('POST', `${taskPath(task.id)}/${word}`, passphrase === undefined ? (why ? { why } : {}) : { passphrase });
    toast(said);
    told(now);
    if (word === 'retry' && shown?.id === task.id) await open(now.id);
    else changed(now);
  } catch (problem) {
    if (problem.code === 'passphrase') return askPassphrase(null, button, task, word, said);
    // the dialog stays in front of everything else, a toast among it
    if (passphrase !== undefined && problem.code === 'refused') return askPassphrase(explain(problem), button, task, word, said);
    toast(explain(problem), true);
    // somebody else was faster
    if (problem.status === 409) ask(taskPath(task.id)).then((now) => { told(now); changed(now); }).catch(() => {});
  } finally {
    button.disabled = false;
  }
}

const passDialog = byId('pass');
const passText = byId('pass-text');
let toApprove = null;

/** Asks for the passphrase of this node's person, once more with the reason why. It is kept nowhere. */
function askPassphrase(why, button, task, word, said) {
  toApprove = [button, task, word, said];
  byId('pass-why').textContent = why ?? '';
  byId('pass-why').hidden = why === null;
  byId('pass-about').replaceChildren(`${task.capability}, from `, member(task.submitter, task.submitter_name), ', ', shortId(task.id));
  passText.value = '';
  passDialog.showModal();
  passText.focus();
}

byId('pass-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const passphrase = passText.value;
  passText.value = '';
  passDialog.close();
  const [button, task, word, said] = toApprove;
  decide(button, task, word, said, undefined, passphrase);
});
byId('pass-back').addEventListener('click', () => passDialog.close());
passDialog.addEventListener('close', () => { passText.value = ''; });

const REJECT = { word: 'reject', title: 'Reject this task', label: 'Reason, for all who read the task', go: 'Reject', said: 'Rejected.', required: true };
const CANCEL = { word: 'cancel', title: 'Cancel this task', label: 'Reason, if there is one', go: 'Cancel the task', said: 'Cancelled.', required: false };

const whyDialog = byId('why');
const whyText = byId('why-text');
let asked = null;

/** Asks for the reason of a decision before it is taken. */
function askWhy(button, task, question) {
  asked = { button, task, question };
  byId('why-title').textContent = question.title;
  byId('why-about').replaceChildren(`${task.capability}, from `, member(task.submitter, task.submitter_name), ', ', shortId(task.id));
  byId('why-label').textContent = question.label;
  byId('why-go').textContent = question.go;
  whyText.value = '';
  whyText.required = question.required;
  whyDialog.showModal();
  whyText.focus();
}

byId('why-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const why = whyText.value.trim();
  const { button, task, question } = asked;
  if (question.required && !why) {
    whyText.value = '';
    whyText.reportValidity();
    return;
  }
  whyDialog.close();
  decide(button, task, question.word, question.said, why);
});
byId('why-back').addEventListener('click', () => whyDialog.close());

function show(task) {
  const before = shown?.task;
  // somebody may be reading, or marking a text
  if (JSON.stringify(before) === JSON.stringify(task)) return;
  shown = { id: task.id, task };
  byId('task-title').textContent = task.capability;
  byId('task-state').replaceChildren(badge(task));
  const why = [
    task.why,
    task.state === 'unknown' ? 'Its worker stopped answering, so the work may be done or not.' : null,
  ].filter(Boolean).join(' ');
  byId('task-why').replaceChildren(make('span', {}, ...coded(seen(why))), task.progress ? progress(task.progress) : '');
  byId('task-why').hidden = !why && !task.progress;
  // buttons that stay are not made anew: the keyboard may be on one
  if (before?.state !== task.state) byId('task-decide').replaceChildren(...decisions(task, byId('task-texts')));
  byId('task-facts').replaceChildren(...facts([
    ...plan(task),
    task.needs_approval && task.state !== 'awaiting_approval' && ['Approval', approval(task.approval)],
    task.assigned_to && [stateOf(task).over ? 'Last worker' : 'Worker', worker(task.assigned_to)],
    ['Times started', claims(task)],
    ['Submitted', time(task.submitted_at)],
    task.ended_at && ['Ended', time(task.ended_at)],
    task.request && ['Request', make('code', {}, seen(task.request))],
    task.retry_of && ['Repeats', make('button', { type: 'button', class: 'link', title: task.retry_of, click: () => open(task.retry_of) }, shortId(task.retry_of))],
    ['Id', make('code', {}, task.id)],
  ]));
  texts(task);
  if (JSON.stringify(before?.events) !== JSON.stringify(task.events)) showEvents(task);
}

function claims({ claims, failures, expiries }) {
  const more = [failures && `${failures} failed`, expiries && `${count(expiries, 'worker was', 'workers were')} lost`].filter(Boolean);
  return [claims.toLocaleString(), ...more].join(', ');
}

let kept = new Map();

/** Input, output and error. One that has not changed stays, opened or not. */
function texts(task) {
  const { error } = task;
  const wanted = [['Input', task.input]];
  if (error) wanted.push([`Error: ${seen(error.code || 'failed')}`, error.message]);
  if (task.output !== null) wanted.push(['Output', task.output]);
  const before = kept;
  kept = new Map();
  const rows = wanted.map(([name, value]) => {
    const key = JSON.stringify([task.id, name, value]);
    kept.set(key, before.get(key) ?? titled(name, value, task.id));
    return kept.get(key);
  });
  arrange(byId('task-texts'), rows);
}

function showEvents({ events }) {
  const last = events.slice(-EVENTS_MAX);
  const earlier = events.length > last.length ? [make('li', { class: 'dim' }, `${count(events.length - last.length, 'earlier event', 'earlier events')}.`)] : [];
  byId('task-events').replaceChildren(...earlier, ...last.map(({ at, event, by, by_name: name, worker: who, text }) =>
    make('li', { class: event === 'late' ? 'late' : '' },
      make('div', {},
        make('b', {}, event),
        event === 'late' ? ': a result came after its worker’s time was over. It is kept, and does not end the task.' : '',
        who ? make('span', {}, ' by ', worker(who)) : null),
      make('div', { class: 'dim' }, 'reported by ', member(by, name), ', ', time(at)),
      text ? long(text) : null)));
}

/** Opens a task. */
export async function open(id) {
  try {
    const task = await ask(taskPath(id));
    shown = null;
    show(task);
    if (!dialog.open) dialog.showModal();
    dialog.scrollTop = 0;
  } catch (problem) {
    toast(explain(problem), true);
  }
}

/** A task has changed. One without its events, from a list, is read anew. */
export function changed(task) {
  if (!dialog.open || shown?.id !== task.id) return;
  if (task.events.length) show(task);
  else lookAgain();
}

/** Reads the task that is shown once more: its progress and the reason why it waits are no events. */
export async function lookAgain() {
  if (!dialog.open || !shown || stateOf(shown.task).over) return;
  const { id } = shown;
  const task = await ask(taskPath(id)).catch(() => null);
  if (task && shown?.id === id && dialog.open) show(task);
}

export function close() {
  whyDialog.close();
  dialog.close();
}

byId('task-close').addEventListener('click', () => dialog.close());
dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
dialog.addEventListener('close', () => { shown = null; kept = new Map(); });
