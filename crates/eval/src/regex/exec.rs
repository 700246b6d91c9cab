//! The walk through an automaton, in the order of libstdc++'s depth-first executor.
//!
//! One flag says whether a solution was found. A greedy loop tries its body once more, then goes on behind it only if the flag is not set. A loop
//! remembers where it was entered last: its body may be entered again if the position moved, else at most twice. An alternative tries
//! both branches with the flag cleared between them. At the end of the pattern the result is kept only if it is longer than the one before.

use super::{Groups, NONE, Op, Regex};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// The match must end at the subject's end.
    Whole,
    /// It may end anywhere.
    Prefix,
    /// It may end anywhere but where it began.
    PrefixNotEmpty,
}

/// A group while matching: where it opened and closed last.
#[derive(Clone, Copy, Default)]
struct Group {
    first: u32,
    second: u32,
    matched: bool,
}

/// What is left to do when the walk comes back.
enum Frame {
    Visit { state: u32, at: u32 },
    /// Behind a loop, unless a solution was found.
    Behind { state: u32, at: u32 },
    /// Behind a loop over one byte, from `at` back to `least`.
    Shorter { state: u32, at: u32, least: u32 },
    SecondBranch { state: u32, at: u32 },
    Join { found: bool },
    Loop { state: u32, last: u32, count: u8 },
    First { group: u32, first: u32 },
    Group { group: u32, old: Group },
}

pub(super) struct Executor<'a> {
    regex: &'a Regex,
    subject: &'a [u8],
    /// Per state: position and number of the last entries of a loop's body.
    loops: Vec<(u32, u8)>,
    stack: Vec<Frame>,
}

impl<'a> Executor<'a> {
    /// A subject of 4 GiB or more is cut to nothing that matches; strings of a Nix program are shorter.
    pub(super) fn new(regex: &'a Regex, subject: &'a [u8]) -> Self {
        Self { regex, subject, loops: Vec::new(), stack: Vec::new() }
    }

    pub(super) fn subject_len(&self) -> usize {
        self.subject.len()
    }

    /// Matches at byte `from`.
    pub(super) fn run(&mut self, from: usize, mode: Mode) -> Option<Groups> {
        let states = &self.regex.states;
        let subject = self.subject;
        let len = u32::try_from(subject.len()).ok().filter(|n| *n < u32::MAX)?;
        let from = u32::try_from(from).ok()?;
        self.loops.clear();
        self.loops.resize(states.len(), (0, 0));
        self.stack.clear();
        let mut groups = vec![Group::default(); self.regex.groups];
        let mut best: Option<(u32, Vec<Group>)> = None;
        let mut found = false;
        self.stack.push(Frame::Visit { state: self.regex.start as u32, at: from });
        while let Some(frame) = self.stack.pop() {
            let (mut state, mut at) = match frame {
                Frame::Visit { state, at } => (state as usize, at),
                Frame::Behind { state, at } => {
                    if found {
                        continue;
                    }
                    (states[state as usize].next, at)
                }
                Frame::Shorter { state, at, least } => {
                    if found {
                        continue;
                    }
                    if at > least {
                        self.stack.push(Frame::Shorter { state, at: at - 1, least });
                    }
                    (states[state as usize].next, at)
                }
                Frame::SecondBranch { state, at } => {
                    self.stack.push(Frame::Join { found });
                    found = false;
                    (states[state as usize].next, at)
                }
                Frame::Join { found: before } => {
                    found |= before;
                    continue;
                }
                Frame::Loop { state, last, count } => {
                    self.loops[state as usize] = (last, count);
                    continue;
                }
                Frame::First { group, first } => {
                    groups[group as usize].first = first;
                    continue;
                }
                Frame::Group { group, old } => {
                    groups[group as usize] = old;
                    continue;
                }
            };
            while state != NONE {
                let here = &states[state];
                match &here.op {
                    Op::Any | Op::Byte(_) | Op::Set(_) => {
                        if !subject.get(at as usize).is_some_and(|b| takes(&here.op, *b)) {
                            break;
                        }
                        at += 1;
                    }
                    Op::ByteLoop { alt } => {
                        let body = &states[*alt].op;
                        let rest = &subject[at as usize..];
                        let run = rest.iter().position(|b| !takes(body, *b)).unwrap_or(rest.len());
                        if run > 0 {
                            let longest = at + run as u32;
                            self.stack.push(Frame::Shorter { state: state as u32, at: longest - 1, least: at });
                            at = longest;
                        }
                    }
                    Op::Repeat { alt } => {
                        let (last, count) = self.loops[state];
                        let id = state as u32;
                        if count == 0 || last != at {
                            self.stack.push(Frame::Behind { state: id, at });
                            self.stack.push(Frame::Loop { state: id, last, count });
                            self.loops[state] = (at, 1);
                            state = *alt;
                            continue;
                        } else if count < 2 {
                            self.stack.push(Frame::Behind { state: id, at });
                            self.stack.push(Frame::Loop { state: id, last, count });
                            self.loops[state].1 += 1;
                            state = *alt;
                            continue;
                        } else if found {
                            break;
                        }
                    }
                    Op::Alternative { alt } => {
                        self.stack.push(Frame::SecondBranch { state: state as u32, at });
                        state = *alt;
                        continue;
                    }
                    Op::Begin if at != 0 => break,
                    Op::End if at != len => break,
                    Op::Begin | Op::End | Op::Dummy => {}
                    Op::Open(group) => {
                        let g = &mut groups[*group];
                        self.stack.push(Frame::First { group: *group as u32, first: g.first });
                        g.first = at;
                    }
                    Op::Close(group) => {
                        let g = &mut groups[*group];
                        self.stack.push(Frame::Group { group: *group as u32, old: *g });
                        g.second = at;
                        g.matched = true;
                    }
                    Op::Accept => {
                        found = match mode {
                            Mode::Whole => at == len,
                            Mode::Prefix => true,
                            Mode::PrefixNotEmpty => at != from,
                        };
                        if found && best.as_ref().is_none_or(|(end, _)| *end < at) {
                            best = Some((at, groups.clone()));
                        }
                        break;
                    }
                }
                state = here.next;
            }
        }
        let (_, groups) = best.filter(|_| found)?;
        Some(
            groups
                .iter()
                .map(|g| g.matched.then_some(g.first as usize..(g.second as usize).max(g.first as usize)))
                .collect(),
        )
    }
}

fn takes(op: &Op, byte: u8) -> bool {
    match op {
        Op::Any => byte != 0,
        Op::Byte(b) => *b == byte,
        Op::Set(set) => set[usize::from(byte)],
        _ => false,
    }
}
