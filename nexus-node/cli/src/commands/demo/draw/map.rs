//! The map: nodes as boxes, links as lines between them, and entries that travel on these.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Paragraph, Wrap};

use super::ink::Ink;
use crate::commands::demo::view::{Link, Node, NodeState, Outsider, View};
use crate::output::first_line;

/// The rows of a box: its border, its state, its numbers, and two for its latest memories.
const BOX_ROWS: u16 = 6;
/// The least and the most columns of a box; its numbers are the longest line.
const BOX_COLUMNS: (u16, u16) = (21, 34);
/// Columns between the two boxes at the top.
const GAP_COLUMNS: u16 = 12;
/// The widest map; a wider one only has longer lines.
const COLUMNS_MAX: u16 = 96;

pub(super) fn draw(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let width = area.width.min(COLUMNS_MAX);
    let area = Rect { x: area.x + (area.width - width) / 2, width, ..area };
    let columns = (area.width.saturating_sub(GAP_COLUMNS) / 2).clamp(BOX_COLUMNS.0, BOX_COLUMNS.1);
    let more = area.height.saturating_sub(2 * BOX_ROWS);
    let (above, between) = (more.saturating_sub(4) / 4, (more / 2).clamp(2, 7));
    let top = area.y + above;
    let bottom = top + BOX_ROWS + between;
    let place = |x: u16, y: u16| Rect::new(x, y, columns, BOX_ROWS).intersection(area);
    let boxes = [
        place(area.x + 1, top),
        place(area.right().saturating_sub(columns + 1), top),
        place(area.x + area.width.saturating_sub(columns) / 2, bottom),
    ];
    let buffer = frame.buffer_mut();
    if let [one, two, three, ..] = view.nodes.as_slice() {
        let (middle, low) = (boxes[0].y + 2, boxes[2].y + BOX_ROWS / 2);
        let across = straight(boxes[0].right(), boxes[1].x.saturating_sub(1), middle);
        let label = Position::new(boxes[0].right() + (boxes[1].x.saturating_sub(boxes[0].right())) / 2, middle - 1);
        link(view, buffer, (one, two), &across, (label, Side::Centre));
        let left = boxes[0].x + columns / 4;
        let down = elbow(left, boxes[0].bottom(), low, boxes[2].x.saturating_sub(1));
        let label_row = boxes[0].bottom() + between / 2;
        link(view, buffer, (one, three), &down, (Position::new(left + 2, label_row), Side::Left));
        let right = boxes[1].right().saturating_sub(columns / 4 + 1);
        let down = elbow(right, boxes[1].bottom(), low, boxes[2].right());
        link(view, buffer, (two, three), &down, (Position::new(right.saturating_sub(2), label_row), Side::Right));
    }
    for (index, (node, place)) in view.nodes.iter().zip(boxes).enumerate() {
        node_box(view, frame, place, node, view.free && view.chosen == index);
    }
    outsider(view, frame, area, boxes[2]);
    others(view, frame, Rect { y: boxes[2].bottom() + 1, ..area }.intersection(area));
}

