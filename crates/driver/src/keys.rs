//! The SSH keys of one running network, made when it starts.
//!
//! One key for the user, one host key per machine for the private sshd, one per machine for its own service. A
//! machine is given its host keys and the user's public key, never another machine's.

use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ssh_key::private::{Ed25519Keypair, PrivateKey};
use ssh_key::{LineEnding, PublicKey};

/// An ed25519 key pair in OpenSSH's formats.
pub struct Key {
    /// The private file's text.
    pub private: String,
    /// The public file's line, without its end.
    pub public: String,
}

impl Key {
    /// Makes a new key with this comment.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate(comment: &str) -> io::Result<Self> {
        let mut seed = [0; 32];
        fill_random(&mut seed)?;
        let key = PrivateKey::new(Ed25519Keypair::from_seed(&seed).into(), comment).map_err(io::Error::other)?;
        seed.fill(0);
        let public: &PublicKey = key.public_key();
        Ok(Self {
            private: key.to_openssh(LineEnding::LF).map_err(io::Error::other)?.to_string(),
            public: public.to_openssh().map_err(io::Error::other)?,
        })
    }

    /// Writes the private file (mode 0600) and, beside it, the public one.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_private(path, self.private.as_bytes())?;
        let mut public = path.as_os_str().to_owned();
        public.push(".pub");
        std::fs::write(public, format!("{}\n", self.public))
    }
}

/// Writes a file that only its owner may read, in place of any earlier one.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _ = std::fs::remove_file(path);
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Fills a buffer from the system's random numbers.
pub(crate) fn fill_random(buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        filled += rustix::rand::getrandom(&mut buffer[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_openssh_reads_them() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Key::generate("one").unwrap(), Key::generate("two").unwrap());
        assert_ne!(one.public, two.public);
        let file = dir.path().join("id");
        one.write(&file).unwrap();
        let output = std::process::Command::new("ssh-keygen").arg("-y").arg("-f").arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), one.public);
    }
}
