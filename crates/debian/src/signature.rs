//! Checks the OpenPGP signature of an InRelease file against the archive's keys.
//!
//! The keys are data/debian-archive-keyring.pgp, taken as it is from Debian's package debian-archive-keyring
//! 2025.1 (`/usr/share/keyrings/debian-archive-keyring.pgp`; sha256 of the .deb:
//! 9ea7778e443144ca490668737a8ab22dd3e748bb99e805e22ec055abeb3c7fac). Only the primaries named here by their
//! fingerprints are trusted, whatever else the file may hold. Automatic signatures are made by subkeys.

use crate::error::{DebianError, Result};
use pgp::composed::{CleartextSignedMessage, SignedPublicKey};
use pgp::packet::{Signature, SignatureType};
use pgp::types::{KeyDetails, VerifyingKey};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const KEYRING: &[u8] = include_bytes!("../data/debian-archive-keyring.pgp");

/// Primary keys: automatic and release keys of Debian 11, 12 and 13 and of their security archives.
const TRUSTED: [&str; 9] = [
    "1f89983e0081fde018f3cc9673a4f27b8dd47936",
    "ac530d520f2f3269f5e98313a48449044aad5c5d",
    "a4285295fc7b1a81600062a9605c66f00d6c9793",
    "4d64fec119c2029067d6e791f8d2585b8783d481",
    "b8b80b5b623eab6ad8775c45b7c5d7d6350947f8",
    "05ab90340c0c5e797f44a8c8254cf3b5aec0a8f0",
    "04b54c3cdca79751b16bc6b5225629df75b188bd",
    "5e04a1e3223a19a20706e20f9904613d4cce68c6",
    "41587f7db8c774bccf131416762f67a0b2c39de4",
];

/// The text that one of the archive's keys signed, with unix line ends. `name` is for errors.
/// A key or subkey must have been valid when it signed: expired keys and signatures do not count.
pub(crate) fn verified_text(inrelease: &str, name: &str) -> Result<String> {
    verify(inrelease, name, &TRUSTED, SystemTime::now())
}

fn verify(inrelease: &str, name: &str, trusted: &[&str], now: SystemTime) -> Result<String> {
    let fail = |why: String| DebianError::Signature { url: name.to_string(), why };
    // Anything outside the signed part would be read as if it were signed: refuse it.
    if !inrelease.starts_with("-----BEGIN PGP SIGNED MESSAGE-----") {
        return Err(fail("it does not begin with a signed message".into()));
    }
    let (message, _) = CleartextSignedMessage::from_string(inrelease).map_err(|e| fail(e.to_string()))?;
    let text = message.signed_text();
    let mut why = String::from("none of its signatures is by a key of Debian's archive");
    let keys = keys(trusted)?;
    for sig in message.signatures() {
        for key in &keys {
            match signed_by(sig, key, text.as_bytes(), now) {
                Verdict::Good => return Ok(text.replace("\r\n", "\n")),
                Verdict::Bad(reason) => why = reason,
                Verdict::Other => {}
            }
        }
    }
    Err(fail(why))
}

enum Verdict {
    Good,
    Bad(String),
    Other,
}

fn keys(trusted: &[&str]) -> Result<Vec<SignedPublicKey>> {
    use pgp::composed::Deserializable;
    let fail = |why: String| DebianError::Format { what: "the built-in keyring".into(), why };
    let mut out = Vec::new();
    for key in SignedPublicKey::from_bytes_many(KEYRING).map_err(|e| fail(e.to_string()))? {
        let key = key.map_err(|e| fail(e.to_string()))?;
        if trusted.contains(&fingerprint(&key.primary_key).as_str()) {
            out.push(key);
        }
    }
    Ok(out)
}

fn fingerprint(key: &impl KeyDetails) -> String {
    key.fingerprint().as_bytes().iter().map(|b| format!("{b:02x}")).collect()
}

