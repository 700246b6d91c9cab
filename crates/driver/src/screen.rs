//! A machine's screen: pictures of it, the text on them, keys and the mouse, and a way for people to look at it.
//!
//! Text is read by the host's tesseract, in several ways: which one it reads best depends on fonts and colours.
//!
//! Not here: text consoles, which the guest itself tells (`/dev/vcs`).

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nbv_qemu::{Qmp, QmpError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::event::MachineId;
use crate::network::Network;

/// How long QEMU's monitor may take.
const MONITOR: Duration = Duration::from_secs(60);
/// How long a key is down, and then up, milliseconds. QEMU queues only some hundred keys, so it is less than what is between two keys.
const HOLD: u32 = 4;
/// Pictures wider or higher than this are not read.
const PIXELS_MAX: usize = 16384;

/// Why a screen could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ScreenError {
    /// The configuration has none.
    #[error("machine {machine} has no screen; set virtualisation.graphics = true in its configuration")]
    None {
        /// The machine.
        machine: String,
    },
    /// It is off.
    #[error("machine {machine} is not running")]
    Off {
        /// The machine.
        machine: String,
    },
    /// QEMU.
    #[error(transparent)]
    Monitor(#[from] QmpError),
    /// What QEMU wrote is no picture.
    #[error("QEMU gave a picture that cannot be read: {0}")]
    Picture(&'static str),
    /// No tesseract.
    #[error("reading text on screens needs tesseract, which was not found in PATH: install the package tesseract-ocr")]
    NoTesseract,
    /// Tesseract failed.
    #[error("tesseract could not read the screen: {0}")]
    Tesseract(String),
    /// The system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A PNG could not be written.
    #[error("the picture could not be written")]
    Png(#[from] png::EncodingError),
}

/// The monitor of a machine with a screen.
///
/// # Errors
/// It has none, or is off.
pub fn of(network: &Network, id: MachineId) -> Result<Arc<Qmp>, ScreenError> {
    let machine = network.machine(id);
    if !machine.graphics {
        return Err(ScreenError::None { machine: machine.name.clone() });
    }
    network.view(id).monitor.ok_or_else(|| ScreenError::Off { machine: machine.name.clone() })
}

/// A picture of a screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    width: usize,
    height: usize,
    /// Three bytes a pixel: red, green, blue.
    rgb: Vec<u8>,
}

impl Picture {
    /// Takes one. `dir` is a folder of ours, for QEMU's file.
    ///
    /// # Errors
    /// QEMU refuses or wrote no picture.
    pub fn take(monitor: &Qmp, dir: &Path) -> Result<Self, ScreenError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = dir.join(format!("screen{}.ppm", NEXT.fetch_add(1, Ordering::Relaxed)));
        // PNG is known to QEMU only since 7.1.
        let taken = monitor.execute("screendump", json!({ "filename": path.to_string_lossy() }), MONITOR);
        let bytes = std::fs::read(&path);
        let _ = std::fs::remove_file(&path);
        taken?;
        Self::parse(&bytes.map_err(|source| ScreenError::Io { path, source })?)
    }

    /// Reads a binary PPM of 8 bits a colour.
    fn parse(bytes: &[u8]) -> Result<Self, ScreenError> {
        let bad = ScreenError::Picture;
        let mut at = 0;
        let mut words = std::iter::from_fn(|| {
            while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
                at += 1;
            }
            let start = at;
            while bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace()) {
                at += 1;
            }
            std::str::from_utf8(&bytes[start..at]).ok()
        });
        if words.next() != Some("P6") {
            return Err(bad("it is no PPM"));
        }
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok()).ok_or(bad("its head is damaged"));
        let (width, height, depth) = (number()?, number()?, number()?);
        if depth != 255 || !(1..=PIXELS_MAX).contains(&width) || !(1..=PIXELS_MAX).contains(&height) {
            return Err(bad("its size or depth is odd"));
        }
        let rgb = bytes.get(at + 1..at + 1 + width * height * 3).ok_or(bad("it is cut short"))?.to_vec();
        Ok(Self { width, height, rgb })
    }

    /// The picture as PNG.
    ///
    /// # Errors
    /// None that is known: the picture is whole.
    pub fn png(&self) -> Result<Vec<u8>, ScreenError> {
        let mut bytes = Vec::new();
        let size = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let mut encoder = png::Encoder::new(&mut bytes, size(self.width), size(self.height));
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.rgb)?;
        writer.finish()?;
        Ok(bytes)
    }

    /// Brightness of each pixel.
    fn grey(&self) -> Grey {
        let bytes = self.rgb.chunks_exact(3).map(|rgb| {
            let [red, green, blue] = [rgb[0], rgb[1], rgb[2]].map(u32::from);
            ((red * 299 + green * 587 + blue * 114) / 1000) as u8
        });
        Grey { width: self.width, height: self.height, bytes: bytes.collect() }
    }

    /// The text on it: of one reading, or of several. `path` is where programs of the host are.
    ///
    /// # Errors
    /// There is no tesseract, or it fails.
    pub fn text(&self, is_one: bool, path: Option<&OsStr>) -> Result<Vec<String>, ScreenError> {
        let program = nbv_qemu::find::in_path("tesseract", path).ok_or(ScreenError::NoTesseract)?;
        let grey = self.grey();
        let mut large = grey.doubled();
        // Tesseract has learnt from paper.
        if large.is_dark() {
            large.invert();
        }
        let mut readings = vec![large.read(&program, "3")?];
        if !is_one {
            readings.push(large.read(&program, "6")?);
            large.invert();
            readings.push(large.read(&program, "11")?);
            readings.push(grey.read(&program, "3")?);
        }
        Ok(readings)
    }
}

