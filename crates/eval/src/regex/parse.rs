//! Patterns to automata. The states are made in the same number as libstdc++ makes them, so that its limit is met at the same patterns.

use super::bracket;
use super::{NONE, Op, Regex, RegexError, State};

/// Most states of an automaton.
const MAX_STATES: usize = 100_000;
/// Deepest nesting of groups (C++ has no limit of its own and overflows its stack).
const MAX_DEPTH: usize = 1_000;

/// A part of an automaton: first and last state; the last one's `next` is still open.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    end: usize,
}

struct Compiler<'a> {
    pattern: &'a [u8],
    at: usize,
    states: Vec<State>,
    groups: usize,
    depth: usize,
}

pub(super) fn compile(pattern: &[u8]) -> Result<Regex, RegexError> {
    let mut c = Compiler { pattern, at: 0, states: Vec::new(), groups: 1, depth: 0 };
    let mut whole = c.single(Op::Open(0))?;
    let body = c.disjunction()?;
    if c.at != pattern.len() {
        return Err(RegexError::Invalid);
    }
    c.append(&mut whole, body);
    let close = c.single(Op::Close(0))?;
    c.append(&mut whole, close);
    let accept = c.single(Op::Accept)?;
    c.append(&mut whole, accept);
    let mut regex = Regex { states: c.states, start: whole.start, groups: c.groups };
    skip_dummies(&mut regex);
    Ok(regex)
}

/// Leads every edge past states that do nothing, and marks loops over one byte.
fn skip_dummies(regex: &mut Regex) {
    let real = |states: &[State], mut at: usize| {
        while at != NONE && matches!(states[at].op, Op::Dummy) {
            at = states[at].next;
        }
        at
    };
    for i in 0..regex.states.len() {
        regex.states[i].next = real(&regex.states, regex.states[i].next);
        if let Op::Repeat { alt } | Op::Alternative { alt } = regex.states[i].op {
            let to = real(&regex.states, alt);
            if let Op::Repeat { alt } | Op::Alternative { alt } = &mut regex.states[i].op {
                *alt = to;
            }
        }
    }
    regex.start = real(&regex.states, regex.start);
    for i in 0..regex.states.len() {
        if let Op::Repeat { alt } = regex.states[i].op {
            let body = &regex.states[alt];
            if body.next == i && matches!(body.op, Op::Any | Op::Byte(_) | Op::Set(_)) {
                regex.states[i].op = Op::ByteLoop { alt };
            }
        }
    }
}