/// A node's box: its name, state, memories, peers, and its latest memories.
fn node_box(view: &View, frame: &mut Frame<'_>, area: Rect, node: &Node, chosen: bool) {
    let (ink, mark, state) = match node.state {
        NodeState::Absent => (Ink::Dim, "·", "not there yet"),
        NodeState::Starting => (Ink::Odd, "◌", "starting"),
        NodeState::Up => (Ink::Good, "●", "up"),
        NodeState::Offline => (Ink::Bad, "○", "cut off"),
        NodeState::Dead => (Ink::Bad, "✗", "killed"),
    };
    let border = match node.state {
        _ if view.shines(node) => view.ink(Ink::Accent),
        NodeState::Up => view.ink(Ink::Plain),
        _ => view.ink(ink),
    };
    let kind = if view.shines(node) || chosen { BorderType::Thick } else { BorderType::Rounded };
    let name = if node.state == NodeState::Absent { Ink::Dim } else { Ink::Bold };
    let title = format!(" {}{} ", if chosen { "▸ " } else { "" }, node.name);
    let block = Block::bordered().border_type(kind).border_style(border).title(view.span(name, title));
    let seat = match (node.state, node.look.seat) {
        (NodeState::Up | NodeState::Offline, Some("leader")) => Some((Ink::Accent, "leader")),
        (NodeState::Up | NodeState::Offline, Some("refuses")) => Some((Ink::Bad, "refuses")),
        (NodeState::Up | NodeState::Offline, Some(seat)) => Some((Ink::Dim, seat)),
        _ => None,
    };
    let block = match seat {
        Some((ink, seat)) => block.title(Line::from(view.span(ink, format!(" {seat} "))).right_aligned()),
        None => block,
    };
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width);
    let port = node.port.map(|port| format!(":{port}")).unwrap_or_default();
    let gap = width.saturating_sub(mark.chars().count() + 1 + state.len() + port.len());
    let mut lines = vec![Line::from(vec![
        view.span(ink, format!("{mark} {state}")),
        Span::raw(" ".repeat(gap)),
        view.span(Ink::Dim, port),
    ])];
    if !matches!(node.state, NodeState::Absent | NodeState::Starting) {
        let peers = node.look.peers.values().filter(|peer| peer.connected).count();
        let plural = |number: usize, one: &'static str, many: &'static str| if number == 1 { one } else { many };
        let memories = node.look.memories;
        let numbers = format!(
            "{memories} {}, {peers} {}",
            plural(memories, "memory", "memories"),
            plural(peers, "peer", "peers")
        );
        lines.push(view.span(if node.state == NodeState::Dead { Ink::Dim } else { Ink::Plain }, numbers).into());
        let conflict = node.look.newest.len() > 1;
        for text in node.look.newest.iter().take(2) {
            let (ink, before) = if conflict { (Ink::Odd, "≠ ") } else { (Ink::Dim, "") };
            let text = first_line(text, width.saturating_sub(before.chars().count()));
            lines.push(view.span(ink, format!("{before}{text}")).into());
        }
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// A line for the nodes after the third, which have no box.
fn others(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let mut spans = Vec::new();
    for node in view.nodes.iter().skip(3) {
        let (ink, mark) = match node.state {
            NodeState::Up => (Ink::Good, "●"),
            NodeState::Absent | NodeState::Starting => (Ink::Dim, "·"),
            NodeState::Offline | NodeState::Dead => (Ink::Bad, "○"),
        };
        // No-break spaces keep a name in one piece.
        let name = node.name.replace(' ', "\u{a0}");
        spans.push(view.span(ink, format!(" {mark}\u{a0}{name}\u{a0}{}  ", node.look.memories)));
    }
    if !spans.is_empty() {
        frame.render_widget(Paragraph::new(Line::from(spans)).wrap(Wrap { trim: false }), area);
    }
}

/// A node that is not one of the mesh's, beside the third box.
fn outsider(view: &View, frame: &mut Frame<'_>, area: Rect, beside: Rect) {
    let Some((name, state)) = view.outsider else { return };
    let (ink, text) = match state {
        Outsider::Joined => (Ink::Good, "has joined"),
        Outsider::Stolen => (Ink::Odd, "is stolen…"),
        Outsider::Dials => (Ink::Odd, "dials in…"),
        Outsider::TurnedAway => (Ink::Bad, "✗ turned away"),
    };
    let place = Rect::new(area.x, beside.bottom().saturating_sub(2), beside.x.saturating_sub(area.x + 1).min(16), 3);
    let place = place.intersection(area);
    let block = Block::bordered().border_style(view.ink(ink)).title(view.span(ink, format!(" {name} ")));
    frame.render_widget(Paragraph::new(view.span(ink, text)).block(block), place);
}

#[derive(Clone, Copy)]
enum Side {
    Left,
    Centre,
    Right,
}

/// Draws a link along its cells, with its label and the entries on it.
fn link(
    view: &View,
    buffer: &mut Buffer,
    (one, other): (&Node, &Node),
    path: &[Position],
    (at, side): (Position, Side),
) {
    let (ink, label) = match view.link(one, other) {
        Link::None => return,
        Link::Up { rtt_ms: Some(rtt) } => (Ink::Good, format!("{rtt:.1} ms")),
        Link::Up { rtt_ms: None } => (Ink::Good, String::new()),
        Link::Via(relay) => (Ink::Dim, format!("via {relay}")),
        Link::Cut { behind: 0 } => (Ink::Bad, "cut".to_owned()),
        Link::Cut { behind } => (Ink::Bad, format!("{behind} behind")),
    };
    let (cut, whole) =
        (matches!(view.link(one, other), Link::Cut { .. }), matches!(view.link(one, other), Link::Up { .. }));
    for (index, &cell) in path.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| path.get(before)).copied();
        let symbol =
            if cut && index == path.len() / 2 { "╳" } else { symbol(before, cell, path.get(index + 1), !whole) };
        put(buffer, cell, symbol, view.ink(ink));
    }
    let length = u16::try_from(label.chars().count()).unwrap_or(u16::MAX);
    let x = match side {
        Side::Left => at.x,
        Side::Centre => at.x.saturating_sub(length / 2),
        Side::Right => at.x.saturating_sub(length.saturating_sub(1)),
    };
    for (column, letter) in (x..).zip(label.chars()) {
        put(
            buffer,
            Position::new(column, at.y),
            letter.encode_utf8(&mut [0; 4]),
            view.ink(if cut { ink } else { Ink::Dim }),
        );
    }
    let last = path.len().saturating_sub(1);
    let there = view.pulses(&one.name, &other.name);
    let back = view.pulses(&other.name, &one.name).map(|progress| 1.0 - progress);
    for (progress, forth) in there.map(|progress| (progress, true)).chain(back.map(|progress| (progress, false))) {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the path's length")]
        let head = (progress.clamp(0.0, 1.0) * last as f64).round() as usize;
        let tail = if forth { head.checked_sub(1) } else { Some(head + 1) };
        if let Some(&cell) = tail.and_then(|tail| path.get(tail)) {
            put(buffer, cell, "•", view.ink(Ink::Accent));
        }
        if let Some(&cell) = path.get(head) {
            put(buffer, cell, "●", view.ink(Ink::Accent));
        }
    }
}

