// The board of tasks: those that wait for an approval first, then those that wait, run, and have ended.

import { ask, explain, followTasks } from './api.js';
import { badge, changed as changedOpen, decisions, facts, inBlob, lookAgain, member, onDecided, open, plan, progress, shortId, stateOf, titled, worker } from './task.js';
import { ahead, arrange, byId, coded, count, make, named, retell, seen, time, toast } from './show.js';

/** So many tasks of a group are read. A mesh may have a hundred thousand of them. */
const READ = 100;
/** So many of a group are shown at first, and more for each click. */
const ROWS = 12;
/** Workers beyond these are counted. */
const WORKERS_MAX = 20;
/** Tasks told within this time are shown together. */
const TOGETHER_MS = 150;
/** So many tasks that are told during a reading are kept, the last ones. */
const SINCE_MAX = 1_000;
/** How often the board is read: progress, and the reason why a task waits, are no events. */
const LOOK_MS = 3_000;
/** Each so many looks everything is read, also what has ended: a stream that lags leaves words out. */
const WHOLE = 10;
/** The board is read for a small part of the time, however long a reading takes the node. */
const QUIET_TIMES = 20;
const QUIET_MAX_MS = 60_000;
/** A page of a group may look through many tasks of other states and have none. So many pages are asked for. */
const PAGES_MAX = 10;
/** A click so soon after the list has moved may be meant for another task. */
const STEADY_MS = 600;

const GROUPS = [
  { name: 'approval', title: 'Waiting for an approval', none: null, states: ['awaiting_approval'], order: oldest, row: approval },
  { name: 'pending', title: 'Pending', none: 'No task waits for a worker.', states: ['pending'], order: newest, row: waits },
  { name: 'running', title: 'Running', none: 'No task is with a worker.', states: ['assigned', 'running'], order: newest, row: runs },
  { name: 'ended', title: 'Ended', none: null, states: ['succeeded', 'failed', 'unknown', 'cancelled', 'rejected'], order: lastEnded, row: ended },
];

const groups = GROUPS.map((group) => {
  const parts = {
    count: make('span', { class: 'count' }),
    list: make('ul', { class: 'list' }),
    none: make('p', { class: 'dim none' }, group.none),
    more: make('button', { type: 'button', class: 'quiet' }),
    rest: make('p', { class: 'dim none' }, 'Older ones: ', make('code', {}, `nexus-node task list ${group.states.map((state) => `--state ${state}`).join(' ')}`)),
  };
  const section = make('section', { class: `group ${group.name}`, 'aria-labelledby': `group-${group.name}`, hidden: true },
    make('h3', { id: `group-${group.name}` }, group.title, ' ', parts.count), parts.list, parts.none, parts.more, parts.rest);
  const made = { ...group, ...parts, section, tasks: new Map(), isCut: false, isRead: false, rows: ROWS, drawn: new Map() };
  parts.more.addEventListener('click', () => {
    made.rows = made.rows * 3;
    show();
  });
  byId('board').append(section);
  return made;
});
const waiting = groups[0];

function newest(a, b) { return b.submitted_at.localeCompare(a.submitted_at); }
/** The first to come is first, so a task that comes does not move the others under somebody's finger. */
function oldest(a, b) { return newest(b, a); }
function lastEnded(a, b) { return (b.ended_at ?? b.submitted_at).localeCompare(a.ended_at ?? a.submitted_at); }

let room = false;
let stop = null;
let tell = () => {};
let movedAt = 0;
let quietUntil = 0;

let reading = null;
/** The groups to read after that. */
let again = null;
/** The tasks that were told since the reading began. */
let since = new Map();

/** Reads these groups. A task that is told meanwhile is newer than the one that is read. */
function read(which) {
  if (reading) {
    again = [...new Set([...(again ?? []), ...which])];
    return;
  }
  since = new Map();
  reading = (async () => {
    const began = performance.now();
    try {
      await Promise.all(which.map(async (group) => {
        const { items, next } = await firstOf(group);
        group.tasks = new Map(items.map((task) => [task.id, task]));
        group.isCut = next !== null;
        group.isRead = true;
        [...since.values()].forEach(put);
        show();
      }));
      byId('tasks-problem').hidden = true;
    } catch (problem) {
      if (problem.status === 401) return;
      byId('tasks-problem').replaceChildren(...coded(problem.status ? explain(problem) : 'The node does not answer. The page asks it again.'));
      byId('tasks-problem').hidden = false;
    }
    quietUntil = performance.now() + Math.min(QUIET_MAX_MS, QUIET_TIMES * (performance.now() - began));
  })().finally(() => {
    reading = null;
    const next = again;
    again = null;
    if (next) read(next);
  });
}

