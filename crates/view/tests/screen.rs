//! What a terminal shows of the view: real drawing, through the bytes of the real backend, into a terminal emulator.

use std::io::Write;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex};

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use nbv_driver::Status;
use nbv_view::draw::{self, Look};
use nbv_view::model::{Action, Facts, Model, Page};
use nbv_view::sample::Sample;
use ratatui_core::layout::Rect;
use ratatui_core::terminal::{Terminal, TerminalOptions, Viewport};
use ratatui_crossterm::CrosstermBackend;

const LOOK: Look = Look { has_colour: true, has_unicode: true };

#[derive(Clone, Default)]
struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A terminal, drawn on as the program does.
struct Screen {
    bytes: Bytes,
    backend: Terminal<CrosstermBackend<Bytes>>,
    emulator: vt100::Parser,
    area: Rect,
}

impl Screen {
    fn new(columns: u16, rows: u16) -> Self {
        let bytes = Bytes::default();
        let area = Rect::new(0, 0, columns, rows);
        let options = TerminalOptions { viewport: Viewport::Fixed(area) };
        let backend = Terminal::with_options(CrosstermBackend::new(bytes.clone()), options).unwrap();
        let size = |value| NonZeroU16::new(value).unwrap();
        Self { bytes, backend, emulator: vt100::Parser::new(size(rows), size(columns), 0), area }
    }

    /// Draws, and gives what the terminal shows.
    fn show(&mut self, model: &Model, look: Look) -> Vec<String> {
        self.show_shell(model, None, look)
    }

    fn show_shell(&mut self, model: &Model, shell: Option<&vt100::Screen>, look: Look) -> Vec<String> {
        self.backend
            .draw(|frame| {
                let area = frame.area();
                if let Some(cursor) = draw::draw(model, shell, look, area, frame.buffer_mut()) {
                    frame.set_cursor_position(cursor);
                }
            })
            .unwrap();
        let bytes = std::mem::take(&mut *self.bytes.0.lock().unwrap());
        self.emulator.process(&bytes);
        self.emulator.screen().rows(0, self.area.width).map(|row| row.trim_end().to_owned()).collect()
    }
}

fn facts(names: &[&str]) -> Vec<Facts> {
    let fact = |(index, name): (usize, &&str)| Facts { name: (*name).into(), addresses: format!("192.168.1.{0}, 2001:db8:1::{0}", index + 1), memory_mib: 512 };
    names.iter().enumerate().map(fact).collect()
}

/// A network's state; each machine with its phase.
fn status(uptime: f64, machines: &[(&str, &str)], bytes: u64) -> Status {
    let machine = |(index, (name, phase)): (usize, &(&str, &str))| {
        let flow = |bytes: u64| serde_json::to_value(nbv_switch::Flow { frames: bytes / 100, bytes, ..nbv_switch::Flow::default() }).unwrap();
        serde_json::json!({
            "name": name, "names": [name], "phase": phase, "failure": (*phase == "failed").then_some("Kernel panic - not syncing: it broke"),
            "system": "x86_64-linux", "accelerator": "tcg", "addresses": [format!("192.168.1.{}", index + 1)],
            "readyAfter": (*phase == "ready").then_some(9.14), "pid": 1, "forwards": [], "closed": [],
            "links": [{ "name": "eth1", "segment": 1, "isUp": true, "fromMachine": flow(bytes * (index as u64 + 1)), "toMachine": flow(bytes) }],
        })
    };
    let machines: Vec<_> = machines.iter().enumerate().map(machine).collect();
    serde_json::from_value(serde_json::json!({ "stateDir": "/s", "runner": 1, "uptime": uptime, "machines": machines })).unwrap()
}

fn model(machines: &[(&str, &str)]) -> Model {
    let names: Vec<&str> = machines.iter().map(|(name, _)| *name).collect();
    let mut model = Model::new(facts(&names));
    let sample = |cpu| Some(Sample { cpu: Some(cpu), memory_mib: 187 });
    let samples: Vec<_> = machines.iter().enumerate().map(|(index, _)| sample(index as f64 * 50.0)).collect();
    model.tick(1, status(1.0, machines, 0), &samples);
    model.tick(102, status(2.0, machines, 125_000), &samples);
    model
}