fn put(buffer: &mut Buffer, at: Position, symbol: &str, style: Style) {
    if let Some(cell) = buffer.cell_mut(at) {
        cell.set_symbol(symbol).set_style(style);
    }
}

/// The piece of a line between the cell before and the cell after.
fn symbol(before: Option<Position>, at: Position, after: Option<&Position>, broken: bool) -> &'static str {
    let (before, after) = (before.unwrap_or(at), after.copied().unwrap_or(at));
    let flat = before.y == at.y && after.y == at.y;
    let upright = before.x == at.x && after.x == at.x;
    match (flat, upright, broken) {
        (true, _, false) => "─",
        (true, _, true) => "╌",
        (_, true, false) => "│",
        (_, true, true) => "╎",
        // Both elbows come from above.
        _ if after.x > at.x => "╰",
        _ => "╯",
    }
}

fn straight(from: u16, to: u16, y: u16) -> Vec<Position> {
    (from..=to).map(|x| Position::new(x, y)).collect()
}

/// Down from `top` to `low`, then sideways to the column `to`.
fn elbow(x: u16, top: u16, low: u16, to: u16) -> Vec<Position> {
    let down = (top..=low).map(|y| Position::new(x, y));
    let side: Vec<u16> = if to >= x { (x + 1..=to).collect() } else { (to..x).rev().collect() };
    down.chain(side.into_iter().map(|x| Position::new(x, low))).collect()
}