async function firstOf(group) {
  const path = `/v1/tasks?${group.states.map((state) => `state=${state}&`).join('')}limit=${READ}`;
  const first = await ask(path);
  for (let pages = 1; first.next !== null && first.items.length < READ && pages < PAGES_MAX; pages++) {
    const { items, next } = await ask(`${path}&after=${encodeURIComponent(first.next)}`);
    first.items.push(...items);
    first.next = next;
  }
  return first;
}

async function readWorkers() {
  const agents = await ask('/v1/agents');
  byId('workers').replaceChildren(...agents.slice(0, WORKERS_MAX).map(({ name, node, node_name: called, capabilities, waiting: free, running }) =>
    make('li', {},
      make('div', { class: 'row' },
        make('span', { class: `dot ${free ? 'good' : 'busy'}` }),
        make('b', { class: 'grow' }, name ? named(name) : 'without a name'),
        make('span', { class: 'dim' }, `${free} free, ${running} running`)),
      make('div', { class: 'about' }, capabilities.slice(0, 12).map((capability) => make('span', { class: 'tag' }, capability)),
        capabilities.length > 12 ? `and ${capabilities.length - 12} more` : null, make('span', {}, 'at ', member(node, called))))));
  if (agents.length > WORKERS_MAX) byId('workers').append(make('li', { class: 'dim' }, `and ${agents.length - WORKERS_MAX} more`));
  if (agents.length === 0) {
    byId('workers').replaceChildren(make('li', { class: 'dim' }, 'No worker is known here. ', make('code', {}, 'nexus-node worker --capability C -- COMMAND'), ' starts one.'));
  }
}

/** Takes over a task as it is now. */
function put(task) {
  const before = groups.map(({ tasks }) => tasks.get(task.id)).find(Boolean);
  // two answers may pass each other, and no task that has ended begins again
  if (before && stateOf(before).over && !stateOf(task).over) return;
  for (const group of groups) {
    if (group.states.includes(task.state)) group.tasks.set(task.id, { ...task, events: [] });
    else group.tasks.delete(task.id);
    if (group.tasks.size > 2 * READ) cut(group);
  }
}

function cut(group) {
  const sorted = [...group.tasks.values()].sort(group.order === oldest ? newest : group.order);
  group.tasks = new Map(sorted.slice(0, READ).map((task) => [task.id, task]));
  group.isCut = true;
}

let timer = null;

function changed(task) {
  if (reading) {
    since.set(task.id, task);
    if (since.size > SINCE_MAX) since.delete(since.keys().next().value);
  }
  put(task);
  changedOpen(task);
  timer ??= setTimeout(() => {
    timer = null;
    show();
  }, TOGETHER_MS);
}

function show() {
  const none = groups.every(({ tasks, isCut, isRead }) => isRead && tasks.size === 0 && !isCut);
  byId('tasks-none').hidden = !none;
  for (const group of groups) {
    const tasks = [...group.tasks.values()].sort(group.order);
    const some = tasks.slice(0, group.rows);
    const hidden = tasks.length - some.length;
    group.section.hidden = none || !group.isRead || (tasks.length === 0 && !group.none.textContent && !group.isCut);
    group.count.textContent = tasks.length ? `${tasks.length.toLocaleString()}${group.isCut ? ' and more' : ''}` : '';
    group.none.hidden = tasks.length > 0 || !group.none.textContent;
    group.more.hidden = hidden === 0;
    group.more.textContent = `and ${hidden.toLocaleString()} more${group.isCut ? ', at least' : ''}`;
    group.rest.hidden = hidden > 0 || !group.isCut;
    const before = [...group.drawn.keys()];
    draw(group, room ? some : []);
    const after = [...group.drawn.keys()];
    if (group === waiting && before.some((id, at) => after[at] !== id)) movedAt = performance.now();
  }
  const number = `${waiting.tasks.size}${waiting.isCut ? '+' : ''}`;
  if (byId('waiting').textContent !== number || byId('waiting').hidden !== (waiting.tasks.size === 0)) {
    byId('waiting').textContent = number;
    byId('waiting').hidden = waiting.tasks.size === 0;
    byId('waiting').title = `${number} waiting for an approval`;
    byId('tasks-said').textContent = waiting.tasks.size ? `${number} ${waiting.tasks.size === 1 ? 'task waits' : 'tasks wait'} for an approval.` : '';
    tell(waiting.tasks.size);
  }
}

