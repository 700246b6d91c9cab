//! Text for people: message, place, excerpt with the marked range, reasons, hints.

use std::fmt::Write;
use std::path::PathBuf;

use crate::{Diagnostic, Location, Pos, Severity, SourceMap, Span};

/// How to render.
#[derive(Debug, Clone, Default)]
pub struct RenderOptions {
    pub colour: bool,
    /// All frames of the trace, with their places; otherwise a few that a person needs.
    pub show_trace: bool,
    /// Paths below this folder are shown relative to it.
    pub relative_to: Option<PathBuf>,
    /// Steps in files below this folder are left out of a folded trace: they are no code of the user's.
    pub library: Option<PathBuf>,
}

/// Frames shown when the trace is folded.
const FOLDED_FRAMES: usize = 4;
/// A source line longer than this (bytes) is shown as a window round the marked range.
const LONG_LINE: usize = 160;

/// Renders one diagnostic; the text ends with a newline.
///
/// ```
/// use nbv_diag::{Diagnostic, Origin, RenderOptions, SourceMap, Span, render};
/// let map = SourceMap::new();
/// let source = map.add(Origin::String, b"1 + x".as_slice().into());
/// let d = Diagnostic::error("eval::undefined-variable", "undefined variable `x`")
///     .at(Span::new(source.base + 4, source.base + 5));
/// let text = render(&d, &map, &RenderOptions::default());
/// assert!(text.starts_with("error[eval::undefined-variable]: undefined variable `x`\n --> «string»:1:5\n"));
/// ```
pub fn render(d: &Diagnostic, map: &SourceMap, options: &RenderOptions) -> String {
    let mut r = Renderer { out: String::new(), map, options, width: 1 };
    r.diagnostic(d);
    r.out
}

struct Renderer<'a> {
    out: String,
    map: &'a SourceMap,
    options: &'a RenderOptions,
    /// Digits of the largest line number shown.
    width: usize,
}

