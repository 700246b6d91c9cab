//! HTTP: one pool of kept connections, proxies of the environment (`http_proxy`, `https_proxy`, `all_proxy`, `no_proxy`), retries.

use crate::error::{DebianError, Result};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

const ATTEMPTS: u32 = 4;

/// Shared by all threads that fetch.
#[derive(Clone)]
pub struct Client {
    agent: ureq::Agent,
    attempts: u32,
}

/// Remembers addresses for some minutes: the library asks before each request, connections kept or not, and
/// name servers do not take hundreds of questions at once kindly.
#[derive(Debug, Default)]
struct KnownHosts {
    inner: DefaultResolver,
    known: Mutex<HashMap<String, (Instant, Vec<SocketAddr>)>>,
}

impl Resolver for KnownHosts {
    fn resolve(&self, uri: &ureq::http::Uri, config: &ureq::config::Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let key = format!("{:?} {:?}", uri.scheme_str(), uri.authority());
        // locked while asking: others wait for the answer instead of asking too
        let mut known = self.known.lock().unwrap_or_else(|e| e.into_inner());
        if let Some((when, list)) = known.get(&key)
            && when.elapsed() < Duration::from_secs(300)
        {
            let mut out = self.empty();
            list.iter().for_each(|a| out.push(*a));
            return Ok(out);
        }
        let found = self.inner.resolve(uri, config, timeout)?;
        known.insert(key, (Instant::now(), found.to_vec()));
        Ok(found)
    }
}

/// What a download must turn out to be.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    pub size: u64,
    /// Lower-case hexadecimal.
    pub sha256: &'a str,
}

impl Client {
    /// `connections`: how many are kept open to one host.
    pub fn new(connections: usize) -> Client {
        let config = ureq::Agent::config_builder()
            .timeout_resolve(Some(Duration::from_secs(15)))
            .timeout_connect(Some(Duration::from_secs(10)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .max_idle_connections(connections)
            .max_idle_connections_per_host(connections)
            .user_agent(concat!("nixos-build-vms/", env!("CARGO_PKG_VERSION")))
            .input_buffer_size(128 * 1024)
            .http_status_as_error(false)
            .build();
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), KnownHosts::default());
        Client { agent, attempts: ATTEMPTS }
    }

    /// The same connections, but one attempt only: where there is something to fall back on.
    pub fn hurried(&self) -> Client {
        Client { agent: self.agent.clone(), attempts: 1 }
    }

    /// A small file whole, at most `limit` bytes.
    pub fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>> {
        self.retry(url, || {
            let (mut reader, _) = self.open(url)?;
            let mut out = Vec::new();
            (&mut reader).take(limit + 1).read_to_end(&mut out).map_err(|e| fetch(url, e))?;
            if out.len() as u64 > limit {
                return Err(fetch(url, format!("it is larger than {limit} bytes")));
            }
            Ok(out)
        })
    }

    /// Streams a file to `sink` (which `reset` empties before another attempt) and checks size and hash.
    /// `seen` is told of bytes as they come and may stop the transfer.
    pub fn download<S: Write>(
        &self,
        url: &str,
        expected: Expected<'_>,
        sink: &mut S,
        mut reset: impl FnMut(&mut S) -> Result<()>,
        mut write_error: impl FnMut(std::io::Error) -> DebianError,
        mut seen: impl FnMut(u64) -> Result<()>,
    ) -> Result<()> {
        self.retry(url, || {
            reset(sink)?;
            let (mut reader, announced) = self.open(url)?;
            if announced.is_some_and(|n| n != expected.size) {
                return Err(DebianError::BadHash {
                    url: url.into(),
                    expected: format!("{} bytes", expected.size),
                    found: format!("{} bytes", announced.unwrap_or(0)),
                });
            }
            let mut hash = Sha256::new();
            let mut total = 0u64;
            let mut buf = vec![0u8; 128 * 1024];
            loop {
                let n = match reader.read(&mut buf) {
                    Ok(0) => break,
                    Ok(n) => n,
                    Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(e) => return Err(fetch(url, format!("the connection broke after {total} bytes: {e}"))),
                };
                total += n as u64;
                if total > expected.size {
                    break;
                }
                hash.update(&buf[..n]);
                sink.write_all(&buf[..n]).map_err(&mut write_error)?;
                seen(n as u64)?;
            }
            if total < expected.size {
                return Err(DebianError::Short { url: url.into(), expected: expected.size, found: total });
            }
            let found = hex(&hash.finalize());
            if total != expected.size || found != expected.sha256 {
                return Err(DebianError::BadHash {
                    url: url.into(),
                    expected: format!("sha256 {}", expected.sha256),
                    found: format!("sha256 {found}"),
                });
            }
            Ok(())
        })
    }

    fn open(&self, url: &str) -> Result<(impl Read + use<>, Option<u64>)> {
        let answer = self.agent.get(url).call().map_err(|e| fetch(url, e))?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(DebianError::Status { url: url.into(), status });
        }
        let body = answer.into_body();
        let length = body.content_length();
        Ok((body.into_reader(), length))
    }

    fn retry<T>(&self, url: &str, mut f: impl FnMut() -> Result<T>) -> Result<T> {
        let mut wait = Duration::from_millis(100);
        for attempt in 1.. {
            match f() {
                Err(e) if attempt < self.attempts && worth_retrying(&e) => {
                    std::thread::sleep(wait);
                    wait *= 3;
                }
                Err(DebianError::Fetch { why, .. }) if attempt > 1 => {
                    return Err(fetch(url, format!("{why} (tried {attempt} times)")));
                }
                other => return other,
            }
        }
        Err(fetch(url, "no attempt was made"))
    }
}

fn worth_retrying(e: &DebianError) -> bool {
    match e {
        DebianError::Fetch { .. } | DebianError::Short { .. } | DebianError::BadHash { .. } => true,
        DebianError::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
        _ => false,
    }
}

fn fetch(url: &str, why: impl ToString) -> DebianError {
    DebianError::Fetch { url: url.to_string(), why: why.to_string() }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
