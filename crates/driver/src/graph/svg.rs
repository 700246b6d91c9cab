//! The drawing as a picture.
//!
//! Machines are boxes in rows. Below each row run the rails of the segments that its machines are on, one colour each; a card goes down
//! to its rail. What is left of the rows joins the rails of a segment, and has its name. So no line crosses a box, however many
//! machines and segments there are.

use super::{Card, Drawing, Node};
use crate::event::Phase;
use crate::testing::escape;

const COLOURS: [&str; 8] = ["#2f6db5", "#c2571a", "#2e8b57", "#8e44ad", "#b8860b", "#c0392b", "#16808f", "#6b6b2a"];
const MARGIN: usize = 24;
/// Between boxes.
const GAP: usize = 28;
const BOX_MIN: usize = 190;
const BOX_MAX: usize = 330;
const PADDING: usize = 12;
const LINE: usize = 17;
const HEADER: usize = 30;
/// Between the rails of a row.
const RAIL: usize = 20;
/// Between the trunks of the segments.
const TRUNK: usize = 20;
/// Mean width of a character of 12 pixels height, in hundredths of a pixel: a little more than DejaVu Sans has.
const CHARACTER: usize = 735;

/// How a line of text looks.
#[derive(Clone, Copy, PartialEq)]
enum Look {
    Plain,
    Faint,
    /// As faint, below the text behind a dot.
    Further,
    Open,
    Closed,
    Fault,
}

struct Line {
    text: String,
    look: Look,
    /// The segment whose dot precedes it.
    dot: Option<u32>,
}

impl Line {
    fn is_indented(&self) -> bool {
        self.dot.is_some() || self.look == Look::Further
    }
}