impl Renderer<'_> {
    fn paint(&self, text: &str, ansi: &str) -> String {
        if self.options.colour { format!("\x1b[{ansi}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn severity_colour(severity: Severity) -> &'static str {
        match severity {
            Severity::Error => "1;31",
            Severity::Warning => "1;33",
            Severity::Note => "1;36",
        }
    }

    fn place(&self, location: &Location) -> String {
        let name = match (location.path(), &self.options.relative_to) {
            (Some(path), Some(root)) => path.strip_prefix(root).unwrap_or(path).display().to_string(),
            _ => location.source.origin.to_string(),
        };
        format!("{name}:{}:{}", location.line, location.column)
    }

    fn is_library(&self, span: Span) -> bool {
        let Some(library) = &self.options.library else { return false };
        self.map.locate(span.pos()).is_some_and(|location| location.path().is_some_and(|path| path.starts_with(library)))
    }

    /// Where the fault is for the user: the innermost step outside the library, when the fault itself is in the
    /// library. Errors that the library words itself (no `eval::`) need no place in it.
    fn users_place(&self, d: &Diagnostic) -> Option<Span> {
        if self.options.show_trace || !self.is_library(d.primary) {
            return Some(d.primary);
        }
        let own = d.trace.iter().map(|f| f.span).find(|span| self.map.locate(span.pos()).is_some() && !self.is_library(*span));
        own.or_else(|| d.code.starts_with("eval::").then_some(d.primary))
    }

    fn diagnostic(&mut self, d: &Diagnostic) {
        let colour = Self::severity_colour(d.severity);
        let head = if d.code.is_empty() {
            d.severity.as_str().to_owned()
        } else {
            format!("{}[{}]", d.severity.as_str(), d.code)
        };
        let head = self.paint(&head, colour);
        let _ = writeln!(self.out, "{head}: {}", d.message);
        let spans = std::iter::once(d.primary).chain(d.labels.iter().map(|l| l.span));
        let last = spans.filter_map(|s| self.map.locate(s.pos())).map(|l| l.line).max().unwrap_or(0);
        self.width = last.to_string().len();
        let mut shown = match self.users_place(d) {
            Some(span) if span == d.primary => self.excerpt(span, &d.primary_label, '^', colour),
            Some(span) => self.excerpt(span, "", '^', colour),
            None => false,
        };
        for label in &d.labels {
            shown |= self.excerpt(label.span, &label.text, '-', "1;34");
        }
        let _ = shown;
        self.trace(d);
        for note in &d.notes {
            self.remark(&format!("note: {note}"));
        }
        for hint in &d.hints {
            self.remark(&format!("hint: {hint}"));
        }
    }

    fn remark(&mut self, text: &str) {
        let bar = self.paint("=", "1;34");
        for (i, line) in text.lines().enumerate() {
            let lead = if i == 0 { bar.as_str() } else { " " };
            let _ = writeln!(self.out, "{:width$} {lead} {line}", "", width = self.width + 1);
        }
    }

    fn trace(&mut self, d: &Diagnostic) {
        if self.options.show_trace {
            for frame in &d.trace {
                let place = self.map.locate(frame.span.pos()).map(|l| format!(" ({})", self.place(&l)));
                self.remark(&format!("{}{}", frame.text, place.unwrap_or_default()));
            }
            return;
        }
        // Important frames are the user's own words; the rest is filled up from the innermost.
        let important = d.trace.iter().filter(|f| f.is_important).count();
        let mut room = FOLDED_FRAMES.saturating_sub(important);
        let mut left_out = 0;
        let mut important_shown = 0;
        for frame in &d.trace {
            let show = if frame.is_important {
                important_shown += 1;
                important_shown <= FOLDED_FRAMES * 2
            } else if room > 0 && !frame.span.is_none() && !self.is_library(frame.span) {
                room -= 1;
                true
            } else {
                false
            };
            if show {
                let place = if frame.is_important { None } else { self.map.locate(frame.span.pos()) };
                let place = place.map(|l| format!(" ({})", self.place(&l))).unwrap_or_default();
                self.remark(&format!("{}{place}", frame.text));
            } else {
                left_out += 1;
            }
        }
        if left_out > 0 {
            let s = if left_out == 1 { "" } else { "s" };
            self.remark(&format!("({left_out} more step{s}; --show-trace shows all)"));
        }
    }

    /// The marked line; false when the span is nowhere.
    fn excerpt(&mut self, span: Span, label: &str, mark: char, colour: &str) -> bool {
        let Some(location) = self.map.locate(span.pos()) else { return false };
        let arrow = self.paint("-->", "1;34");
        let place = self.place(&location);
        let _ = writeln!(self.out, "{:width$}{arrow} {place}", "", width = self.width);
        let line = location.line_text();
        let start = (location.column as usize - 1).min(line.len());
        let wanted = (span.end.max(span.start + 1) - span.start) as usize;
        let multi = self.map.locate(Pos(span.end.max(span.start))).is_some_and(|l| l.line != location.line);
        let end = if multi { line.len() } else { (start + wanted).min(line.len()) }.max(start);
        let (from, to) = if line.len() > LONG_LINE {
            let from = start.saturating_sub(LONG_LINE / 3);
            (from, (from + LONG_LINE).min(line.len()))
        } else {
            (0, line.len())
        };
        let end = end.min(to);
        let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace('\t', "    ");
        let text = format!(
            "{}{}{}",
            if from > 0 { "…" } else { "" },
            show(&line[from..to]),
            if to < line.len() { "…" } else { "" }
        );
        let lead = show(&line[from..start]).chars().count() + usize::from(from > 0);
        let len = show(&line[start..end]).chars().count().max(1);
        let bar = self.paint("|", "1;34");
        let number = self.paint(&format!("{:>width$}", location.line, width = self.width), "1;34");
        let _ = writeln!(self.out, "{:width$} {bar}", "", width = self.width);
        let _ = writeln!(self.out, "{number} {bar} {}", text.trim_end());
        let marks = self.paint(&format!("{}{}{label}", mark.to_string().repeat(len), if label.is_empty() { "" } else { " " }), colour);
        let _ = writeln!(self.out, "{:width$} {bar} {:lead$}{marks}", "", "", width = self.width);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, Origin};

    #[test]
    fn the_exact_range_is_marked() {
        let map = SourceMap::new();
        let text = b"{\n  x = pkgs.opensh;\n}\n".as_slice();
        let s = map.add(Origin::File("/w/network.nix".into()), text.into());
        let mut d = Diagnostic::error("eval::missing-attribute", "attribute `opensh` does not exist")
            .at(Span::new(s.base + 8, s.base + 19))
            .labelled("`pkgs` has no such attribute")
            .hint("did you mean `openssh`?");
        d.trace.push(Frame { span: Span::NONE, text: "while evaluating x".into(), is_important: true });
        let options = RenderOptions { relative_to: Some("/w".into()), ..RenderOptions::default() };
        let expect = "error[eval::missing-attribute]: attribute `opensh` does not exist\n \
                      --> network.nix:2:7\n  |\n2 |   x = pkgs.opensh;\n  |       ^^^^^^^^^^^ `pkgs` has no such attribute\n   \
                      = while evaluating x\n   = hint: did you mean `openssh`?\n";
        assert_eq!(render(&d, &map, &options), expect);
    }

    #[test]
    fn a_folded_trace_leaves_the_librarys_steps_out() {
        let map = SourceMap::new();
        let own = map.add(Origin::File("/w/network.nix".into()), b"a".as_slice().into());
        let library = map.add(Origin::File("/lib/x.nix".into()), b"b".as_slice().into());
        let mut d = Diagnostic::error("x::y", "message");
        for (text, base) in [("in the library", library.base), ("in the network", own.base)] {
            d.trace.push(Frame { span: Span::new(base, base + 1), text: text.into(), is_important: false });
        }
        let options = RenderOptions { library: Some("/lib".into()), ..RenderOptions::default() };
        let text = render(&d, &map, &options);
        assert!(text.contains("in the network") && !text.contains("in the library") && text.contains("1 more step"), "{text}");
        assert!(render(&d, &map, &RenderOptions { show_trace: true, ..options }).contains("in the library"));
    }
}
