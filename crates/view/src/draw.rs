//! The picture of a [`Model`]: a function of the model and the terminal's size alone.
//!
//! Columns have fixed widths, so that nothing jumps; what does not fit is left out in a fixed order. Each state has a sign and a word:
//! colour only repeats them.

use std::collections::VecDeque;

use nbv_driver::Phase;
use ratatui_core::buffer::Buffer;
use ratatui_core::layout::{Position, Rect};
use ratatui_core::style::{Color, Modifier, Style};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::help;
use crate::log::Line;
use crate::model::{Confirm, Link, Machine, Model, Overlay, Page};

/// How the terminal is drawn on.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Colours may be used.
    pub has_colour: bool,
    /// Signs beyond ASCII may be used.
    pub has_unicode: bool,
}

/// Colours of machines, in turn, as lines have them.
const COLOURS: [Color; 6] = [Color::Cyan, Color::Yellow, Color::Green, Color::Magenta, Color::Blue, Color::Red];
/// Where a shell goes back.
const BACK: &str = "Ctrl-] goes back";

impl Look {
    fn colour(self, colour: Color) -> Style {
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn faint(self) -> Style {
        self.colour(Color::DarkGray)
    }

    fn machine(self, index: usize) -> Style {
        self.colour(COLOURS[index % COLOURS.len()])
    }

    /// The sign, the word and the style of a state.
    fn phase(self, phase: Phase) -> (&'static str, &'static str, Style) {
        let (unicode, ascii, colour) = match phase {
            Phase::Off => ("○", "-", Color::DarkGray),
            Phase::Starting => ("◔", ".", Color::Yellow),
            Phase::Booting => ("◑", "o", Color::Yellow),
            Phase::Ready => ("●", "*", Color::Green),
            Phase::Stopping => ("◌", "v", Color::Magenta),
            Phase::Failed => ("✗", "!", Color::Red),
        };
        let style = self.colour(colour);
        let style = if phase == Phase::Failed { style.add_modifier(Modifier::BOLD) } else { style };
        (if self.has_unicode { unicode } else { ascii }, phase.name(), style)
    }

    fn pick(self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.has_unicode { unicode } else { ascii }
    }

    /// A curve of the latest values: one column each, the whole height being `full`.
    fn curve(self, values: &VecDeque<f64>, width: usize, full: f64) -> String {
        let signs: Vec<char> = self.pick(" ▁▂▃▄▅▆▇█", " ..--==##").chars().collect();
        let shown = values.iter().skip(values.len().saturating_sub(width));
        let sign = |value: &f64| match (value / full.max(1e-9)).clamp(0.0, 1.0) {
            share if share <= 0.002 => ' ',
            share => signs[((share * 8.0).ceil() as usize).clamp(1, 8)],
        };
        let curve: String = shown.map(sign).collect();
        format!("{curve:>width$}")
    }
}

/// A place to write, that never leaves its area.
struct Pen<'a> {
    buffer: &'a mut Buffer,
    area: Rect,
    x: u16,
    y: u16,
}

impl Pen<'_> {
    fn put(&mut self, text: &str, style: Style) {
        let left = self.area.right().saturating_sub(self.x);
        if self.y < self.area.bottom() && left > 0 {
            self.x = self.buffer.set_stringn(self.x, self.y, text, usize::from(left), style).0;
        }
    }

    /// A cell of a table: exactly so many columns, and two behind it.
    fn cell(&mut self, text: &str, width: usize, is_right: bool, style: Style, ellipsis: &str) {
        let text = clip(text, width, ellipsis);
        let pad = " ".repeat(width.saturating_sub(text.width()));
        if is_right {
            self.put(&pad, Style::new());
            self.put(&text, style);
        } else {
            self.put(&text, style);
            self.put(&pad, Style::new());
        }
        self.put("  ", Style::new());
    }
}

/// A text in at most so many columns; one that is cut says so.
fn clip(text: &str, width: usize, ellipsis: &str) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(ellipsis.width());
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > room {
            break;
        }
        cut.push(c);
    }
    if width >= ellipsis.width() { cut + ellipsis } else { cut }
}

