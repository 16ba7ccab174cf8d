// Keys and locks: whether they can be written now, and the commands that show them. The page's cookie does not read keys.

import { byId, command, make, named } from './show.js';

/** The meaning of each mode of the coordinators for writing keys and taking locks. */
export const MODES = {
  full: 'every voter is up',
  core: 'enough voters are up, but not all',
  read_only: 'too few voters are up: no key can be written, and no lock taken',
};

const ROLES = { leader: 'leads the voters', voter: 'has a vote', learner: 'has a copy and no vote' };

/** Takes over what the page has just read of this node. */
export function setState(status, nameOf) {
  const { mode, voters, voters_up: up, coordinator, role } = status;
  const facts = [
    ['State', MODES[mode] ?? 'no coordinators are known here yet'],
    typeof voters === 'number' && ['Voters', `${up ?? 0} of ${voters} are up`],
    ['Leader', coordinator ? (coordinator === status.did ? 'this node' : named(nameOf(coordinator))) : 'none is known here'],
    ['This node', ROLES[role] ?? 'has neither a vote nor a copy'],
  ];
  const is = JSON.stringify(facts);
  const list = byId('keys-facts');
  // somebody may be marking a text
  if (list.dataset.is === is) return;
  list.dataset.is = is;
  list.replaceChildren(...facts.filter(Boolean).flatMap(([label, value]) => [make('dt', {}, label), make('dd', {}, value)]));
}

byId('keys-commands').replaceChildren(
  command('nexus-node kv list', 'List the keys with their values and revisions. A prefix at the end narrows the list.'),
  command('nexus-node kv watch ""', 'Follow the changes of keys and locks, until you stop it.'),
  command('nexus-node lock list', 'List the held locks: the holder, the token, the time left, and who waits.'),
  command('nexus-node coordinator', 'Show the coordinators, the members that decide about keys and locks together.'),
  command('nexus-node audit --since 1d', 'Show the requests of the last day, with their outcomes and without values.'),
  command('nexus-node audit verify', 'Check that the audit is unchanged, and equal on the other members.'));