/// A picture of grey pixels.
struct Grey {
    width: usize,
    height: usize,
    bytes: Vec<u8>,
}

impl Grey {
    /// Twice as wide and high, smooth.
    fn doubled(&self) -> Self {
        let (width, height) = (self.width * 2, self.height * 2);
        let at = |x: usize, y: usize| u32::from(self.bytes[y.min(self.height - 1) * self.width + x.min(self.width - 1)]);
        let mut bytes = Vec::with_capacity(width * height);
        for y in 0..height {
            for x in 0..width {
                // Each pixel lies a quarter from the centre of its own old one and three quarters from that of a neighbour.
                let (own_x, own_y) = (x / 2, y / 2);
                let next_x = if x % 2 == 0 { own_x.saturating_sub(1) } else { own_x + 1 };
                let next_y = if y % 2 == 0 { own_y.saturating_sub(1) } else { own_y + 1 };
                let sum = 9 * at(own_x, own_y) + 3 * at(next_x, own_y) + 3 * at(own_x, next_y) + at(next_x, next_y);
                bytes.push((sum / 16) as u8);
            }
        }
        Self { width, height, bytes }
    }

    fn is_dark(&self) -> bool {
        self.bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>() < 128 * self.bytes.len() as u64
    }

    fn invert(&mut self) {
        self.bytes.iter_mut().for_each(|byte| *byte = !*byte);
    }

