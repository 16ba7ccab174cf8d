// The page: signing in, its rooms, the mesh, and what else is not memories or tasks.

import { api, ask, explain, follow, onSignedOut, signIn } from './api.js';
import { enter as enterDocuments, setSpaces as setDocumentSpaces, takeFiles } from './documents.js';
import { enter as enterFiles, setPeople as setFilePeople } from './files.js';
import { MODES, setState as setKeyState } from './keys.js';
import { drawMap, pulse, standing } from './map.js';
import { enter as enterMembers, setMembers } from './members.js';
import { changed, findConflicts, refresh, setNames, setSpaces } from './memories.js';
import { byId, bytes, coded, count, make, named, shortDid, span, toast } from './show.js';
import { close as closeTask, setPeople } from './task.js';
import { begin as beginTasks, end as endTasks, enter as enterTasks } from './tasks.js';

/** How often the mesh is looked at: its state is no change to a memory. */
const LOOK_MS = 3_000;

/** So many other members are listed beside the rooms. The room of the members has more. */
const PEERS_MAX = 24;

const map = byId('map');
let names = new Map();
let status = null;
let stop = null;
let looking = null;

/** How many tasks wait for an approval. */
let waiting = 0;

const nameOf = (did) => names.get(did) ?? shortDid(did);

function entitle() {
  document.title = `${waiting ? `(${waiting}) ` : ''}${status?.name ?? 'Nexus'}${status ? ' · Nexus' : ''}`;
}

async function look() {
  const [now, peers, spaces] = await Promise.all([ask('/v1/status'), ask('/v1/peers'), ask('/v1/spaces')]);
  status = now;
  names = new Map([[now.did, now.name], ...peers.filter((peer) => peer.name).map((peer) => [peer.did, peer.name])]);
  entitle();
  byId('name').textContent = now.name;
  drawMap(map, now, peers);
  showPeers(peers);
  showWarnings(now);
  showFacts(now, peers, spaces);
  const spaceNames = spaces.map(({ space }) => space).sort();
  const readers = new Map(spaces.map((space) => [space.space, space.readers]));
  setFilePeople({ me: now.did, nameOf });
  setMembers({ status: now, peers, spaces });
  setKeyState(now, nameOf);
  setPeople({ me: now.did, nameOf, readersOf: (space) => readers.get(space) ?? [] });
  if (spaceNames.join() !== [...byId('new-space').options].map(({ value }) => value).join()) {
    setSpaces(spaceNames);
    setDocumentSpaces(spaceNames);
  }
}

function showPeers(peers) {
  byId('peers').replaceChildren(...peers.slice(0, PEERS_MAX).map((peer) => {
    const { mood, words } = standing(peer, status.offline);
    const rtt = peer.rtt_ms === null || peer.state !== 'up' ? '' : `${peer.rtt_ms < 10 ? peer.rtt_ms.toFixed(1) : Math.round(peer.rtt_ms)} ms`;
    const lag = peer.behind > 0 && mood !== 'busy' ? `${count(peer.behind, 'entry', 'entries')} behind` : null;
    return make('li', {},
      make('span', { class: `dot ${mood}` }),
      make('b', {}, named(peer.name ?? shortDid(peer.did))),
      make('span', { class: 'dim grow' }, [words, lag].filter(Boolean).join('; ')),
      make('span', { class: 'dim' }, rtt));
  }));
  if (peers.length > PEERS_MAX) {
    byId('peers').append(make('li', {}, make('a', { href: '#members' }, `and ${count(peers.length - PEERS_MAX, 'other member', 'other members')}`)));
  }
  if (peers.length === 0) {
    byId('peers').replaceChildren(make('li', { class: 'dim' },
      make('span', {}, 'No other member yet. ', make('code', {}, 'nexus-node invite'), ' lets another machine in.')));
  }
}

/** The warnings, and the next step if no warning has said it. */
function showWarnings({ warnings, membership, offline, next }) {
  const notice = (kind, ...texts) => make('p', { class: `notice ${kind}` }, ...texts);
  const notices = warnings.map(({ message, hint }) => notice('', make('b', {}, ...coded(message.replace(/[.:]?$/, '.'))), ' ', ...coded(hint ?? '')));
  if (membership !== 'member') notices.unshift(notice('bad', 'The membership of this node was ended.'));
  if (offline) notices.unshift(notice('', ...coded('This node is offline: what you write here stays on this machine until `nexus-node online`.')));
  const isSaid = offline || warnings.some(({ hint }) => hint === next);
  if (next && !isSaid) notices.push(notice('calm', make('b', {}, 'Next step: '), ...coded(next)));
  const is = JSON.stringify(notices.map(({ className, textContent }) => [className, textContent]));
  // somebody may be marking a command
  if (byId('warnings').dataset.is === is) return;
  byId('warnings').dataset.is = is;
  byId('warnings').replaceChildren(...notices);
}