/// A picture in SVG.
#[must_use]
pub fn svg(drawing: &Drawing) -> String {
    let count = drawing.machines.len();
    // About three boxes wide for two high.
    let columns = (1..=count.max(1)).find(|columns| columns * columns * 2 >= count * 3).unwrap_or(1);
    let texts: Vec<Vec<Line>> = drawing.machines.iter().map(lines).collect();
    let widest = texts.iter().flatten().map(|line| width(&line.text) + if line.is_indented() { 14 } else { 0 });
    let widest = widest.chain(drawing.machines.iter().map(|machine| width(&machine.name) * 13 / 12 + 76)).max().unwrap_or(0);
    let box_width = (widest + 2 * PADDING).clamp(BOX_MIN, BOX_MAX);
    let colour = |segment: u32| {
        let index = drawing.segments.iter().position(|one| *one == segment).unwrap_or(0);
        COLOURS[index % COLOURS.len()]
    };
    let label_width = drawing.segments.iter().map(|segment| width(&format!("segment {segment}"))).max().unwrap_or(0);
    let left = if drawing.segments.is_empty() { MARGIN } else { MARGIN + drawing.segments.len() * TRUNK + 12 };
    let header = 30 + drawing.notes.len() * LINE;
    let legend = drawing.segments.len().div_ceil(6) * 22;
    let top = MARGIN + header + legend;

    let mut shapes = String::new();
    let mut boxes = String::new();
    let mut y = top;
    // Where each segment's rails are: they are joined at the left.
    let mut rails: Vec<(u32, usize)> = Vec::new();
    for (row, (machines, texts)) in drawing.machines.chunks(columns).zip(texts.chunks(columns)).enumerate() {
        let height = texts.iter().map(|lines| HEADER + lines.len() * LINE + PADDING).max().unwrap_or(0);
        let own: Vec<u32> =
            drawing.segments.iter().copied().filter(|segment| machines.iter().any(|machine| machine.cards.iter().any(|card| card.segment == *segment))).collect();
        let rail_of = |segment: u32| y + height + 24 + own.iter().position(|one| *one == segment).unwrap_or(0) * RAIL;
        for segment in &own {
            let trunk = trunk_x(drawing, *segment);
            let last = machines.iter().rposition(|machine| machine.cards.iter().any(|card| card.segment == *segment)).unwrap_or(0);
            let end = machines[last].cards.iter().rposition(|card| card.segment == *segment).unwrap_or(0);
            let end = left + last * (box_width + GAP) + card_x(box_width, machines[last].cards.len(), end);
            let at = rail_of(*segment);
            shapes.push_str(&format!("<path d=\"M{trunk} {at}H{end}\" stroke=\"{}\" stroke-width=\"4\" stroke-linecap=\"round\" fill=\"none\"/>\n", colour(*segment)));
            rails.push((*segment, at));
        }
        for (column, (machine, lines)) in machines.iter().zip(texts).enumerate() {
            let x = left + column * (box_width + GAP);
            for (index, card) in machine.cards.iter().enumerate() {
                let at = x + card_x(box_width, machine.cards.len(), index);
                let (from, to) = (y + height, rail_of(card.segment));
                let dashed = if card.is_up { "" } else { " stroke-dasharray=\"3 4\"" };
                let is_faulty = !card.is_up || !card.faults.is_empty();
                let line = if is_faulty { "#c0392b" } else { colour(card.segment) };
                // White below, so that it is seen to cross the rails of other segments.
                shapes.push_str(&format!("<path d=\"M{at} {from}V{to}\" stroke=\"#fff\" stroke-width=\"6\"/><path d=\"M{at} {from}V{to}\" stroke=\"{line}\" stroke-width=\"2\"{dashed}/>"));
                shapes.push_str(&format!("<circle cx=\"{at}\" cy=\"{to}\" r=\"5\" fill=\"{}\"/>\n", colour(card.segment)));
            }
            boxes.push_str(&machine_box(machine, lines, (x, y), (box_width, height), &colour));
        }
        let rows = count.div_ceil(columns);
        y += height + if own.is_empty() { 0 } else { 24 + (own.len() - 1) * RAIL } + if row + 1 < rows { 34 } else { 14 };
    }
    for segment in &drawing.segments {
        let trunk = trunk_x(drawing, *segment);
        let at = |pick: fn(usize, usize) -> usize| rails.iter().filter(|(one, _)| one == segment).map(|(_, at)| *at).reduce(pick);
        if let (Some(first), Some(last)) = (at(usize::min), at(usize::max)) {
            shapes.push_str(&format!("<path d=\"M{trunk} {first}V{last}\" stroke=\"{}\" stroke-width=\"4\" stroke-linecap=\"round\"/>\n", colour(*segment)));
        }
    }

    let title = format!("{}, {}", plural(count, "machine"), plural(drawing.segments.len(), "segment"));
    let mut head = format!("<text x=\"{MARGIN}\" y=\"{}\" font-size=\"16\" font-weight=\"bold\">{}</text>\n", MARGIN + 14, escape(&title));
    for (index, note) in drawing.notes.iter().enumerate() {
        head.push_str(&format!("<text x=\"{MARGIN}\" y=\"{}\" class=\"fault\">{}</text>\n", MARGIN + 34 + index * LINE, escape(note)));
    }
    let step = label_width + 44;
    for (index, segment) in drawing.segments.iter().enumerate() {
        let (x, at) = (MARGIN + (index % 6) * step, MARGIN + header + (index / 6) * 22 + 4);
        head.push_str(&format!("<path d=\"M{x} {at}h22\" stroke=\"{}\" stroke-width=\"4\" stroke-linecap=\"round\"/>", colour(*segment)));
        head.push_str(&format!("<text x=\"{}\" y=\"{}\">segment {segment}</text>\n", x + 30, at + 4));
    }
    let shown = columns.min(count.max(1));
    let wide = (left + shown * (box_width + GAP) - GAP + MARGIN).max(MARGIN * 2 + drawing.segments.len().min(6) * step).max(MARGIN * 2 + width(&title) * 16 / 12);
    let wide = drawing.notes.iter().map(|note| MARGIN * 2 + width(note)).fold(wide, usize::max);
    let high = y + MARGIN;
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{wide}\" height=\"{high}\" viewBox=\"0 0 {wide} {high}\" \
         font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#1f2933\">\n\
         <title>{title}</title>\n<style>.faint{{fill:#6b7784}}.open{{fill:#1e7145}}.closed{{fill:#9a6b12}}.fault{{fill:#c0392b}}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{head}{shapes}{boxes}</svg>\n"
    )
}

