//! Draws a [`View`]: the map on the left, the steps on the right, the current action and the keys
//! below. The picture depends on the view and on the size of the terminal alone.

mod ink;
mod map;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use self::ink::Ink;
use super::view::{Row, View};
use crate::output::sane_lines;

/// The least width for the map.
const MAP_COLUMNS_MIN: u16 = 76;
const MAP_ROWS_MIN: u16 = 23;
/// The height from which rows for the current action are added.
const PANEL_ROWS: u16 = 6;

/// Draws everything.
pub(super) fn draw(view: &View, frame: &mut Frame<'_>) {
    let area = frame.area();
    let [head, body, panel, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(PANEL_ROWS.min(area.height.saturating_sub(2))),
        Constraint::Length(1),
    ])
    .areas(area);
    title(view, frame, head);
    if area.width >= MAP_COLUMNS_MIN && area.height >= MAP_ROWS_MIN {
        let side = (area.width * 2 / 5).clamp(27, 52).min(area.width - 53);
        let [left, right] = Layout::horizontal([Constraint::Min(0), Constraint::Length(side)]).areas(body);
        map::draw(view, frame, left);
        steps(view, frame, right);
    } else {
        steps(view, frame, body);
    }
    below(view, frame, panel);
    frame.render_widget(Paragraph::new(help(view)), keys);
}

fn title(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let name = Span::styled(" nexus ", view.ink(Ink::Accent).add_modifier(Modifier::REVERSED));
    let number = match view.nodes.len() {
        3 => "three".to_owned(),
        number => number.to_string(),
    };
    let what = format!("  {number} real nodes on this machine, one memory, no server");
    frame.render_widget(Line::from(vec![name, view.span(Ink::Dim, what)]), area);
}

fn mark(view: &View, row: &Row) -> Span<'static> {
    const TURNING: [&str; 4] = ["◐", "◓", "◑", "◒"];
    match &row.outcome {
        Some(outcome) if outcome.ok => view.span(Ink::Good, "✓"),
        Some(_) => view.span(Ink::Bad, "✗"),
        None => {
            let turn = usize::try_from(view.now.as_millis() / 150).unwrap_or_default() % TURNING.len();
            view.span(Ink::Accent, TURNING[turn])
        }
    }
}

/// The list of steps, with the compared values as far as there is room, the latest first.
fn steps(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let block = Block::new().borders(Borders::LEFT).border_style(view.ink(Ink::Dim));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width.saturating_sub(4));
    let mut room = usize::from(inner.height).saturating_sub(view.steps.len());
    let mut blocks: Vec<Vec<Line<'_>>> = Vec::new();
    for row in view.rows.iter().rev() {
        let mut head = vec![Span::raw(" "), mark(view, row), Span::raw(" "), view.span(Ink::Bold, row.step)];
        let mut lines = Vec::new();
        if let Some(outcome) = &row.outcome {
            let ms = format!("{} ms", outcome.ms);
            let gap = usize::from(inner.width).saturating_sub(4 + row.step.chars().count() + ms.len());
            head.extend([Span::raw(" ".repeat(gap)), view.span(Ink::Dim, ms)]);
            let detail = wrapped(&outcome.detail, width);
            // In a narrow column the details are below, for one step at a time.
            if width >= 30 && detail.len() <= room {
                room -= detail.len();
                lines.extend(detail.into_iter().map(|line| view.span(Ink::Dim, format!("   {line}")).into()));
            } else {
                room = 0;
            }
        }
        lines.insert(0, Line::from(head));
        blocks.push(lines);
    }
    let mut lines: Vec<Line<'_>> = blocks.into_iter().rev().flatten().collect();
    let (begun, height) = (lines.len(), usize::from(inner.height));
    lines.extend(
        view.steps.iter().skip(view.rows.len()).map(|step| Line::from(view.span(Ink::Dim, format!(" · {step}")))),
    );
    // the present step and the next one stay in sight
    let above = (begun + 1).saturating_sub(height).min(lines.len().saturating_sub(height));
    frame.render_widget(Paragraph::new(lines.split_off(above)), inner);
}