function showFacts(status, peers, spaces) {
  const total = (of) => spaces.reduce((sum, space) => sum + space[of], 0);
  const facts = [
    ['Memories', total('records').toLocaleString()],
    ['Members', peers.length ? `this node and ${count(peers.length, 'other', 'others')}, ${status.peers} connected` : 'this node alone'],
    MODES[status.mode] && ['Keys, locks', [MODES[status.mode], status.coordinator && `${status.coordinator === status.did ? 'this node' : named(nameOf(status.coordinator))} leads`].filter(Boolean).join('; ')],
    ['Up for', span(status.uptime_s)],
    ['Store', `${count(total('entries'), 'entry', 'entries')}, ${bytes(total('bytes'))}`],
    status.rss_bytes && ['RAM', bytes(status.rss_bytes)],
    ['Version', status.version],
    ['Node', make('code', { title: status.did }, shortDid(status.did))],
    ['Mesh', make('code', { title: status.mesh_did }, shortDid(status.mesh_did))],
  ];
  byId('facts').replaceChildren(...facts.filter(Boolean).flatMap(([label, value]) => [make('dt', {}, label), make('dd', {}, value)]));
}

function live(connected) {
  byId('live').textContent = connected ? 'live' : 'not connected';
  byId('live').className = `pill ${connected ? 'good' : 'bad'}`;
}

/** Everything from the start: at first, and when the node behind the page is another one. */
async function readAll() {
  await look();
  setNames(nameOf);
  await Promise.all([refresh(), findConflicts()]);
}

async function start() {
  byId('sign-in').hidden = true;
  try {
    await readAll();
  } catch (problem) {
    if (problem.status === 401) return;
    toast(explain(problem), true);
  }
  byId('main').hidden = false;
  byId('sign-out').hidden = false;
  byId('rooms').hidden = false;
  enter();
  beginTasks((count) => {
    waiting = count;
    entitle();
  });
  stop = follow({
    state: live,
    again: () => readAll().catch(() => {}),
    change: (change) => {
      if (change.kind === 'missed') {
        readAll().catch(() => {});
        return;
      }
      pulse(map, change.author);
      if (['member', 'space', 'mode'].includes(change.kind)) look().catch(() => {});
      else changed(change);
    },
  });
  looking = setInterval(() => { if (!document.hidden) look().catch(() => {}); }, LOOK_MS);
}

function out(why) {
  stop?.();
  clearInterval(looking);
  endTasks();
  enterDocuments(false);
  enterFiles(false);
  enterMembers(false);
  closeTask();
  byId('main').hidden = true;
  byId('rooms').hidden = true;
  byId('sign-out').hidden = true;
  byId('live').textContent = 'signed out';
  byId('live').className = 'pill';
  byId('sign-in-why').hidden = !why;
  byId('sign-in-why').replaceChildren(...coded(why ?? ''));
  byId('sign-in').hidden = false;
}

onSignedOut(() => out(location.hash === '#over' ? 'That link was used already, or is too old. `nexus-node web` makes another.' : null));

byId('token-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  try {
    await signIn(byId('token').value.trim());
    byId('token').value = '';
    history.replaceState(null, '', ROOMS.includes(location.hash.slice(1)) ? `/${location.hash}` : '/');
    await start();
  } catch (problem) {
    out(explain(problem));
  }
});

byId('sign-out').addEventListener('click', async () => {
  await api('DELETE', '/v1/session').catch(() => {});
  out(null);
});

const ROOMS = ['memories', 'tasks', 'documents', 'files', 'members', 'keys'];

/** Shows the room that the address names. Another name, such as that of a link to skip to, changes nothing. */
function enter() {
  const named = location.hash.slice(1);
  const before = byId('main').dataset.room;
  if (before && named && !ROOMS.includes(named)) return;
  const room = ROOMS.includes(named) ? named : ROOMS[0];
  if (room === before) return;
  byId('main').dataset.room = room;
  for (const name of ROOMS) {
    byId(`room-${name}`).hidden = name !== room;
    const link = byId('rooms').querySelector(`[href="#${name}"]`);
    if (name === room) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  enterTasks(room === 'tasks');
  enterDocuments(room === 'documents');
  enterFiles(room === 'files');
  enterMembers(room === 'members');
  scrollTo(0, 0);
}

addEventListener('hashchange', enter);

/**
 * A file that is dropped here would replace the page. A document of Automerge is taken in. The cookie adds no other files, so the
 * page says how to add one.
 */
for (const name of ['dragover', 'drop']) {
  addEventListener(name, (event) => {
    if (![...event.dataTransfer?.types ?? []].includes('Files')) return;
    event.preventDefault();
    // the names of files are told with the drop alone
    event.dataTransfer.dropEffect = 'copy';
    if (name === 'dragover') return;
    const files = [...event.dataTransfer.files];
    const documents = files.filter((file) => file.name.endsWith('.automerge'));
    if (documents.length > 0) takeFiles(documents);
    if (documents.length < files.length) toast('This page takes documents of Automerge in, and no other files. On this machine type `nexus-node blob add PATH`.');
  });
}

const THEMES = { auto: 'Auto', light: 'Light', dark: 'Dark' };

function dress(theme) {
  document.documentElement.dataset.theme = theme;
  byId('theme').textContent = THEMES[theme];
}

byId('theme').addEventListener('click', () => {
  const order = Object.keys(THEMES);
  const theme = order[(order.indexOf(document.documentElement.dataset.theme) + 1) % order.length];
  localStorage.setItem('theme', theme);
  dress(theme);
});

dress(localStorage.getItem('theme') in THEMES ? localStorage.getItem('theme') : 'auto');
start();
