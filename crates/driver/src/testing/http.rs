//! Plain HTTP/1.1 as a machine fetches it: the request's bytes, the answer's parts.
//!
//! Not here: the connection, which a shell in the machine makes.

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// Its status, such as 200.
    pub status: u16,
    /// Its header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

/// Where a page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) host: String,
    pub(crate) port: u16,
    path: String,
    /// As the URL has it.
    authority: String,
}

impl Url {
    /// Reads `http://host[:port][/path]`; the host may be an IPv6 address in brackets.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no URL of the form http://host[:port]/path");
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        let cut = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(cut);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(80), str::parse).map_err(|_| wrong())?;
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if host.is_empty() || !is_plain(authority) || !is_plain(&path) {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port, path, authority: authority.to_owned() })
    }

    /// The request.
    pub(crate) fn request(&self) -> String {
        format!("GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: nixos-build-vms\r\nAccept: */*\r\nConnection: close\r\n\r\n", self.path, self.authority)
    }
}

/// Reads an answer, whole.
pub(crate) fn parse_answer(bytes: &[u8]) -> Result<HttpAnswer, String> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").ok_or("the answer is no HTTP or was cut off in its head")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.").and_then(|rest| rest.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| format!("the answer begins with `{first}`, which is no HTTP"))?;
    let headers: Vec<(String, String)> =
        lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned())).collect();
    let of = |name: &str| headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str());
    let rest = &bytes[end + 4..];
    let body = if of("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        chunks(rest)?
    } else if let Some(length) = of("content-length").and_then(|value| value.parse::<usize>().ok()) {
        rest.get(..length).ok_or_else(|| format!("the answer was cut off after {} of {length} bytes", rest.len()))?.to_vec()
    } else {
        rest.to_vec()
    };
    Ok(HttpAnswer { status, headers, body })
}

fn chunks(mut rest: &[u8]) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|window| window == b"\r\n").ok_or("the answer was cut off between its chunks")?;
        let size = String::from_utf8_lossy(&rest[..end]);
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| format!("the answer has a chunk of the size `{size}`"))?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(rest.get(..size).ok_or("the answer was cut off in a chunk")?);
        rest = rest.get(size + 2..).ok_or("the answer was cut off after a chunk")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("http://web:8080/a?b#c").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("web", 8080, "/a?b"));
        assert!(url.request().starts_with("GET /a?b HTTP/1.1\r\nHost: web:8080\r\n"));
        let url = Url::parse("http://[2001:db8:1::2]").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.path.as_str()), ("2001:db8:1::2", 80, "/"));
        for wrong in ["https://web/", "web", "http://", "http://web:port/", "http://web:99999/", "http://a b/", "http://web/a b", "http://[::1]x"] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let plain = parse_answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nnoXX").unwrap();
        assert_eq!((plain.status, plain.body.as_slice()), (404, &b"no"[..]));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\na\nb\r\n1\r\nc\r\n0\r\n\r\n";
        assert_eq!(parse_answer(chunked).unwrap().body, b"a\nbc");
        assert_eq!(parse_answer(b"HTTP/1.0 200 OK\r\n\r\nall").unwrap().body, b"all");
        for length in 0..chunked.len() - 4 {
            assert!(parse_answer(&chunked[..length]).is_err(), "{length}");
        }
        assert!(parse_answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort").is_err());
        assert!(parse_answer(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
    }
}
