//! The page of keys.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::{Modifier, Style};

/// Keys and what they do; without a key: a heading.
const KEYS: &[(&str, &str)] = &[
    ("", "Look"),
    ("1 2 3  Tab", "machines, log, links"),
    ("Up Down  k j", "select a machine or a link"),
    ("m", "log of the selected machine, or of all"),
    ("PgUp PgDn  [ ]", "scroll the log by a page, by a line"),
    ("Home End  f", "first lines; follow the latest"),
    ("Left Right  w", "shift long lines; wrap them"),
    ("/  n N", "search; next older, next newer"),
    ("Esc", "end a search, follow the latest"),
    ("", "Act on the selected machine"),
    ("Enter  c", "shell of root; Ctrl-] goes back, it stays"),
    ("p  s", "power off, start"),
    ("r", "reboot"),
    ("x", "cut its power (crash)"),
    ("b", "block its links; again: unblock"),
    ("", "The network"),
    ("S", "snapshot: save all machines under a name"),
    ("q", "stop all machines in order and leave"),
    ("Ctrl-C", "the same at once; again: without waiting"),
    ("Ctrl-L", "draw the screen anew"),
];

/// Draws the page from a line on; it goes no further than its end.
pub(crate) fn draw(first: usize, key_style: Style, area: Rect, buffer: &mut Buffer) {
    let mut lines: Vec<&(&str, &str)> = KEYS.iter().collect();
    lines.push(&("", ""));
    lines.push(&("", "Any other key closes this page."));
    let first = first.min(lines.len().saturating_sub(usize::from(area.height).max(1)));
    for (row, (key, what)) in lines.iter().skip(first).take(usize::from(area.height)).enumerate() {
        let y = area.y + row as u16;
        let bold = Style::new().add_modifier(Modifier::BOLD);
        let mut put = |x: u16, text: &str, style: Style| {
            if x < area.width {
                buffer.set_stringn(area.x + x, y, text, usize::from(area.width - x), style);
            }
        };
        if key.is_empty() {
            put(1, what, bold);
        } else {
            let gap: u16 = if area.width < 50 { 1 } else { 3 };
            put(gap, key, key_style.patch(bold));
            put(gap + 16, what, Style::new());
        }
    }
}
