// The mesh as a drawing: this node in the middle, the others around it.

import { count, draw } from './show.js';

const WIDTH = 360;
/** So many stand in an arc above this node; more of them in a circle around it. */
const ARC = 3;
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

/** Where this node and the others are drawn. */
function places(many) {
  const x = WIDTH / 2;
  if (many <= ARC) {
    const angle = (index) => (many === 1 ? 0 : (index / (many - 1) - 0.5) * (many === 2 ? 0.5 : 0.66) * Math.PI);
    const others = Array.from({ length: many }, (_, index) => [x + 148 * Math.sin(angle(index)), 168 - 132 * Math.cos(angle(index))]);
    return [[x, 168], ...others];
  }
  const angle = (index) => (index / many) * 2 * Math.PI;
  return [[x, 100], ...Array.from({ length: many }, (_, index) => [x + 138 * Math.sin(angle(index)), 100 - 76 * Math.cos(angle(index))])];
}

export function drawMap(svg, status, peers) {
  const few = peers.length <= MANY;
  const [[centreX, centreY], ...others] = places(peers.length);
  const nodes = peers.map((peer, index) => {
    const [x, y] = others[index];
    return { peer, x, y, ...standing(peer, status.offline) };
  });
  const edges = nodes.map(({ peer, x, y, mood }) =>
    draw('line', { class: `edge ${mood}`, 'data-did': peer.did, x1: centreX, y1: centreY, x2: x, y2: y }));
  const circles = nodes.map((node) => circle(node, few));
  const me = circle({ peer: status, x: centreX, y: centreY, mood: status.offline ? 'down' : 'me', words: 'this node' }, few);
  const summary = nodes.map(({ peer, words }) => `${name(peer)}: ${words}`).join('; ');
  const title = draw('title', { id: 'map-says' }, `The mesh: this node, ${status.name}, and ${summary || 'nobody else yet'}.`);
  svg.replaceChildren(title, ...edges, ...circles, me);
}

function circle({ peer, x, y, mood, words }, few) {
  const radius = few ? 20 : 11;
  const label = draw('text', { class: 'name', x, y: y + radius + 16 }, cut(name(peer), few ? 18 : 10));
  const state = few ? draw('text', { class: 'state', x, y: y + radius + 30 }, cut(words, 24)) : null;
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