fn trunk_x(drawing: &Drawing, segment: u32) -> usize {
    MARGIN + drawing.segments.iter().position(|one| *one == segment).unwrap_or(0) * TRUNK
}

/// Where the card of that index leaves a box.
fn card_x(box_width: usize, cards: usize, index: usize) -> usize {
    let step = (box_width / (cards + 1)).min(46);
    box_width / 2 + index * step - (cards - 1) * step / 2
}

fn machine_box(machine: &Node, lines: &[Line], (x, y): (usize, usize), (wide, high): (usize, usize), colour: &dyn Fn(u32) -> &'static str) -> String {
    let border = match machine.phase {
        Some(Phase::Failed) => "#c0392b",
        Some(Phase::Off) => "#b8c1cb",
        _ => "#7b8794",
    };
    let mut text = format!("<g><rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{high}\" rx=\"7\" fill=\"#fff\" stroke=\"{border}\" stroke-width=\"1.4\"/>\n");
    let right = x + wide;
    text.push_str(&format!(
        "<path d=\"M{x} {0}v-{1}a7 7 0 0 1 7 -7H{2}a7 7 0 0 1 7 7v{1}z\" fill=\"#eef2f6\" stroke=\"{border}\" stroke-width=\"1.4\"/>\n",
        y + HEADER - 4,
        HEADER - 11,
        right - 7
    ));
    let room = wide - 2 * PADDING - if machine.phase.is_some() { 62 } else { 0 };
    text.push_str(&text_at(&machine.name, x + PADDING, y + 18, "font-size=\"13\" font-weight=\"bold\"", room * 12 / 14));
    if let Some(phase) = machine.phase {
        let fill = match phase {
            Phase::Ready => "#1e7145",
            Phase::Starting | Phase::Booting | Phase::Stopping => "#9a6b12",
            Phase::Off => "#6b7784",
            Phase::Failed => "#c0392b",
        };
        text.push_str(&format!("<text x=\"{}\" y=\"{}\" text-anchor=\"end\" font-size=\"11\" fill=\"{fill}\">{}</text>\n", right - PADDING, y + 18, phase.name()));
    }
    for (index, line) in lines.iter().enumerate() {
        let at = y + HEADER + 12 + index * LINE;
        let mut from = x + PADDING;
        if let Some(segment) = line.dot {
            text.push_str(&format!("<circle cx=\"{}\" cy=\"{}\" r=\"4\" fill=\"{}\"/>", from + 4, at - 4, colour(segment)));
        }
        if line.is_indented() {
            from += 14;
        }
        let class = match line.look {
            Look::Plain => "",
            Look::Faint | Look::Further => "class=\"faint\"",
            Look::Open => "class=\"open\"",
            Look::Closed => "class=\"closed\"",
            Look::Fault => "class=\"fault\"",
        };
        text.push_str(&text_at(&line.text, from, at, class, x + wide - PADDING - from));
    }
    text.push_str("</g>\n");
    text
}

/// A line of text, shortened to its room; a reader who points at it sees all of it.
fn text_at(text: &str, x: usize, y: usize, attributes: &str, room: usize) -> String {
    if width(text) <= room {
        return format!("<text x=\"{x}\" y=\"{y}\" {attributes}>{}</text>\n", escape(text));
    }
    let fits = (room * 100 / CHARACTER).saturating_sub(1);
    let short: String = text.chars().take(fits).collect();
    format!("<text x=\"{x}\" y=\"{y}\" {attributes}>{}\u{2026}<title>{}</title></text>\n", escape(short.trim_end()), escape(text))
}