fn press(model: &mut Model, code: KeyCode) -> Option<Action> {
    model.key(KeyEvent::new(code, KeyModifiers::NONE), 10)
}

fn type_keys(model: &mut Model, text: &str) -> Option<Action> {
    text.chars().filter_map(|c| press(model, if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) })).last()
}

fn lines(model: &mut Model, machine: usize, range: std::ops::Range<u32>) {
    range.for_each(|n| model.log.push(u64::from(n), Some(machine), false, &format!("line {n}")));
}

#[test]
fn machines_and_their_log_at_80_columns() {
    let mut model = model(&[("test1", "ready"), ("test2", "booting")]);
    model.log.push(3, Some(0), false, "Welcome to Debian");
    model.log.push(4, Some(1), true, "is ready after 9.1 s");
    model.note("two notes make no summer");
    let shown = Screen::new(80, 24).show(&model, LOOK);
    assert_eq!(shown[0], " 1 Machines  2 Log  3 Links                  1 of 2 ready   cpu  50 %   0:01:42");
    assert_eq!(shown[1], "  NAME   STATE         CPU       MEMORY        UP  READY IN  ADDRESSES");
    assert_eq!(shown[2], "▶ test1  ● ready       0 %     187/512M   0:01:41     9.1 s  192.168.1.1");
    assert_eq!(shown[3], "  test2  ◑ booting    50 %     187/512M   0:01:41         -  192.168.1.2");
    assert!(shown[4].starts_with("── log of all machines ───") && shown[4].ends_with(" following ──"), "{}", shown[4]);
    assert_eq!(shown[5], "test1 │ Welcome to Debian");
    assert_eq!(shown[6], "test2 │ ── test2 is ready after 9.1 s");
    assert_eq!(shown[7], "      │ ── two notes make no summer");
    assert_eq!(shown[23], " ? help  Enter shell  m one log  / search  p power off  r reboot  b block");
}

#[test]
fn wide_terminals_show_more_and_signs_go_without_unicode_and_colour() {
    let mut model = model(&[("test1", "ready"), ("test2", "failed")]);
    let shown = Screen::new(140, 12).show(&model, LOOK);
    assert!(shown[1].contains("READY IN") && shown[2].contains("9.1 s  192.168.1.1 2001:db8:1::1"), "{}", shown[2]);
    assert!(shown[3].contains("✗ failed") && shown[3].contains("Kernel panic"), "{}", shown[3]);
    model.log.push(65, Some(0), false, "x");
    let mut screen = Screen::new(140, 12);
    let shown = screen.show(&model, Look { has_colour: false, has_unicode: false });
    assert!(shown.iter().all(|row| row.is_ascii()), "{shown:?}");
    assert!(shown[2].contains("* ready") && shown[3].contains("! failed"));
    assert!(shown.iter().any(|row| row == " 0:01:05 test1 | x"), "{shown:?}");
    let plain = (0..12).all(|row| (0..140).all(|column| screen.emulator.screen().cell(row, column).unwrap().fgcolor() == vt100::Color::Default));
    assert!(plain, "no colours");
}

#[test]
fn many_machines_scroll_and_the_selected_one_is_in_sight() {
    let names: Vec<String> = (1..=24).map(|n| format!("node{n:02}")).collect();
    let machines: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "ready")).collect();
    let mut model = model(&machines);
    let mut screen = Screen::new(80, 24);
    let shown = screen.show(&model, LOOK);
    assert!(shown[1].ends_with("1-10 of 24") && shown[2].starts_with("▶ node01"), "{shown:?}");
    (0..23).for_each(|_| drop(press(&mut model, KeyCode::Down)));
    let shown = screen.show(&model, LOOK);
    assert!(shown[1].ends_with("15-24 of 24") && shown[11].starts_with("▶ node24"), "{shown:?}");
    assert_eq!(press(&mut model, KeyCode::Enter), Some(Action::Shell(23)));
}