/// Rows of the log that are in sight at this size: what keys scroll by.
#[must_use]
pub fn log_rows(model: &Model, area: Rect) -> usize {
    usize::from(parts(model, area).log.height)
}

struct Parts {
    title: Rect,
    header: Rect,
    table: Rect,
    rule: Rect,
    log: Rect,
    foot: Rect,
}

/// Where what is on the screen. Parts that do not fit have no height.
fn parts(model: &Model, area: Rect) -> Parts {
    let mut left = area;
    let mut take = |height: u16| {
        let part = Rect { height: height.min(left.height), ..left };
        left.y += part.height;
        left.height -= part.height;
        part
    };
    let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    let is_small = area.height < 8;
    let title = take(u16::from(area.height > 2));
    let foot_height = u16::from(area.height > 3);
    let body = area.height - title.height - foot_height;
    let rows = match model.page {
        Page::Machines => count(model.machines.len()),
        Page::Links => count(model.links().count()),
        Page::Log | Page::Shell => 0,
    };
    let header = take(u16::from(rows > 0 && !is_small));
    let for_table = match model.page {
        // The log keeps half of the room.
        Page::Machines if is_small => body.div_ceil(2),
        Page::Machines => ((body - header.height) / 2).max(1),
        Page::Links => body - header.height - count(usize::from(!model.partition.is_empty())).min(body - header.height),
        Page::Log | Page::Shell => 0,
    };
    let table = take(rows.min(for_table));
    let has_log = model.page != Page::Links && model.page != Page::Shell;
    let rule = take(u16::from(has_log && !is_small));
    let log_height = (body - header.height - table.height).saturating_sub(rule.height);
    let log = take(if has_log || model.page == Page::Shell { log_height } else { 0 });
    let foot = Rect { y: area.bottom() - foot_height, height: foot_height, ..area };
    Parts { title, header, table, rule, log, foot }
}

/// The part of the screen that a shell has: rows and columns.
#[must_use]
pub fn shell_area(area: Rect) -> Rect {
    let title = u16::from(area.height > 2);
    Rect { y: area.y + title, height: area.height - title, ..area }
}

/// Draws the model; gives where the cursor is, if one is to be seen. `shell` is the screen of the shell that is shown.
pub fn draw(model: &Model, shell: Option<&vt100::Screen>, look: Look, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    if area.is_empty() {
        return None;
    }
    let parts = parts(model, area);
    title(model, parts.title, buffer);
    if let Overlay::Help(first) = model.overlay {
        let below = Rect { y: parts.title.bottom(), height: area.height - parts.title.height, ..area };
        help::draw(first, look.colour(Color::Cyan), below, buffer);
        return None;
    }
    match model.page {
        Page::Machines => {
            machines(model, look, parts.header, parts.table, buffer);
            rule(model, look, parts.rule, buffer);
            log(model, look, parts.log, buffer);
        }
        Page::Log => {
            rule(model, look, parts.rule, buffer);
            log(model, look, parts.log, buffer);
        }
        Page::Links => {
            links(model, look, parts.header, parts.table, buffer);
            if !model.partition.is_empty() {
                let groups: Vec<String> = model.partition.iter().map(|group| group.join(",")).collect();
                let mut pen = Pen { buffer, area, x: area.x + 2, y: parts.table.bottom() };
                pen.put(&format!("parted: {}", groups.join("  |  ")), look.colour(Color::Yellow));
            }
        }
        Page::Shell => {
            let place = shell_area(area);
            return shell.and_then(|screen| terminal(screen, look, place, buffer));
        }
    }
    foot(model, look, parts.foot, buffer)
}