/// The current action; at the end, the next commands to try.
fn below(view: &View, frame: &mut Frame<'_>, area: Rect) {
    let heading = match view.current() {
        _ if view.free => " it held; now break it yourself ".to_owned(),
        Some(row) => format!(" {} of {}: {} ", view.rows.len(), view.steps.len(), row.step),
        None => String::new(),
    };
    let block = Block::new().borders(Borders::TOP).border_style(view.ink(Ink::Dim));
    // Without the colour of the border.
    let block = block.title(Span::styled(heading, view.ink(Ink::Bold).fg(Color::Reset)));
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width.saturating_sub(2));
    let indented = |ink: Ink, text: &str| -> Vec<Line<'static>> {
        wrapped(text, width).into_iter().map(|line| view.span(ink, format!(" {line}")).into()).collect()
    };
    let mut lines = Vec::new();
    if view.free {
        lines.extend(match &view.said {
            Some(Ok(text)) => indented(Ink::Good, text),
            Some(Err(text)) => indented(Ink::Bad, text),
            None => indented(Ink::Good, "every step held: cut a node off, write on both sides, heal, and look"),
        });
        lines.truncate(1);
        lines.push(Line::from(view.span(Ink::Bold, " your own mesh:")));
        let command = |(arguments, what): &(&str, &str)| {
            let width = view.program.chars().count() + OWN_MESH_COLUMNS;
            let command = format!("{} {arguments}", view.program);
            Line::from(vec![Span::raw(format!("   {command:<width$}")), view.span(Ink::Dim, format!("   {what}"))])
        };
        lines.extend(OWN_MESH.iter().map(command));
    } else if let Some(row) = view.current() {
        lines.extend(indented(Ink::Plain, row.does));
        if let Some(outcome) = &row.outcome {
            let ink = if outcome.ok { Ink::Good } else { Ink::Bad };
            lines.extend(indented(ink, &outcome.detail));
        }
    }
    frame.render_widget(Paragraph::new(lines), inner);
}

/// The lines to paste for a person's own mesh: the arguments of the program, and their purpose.
pub(super) const OWN_MESH: [(&str, &str); 3] = [
    ("up", "a node, in the foreground"),
    ("invite", "prints a line for another machine"),
    ("join nexus1…", "that line, over there; then up"),
];
pub(super) const OWN_MESH_COLUMNS: usize = " join nexus1…".len();

fn help(view: &View) -> Line<'static> {
    let chosen = view.nodes.get(view.chosen).map(|node| node.name.clone()).unwrap_or_default();
    let keys: Vec<(&str, String)> = if view.free {
        vec![
            ("c", format!("cut {chosen}")),
            ("h", "heal".to_owned()),
            ("k", "kill".to_owned()),
            ("w", "write".to_owned()),
            ("e", "edit".to_owned()),
            ("Tab", "next node".to_owned()),
            ("q", "quit".to_owned()),
        ]
    } else if view.failed() {
        vec![("q", "quit".to_owned())]
    } else {
        vec![("Space", "go on at once".to_owned()), ("q", "quit".to_owned())]
    };
    let mut spans = Vec::new();
    for (key, what) in keys {
        spans.push(Span::raw(" "));
        spans.push(view.span(Ink::Accent, key.to_owned()));
        spans.push(Span::raw(format!(" {what} ")));
    }
    Line::from(spans)
}

/// A text in lines of at most this width.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in sane_lines(text).split_whitespace() {
        let mut word: &str = word;
        loop {
            let last = lines.last_mut().expect("there is a line from the beginning on");
            let (used, length) = (last.chars().count(), word.chars().count());
            let gap = usize::from(used > 0);
            if used + gap + length <= width {
                last.push_str(if gap == 1 { " " } else { "" });
                last.push_str(word);
                break;
            }
            if used > 0 {
                lines.push(String::new());
                continue;
            }
            // A word wider than the line is broken.
            let at = word.char_indices().nth(width.max(1)).map_or(word.len(), |(at, _)| at);
            last.push_str(&word[..at]);
            word = &word[at..];
            if word.is_empty() {
                break;
            }
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests;