fn signed_by(sig: &Signature, key: &SignedPublicKey, text: &[u8], now: SystemTime) -> Verdict {
    let issuers = sig.issuer_fingerprint();
    let ids = sig.issuer_key_id();
    let names = |k: &dyn Fn() -> (pgp::types::Fingerprint, pgp::types::KeyId)| {
        let (f, id) = k();
        issuers.contains(&&f) || (issuers.is_empty() && ids.contains(&&id))
    };
    if names(&|| (key.primary_key.fingerprint(), key.primary_key.legacy_key_id())) {
        // expiry of a primary stands in the self-signatures of its user ids or of the key itself
        let own: Vec<&Signature> = key
            .details
            .users
            .iter()
            .flat_map(|u| u.signatures.iter().filter(|s| s.verify_certification(&key.primary_key, pgp::types::Tag::UserId, &u.id).is_ok()))
            .chain(key.details.direct_signatures.iter().filter(|s| s.verify_key(&key.primary_key).is_ok()))
            .collect();
        if !key.details.revocation_signatures.is_empty() {
            return Verdict::Bad(format!("the key {} was revoked", fingerprint(&key.primary_key)));
        }
        return check(sig, &key.primary_key, &own, text, now);
    }
    for sub in &key.public_subkeys {
        if !names(&|| (sub.key.fingerprint(), sub.key.legacy_key_id())) {
            continue;
        }
        let mut bound = Vec::new();
        for b in &sub.signatures {
            match b.typ() {
                Some(SignatureType::SubkeyRevocation) => {
                    return Verdict::Bad(format!("the subkey {} was revoked", fingerprint(&sub.key)));
                }
                // a signing subkey must also sign for its primary, in an embedded signature
                Some(SignatureType::SubkeyBinding)
                    if b.verify_subkey_binding(&key.primary_key, &sub.key).is_ok()
                        && b.key_flags().sign()
                        && b.embedded_signature()
                            .is_some_and(|e| e.verify_primary_key_binding(&sub.key, &key.primary_key).is_ok()) =>
                {
                    bound.push(b);
                }
                _ => {}
            }
        }
        if bound.is_empty() {
            return Verdict::Bad(format!("the subkey {} is not bound to its primary", fingerprint(&sub.key)));
        }
        return check(sig, &sub.key, &bound, text, now);
    }
    Verdict::Other
}

/// `own`: self-signatures that say until when the key is valid; the latest counts.
fn check(sig: &Signature, key: &(impl VerifyingKey + KeyDetails), own: &[&Signature], text: &[u8], now: SystemTime) -> Verdict {
    let id = fingerprint(key);
    if sig.verify(key, text).is_err() {
        return Verdict::Bad(format!("the text does not match the signature by {id}"));
    }
    let seconds = |t: Option<pgp::types::Timestamp>| t.map(|t| UNIX_EPOCH + Duration::from_secs(u64::from(t.as_secs())));
    let Some(when) = seconds(sig.created()) else { return Verdict::Bad(format!("the signature by {id} has no date")) };
    // a day of grace for hosts whose clock is a little behind
    if when > now + Duration::from_secs(86_400) {
        return Verdict::Bad(format!("the signature by {id} is from the future: is the clock of this host right?"));
    }
    if sig.signature_expiration_time().is_some_and(|d| d.as_secs() > 0 && when + Duration::from_secs(u64::from(d.as_secs())) < now) {
        return Verdict::Bad(format!("the signature by {id} has expired"));
    }
    let made = UNIX_EPOCH + Duration::from_secs(u64::from(key.created_at().as_secs()));
    let Some(latest) = own.iter().max_by_key(|s| s.created().map(|t| t.as_secs())) else {
        return Verdict::Bad(format!("the key {id} has no valid signature of its own"));
    };
    if let Some(d) = latest.key_expiration_time()
        && d.as_secs() > 0
        && made + Duration::from_secs(u64::from(d.as_secs())) < when
    {
        return Verdict::Bad(format!("the key {id} had expired when it signed"));
    }
    Verdict::Good
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Debian's own file of 9 August 2025, signed by subkeys of the automatic keys.
    const SIGNED: &str = include_str!("../tests/data/bullseye-updates.InRelease");

    fn why(text: &str, trusted: &[&str], now: SystemTime) -> String {
        verify(text, "x", trusted, now).unwrap_err().to_string()
    }

    #[test]
    fn signed_text_only() {
        let text = verified_text(SIGNED, "x").unwrap();
        assert!(text.starts_with("Origin: Debian\n") && !text.contains("PGP"));
        let now = SystemTime::now();
        let changed = SIGNED.replacen("Origin: Debian", "Origin: Debiam", 1);
        assert!(why(&changed, &TRUSTED, now).contains("does not match"));
        assert!(why(SIGNED, &[], now).contains("none of its signatures"));
        assert!(why(&format!("Origin: x\n{SIGNED}"), &TRUSTED, now).contains("does not begin"));
        // what is appended is not part of the text
        let more = format!("{SIGNED}\nOrigin: Other\n");
        assert!(verify(&more, "x", &TRUSTED, now).map_or(true, |t| !t.contains("Other")));
        let past = UNIX_EPOCH + Duration::from_secs(1_500_000_000);
        assert!(why(SIGNED, &TRUSTED, past).contains("future"));
    }

    #[test]
    fn each_trusted_key_is_in_the_keyring() {
        assert_eq!(keys(&TRUSTED).unwrap().len(), TRUSTED.len());
    }
}