fn title(model: &Model, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let bar = Style::new().add_modifier(Modifier::REVERSED);
    buffer.set_style(area, bar);
    let mut pen = Pen { buffer, area, x: area.x, y: area.y };
    if model.page == Page::Shell {
        let name = model.machines.get(model.selected).map_or("", |machine| machine.facts.name.as_str());
        pen.put(&format!(" {name}"), bar.add_modifier(Modifier::BOLD));
        pen.put(" shell of root", bar);
        let place = area.right().saturating_sub(BACK.len() as u16 + 1);
        if place > pen.x {
            pen.x = place;
            pen.put(BACK, bar);
        }
        return;
    }
    let is_narrow = area.width < 50;
    for (page, text) in [(Page::Machines, "1 Machines"), (Page::Log, "2 Log"), (Page::Links, "3 Links")] {
        let is_it = model.page == page;
        if is_narrow && !is_it {
            continue;
        }
        if is_it {
            // Not reversed: the page stands out of the bar.
            pen.put(&format!(" {text} "), Style::new().remove_modifier(Modifier::REVERSED).add_modifier(Modifier::BOLD));
        } else {
            pen.put(&format!(" {text} "), bar);
        }
    }
    let ready = model.machines.iter().filter(|machine| machine.phase() == Phase::Ready).count();
    let failed = model.machines.iter().filter(|machine| machine.phase() == Phase::Failed).count();
    let count = model.machines.len();
    let mut words = Vec::new();
    if model.is_stopping {
        words.push("stopping".to_owned());
    }
    if failed > 0 {
        words.push(if is_narrow { format!("!{failed}") } else { format!("{failed} failed") });
    }
    words.push(if is_narrow { format!("{ready}/{count}") } else { format!("{ready} of {count} ready") });
    if !is_narrow {
        let used = |of: &dyn Fn(&Machine) -> Option<f64>| model.machines.iter().filter_map(of).fold(0.0, |sum, used| sum + used);
        let cpu = used(&|machine| machine.sample.and_then(|sample| sample.cpu));
        let memory = used(&|machine| machine.sample.map(|sample| sample.memory_mib as f64));
        if area.width >= 76 {
            words.push(format!("cpu {cpu:>3.0} %"));
        }
        if area.width >= 90 {
            words.push(format!("memory {}", mib(memory as u64)));
        }
    }
    words.push(clock(model.now));
    let room = usize::from(area.right().saturating_sub(pen.x));
    let text = loop {
        let text = format!("{} ", words.join(if is_narrow { " " } else { "   " }));
        // The clock is missed least.
        if text.width() < room || words.pop().is_none() {
            break text;
        }
    };
    pen.x = area.right().saturating_sub(text.width() as u16).max(pen.x);
    pen.put(&text, bar);
}

