// The mesh as a drawing: this node below, the others in a fan above it.

import { count, cut, draw, named } from './show.js';

/** The drawing is so wide, and texts keep so far from its edge. */
const [WIDTH, EDGE] = [360, 3];
/** Where this node is drawn. */
const [X, Y] = [WIDTH / 2, 184];
/** The widest text above or below a circle: two beside each other do not meet. */
const CENTRED_MAX = 164;
/** About the width of a letter. */
const LETTER = 8.5;
/** How far the fan reaches up and to each side. The rest of the width is for labels. */
const [HEIGHT, ROOM] = [134, 66];
/** So many stand wide apart, with room for long names. */
const FEW = 3;
/** More of them are drawn smaller and with their names only. */
const MANY = 10;
/** More of them have no names: the list beside the map names them. */
const NAMED = 24;
/** More of them are not drawn. */
const DRAWN_MAX = 64;

/** How a peer is doing, in a word for the colours and in words for people. */
export function standing(peer, offline) {
  if (offline) return { mood: 'down', words: 'this node is offline' };
  if (peer.state === 'down') return { mood: 'down', words: peer.cause ?? 'down' };
  if (peer.state === 'suspect') return { mood: 'odd', words: peer.cause ?? 'does not answer' };
  if (peer.behind > 0) return { mood: 'busy', words: `${count(peer.behind, 'entry', 'entries')} behind` };
  return peer.synced ? { mood: 'good', words: 'up to date' } : { mood: 'busy', words: 'catching up' };
}

const name = (peer) => named(peer.name ?? `…${peer.did.slice(-6)}`);

/**
 * The place of each other node, in a fan above this one: `[x, y, side]`. Its label stands on that side of its circle, away
 * from this node. All lines run inside the fan, and all labels stand outside of it. So no line crosses a label.
 */
function places(many) {
  if (many <= FEW) {
    const angle = (index) => (many === 1 ? 0 : (index / (many - 1) - 0.5) * (many === 2 ? 0.5 : 0.66) * Math.PI);
    return Array.from({ length: many }, (_, index) => [X + 124 * Math.sin(angle(index)), Y - 126 * Math.cos(angle(index)), 'top']);
  }
  // an odd one stands at the top, and the others in rows, left and right
  const rows = Math.floor(many / 2);
  const top = many % 2 ? [[X, Y - HEIGHT, 'top']] : [];
  const [lowest, highest] = [rows > 2 ? 8 : 40, HEIGHT + (many % 2 ? -24 : 12)];
  const row = (index, side) => {
    const up = rows === 1 ? highest : lowest + (index / (rows - 1)) * (highest - lowest);
    const out = ROOM * Math.sqrt(1 - (up / (highest + 30)) ** 2);
    return [X + (side === 'left' ? -out : out), Y - up, side];
  };
  const left = Array.from({ length: rows }, (_, index) => row(index, 'left'));
  const right = Array.from({ length: rows }, (_, index) => row(rows - 1 - index, 'right'));
  return [...left, ...top, ...right];
}

/** The look of a drawing with so many other nodes: how large circles are, and how much is written beside them. */
function look(many) {
  if (many <= FEW) return { radius: 20, names: true, states: true };
  if (many <= MANY) return { radius: 13, names: true, states: true };
  return { radius: many <= NAMED ? 6 : 3.5, names: many <= NAMED, states: false };
}

export function drawMap(svg, status, peers) {
  const shown = peers.slice(0, DRAWN_MAX);
  const spots = places(shown.length);
  const size = look(shown.length);
  const nodes = shown.map((peer, index) => {
    const [x, y, side] = spots[index];
    return { peer, x, y, side, ...standing(peer, status.offline) };
  });
  const edges = nodes.map(({ peer, x, y, mood }) =>
    draw('line', { class: `edge ${mood}`, 'data-did': peer.did, x1: X, y1: Y, x2: x, y2: y }));
  const circles = nodes.map((node) => circle(node, size));
  const mine = { peer: status, x: X, y: Y, side: 'bottom', mood: status.offline ? 'down' : 'me', words: 'this node' };
  const me = circle(mine, look(1));
  const more = peers.length > shown.length ? `; ${count(peers.length - shown.length, 'other member is', 'other members are')} not drawn` : '';
  const summary = nodes.map(({ peer, words }) => `${name(peer)}: ${words}`).join('; ');
  const title = draw('title', { id: 'map-says' }, `The mesh: this node, ${name(status)}, and ${summary || 'no other member yet'}${more}.`);
  svg.replaceChildren(title, ...edges, ...circles, me);
  const isDrawn = svg.getBoundingClientRect().width > 0;
  for (const text of svg.querySelectorAll('[data-room]')) fit(text, Number(text.dataset.room), isDrawn);
}

/** Cuts a text so that it has room. Its width is known once it is drawn, and guessed before. */
function fit(text, room, isDrawn) {
  const whole = text.textContent;
  const width = () => (isDrawn ? text.getComputedTextLength() : text.textContent.length * LETTER);
  for (let length = whole.length; width() > room && length > 1;) {
    length = Math.max(1, Math.min(length - 1, Math.floor((length * room) / width())));
    text.textContent = cut(whole, length);
  }
}

function circle({ peer, x, y, side, mood, words }, { radius, names, states }) {
  const [label, state] = labels(side, x, y, radius, states);
  const texts = [
    names ? draw('text', { class: 'name', ...label }, name(peer)) : null,
    states ? draw('text', { class: 'state', ...state }, named(words)) : null,
    states ? draw('text', { class: 'initial', x, y: y + (radius > 15 ? 6 : 5) }, [...name(peer)][0].toUpperCase()) : null,
  ];
  const tip = draw('title', {}, `${name(peer)}: ${words}`);
  const kind = states ? '' : 'small';
  return draw('g', { class: `node ${mood} ${radius > 15 ? '' : 'narrow'} ${kind}` }, tip, draw('circle', { cx: x, cy: y, r: radius }), ...texts);
}

/** Where the name of a node stands, and below it how it is doing, with the width that each may have. */
function labels(side, x, y, radius, states) {
  const above = y - radius - (states ? 21 : 7);
  const below = y + radius + 16;
  if (side === 'top' || side === 'bottom') {
    const at = { x, 'data-room': Math.min(2 * (Math.min(x, WIDTH - x) - EDGE), CENTRED_MAX) };
    return side === 'top' ? [{ ...at, y: above }, { ...at, y: above + 14 }] : [{ ...at, y: below }, { ...at, y: below + 14 }];
  }
  const from = side === 'left' ? x - radius - 7 : x + radius + 7;
  const at = { x: from, 'data-room': (side === 'left' ? from : WIDTH - from) - EDGE };
  return [{ ...at, class: `name ${side}`, y: states ? y - 1 : y + 4 }, { ...at, class: `state ${side}`, y: y + 12 }];
}

/** Shows that something came from a peer. */
export function pulse(svg, did) {
  const edge = [...svg.querySelectorAll('line')].find((edge) => edge.dataset.did === did);
  edge?.classList.remove('pulse');
  // Reading a size makes the browser notice that it was gone.
  edge?.getBoundingClientRect();
  edge?.classList.add('pulse');
}
