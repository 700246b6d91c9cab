//! XML as `toXML` writes it: one element a line, indented by two blanks.

/// Writes elements to a buffer.
pub struct Writer {
    out: Vec<u8>,
    open: Vec<&'static str>,
}

/// Attributes in the order in which they are written (sorted by name).
pub type Attributes<'a> = [(&'static str, &'a [u8])];

impl Default for Writer {
    fn default() -> Self {
        Self::new()
    }
}

impl Writer {
    /// A document with its header.
    pub fn new() -> Self {
        Self { out: b"<?xml version='1.0' encoding='utf-8'?>\n".to_vec(), open: Vec::new() }
    }

    /// `<name …>`
    pub fn open(&mut self, name: &'static str, attributes: &Attributes<'_>) {
        self.tag(name, attributes, b">\n");
        self.open.push(name);
    }

    /// `</name>` of the innermost open element.
    pub fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.indent();
            self.out.extend_from_slice(format!("</{name}>\n").as_bytes());
        }
    }

    /// `<name … />`
    pub fn empty(&mut self, name: &'static str, attributes: &Attributes<'_>) {
        self.tag(name, attributes, b" />\n");
    }

    /// The document; elements that are still open are closed.
    pub fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.out
    }

    fn indent(&mut self) {
        self.out.resize(self.out.len() + 2 * self.open.len(), b' ');
    }

    fn tag(&mut self, name: &str, attributes: &Attributes<'_>, end: &[u8]) {
        self.indent();
        self.out.push(b'<');
        self.out.extend_from_slice(name.as_bytes());
        for (name, value) in attributes {
            self.out.push(b' ');
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"=\"");
            for byte in *value {
                match byte {
                    b'"' => self.out.extend_from_slice(b"&quot;"),
                    b'<' => self.out.extend_from_slice(b"&lt;"),
                    b'>' => self.out.extend_from_slice(b"&gt;"),
                    b'&' => self.out.extend_from_slice(b"&amp;"),
                    b'\n' => self.out.extend_from_slice(b"&#xA;"),
                    other => self.out.push(*other),
                }
            }
            self.out.push(b'"');
        }
        self.out.extend_from_slice(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let mut w = Writer::new();
        w.open("expr", &[]);
        w.empty("string", &[("value", b"a<\"&>\n'")]);
        assert_eq!(
            String::from_utf8(w.finish()).unwrap(),
            "<?xml version='1.0' encoding='utf-8'?>\n<expr>\n  <string value=\"a&lt;&quot;&amp;&gt;&#xA;'\" />\n</expr>\n"
        );
    }
}
