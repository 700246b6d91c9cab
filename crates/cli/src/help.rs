//! Help: the manual page, through man(1) on a terminal, else as text.

use std::io::{IsTerminal, Write};
use std::process::{Command, Stdio};

use crate::build::fail;
use crate::exit::Exit;

const PAGE: &str = include_str!("../../../docs/nixos-build-vms.8");

/// Shows the manual page.
pub(crate) fn show_manual() {
    if !(std::io::stdout().is_terminal() && show_with_man()) {
        print(&render(PAGE));
    }
}

/// Shows the part of the manual page that a command has, and where the rest is.
pub(crate) fn show_command(name: &str) {
    let page = render(PAGE);
    let mut lines = page.lines().skip_while(|line| *line != "COMMANDS");
    let start = format!("       {name} ");
    let exact = format!("       {name}");
    let mut text = String::from("nixos-build-vms ");
    let mut inside = false;
    for line in lines.by_ref() {
        if line.starts_with(&start) || line == exact {
            inside = true;
        } else if inside && !line.starts_with("        ") {
            break;
        }
        if inside {
            text.push_str(line.trim_start_matches(' '));
            text.push('\n');
        }
    }
    if name == "run" {
        text.push_str("\nRunner options:\n");
        let options = page.lines().skip_while(|line| *line != "RUNNER OPTIONS").skip(1).take_while(|line| line.starts_with(' ') || line.is_empty());
        options.for_each(|line| text.push_str(&format!("{line}\n")));
    }
    text.push_str("\nThe whole manual: nixos-build-vms --help\n");
    print(&text);
}

/// What a command made of its words (`None`: help is asked for). Where there is nothing to do, the help or what is wrong with
/// the words has been shown.
pub(crate) fn understood<T>(name: &str, read: Result<Option<T>, impl std::fmt::Display>) -> Result<T, Exit> {
    match read {
        Ok(Some(words)) => Ok(words),
        Ok(None) => {
            show_command(name);
            Err(Exit::Done)
        }
        Err(error) => Err(fail(&format!("{error}; try `nixos-build-vms {name} --help`"), Exit::Usage)),
    }
}

/// A closed pipe is no error of ours.
fn print(text: &str) {
    let _closed = std::io::stdout().write_all(text.as_bytes());
}

fn show_with_man() -> bool {
    let child = Command::new("man").args(["-l", "-"]).stdin(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return false };
    if let Some(mut input) = child.stdin.take() {
        let _closed = input.write_all(PAGE.as_bytes());
    }
    child.wait().is_ok_and(|status| status.success())
}

/// Renders the page's macros (a subset of man(7)) as plain text of 80 columns.
fn render(page: &str) -> String {
    let mut out = Text::default();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let (name, rest) = match line.strip_prefix('.') {
            Some(request) => request.split_once(' ').unwrap_or((request, "")),
            None => {
                if out.verbatim {
                    out.finished.push_str(&format!("       {}\n", plain(line)));
                } else {
                    out.word(&plain(line));
                }
                continue;
            }
        };
        let joined = || plain(&arguments(rest).concat());
        match name {
            "TH" => {}
            "SH" => {
                out.end();
                out.finished.push_str(&format!("\n{}\n", plain(rest.trim_matches('"'))));
                out.indent = 7;
            }
            "PP" => {
                out.end();
                out.finished.push('\n');
                out.indent = 7;
            }
            "TP" => {
                out.end();
                let tag = lines.next().unwrap_or_default();
                let tag = match tag.strip_prefix('.').and_then(|tag| tag.split_once(' ')) {
                    Some(("B" | "I", text)) => plain(text),
                    Some((_, text)) => plain(&arguments(text).concat()),
                    None => plain(tag),
                };
                out.finished.push_str(&format!("\n       {tag}\n"));
                out.indent = 14;
            }
            "nf" => {
                out.end();
                out.verbatim = true;
            }
            "fi" => out.verbatim = false,
            "B" | "I" => out.word(&plain(rest)),
            _ => out.word(&joined()),
        }
    }
    out.end();
    out.finished.trim_start().to_owned()
}

#[derive(Default)]
struct Text {
    finished: String,
    paragraph: String,
    indent: usize,
    verbatim: bool,
}

impl Text {
    fn word(&mut self, text: &str) {
        if !self.paragraph.is_empty() {
            self.paragraph.push(' ');
        }
        self.paragraph.push_str(text.trim());
    }

    fn end(&mut self) {
        let paragraph = std::mem::take(&mut self.paragraph);
        let mut column = 0;
        for word in paragraph.split_whitespace() {
            let width = word.chars().count();
            if column == 0 || self.indent + column + 1 + width > 80 {
                if column > 0 {
                    self.finished.push('\n');
                }
                self.finished.push_str(&" ".repeat(self.indent));
                column = width;
            } else {
                self.finished.push(' ');
                column += 1 + width;
            }
            self.finished.push_str(word);
        }
        if column > 0 {
            self.finished.push('\n');
        }
    }
}

/// Splits a request's arguments; quotes group.
fn arguments(text: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    for c in text.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => all.push(String::new()),
            c => all.last_mut().into_iter().for_each(|word| word.push(c)),
        }
    }
    all
}

/// Removes the escapes of man(7) that the page uses.
fn plain(text: &str) -> String {
    let mut out = text.replace("\\-", "-");
    for font in ["\\fB", "\\fI", "\\fR", "\\fP"] {
        out = out.replace(font, "");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_every_flag_and_keeps_no_markup() {
        let text = render(PAGE);
        for word in ["--show-trace", "--no-out-link", "--option", "--help", "deployment.targetHost = \"test1.example.net\";", "EXIT STATUS"] {
            assert!(text.contains(word), "{word} is not in:\n{text}");
        }
        assert!(!text.contains('\\'), "{text}");
        assert!(!text.lines().any(|line| line.starts_with('.')), "{text}");
        let long = text.lines().find(|line| line.chars().count() > 84 && !line.contains('"'));
        assert_eq!(long, None);
    }
}