/** A row is made anew when the task has changed: one that somebody reads stays as it is. */
function draw(group, tasks) {
  const before = group.drawn;
  group.drawn = new Map(tasks.map((task) => {
    const is = JSON.stringify([task.state, task.why, task.progress, task.assigned_to, task.claims, task.failures, task.expiries, task.error, task.ended_at, task.submitter_name, task.settler]);
    const old = before.get(task.id);
    return [task.id, old?.is === is ? old : { is, row: group.row(task) }];
  }));
  const held = document.activeElement?.closest?.('[data-task]')?.dataset.task;
  arrange(group.list, [...group.drawn.values()].map(({ row }) => row));
  // somebody who is in the list with the keyboard stays there
  if (held && document.activeElement === document.body) group.drawn.get(held)?.row.querySelector('button')?.focus();
}

function approval(task) {
  const card = make('li', { class: 'card ask', 'data-task': task.id });
  const isSteady = () => {
    const is = performance.now() - movedAt > STEADY_MS;
    if (!is) toast('The list has just moved. Look again, and click once more.');
    return is;
  };
  card.append(
    make('div', { class: 'row' },
      make('h4', { class: 'grow' }, make('button', { type: 'button', class: 'link', click: () => open(task.id) }, task.capability)),
      make('span', { class: 'dim' }, shortId(task.id), ' ', time(task.submitted_at))),
    make('dl', { class: 'facts plan' }, facts(plan(task))),
    titled('Input', task.input, task.id),
    make('div', { class: 'row decide' }, decisions(task, card, isSteady)));
  return card;
}

/** A row that opens its task. */
function row(task, ...more) {
  return make('li', { 'data-task': task.id },
    make('button', { type: 'button', class: 'memory task', click: () => open(task.id) }, ...more));
}

const headed = (task, ...more) => make('span', { class: 'head' }, make('b', {}, task.capability), ...more);

/** The beginning of a value, in one line or two. */
function start(value) {
  if (value === null || value === undefined) return null;
  const text = typeof value === 'string' ? value : inBlob(value)?.begin ?? JSON.stringify(value);
  return make('span', { class: 'text' }, seen(text.slice(0, 300)));
}

const about = (task, ...more) => make('span', { class: 'about' },
  make('span', {}, 'from ', member(task.submitter, task.submitter_name)),
  task.to ? make('span', {}, 'to ', member(task.to)) : null,
  task.priority === 'normal' ? null : make('span', { class: 'tag' }, task.priority),
  ...more,
  shortId(task.id));

function waits(task) {
  return row(task, headed(task, time(task.submitted_at)), start(task.input),
    task.why ? make('span', { class: 'why' }, make('span', {}, ...coded(seen(task.why)))) : null,
    about(task, task.deadline ? make('span', {}, 'deadline ', time(task.deadline, ahead)) : null));
}

function runs(task) {
  return row(task, headed(task, badge(task)), start(task.input),
    task.progress ? progress(task.progress) : null,
    make('span', { class: 'about' }, task.assigned_to ? make('span', {}, 'by ', worker(task.assigned_to)) : null,
      task.claims > 1 ? make('span', {}, `attempt ${task.claims}`) : null),
    about(task, time(task.submitted_at)));
}

function ended(task) {
  const { error } = task;
  const why = error ? make('span', { class: 'reason' }, make('b', {}, seen(error.code)), error.message ? `: ${seen(error.message.slice(0, 300))}` : '') : null;
  return row(task, headed(task, badge(task), make('span', { class: 'stretch' }), time(task.ended_at ?? task.submitted_at)),
    task.state === 'succeeded' ? start(task.output) : why ?? start(task.input),
    about(task, task.assigned_to ? make('span', {}, 'by ', worker(task.assigned_to)) : null));
}

/** Shows the board, or stops doing so. The number of those that wait is told in any room. */
export function enter(here) {
  if (room === here) return;
  room = here;
  byId('workers-card').hidden = !room;
  show();
  if (room) look();
}

let looks = 0;

function look() {
  if (document.hidden || !stop) return;
  lookAgain();
  if (!room) return;
  const open = groups.filter(({ name, tasks }) => name !== 'ended' && tasks.size > 0);
  const which = ++looks % WHOLE === 0 || groups.some(({ isRead }) => !isRead) ? groups : open;
  if (which.length && performance.now() > quietUntil) read(which);
  readWorkers().catch(() => {});
  for (const within of [byId('board'), byId('task')]) retell(within);
}

/** Follows the tasks until `end`. `waits` hears how many wait for an approval. */
export function begin(waits) {
  end();
  tell = waits;
  const unfollow = followTasks({ task: changed, again: () => read(groups) });
  const timer = setInterval(look, LOOK_MS);
  stop = () => {
    unfollow();
    clearInterval(timer);
  };
  if (room) readWorkers().catch(() => {});
}

export function end() {
  stop?.();
  stop = null;
}

onDecided(changed);
