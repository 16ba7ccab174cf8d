// Members: who belongs to this mesh, as far as the page may know, and the commands that change it.

import { standing } from './map.js';
import { arrange, byId, command, count, make, named, redrawn, shortDid, time } from './show.js';

/** So many members are shown. A mesh may have more. */
const ROWS_MAX = 200;

let here = false;
let known = null;
let drawn = new Map();

/** A member’s rights to memories, by the lists of the spaces that this node may read. */
function rights(did, spaces) {
  if (spaces.some(({ writers }) => writers.includes(did))) return 'reads and writes';
  return spaces.some(({ readers }) => readers.includes(did)) ? 'reads only' : 'reads no space that this node knows';
}

function row({ did, name, isMe, mood, words, may, lastSeen }) {
  // the command names the DID: a name may hold characters that a shell obeys
  const end = isMe
    ? command('nexus-node leave', 'This node leaves the mesh. It keeps its memories, and cannot return with the same key.')
    : command(`nexus-node revoke ${did}`, 'An admin’s node ends this membership, for good. The command names who else loses theirs, and asks first.');
  return make('li', { class: 'card member' },
    make('div', { class: 'row' },
      make('span', { class: `dot ${mood}` }),
      make('b', { class: 'grow' }, named(name ?? shortDid(did))),
      isMe ? make('span', { class: 'tag good' }, 'this node') : null),
    make('div', { class: 'about' },
      isMe ? null : make('span', {}, words),
      make('span', {}, may),
      lastSeen ? make('span', {}, 'last heard of ', time(lastSeen)) : null,
      make('code', { title: did }, shortDid(did))),
    make('details', {},
      make('summary', {}, isMe ? 'Leave the mesh' : 'End this membership'),
      end));
}

/** The members as rows: this node first, then the others by name. */
function rows({ status, peers, spaces }) {
  const others = peers.map((peer) => {
    const { mood, words } = standing(peer, status.offline);
    const isAway = peer.state !== 'up' || status.offline;
    return { did: peer.did, name: peer.name, isMe: false, mood, words: named(words), may: rights(peer.did, spaces), lastSeen: isAway ? peer.last_seen : null };
  });
  others.sort((a, b) => (a.name ?? '').localeCompare(b.name ?? '') || a.did.localeCompare(b.did));
  const me = { did: status.did, name: status.name, isMe: true, mood: status.offline ? 'down' : 'good', words: '', may: rights(status.did, spaces), lastSeen: null };
  return [me, ...others];
}

function show() {
  if (!here || !known) return;
  const all = rows(known);
  const before = drawn;
  drawn = new Map(all.slice(0, ROWS_MAX).map((member) => [member.did, redrawn(before.get(member.did), member, row)]));
  arrange(byId('members-list'), [...drawn.values()].map(({ row }) => row));
  byId('members-count').textContent = count(all.length, 'member', 'members');
  byId('members-more').hidden = all.length <= ROWS_MAX;
  byId('members-more').textContent = `${count(all.length - ROWS_MAX, 'more member is', 'more members are')} not shown.`;
}

/** Takes over what the page has just read of the mesh. */
export function setMembers(now) {
  known = now;
  show();
}

/** Shows the room, or stops doing so. */
export function enter(now) {
  here = now;
  show();
}

byId('members-commands').replaceChildren(
  command('nexus-node invite', 'Invite another machine. The command prints a ticket, and the line to type on that machine. The ticket is a secret, so no page shows it.'),
  command('nexus-node invite --role reader', 'Invite a machine that may read memories and not write any.'),
  command('nexus-node members', 'List each member’s roles, the member that admitted it, and the end of its membership.'),
  command('nexus-node members --revoked', 'List the former members.'));
