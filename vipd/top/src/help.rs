//! What the keys and columns of `vipd top` mean; it fits a terminal of 60 columns and 15 rows.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Clear, Paragraph},
};

const KEYS: [(&str, &str); 13] = [
    ("q Ctrl-C", "quit"),
    ("↑ ↓ j k", "select; also PageUp, PageDown, Home, End"),
    ("v tab", "virtual routers, real servers, or neighbors"),
    ("enter", "more or less of the selected row"),
    ("/", "search names, interfaces, groups, addresses"),
    ("f", "show all, or one state: MASTER, BACKUP, up ..."),
    ("s r", "sort by something else, reverse the order"),
    ("esc", "one step back: help, filter, details, quit"),
    ("?", "this help"),
    ("LEASE", "of a master: what is left of its lease;"),
    ("", "of a backup: time until it takes over"),
    ("VIP", "the first, or what was found; +1: one more"),
    ("DISC/s", "adverts discarded; ARP+ND/s: replies"),
];

/// Draws it over what is there.
pub fn draw(frame: &mut Frame<'_>, area: Rect) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let lines: Vec<Line<'_>> = KEYS
        .iter()
        .map(|(key, what)| Line::from(vec![Span::styled(format!(" {key:<9} "), bold), Span::raw(*what)]))
        .collect();
    let width = lines.iter().map(Line::width).max().unwrap_or_default() + 3;
    let height = lines.len() + 2;
    let size = |size: usize, most: u16| u16::try_from(size).unwrap_or(u16::MAX).min(most);
    let (width, height) = (size(width, area.width), size(height, area.height));
    let popup =
        Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, popup);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" vipd top: ? closes ")), popup);
}