#[test]
fn every_size_is_drawn() {
    let mut model = model(&[("test1", "ready"), ("a-machine-with-a-long-name", "failed")]);
    lines(&mut model, 0, 0..50);
    model.wraps = true;
    model.log.push(1, Some(1), false, &"日本語 ".repeat(60));
    for page in ["1", "2", "3", "?", "q", "/x"] {
        type_keys(&mut model, page);
        for columns in (1..40).chain([79, 80, 81, 200]) {
            for rows in (1..12).chain([24, 50]) {
                let shown = Screen::new(columns, rows).show(&model, LOOK);
                assert_eq!(shown.len(), usize::from(rows));
            }
        }
        press(&mut model, KeyCode::Esc);
    }
    press(&mut model, KeyCode::Char('1'));
    let shown = Screen::new(20, 5).show(&model, LOOK);
    assert_eq!(shown[0], " 1 Machines  !1 1/2", "what does not fit is cut");
    assert!(shown[1].starts_with("▶ test1") && shown[4].starts_with(" ? help"), "{shown:?}");
}

#[test]
fn a_log_that_does_not_follow_stays_where_it_is() {
    let mut model = model(&[("a", "ready"), ("b", "ready")]);
    lines(&mut model, 0, 0..100);
    let mut screen = Screen::new(60, 24);
    let last = |shown: &[String]| shown[22].clone();
    assert_eq!(last(&screen.show(&model, LOOK)), "a │ line 99");
    press(&mut model, KeyCode::PageUp);
    let before = screen.show(&model, LOOK);
    assert_eq!(last(&before), "a │ line 90");
    assert!(before[4].contains("9 below, End follows"), "{}", before[4]);
    lines(&mut model, 1, 0..500);
    let after = screen.show(&model, LOOK);
    assert_eq!(before[5..23], after[5..23]);
    press(&mut model, KeyCode::End);
    assert_eq!(last(&screen.show(&model, LOOK)), "b │ line 499");
    press(&mut model, KeyCode::Char('m'));
    assert_eq!(last(&screen.show(&model, LOOK)), "line 99", "of the selected machine");
    model.key(KeyEvent::new(KeyCode::Home, KeyModifiers::NONE), draw::log_rows(&model, Rect::new(0, 0, 60, 24)));
    let shown = screen.show(&model, LOOK);
    assert_eq!((shown[5].as_str(), last(&shown).as_str()), ("line 0", "line 17"));
}

#[test]
fn a_search_finds_older_lines_first_and_marks_them() {
    let mut model = model(&[("a", "ready")]);
    lines(&mut model, 0, 0..200);
    model.log.push(9, Some(0), false, "the needle is here");
    lines(&mut model, 0, 200..300);
    model.log.push(9, Some(0), false, "another Needle");
    lines(&mut model, 0, 300..400);
    type_keys(&mut model, "/needle");
    let mut screen = Screen::new(60, 24);
    assert_eq!(screen.show(&model, LOOK)[23], "/needle");
    assert!(!screen.emulator.screen().hide_cursor() && screen.emulator.screen().cursor_position() == (23, 7));
    type_keys(&mut model, "\n");
    let shown = screen.show(&model, LOOK);
    assert!(shown[4 - 1].contains("/needle  2 lines"), "{shown:?}");
    let row = shown.iter().position(|row| row == "a │ another Needle").expect("the newest");
    let cell = |column| screen.emulator.screen().cell(row as u16, column).unwrap();
    assert!(cell(12).inverse() && !cell(11).inverse());
    type_keys(&mut model, "n");
    assert!(screen.show(&model, LOOK).iter().any(|row| row == "a │ the needle is here"));
    type_keys(&mut model, "n");
    assert!(screen.show(&model, LOOK)[23].contains("no older line has it"));
    type_keys(&mut model, "N");
    assert!(screen.show(&model, LOOK).iter().any(|row| row == "a │ another Needle"));
    type_keys(&mut model, "/absent\n");
    assert!(screen.show(&model, LOOK)[23].contains("not found: absent"));
}