    /// What tesseract reads with a mode of page segmentation.
    fn read(&self, program: &Path, mode: &str) -> Result<String, ScreenError> {
        let failed = |source| ScreenError::Io { path: program.to_owned(), source };
        let mut command = Command::new(program);
        command.args(["stdin", "stdout", "--dpi", "140", "--psm", mode]).env("OMP_THREAD_LIMIT", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            let head = format!("P5\n{} {}\n255\n", self.width, self.height);
            // One that ends early says why.
            let _ = stdin.write_all(head.as_bytes()).and_then(|()| stdin.write_all(&self.bytes));
        }
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            return Err(ScreenError::Tesseract(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Presses keys together: names of QEMU's (`ctrl`, `alt`, `f2`, `ret`) or numbers of keys (`0x1c`).
///
/// # Errors
/// QEMU does not know one of them.
pub fn press(monitor: &Qmp, keys: &[String]) -> Result<(), ScreenError> {
    let key = |name: &String| {
        let number = name.strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
        number.map_or_else(|| json!({ "type": "qcode", "data": name }), |number| json!({ "type": "number", "data": number }))
    };
    let keys: Vec<Value> = keys.iter().map(key).collect();
    monitor.execute("send-key", json!({ "keys": keys, "hold-time": HOLD }), MONITOR)?;
    Ok(())
}

/// Moves the mouse to a place, each coordinate a part (0 to 1) of the screen.
///
/// # Errors
/// QEMU refuses.
pub fn move_mouse(monitor: &Qmp, x: f64, y: f64) -> Result<(), ScreenError> {
    let axis = |name: &str, part: f64| json!({ "type": "abs", "data": { "axis": name, "value": (part.clamp(0.0, 1.0) * 32767.0).round() as u32 } });
    monitor.execute("input-send-event", json!({ "events": [axis("x", x), axis("y", y)] }), MONITOR)?;
    Ok(())
}

/// Presses a button of the mouse (`left`, `middle`, `right`, `wheel-up`, `wheel-down`) or lets go of it.
///
/// # Errors
/// QEMU does not know the button.
pub fn mouse_button(monitor: &Qmp, button: &str, is_down: bool) -> Result<(), ScreenError> {
    let event = json!({ "type": "btn", "data": { "button": button, "down": is_down } });
    monitor.execute("input-send-event", json!({ "events": [event] }), MONITOR)?;
    Ok(())
}

/// Where a screen can be looked at by VNC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Viewing {
    /// A socket in a folder of the user's alone.
    Socket(PathBuf),
    /// A port of 127.0.0.1, for every user of this host; 0: one that is free.
    Port(u16),
}

/// Lets a screen be looked at, and used, by VNC; an earlier place ends.
///
/// # Errors
/// QEMU refuses, or cannot listen there.
pub fn view(monitor: &Qmp, viewing: Viewing) -> Result<Viewing, ScreenError> {
    let address = match &viewing {
        Viewing::Socket(path) => {
            let _ = std::fs::remove_file(path);
            json!({ "type": "unix", "path": path.to_string_lossy() })
        }
        Viewing::Port(port) => json!({ "type": "inet", "host": "127.0.0.1", "port": port.to_string() }),
    };
    monitor.execute("display-update", json!({ "type": "vnc", "addresses": [address] }), MONITOR)?;
    let Viewing::Port(_) = viewing else { return Ok(viewing) };
    let servers = monitor.execute("query-vnc-servers", Value::Null, MONITOR)?;
    let port = servers.pointer("/0/server/0/service").and_then(Value::as_str).and_then(|port| port.parse().ok());
    port.map(Viewing::Port).ok_or(ScreenError::Picture("it does not say where it listens"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        Picture { width: 2, height: 1, rgb: vec![255, 0, 0, 10, 20, 30] }
    }

    #[test]
    fn a_picture_of_qemus_becomes_a_png_of_the_same_pixels() {
        let picture = Picture::parse(b"P6\n2 1\n255\n\xff\x00\x00\x0a\x14\x1e").unwrap();
        assert_eq!(picture, super::tests::picture());
        let bytes = picture.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
        let mut rgb = vec![0; 6];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.width, info.height, rgb), (2, 1, picture.rgb));
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        for bytes in [&b""[..], b"P6", b"P5\n1 1\n255\nx", b"P6\n2 1\n255\nxxxxx", b"P6\n99999999999 1\n255\n", b"P6\n0 1\n255\n", b"P6\n\xff \xff"] {
            assert!(matches!(Picture::parse(bytes), Err(ScreenError::Picture(_))), "{bytes:?}");
        }
    }

    #[test]
    fn a_doubled_picture_is_smooth_between_its_pixels() {
        let grey = Grey { width: 2, height: 1, bytes: vec![0, 160] };
        let large = grey.doubled();
        assert_eq!((large.width, large.height), (4, 2));
        assert_eq!(large.bytes, [0, 40, 120, 160, 0, 40, 120, 160]);
        assert!(grey.is_dark());
    }
}