impl Compiler<'_> {
    fn peek(&self) -> Option<u8> {
        self.pattern.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn insert(&mut self, op: Op, next: usize) -> Result<usize, RegexError> {
        self.states.push(State { next, op });
        if self.states.len() > MAX_STATES {
            return Err(RegexError::TooBig);
        }
        Ok(self.states.len() - 1)
    }

    fn single(&mut self, op: Op) -> Result<Part, RegexError> {
        let id = self.insert(op, NONE)?;
        Ok(Part { start: id, end: id })
    }

    fn append(&mut self, part: &mut Part, more: Part) {
        self.states[part.end].next = more.start;
        part.end = more.end;
    }

    /// Makes the states of `part` once more.
    fn duplicate(&mut self, part: Part) -> Result<Part, RegexError> {
        let mut made = std::collections::HashMap::new();
        let mut todo = vec![part.start];
        while let Some(at) = todo.pop() {
            if made.contains_key(&at) {
                continue;
            }
            let copy = self.states[at].clone();
            if let Op::Repeat { alt } | Op::Alternative { alt } = copy.op
                && alt != NONE
            {
                todo.push(alt);
            }
            if at != part.end && copy.next != NONE {
                todo.push(copy.next);
            }
            let id = self.insert(copy.op, copy.next)?;
            made.insert(at, id);
        }
        for id in made.values() {
            let state = &mut self.states[*id];
            if let Some(to) = made.get(&state.next) {
                state.next = *to;
            }
            if let Op::Repeat { alt } | Op::Alternative { alt } = &mut state.op
                && let Some(to) = made.get(alt)
            {
                *alt = *to;
            }
        }
        self.states[made[&part.end]].next = NONE;
        Ok(Part { start: made[&part.start], end: made[&part.end] })
    }

    fn disjunction(&mut self) -> Result<Part, RegexError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(RegexError::TooBig);
        }
        let mut left = self.sequence()?;
        while self.eat(b'|') {
            let mut right = self.sequence()?;
            let end = self.single(Op::Dummy)?;
            self.append(&mut left, end);
            self.append(&mut right, end);
            let start = self.insert(Op::Alternative { alt: left.start }, right.start)?;
            left = Part { start, end: end.end };
        }
        self.depth -= 1;
        Ok(left)
    }

    fn sequence(&mut self) -> Result<Part, RegexError> {
        let mut terms = Vec::new();
        while let Some(term) = self.term()? {
            terms.push(term);
        }
        let mut whole = self.single(Op::Dummy)?;
        // The empty rest stands behind the terms.
        let tail = whole;
        if let Some((first, rest)) = terms.split_first() {
            whole = *first;
            for term in rest {
                self.append(&mut whole, *term);
            }
            self.append(&mut whole, tail);
        }
        Ok(whole)
    }

    fn term(&mut self) -> Result<Option<Part>, RegexError> {
        let Some(byte) = self.peek() else { return Ok(None) };
        let atom = match byte {
            b'^' | b'$' => {
                self.at += 1;
                // An anchor takes no quantifier.
                return self.single(if byte == b'^' { Op::Begin } else { Op::End }).map(Some);
            }
            b'|' | b')' | b'*' | b'+' | b'?' | b'{' => return Ok(None),
            b'.' => {
                self.at += 1;
                self.single(Op::Any)?
            }
            b'(' => {
                self.at += 1;
                let group = self.groups;
                self.groups += 1;
                let mut part = self.single(Op::Open(group))?;
                let body = self.disjunction()?;
                if !self.eat(b')') {
                    return Err(RegexError::Invalid);
                }
                self.append(&mut part, body);
                let close = self.single(Op::Close(group))?;
                self.append(&mut part, close);
                part
            }
            b'[' => {
                self.at += 1;
                let set = bracket::parse(self.pattern, &mut self.at)?;
                self.single(Op::Set(set))?
            }
            b'\\' => {
                let escaped = *self.pattern.get(self.at + 1).ok_or(RegexError::Invalid)?;
                if !b".[\\()*+?{|^$".contains(&escaped) {
                    return Err(RegexError::Invalid);
                }
                self.at += 2;
                self.single(Op::Byte(escaped))?
            }
            0 => return Err(RegexError::Invalid),
            _ => {
                self.at += 1;
                self.single(Op::Byte(byte))?
            }
        };
        self.quantifiers(atom).map(Some)
    }

    fn quantifiers(&mut self, mut part: Part) -> Result<Part, RegexError> {
        loop {
            if self.eat(b'*') {
                let id = self.insert(Op::Repeat { alt: part.start }, NONE)?;
                self.append(&mut part, Part { start: id, end: id });
                part = Part { start: id, end: id };
            } else if self.eat(b'+') {
                let id = self.insert(Op::Repeat { alt: part.start }, NONE)?;
                self.append(&mut part, Part { start: id, end: id });
            } else if self.eat(b'?') {
                let end = self.single(Op::Dummy)?;
                let id = self.insert(Op::Repeat { alt: part.start }, end.start)?;
                self.append(&mut part, end);
                part = Part { start: id, end: end.end };
            } else if self.eat(b'{') {
                part = self.interval(part)?;
            } else {
                return Ok(part);
            }
        }
    }

    fn number(&mut self) -> Result<Option<usize>, RegexError> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if start == self.at {
            return Ok(None);
        }
        let digits = std::str::from_utf8(&self.pattern[start..self.at]).map_err(|_| RegexError::Invalid)?;
        digits.parse::<i32>().ok().and_then(|n| usize::try_from(n).ok()).map(Some).ok_or(RegexError::Invalid)
    }

    fn interval(&mut self, body: Part) -> Result<Part, RegexError> {
        let least = self.number()?.ok_or(RegexError::Invalid)?;
        let mut most = Some(least);
        if self.eat(b',') {
            most = self.number()?;
        }
        if !self.eat(b'}') {
            return Err(RegexError::Invalid);
        }
        let mut whole = self.single(Op::Dummy)?;
        for _ in 0..least {
            let copy = self.duplicate(body)?;
            self.append(&mut whole, copy);
        }
        let Some(most) = most else {
            let mut copy = self.duplicate(body)?;
            let id = self.insert(Op::Repeat { alt: copy.start }, NONE)?;
            let repeat = Part { start: id, end: id };
            self.append(&mut copy, repeat);
            self.append(&mut whole, repeat);
            return Ok(whole);
        };
        let more = most.checked_sub(least).ok_or(RegexError::Invalid)?;
        let end = self.single(Op::Dummy)?;
        for _ in 0..more {
            let copy = self.duplicate(body)?;
            let id = self.insert(Op::Repeat { alt: copy.start }, end.start)?;
            // Not `append`: the copy's end is what stays open.
            self.states[whole.end].next = id;
            whole.end = copy.end;
        }
        self.append(&mut whole, end);
        Ok(whole)
    }
}