#[test]
fn what_destroys_is_asked_first() {
    let mut model = model(&[("a", "ready"), ("b", "off")]);
    let mut screen = Screen::new(80, 24);
    for (key, question, action) in [
        ('p', "Power off a?", Action::PowerOff(0)), ('x', "Cut the power of a?", Action::Crash(0)), ('r', "Reboot a?", Action::Reboot(0)),
        ('q', "Stop all and leave?", Action::Stop),
    ] {
        assert_eq!(press(&mut model, KeyCode::Char(key)), None);
        assert!(screen.show(&model, LOOK)[23].contains(question));
        assert_eq!(press(&mut model, KeyCode::Enter), None, "only y means yes");
        assert_eq!(type_keys(&mut model, &format!("{key}y")), Some(action));
    }
    assert_eq!(press(&mut model, KeyCode::Char('b')), Some(Action::Links(0, false)));
    press(&mut model, KeyCode::Down);
    assert_eq!(press(&mut model, KeyCode::Char('s')), Some(Action::Start(1)));
    assert_eq!(press(&mut model, KeyCode::Char('p')), None);
    assert!(screen.show(&model, LOOK)[23].contains("b does not run; s starts it"));
    assert_eq!(model.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL), 9), Some(Action::Interrupt));
}

#[test]
fn links_show_what_passes_in_a_second() {
    let mut model = model(&[("test1", "ready"), ("test2", "ready")]);
    press(&mut model, KeyCode::Char('3'));
    let mut screen = Screen::new(80, 24);
    let shown = screen.show(&model, LOOK);
    assert_eq!(shown[1], "  LINK         SEG  STATE       OUT/s      IN/s      OUT       IN  DROPS  FAULTS");
    assert_eq!(shown[2], "▶ test1:eth1     1  up         1.0 Mb    1.0 Mb   125 kB   125 kB      0");
    assert_eq!(shown[3], "  test2:eth1     1  up         2.0 Mb    1.0 Mb   250 kB   125 kB      0");
    press(&mut model, KeyCode::Down);
    assert_eq!(press(&mut model, KeyCode::Char('b')), Some(Action::Links(1, false)));
    model.partition = vec![vec!["test1".into()], vec!["test2".into()]];
    assert_eq!(screen.show(&model, LOOK)[4], "  parted: test1  |  test2");
}

#[test]
fn a_shell_has_the_screen_below_the_title() {
    let mut model = model(&[("test1", "ready")]);
    model.shell_opened(0);
    let size = |value| NonZeroU16::new(value).unwrap();
    let mut guest = vt100::Parser::new(size(23), size(80), 0);
    guest.process("\x1b[31mroot\x1b[0m 日本 # \x1b[2;5Hx".as_bytes());
    let mut screen = Screen::new(80, 24);
    let shown = screen.show_shell(&model, Some(guest.screen()), LOOK);
    assert!(shown[0].starts_with(" test1 shell of root") && shown[0].ends_with("Ctrl-] goes back"));
    assert_eq!((shown[1].as_str(), shown[2].as_str()), ("root 日本 #", "    x"));
    assert_eq!(screen.emulator.screen().cursor_position(), (2, 5));
    assert_eq!(screen.emulator.screen().cell(1, 0).unwrap().fgcolor(), vt100::Color::Idx(1));
    model.shell_ended(0);
    assert_eq!(model.page, Page::Machines);
    assert!(screen.show(&model, LOOK)[23].contains("the shell in test1 has ended"));
}

#[test]
fn help_lists_the_keys_and_scrolls_on_small_screens() {
    let mut model = model(&[("a", "ready")]);
    press(&mut model, KeyCode::Char('?'));
    let shown = Screen::new(80, 24).show(&model, LOOK).join("\n");
    for word in ["power off, start", "Ctrl-] goes back", "stop all machines in order", "Any other key closes"] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let mut small = Screen::new(40, 8);
    assert!(!small.show(&model, LOOK).join("\n").contains("Ctrl-L"));
    (0..40).for_each(|_| drop(press(&mut model, KeyCode::Down)));
    assert!(small.show(&model, LOOK).join("\n").contains("Ctrl-L"));
    press(&mut model, KeyCode::Esc);
    assert!(small.show(&model, LOOK)[0].starts_with(" 1 Machines"));
}
