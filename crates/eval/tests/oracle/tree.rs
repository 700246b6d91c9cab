//! Generated expressions as trees, so that a failing one can be made smaller.

/// A piece of an expression's text.
#[derive(Debug, Clone)]
pub(crate) enum Part {
    Text(String),
    /// An expression, and whether it stands without parentheses.
    Child(Node, bool),
}

/// An expression.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    parts: Vec<Part>,
    /// Never needs parentheses.
    is_atom: bool,
}

/// Text.
pub(crate) fn s(text: impl Into<String>) -> Part {
    Part::Text(text.into())
}

/// An expression in parentheses, if it needs some.
pub(crate) fn c(node: Node) -> Part {
    Part::Child(node, false)
}

/// An expression where none are needed.
pub(crate) fn bare(node: Node) -> Part {
    Part::Child(node, true)
}

impl Node {
    pub(crate) fn new(parts: Vec<Part>) -> Node {
        Node { parts, is_atom: false }
    }

    pub(crate) fn atom(parts: Vec<Part>) -> Node {
        Node { parts, is_atom: true }
    }

    pub(crate) fn leaf(text: impl Into<String>) -> Node {
        Node::atom(vec![s(text)])
    }

    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Child(node, is_bare) if *is_bare || node.is_atom => node.write(out),
                Part::Child(node, _) => {
                    out.push('(');
                    node.write(out);
                    out.push(')');
                }
            }
        }
    }

    /// How many expressions it is made of.
    pub(crate) fn size(&self) -> usize {
        1 + self.children().map(Node::size).sum::<usize>()
    }

    fn children(&self) -> impl Iterator<Item = &Node> {
        self.parts.iter().filter_map(|p| match p {
            Part::Child(node, _) => Some(node),
            Part::Text(_) => None,
        })
    }

    /// The expressions that are one step smaller, the smallest first.
    pub(crate) fn smaller(&self) -> Vec<Node> {
        let mut out: Vec<Node> = Vec::new();
        if self.parts.len() > 1 || self.text().len() > 4 {
            out.extend(["1", "null", "\"\"", "[ ]", "{ }", "true", "x: x"].map(Node::leaf).into_iter().filter(|l| l.text().len() < self.text().len()));
        }
        out.extend(self.children().cloned());
        for (i, part) in self.parts.iter().enumerate() {
            if let Part::Child(child, is_bare) = part {
                for small in child.smaller() {
                    let mut parts = self.parts.clone();
                    parts[i] = Part::Child(small, *is_bare);
                    out.push(Node { parts, is_atom: self.is_atom });
                }
            }
        }
        out.sort_by_key(Node::size);
        out
    }
}

/// The smallest expression on the way down for which `fails` holds, after at most `tries` tries.
pub(crate) fn shrink(mut node: Node, mut tries: usize, mut fails: impl FnMut(&Node) -> bool) -> Node {
    'again: loop {
        for small in node.smaller() {
            if tries == 0 {
                return node;
            }
            tries -= 1;
            if fails(&small) {
                node = small;
                continue 'again;
            }
        }
        return node;
    }
}
