//! The drawing as a text for Graphviz.

use super::{Card, Drawing, Node};

/// A graph in the language of dot(1).
#[must_use]
pub fn dot(drawing: &Drawing) -> String {
    let mut text = String::from(
        "graph network {\n  graph [overlap=false, splines=true, ranksep=0.7];\n  node [fontname=\"Helvetica\", fontsize=11];\n  edge [fontname=\"Helvetica\", fontsize=9];\n",
    );
    for note in &drawing.notes {
        text.push_str(&format!("  label={};\n", quote(note)));
    }
    for segment in &drawing.segments {
        text.push_str(&format!("  {} [shape=box, style=\"filled,rounded\", fillcolor=\"#dbe7f6\", label={}];\n", id_of(*segment), quote(&format!("segment {segment}"))));
    }
    for (index, machine) in drawing.machines.iter().enumerate() {
        text.push_str(&format!("  m{index} [shape=box, label={}];\n", quote(&lines(machine).join("\n"))));
        for card in &machine.cards {
            let style = if card.is_up && card.faults.is_empty() { "" } else { ", color=\"#c0392b\"" };
            text.push_str(&format!("  m{index} -- {} [label={}{style}];\n", id_of(card.segment), quote(&label(card))));
        }
    }
    text.push_str("}\n");
    text
}

fn id_of(segment: u32) -> String {
    format!("s{segment}")
}

fn lines(machine: &Node) -> Vec<String> {
    let mut lines = vec![match machine.phase {
        Some(phase) => format!("{} ({})", machine.name, phase.name()),
        None => machine.name.clone(),
    }];
    lines.extend(machine.failure.clone());
    lines.extend(machine.other_names.iter().cloned());
    lines.push(machine.about.clone());
    lines.extend(machine.services.iter().map(|(service, open)| if *open { service.clone() } else { format!("{service} (closed)") }));
    lines.extend(machine.forwards.iter().cloned());
    lines
}

fn label(card: &Card) -> String {
    let mut lines = vec![card.name.clone()];
    lines.extend(card.addresses.iter().cloned());
    if !card.is_up {
        lines.push("blocked".into());
    }
    if !card.faults.is_empty() {
        lines.push(card.faults.clone());
    }
    lines.join("\n")
}

/// A quoted string: every byte of the text is meant, a line's end is one.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_card_is_an_edge_and_nothing_escapes_its_quotes() {
        let drawing = super::super::tests::drawing(5, 2);
        let text = dot(&drawing);
        let cards: usize = drawing.machines.iter().map(|machine| machine.cards.len()).sum();
        assert_eq!(text.matches(" -- s").count(), cards);
        // Outside of quotes there are no quotes left.
        for line in text.lines() {
            let unescaped = line.replace("\\\\", "").replace("\\\"", "");
            assert_eq!(unescaped.matches('"').count() % 2, 0, "{line}");
        }
        assert!(text.contains("m<0>&\\\"'\\\\"), "{text}");
    }
}