fn lines(machine: &Node) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |text: String, look: Look, dot: Option<u32>| lines.push(Line { text, look, dot });
    if let Some(failure) = &machine.failure {
        add(failure.clone(), Look::Fault, None);
    }
    machine.other_names.iter().for_each(|name| add(name.clone(), Look::Faint, None));
    add(machine.about.clone(), Look::Faint, None);
    for Card { name, segment, addresses, faults, is_up } in &machine.cards {
        let mut addresses = addresses.iter();
        let first = addresses.next().map(|first| format!("{name}  {first}"));
        add(first.unwrap_or_else(|| name.clone()), Look::Plain, Some(*segment));
        addresses.for_each(|address| add(address.clone(), Look::Further, None));
        if !is_up {
            add(format!("{name} is blocked"), Look::Fault, None);
        }
        if !faults.is_empty() {
            // Directions on lines of their own.
            faults.split("; ").for_each(|part| add(format!("{name} {part}"), Look::Fault, None));
        }
    }
    for (service, is_open) in &machine.services {
        match is_open {
            true => add(service.clone(), Look::Open, None),
            false => add(format!("{service} (closed by the firewall)"), Look::Closed, None),
        }
    }
    machine.forwards.iter().for_each(|forward| add(forward.clone(), Look::Plain, None));
    add(if machine.has_way_out { "eth0 leads outside" } else { "no way out" }.into(), Look::Faint, None);
    lines
}

fn width(text: &str) -> usize {
    text.chars().count() * CHARACTER / 100
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::tests::drawing;
    use super::*;

    /// Values of an attribute in all elements that begin with `element`.
    fn numbers(svg: &str, element: &str, attribute: &str) -> Vec<usize> {
        let of = |part: &str| part.split_once(&format!("{attribute}=\"")).and_then(|(_, rest)| rest.split('"').next()?.parse().ok());
        svg.split(element).skip(1).filter_map(of).collect()
    }

    #[test]
    fn boxes_do_not_overlap_and_all_is_inside() {
        for (machines, segments) in [(1, 1), (2, 1), (3, 2), (10, 3), (24, 5), (24, 12)] {
            let svg = svg(&drawing(machines, segments));
            let (wide, high) = (numbers(&svg, "<svg", "width")[0], numbers(&svg, "<svg", "height")[0]);
            let of = |attribute: &str| numbers(&svg, "<g><rect", attribute);
            let boxes: Vec<(usize, usize, usize, usize)> =
                of(" x").into_iter().zip(of(" y")).zip(of(" width").into_iter().zip(of(" height"))).map(|((x, y), (w, h))| (x, y, w, h)).collect();
            assert_eq!(boxes.len(), machines);
            for (index, a) in boxes.iter().enumerate() {
                assert!(a.0 + a.2 < wide && a.1 + a.3 < high);
                for b in &boxes[..index] {
                    assert!(a.0 >= b.0 + b.2 || b.0 >= a.0 + a.2 || a.1 >= b.1 + b.3 || b.1 >= a.1 + a.3, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_picture_is_well_formed_whatever_names_are() {
        let svg = svg(&drawing(7, 2));
        let mut open = Vec::new();
        let mut rest = &svg[svg.find("<svg").unwrap()..];
        while let Some(at) = rest.find('<') {
            assert!(!rest[..at].contains('&') || rest[..at].contains(';'));
            let end = rest[at..].find('>').unwrap() + at;
            let tag = &rest[at + 1..end];
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap());
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty() && svg.contains("m&lt;0&gt;&amp;&quot;"));
    }

    #[test]
    fn long_text_is_shortened_and_kept() {
        let mut drawing = drawing(1, 1);
        drawing.machines[0].other_names = vec!["x".repeat(200)];
        let svg = svg(&drawing);
        assert!(svg.contains("\u{2026}<title>") && svg.contains(&"x".repeat(200)));
    }
}
