// The mesh as a drawing: this node in the middle, the others around it.

import { count, draw } from './show.js';

const [WIDTH, HEIGHT] = [480, 300];
const [CENTRE_X, CENTRE_Y] = [WIDTH / 2, HEIGHT / 2 - 8];
/** More of them are drawn smaller and with their names only. */
const MANY = 10;

/** How a peer is doing, in a word for the colours and in words for people. */
export function standing(peer, offline) {
  if (offline) return { mood: 'down', words: 'this node is offline' };
  if (peer.state === 'down') return { mood: 'down', words: peer.cause ?? 'down' };
  if (peer.state === 'suspect') return { mood: 'odd', words: peer.cause ?? 'silent' };
  if (peer.behind > 0) return { mood: 'busy', words: `lacks ${count(peer.behind, 'entry', 'entries')}` };
  return peer.synced ? { mood: 'good', words: 'in step' } : { mood: 'busy', words: 'catching up' };
}

const name = (peer) => peer.name ?? `…${peer.did.slice(-6)}`;

const cut = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

export function drawMap(svg, status, peers) {
  const few = peers.length <= MANY;
  const nodes = peers.map((peer, index) => {
    const angle = (index / peers.length) * 2 * Math.PI - (peers.length === 2 ? Math.PI : Math.PI / 2);
    const [x, y] = [CENTRE_X + 172 * Math.cos(angle), CENTRE_Y + 98 * Math.sin(angle)];
    return { peer, x, y, ...standing(peer, status.offline) };
  });
  const edges = nodes.map(({ peer, x, y, mood }) =>
    draw('line', { class: `edge ${mood}`, 'data-did': peer.did, x1: CENTRE_X, y1: CENTRE_Y, x2: x, y2: y }));
  const others = nodes.map((node) => circle(node, few));
  const me = circle({ peer: status, x: CENTRE_X, y: CENTRE_Y, mood: status.offline ? 'down' : 'me', words: 'this node' }, few);
  const summary = nodes.map(({ peer, words }) => `${name(peer)}: ${words}`).join('; ');
  const title = draw('title', { id: 'map-says' }, `The mesh: this node, ${status.name}, and ${summary || 'nobody else yet'}.`);
  svg.replaceChildren(title, ...edges, ...others, me);
}

function circle({ peer, x, y, mood, words }, few) {
  const radius = few ? 20 : 11;
  const label = draw('text', { class: 'name', x, y: y + radius + 16 }, cut(name(peer), few ? 18 : 10));
  const state = few ? draw('text', { class: 'state', x, y: y + radius + 31 }, cut(words, 30)) : null;
  const initial = few ? draw('text', { class: 'initial', x, y: y + 6 }, name(peer).slice(0, 1).toUpperCase()) : null;
  const tip = draw('title', {}, `${name(peer)}: ${words}`);
  return draw('g', { class: `node ${mood}` }, tip, draw('circle', { cx: x, cy: y, r: radius }), initial, label, state);
}

/** Shows that something came from a peer. */
export function pulse(svg, did) {
  const edge = [...svg.querySelectorAll('line')].find((edge) => edge.dataset.did === did);
  edge?.classList.remove('pulse');
  // Reading a size makes the browser notice that it was gone.
  edge?.getBoundingClientRect();
  edge?.classList.add('pulse');
}
