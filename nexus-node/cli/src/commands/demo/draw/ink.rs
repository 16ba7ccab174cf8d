//! The look of a text, by its meaning.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use crate::commands::demo::view::View;

/// The meaning of a text, which decides its look.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ink {
    Plain,
    Dim,
    Bold,
    Good,
    Bad,
    Odd,
    Accent,
}

impl View {
    pub(super) fn ink(&self, ink: Ink) -> Style {
        let (colour, modifier) = match ink {
            Ink::Plain => (None, Modifier::empty()),
            Ink::Dim => (Some(Color::DarkGray), Modifier::DIM),
            Ink::Bold => (None, Modifier::BOLD),
            Ink::Good => (Some(Color::Green), Modifier::empty()),
            Ink::Bad => (Some(Color::Red), Modifier::BOLD),
            Ink::Odd => (Some(Color::Yellow), Modifier::empty()),
            Ink::Accent => (Some(Color::Cyan), Modifier::BOLD),
        };
        let style = Style::new();
        match colour {
            // Dark grey needs no dimming.
            Some(Color::DarkGray) if self.colour => style.fg(Color::DarkGray),
            Some(colour) if self.colour => style.fg(colour).add_modifier(modifier),
            _ => style.add_modifier(modifier),
        }
    }

    pub(super) fn span<'a>(&self, ink: Ink, text: impl Into<std::borrow::Cow<'a, str>>) -> Span<'a> {
        Span::styled(text, self.ink(ink))
    }
}