/// Seconds as h:mm:ss.
fn clock(seconds: u64) -> String {
    format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

fn mib(mib: u64) -> String {
    if mib >= 10 * 1024 { format!("{:.1}G", mib as f64 / 1024.0) } else { format!("{mib}M") }
}

/// Which rows of a table are in sight: the selected one is, and the others do not move without need.
fn window(selected: usize, count: usize, rows: usize) -> usize {
    if rows == 0 || count <= rows {
        return 0;
    }
    // By pages, so that moving within one moves nothing.
    (selected / rows * rows).min(count - rows)
}

fn heading(look: Look, cells: &[(&str, usize, bool)], area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let style = look.faint().add_modifier(Modifier::BOLD);
    let mut pen = Pen { buffer, area, x: area.x + 2, y: area.y };
    for (text, width, is_right) in cells {
        pen.cell(text, *width, *is_right, style, "");
    }
}

fn more(look: Look, first: usize, rows: usize, count: usize, area: Rect, buffer: &mut Buffer) {
    if count <= rows || area.is_empty() {
        return;
    }
    let text = format!(" {}-{} of {count} ", first + 1, (first + rows).min(count));
    let x = area.right().saturating_sub(text.width() as u16);
    Pen { buffer, area, x, y: area.y }.put(&text, look.faint());
}

/// Columns of the machines' table beside name and state, in the order in which they give way when there is little room.
#[derive(Clone, Copy, PartialEq)]
enum Column {
    Curve,
    ReadyIn,
    Uptime,
    Memory,
    Address,
    Cpu,
}

const GIVE_WAY: [Column; 6] = [Column::Curve, Column::ReadyIn, Column::Uptime, Column::Memory, Column::Address, Column::Cpu];

impl Column {
    /// Its columns on the screen, with the two behind it.
    fn width(self) -> usize {
        match self {
            Self::Curve => 12,
            Self::ReadyIn | Self::Uptime => 10,
            Self::Memory => 13,
            Self::Address => 17,
            Self::Cpu => 7,
        }
    }
}

fn machines(model: &Model, look: Look, header: Rect, area: Rect, buffer: &mut Buffer) {
    let longest = model.machines.iter().map(|machine| machine.facts.name.width()).max().unwrap_or(0);
    let total = usize::from(area.width).saturating_sub(2);
    let name_width = longest.clamp(4, if total < 60 { 12 } else { 24 }).min(total);
    let state_width = 10;
    let mut columns = GIVE_WAY.to_vec();
    // The last column needs no space behind it.
    let fits = |columns: &[Column]| name_width + 2 + state_width + 2 + columns.iter().map(|column| column.width()).sum::<usize>() <= total + 2;
    while !columns.is_empty() && !fits(&columns) {
        columns.remove(0);
    }
    let has = |column| columns.contains(&column);
    let mut cells = vec![("NAME", name_width, false), ("STATE", state_width, false)];
    for (column, text, is_right) in
        [(Column::Cpu, "CPU", true), (Column::Curve, "", false), (Column::Memory, "MEMORY", true), (Column::Uptime, "UP", true), (Column::ReadyIn, "READY IN", true)]
    {
        if has(column) {
            cells.push((text, column.width() - 2, is_right));
        }
    }
    if has(Column::Address) {
        cells.push(("ADDRESSES", 9, false));
    }
    heading(look, &cells, header, buffer);
    let rows = usize::from(area.height);
    let first = window(model.selected, model.machines.len(), rows);
    more(look, first, rows, model.machines.len(), header, buffer);
    let ellipsis = look.pick("…", "~");
    for (row, (index, machine)) in model.machines.iter().enumerate().skip(first).take(rows).enumerate() {
        let is_selected = index == model.selected;
        let bold = if is_selected { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        let mut pen = Pen { buffer, area, x: area.x, y: area.y + row as u16 };
        pen.put(if is_selected { look.pick("▶ ", "> ") } else { "  " }, bold);
        let name = clip(&machine.facts.name, name_width, ellipsis);
        let chip = look.machine(index).patch(bold);
        pen.put(&name, if is_selected { chip.add_modifier(Modifier::REVERSED) } else { chip });
        pen.put(&" ".repeat(name_width.saturating_sub(name.width()) + 2), Style::new());
        let phase = machine.phase();
        let (sign, word, style) = look.phase(phase);
        let is_blocked = phase.is_running() && !machine.links.is_empty() && machine.links.iter().all(|link| !link.status.is_up);
        if is_blocked && phase == Phase::Ready {
            pen.cell(&format!("{} {}", look.pick("⊘", "#"), "blocked"), state_width, false, look.colour(Color::Yellow).patch(bold), ellipsis);
        } else {
            pen.cell(&format!("{sign} {word}"), state_width, false, style.patch(bold), ellipsis);
        }
        let width = |column: Column| column.width() - 2;
        if has(Column::Cpu) {
            let cpu = machine.sample.and_then(|sample| sample.cpu).map_or("-".into(), |cpu| format!("{cpu:.0} %"));
            pen.cell(&cpu, width(Column::Cpu), true, bold, ellipsis);
        }
        if has(Column::Curve) {
            pen.cell(&look.curve(&machine.cpu, width(Column::Curve), 100.0), width(Column::Curve), false, look.machine(index), ellipsis);
        }
        if has(Column::Memory) {
            let memory = machine.sample.map_or("-".into(), |sample| format!("{}/{}", sample.memory_mib, mib(u64::from(machine.facts.memory_mib))));
            pen.cell(&memory, width(Column::Memory), true, bold, ellipsis);
        }
        if has(Column::Uptime) {
            let up = machine.since.map_or("-".into(), |since| clock(model.now.saturating_sub(since)));
            pen.cell(&up, width(Column::Uptime), true, bold, ellipsis);
        }
        if has(Column::ReadyIn) {
            let ready = machine.status.as_ref().filter(|_| phase.is_running()).and_then(|status| status.ready_after).map_or("-".into(), |seconds| format!("{seconds:.1} s"));
            pen.cell(&ready, width(Column::ReadyIn), true, bold, ellipsis);
        }
        if has(Column::Address) {
            // A failure says more than an address.
            let failure = machine.status.as_ref().and_then(|status| status.failure.as_deref());
            let (text, style) = match failure {
                Some(failure) => (failure.to_owned(), look.colour(Color::Red)),
                None => (machine.facts.addresses.replace(',', ""), bold),
            };
            let room = usize::from(area.right().saturating_sub(pen.x));
            pen.put(&whole_words(&text, room, ellipsis, failure.is_none()), style);
        }
    }
}

/// Words that fit; a list of addresses is cut between them.
fn whole_words(text: &str, room: usize, ellipsis: &str, is_list: bool) -> String {
    if text.width() <= room || !is_list {
        return clip(text, room, ellipsis);
    }
    let mut line = String::new();
    for word in text.split(' ') {
        if line.width() + word.width() + 1 > room {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    if line.is_empty() { clip(text, room, ellipsis) } else { line }
}

fn links(model: &Model, look: Look, header: Rect, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        let mut pen = Pen { buffer, area: Rect { height: 1, ..header }, x: header.x + 2, y: header.y };
        pen.put("no machine is on a segment", Style::new());
        return;
    }
    let label = |machine: usize, link: &Link| format!("{}:{}", model.machines[machine].facts.name, link.status.name);
    let total = usize::from(area.width).saturating_sub(2);
    let longest = model.links().map(|(machine, link)| label(machine, link).width()).max().unwrap_or(0);
    let name_width = longest.clamp(4, if total < 70 { 16 } else { 28 }).min(total);
    // Name, title, width, is right.
    let all = [("segment", "SEG", 4, true), ("state", "STATE", 7, false), ("out", "OUT/s", 8, true), ("in", "IN/s", 8, true), ("sum-out", "OUT", 7, true), ("sum-in", "IN", 7, true), ("curve", "", 20, false), ("drops", "DROPS", 5, true), ("faults", "FAULTS", 6, false)];
    let mut shown: Vec<&str> = all.iter().map(|column| column.0).collect();
    let width_of = |shown: &[&str]| name_width + all.iter().filter(|column| shown.contains(&column.0)).map(|column| column.2 + 2).sum::<usize>();
    for gives_way in ["curve", "sum-in", "sum-out", "faults", "drops", "segment", "in", "out", "state"] {
        if width_of(&shown) > total {
            shown.retain(|name| *name != gives_way);
        }
    }
    let has = |name: &str| shown.contains(&name);
    let mut cells = vec![("LINK", name_width, false)];
    cells.extend(all.iter().filter(|column| has(column.0)).map(|column| (column.1, column.2, column.3)));
    heading(look, &cells, header, buffer);
    let rows = usize::from(area.height);
    let count = model.links().count();
    let first = window(model.link, count, rows);
    more(look, first, rows, count, header, buffer);
    let most = model.links().flat_map(|(_, link)| link.history.iter().copied()).fold(1000.0, f64::max);
    let ellipsis = look.pick("…", "~");
    for (row, (at, (machine, link))) in model.links().enumerate().skip(first).take(rows).enumerate() {
        let is_selected = at == model.link;
        let bold = if is_selected { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        let mut pen = Pen { buffer, area, x: area.x, y: area.y + row as u16 };
        pen.put(if is_selected { look.pick("▶ ", "> ") } else { "  " }, bold);
        let name = clip(&label(machine, link), name_width, ellipsis);
        let chip = look.machine(machine).patch(bold);
        pen.put(&name, if is_selected { chip.add_modifier(Modifier::REVERSED) } else { chip });
        pen.put(&" ".repeat(name_width.saturating_sub(name.width()) + 2), Style::new());
        let (state, faults) = link.state();
        let state_style = if state == "up" { look.colour(Color::Green) } else { look.colour(Color::Red) };
        let dropped = link.status.from_machine.dropped.total() + link.status.to_machine.dropped.total();
        for (name, _, width, is_right) in all.iter().filter(|column| has(column.0) && column.0 != "faults") {
            let (text, style) = match *name {
                "segment" => (link.status.segment.to_string(), bold),
                "state" => (state.to_owned(), state_style.patch(bold)),
                "out" => (rate(link.from_rate), bold),
                "in" => (rate(link.to_rate), bold),
                "sum-out" => (bytes(link.status.from_machine.bytes), bold),
                "sum-in" => (bytes(link.status.to_machine.bytes), bold),
                "curve" => (look.curve(&link.history, *width, most), look.machine(machine)),
                _ => (dropped.to_string(), if dropped > 0 { look.colour(Color::Yellow) } else { bold }),
            };
            pen.cell(&text, *width, *is_right, style, ellipsis);
        }
        if has("faults") {
            let room = usize::from(area.right().saturating_sub(pen.x));
            pen.put(&clip(&faults, room, ellipsis), look.colour(Color::Yellow));
        }
    }
}

/// Bits a second in at most eight columns.
fn rate(bits: f64) -> String {
    match bits {
        bits if bits >= 999.5e6 => format!("{:.2} Gb", bits / 1e9),
        bits if bits >= 999.5e3 => format!("{:.1} Mb", bits / 1e6),
        bits if bits >= 999.5 => format!("{:.1} kb", bits / 1e3),
        bits => format!("{bits:.0} b"),
    }
}

/// Bytes in at most seven columns.
fn bytes(bytes: u64) -> String {
    match bytes as f64 {
        bytes if bytes >= 999.5e6 => format!("{:.2} GB", bytes / 1e9),
        bytes if bytes >= 999.5e3 => format!("{:.1} MB", bytes / 1e6),
        bytes if bytes >= 999.5 => format!("{:.0} kB", bytes / 1e3),
        bytes => format!("{bytes:.0} B"),
    }
}

fn rule(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    if area.is_empty() {
        return;
    }
    let line = look.pick("─", "-");
    let faint = look.faint();
    let mut pen = Pen { buffer, area, x: area.x, y: area.y };
    pen.put(&line.repeat(usize::from(area.width)), faint);
    pen.x = area.x + 2;
    match model.filter() {
        None => pen.put(" log of all machines ", Style::new().add_modifier(Modifier::BOLD)),
        Some(index) => {
            pen.put(" log of ", Style::new().add_modifier(Modifier::BOLD));
            pen.put(&format!("{} ", model.machines[index].facts.name), look.machine(index).add_modifier(Modifier::BOLD));
        }
    }
    if let Some((pattern, count)) = &model.pattern {
        pen.x += 1;
        let lines = if *count == 1 { "line" } else { "lines" };
        pen.put(&format!(" /{}  {count} {lines} ", clip(pattern.text(), 24, look.pick("…", "~"))), look.colour(Color::Yellow));
    }
    let place = match (model.anchor, model.shift) {
        (Some(anchor), _) => format!(" {} below, End follows ", model.log.after(model.filter(), anchor).count()),
        (None, 0) => " following ".to_owned(),
        (None, shift) => format!(" from column {} ", shift + 1),
    };
    let x = area.right().saturating_sub(place.width() as u16 + 2);
    if x > pen.x {
        pen.x = x;
        pen.put(&place, if model.anchor.is_some() { look.colour(Color::Yellow) } else { faint });
    }
}

/// The rows that a line takes, as pieces of its text.
fn pieces(text: &str, width: usize, model: &Model) -> Vec<String> {
    if width == 0 {
        return vec![String::new()];
    }
    if !model.wraps {
        let mut skipped = 0;
        let rest: String = text
            .chars()
            .skip_while(|c| {
                let hidden = skipped < model.shift;
                skipped += c.width().unwrap_or(0);
                hidden
            })
            .collect();
        return vec![rest];
    }
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > width {
            pieces.push(String::new());
            used = 0;
        }
        used += wide;
        if let Some(piece) = pieces.last_mut() {
            piece.push(c);
        }
    }
    pieces
}

fn log(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) {
    let rows = usize::from(area.height);
    if rows == 0 || area.width < 4 {
        return;
    }
    let longest = model.machines.iter().map(|machine| machine.facts.name.width()).max().unwrap_or(0);
    let name_width = if model.is_single { 0 } else { longest.clamp(1, if area.width < 60 { 8 } else { 16 }) };
    let has_time = area.width >= 100;
    let before_text = usize::from(has_time) * 9 + if name_width > 0 { name_width + 3 } else { 0 };
    let width = usize::from(area.width).saturating_sub(before_text);
    let mut taken: Vec<(&Line, Vec<String>)> = Vec::new();
    let mut used = 0;
    for line in model.log.before(model.filter(), model.anchor) {
        let text = if line.is_report { report(line, model, look) } else { line.text.clone() };
        let pieces = pieces(&text, width, model);
        used += pieces.len();
        taken.push((line, pieces));
        if used >= rows {
            break;
        }
    }
    // Of the first line its last pieces, when not all fit.
    let mut skip = used.saturating_sub(rows);
    let mut y = area.y;
    let ellipsis = look.pick("…", "~");
    for (line, pieces) in taken.into_iter().rev() {
        for (number, piece) in pieces.iter().enumerate() {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            let mut pen = Pen { buffer, area, x: area.x, y };
            if has_time {
                let time = if number == 0 { clock(line.at) } else { String::new() };
                pen.put(&format!("{time:>8} "), look.faint());
            }
            if name_width > 0 {
                let (name, style) = match line.machine {
                    Some(index) => (clip(&model.machines[index].facts.name, name_width, ellipsis), look.machine(index)),
                    None => (String::new(), Style::new()),
                };
                let pad = " ".repeat(name_width.saturating_sub(name.width()));
                pen.put(if number == 0 { &name } else { "" }, style);
                pen.put(if number == 0 { &pad } else { "" }, Style::new());
                pen.x = area.x + (usize::from(has_time) * 9 + name_width) as u16;
                pen.put(look.pick(" │ ", " | "), look.faint());
            }
            text(model, look, line, piece, width, &mut pen);
            y += 1;
        }
    }
}

/// What was said of a machine or the network, told from what a machine said by a sign.
fn report(line: &Line, model: &Model, look: Look) -> String {
    let name = line.machine.map(|index| format!("{} ", model.machines[index].facts.name)).unwrap_or_default();
    format!("{} {name}{}", look.pick("──", "--"), line.text)
}

fn text(model: &Model, look: Look, line: &Line, piece: &str, width: usize, pen: &mut Pen<'_>) {
    let style = if !line.is_report {
        Style::new()
    } else if line.text.starts_with("FAILED") {
        look.colour(Color::Red).add_modifier(Modifier::BOLD)
    } else {
        Style::new().add_modifier(Modifier::BOLD)
    };
    let shown = clip(piece, width, look.pick("…", "~"));
    let places = model.pattern.as_ref().map(|(pattern, _)| pattern.places(&shown)).unwrap_or_default();
    let is_found = model.found == Some(line.number);
    let mut at = 0;
    for place in places {
        pen.put(&shown[at..place.start], style);
        let mark = if is_found { look.colour(Color::Yellow).add_modifier(Modifier::REVERSED | Modifier::BOLD) } else { Style::new().add_modifier(Modifier::REVERSED) };
        pen.put(&shown[place.clone()], mark);
        at = place.end;
    }
    pen.put(&shown[at..], style);
}

fn foot(model: &Model, look: Look, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    if area.is_empty() {
        return None;
    }
    let ask = look.colour(Color::Yellow).add_modifier(Modifier::REVERSED | Modifier::BOLD);
    let name = |machine: usize| model.machines.get(machine).map_or("", |machine| machine.facts.name.as_str());
    let mut pen = Pen { buffer, area, x: area.x, y: area.y };
    let cursor = |pen: &Pen<'_>| Some(Position { x: pen.x.min(area.right().saturating_sub(1)), y: pen.y });
    match &model.overlay {
        Overlay::Confirm(confirm) => {
            let question = match confirm {
                Confirm::PowerOff(machine) => format!("Power off {}?", name(*machine)),
                Confirm::Crash(machine) => format!("Cut the power of {}?", name(*machine)),
                Confirm::Reboot(machine) => format!("Reboot {}?", name(*machine)),
                Confirm::Stop => "Stop all and leave?".to_owned(),
            };
            pen.put(&format!(" {question} "), ask);
            pen.put(" y", Style::new().add_modifier(Modifier::BOLD));
            pen.put(" yes  ", Style::new());
            pen.put("any other key", Style::new().add_modifier(Modifier::BOLD));
            pen.put(" no", Style::new());
            return None;
        }
        Overlay::Search(text) | Overlay::Snapshot(text) => {
            let lead = if matches!(model.overlay, Overlay::Search(_)) { "/" } else { "Snapshot's name: " };
            pen.put(lead, Style::new().add_modifier(Modifier::BOLD));
            // The end of what is typed is in sight.
            let room = usize::from(area.right().saturating_sub(pen.x)).saturating_sub(1);
            let mut hidden = text.width().saturating_sub(room);
            let tail: String = text
                .chars()
                .skip_while(|c| {
                    let is_hidden = hidden > 0;
                    hidden = hidden.saturating_sub(c.width().unwrap_or(0));
                    is_hidden
                })
                .collect();
            pen.put(&tail, Style::new());
            return cursor(&pen);
        }
        Overlay::None | Overlay::Help(_) => {}
    }
    if let Some((text, is_error)) = model.message() {
        let style = if is_error { look.colour(Color::Yellow).add_modifier(Modifier::BOLD) } else { Style::new().add_modifier(Modifier::BOLD) };
        pen.put(&format!(" {text}"), style);
        return None;
    }
    let does_not_run = model.machines.get(model.selected).is_some_and(|machine| !machine.phase().is_running());
    let power = if does_not_run { ("s", "start") } else { ("p", "power off") };
    let hints: &[(&str, &str)] = &[("?", "help"), ("Enter", "shell"), ("m", if model.is_single { "all" } else { "one log" }), ("/", "search"), power, ("r", "reboot"), ("b", "block"), ("q", "stop all"), ("x", "crash"), ("w", "wrap")];
    for (key, what) in hints {
        let need = key.len() + what.len() + 3;
        if usize::from(pen.x - area.x) + need > usize::from(area.width) {
            break;
        }
        pen.put(&format!(" {key}"), look.colour(Color::Cyan).add_modifier(Modifier::BOLD));
        pen.put(&format!(" {what} "), Style::new());
    }
    None
}

/// The screen of a guest's terminal.
fn terminal(screen: &vt100::Screen, look: Look, area: Rect, buffer: &mut Buffer) -> Option<Position> {
    let colour = |colour: vt100::Color| match colour {
        vt100::Color::Default => Color::Reset,
        vt100::Color::Idx(index) => Color::Indexed(index),
        vt100::Color::Rgb(r, g, b) => Color::Rgb(r, g, b),
    };
    for row in 0..area.height {
        for column in 0..area.width {
            let Some(cell) = screen.cell(row, column) else { continue };
            if cell.is_wide_continuation() {
                continue;
            }
            let mut style = Style::new();
            if look.has_colour {
                style = style.fg(colour(cell.fgcolor())).bg(colour(cell.bgcolor()));
            }
            let modifiers =
                [(cell.bold(), Modifier::BOLD), (cell.dim(), Modifier::DIM), (cell.italic(), Modifier::ITALIC), (cell.underline(), Modifier::UNDERLINED), (cell.inverse(), Modifier::REVERSED)];
            let style = modifiers.iter().filter(|(is_set, _)| *is_set).fold(style, |style, (_, modifier)| style.add_modifier(*modifier));
            let text = if cell.has_contents() { cell.contents() } else { " " };
            buffer.set_stringn(area.x + column, area.y + row, text, usize::from(area.width - column), style);
        }
    }
    let (row, column) = screen.cursor_position();
    (!screen.hide_cursor() && row < area.height && column < area.width).then_some(Position { x: area.x + column, y: area.y + row })
}
