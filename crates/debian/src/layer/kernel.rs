//! The kernel of a layer: the file that QEMU loads.

use crate::deb::read_limited;
use crate::error::{DebianError, Result};
use crate::system::System;
use serde::{Deserialize, Serialize};

/// The content of kernel.json.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelInfo {
    /// Such as "6.12.57+deb13-cloud-amd64"; the folder under lib/modules.
    pub version: String,
    /// "vmlinux" (an ELF file with a PVH note), "bzImage", or "Image" (what the package has, other architectures).
    pub format: String,
    /// Files of the folder modules/, in the order in which the initrd loads them.
    pub module_order: Vec<String>,
}

/// The bytes that QEMU loads and their format, from the package's vmlinuz.
///
/// x86 bzImage (Documentation/arch/x86/boot.rst): setup sectors at 0x1f1, payload offset and length at 0x248 and
/// 0x24c counted from the end of the setup; the payload's last 4 bytes are the unpacked length. A zstd
/// payload is unpacked: QEMU loads the ELF kernel by its PVH note and the guest is spared the work.
pub(crate) fn loadable(vmlinuz: &[u8], system: &System) -> Result<(Vec<u8>, &'static str)> {
    if !matches!(system.arch, "amd64" | "i386") {
        return Ok((vmlinuz.to_vec(), "Image"));
    }
    let bad = |why: String| DebianError::NoKernel { system: system.nix.into(), why };
    let u32_at = |at: usize| vmlinuz.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
    if vmlinuz.get(0x202..0x206) != Some(b"HdrS") {
        return Err(bad("vmlinuz is no bzImage".into()));
    }
    let sectors = match vmlinuz[0x1f1] {
        0 => 4,
        n => usize::from(n),
    };
    let payload = (|| {
        let from = (sectors + 1) * 512 + u32_at(0x248)?;
        vmlinuz.get(from..from.checked_add(u32_at(0x24c)?)?)
    })()
    .ok_or_else(|| bad("the payload of vmlinuz is cut short".into()))?;
    if system.arch != "amd64" || !payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Ok((vmlinuz.to_vec(), "bzImage"));
    }
    let size = payload.len() - 4;
    let expected = u32::from_le_bytes([payload[size], payload[size + 1], payload[size + 2], payload[size + 3]]) as usize;
    let decoder = ruzstd::decoding::StreamingDecoder::new(&payload[..size]).map_err(|e| bad(format!("unpacking vmlinuz: {e}")))?;
    let out = read_limited(decoder, expected, expected as u64).map_err(|e| bad(format!("unpacking vmlinuz: {e}")))?;
    if out.len() != expected || !out.starts_with(b"\x7fELF") {
        return Err(bad("the unpacked vmlinuz is no ELF file".into()));
    }
    Ok((out, "vmlinux"))
}
