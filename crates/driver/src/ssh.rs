//! What the host's ssh needs to reach the machines: keys, known host keys, a configuration.
//!
//! Connections go through the runner (`ProxyCommand`), so no machine needs an open port.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use nbv_plan::NetworkPlan;

use crate::keys::Key;
use crate::machine::MachineKeys;

/// The configuration's name in the state folder.
pub(crate) const CONFIG: &str = "ssh_config";

/// Writes `ssh/` and `ssh_config` into the state folder.
pub(crate) fn write_files(dir: &Path, exe: &Path, plan: &NetworkPlan, user: &Key, keys: &[MachineKeys]) -> io::Result<()> {
    let ssh = dir.join("ssh");
    let _ = std::fs::remove_dir_all(&ssh);
    std::fs::DirBuilder::new().mode(0o700).create(&ssh)?;
    user.write(&ssh.join("id_ed25519"))?;
    let mut known = String::new();
    for (machine, keys) in plan.machines.iter().zip(keys) {
        known.push_str(&format!("{} {}\n", machine.name, keys.host.public));
    }
    std::fs::write(ssh.join("known_hosts"), known)?;
    crate::keys::write_private(&dir.join(CONFIG), config(dir, exe, plan).as_bytes())
}

fn config(dir: &Path, exe: &Path, plan: &NetworkPlan) -> String {
    let mut text = String::from("# ssh, scp, sftp and rsync reach the machines of this network with `-F` and this file.\n");
    for machine in &plan.machines {
        let mut names = vec![machine.name.clone()];
        for name in machine.names() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let proxy = format!("{} internal-proxy --state-dir {} {}", shell(exe), shell(dir), machine.name);
        text.push_str(&format!("Host {}\n  HostKeyAlias {}\n  ProxyCommand {proxy}\n", names.join(" "), machine.name));
    }
    let file = |name: &str| format!("\"{}\"", dir.join("ssh").join(name).display().to_string().replace('%', "%%"));
    text.push_str(&format!(
        "Host *\n  User root\n  IdentityFile {}\n  UserKnownHostsFile {}\n  GlobalKnownHostsFile none\n  IdentitiesOnly yes\n  IdentityAgent none\n  \
         StrictHostKeyChecking yes\n  UpdateHostKeys no\n  CheckHostIP no\n  BatchMode yes\n  ControlMaster no\n  ControlPath none\n  ForwardAgent no\n  \
         PreferredAuthentications publickey\n  LogLevel ERROR\n",
        file("id_ed25519"),
        file("known_hosts")
    ));
    text
}

/// A path as one word of a ProxyCommand: for the shell, and without percent tokens.
fn shell(path: &Path) -> String {
    let text = path.display().to_string().replace('%', "%%");
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_=+./,:@%".contains(c));
    if is_plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: &str = r#"{ "version": 1, "machines": [ { "name": "a", "hostName": "alpha", "domain": "x.org", "targetHost": "a.example.net", "number": 1,
        "system": "x86_64-linux", "toplevel": "/nix/store/x", "memoryMib": 512, "cores": 1 } ] }"#;

    #[test]
    fn openssh_understands_the_configuration() {
        let dir = tempfile::Builder::new().prefix("odd 'name' ").tempdir().unwrap();
        let plan = NetworkPlan::parse(PLAN).unwrap();
        let (user, host, service) = (Key::generate("u").unwrap(), Key::generate("h").unwrap(), Key::generate("s").unwrap());
        write_files(dir.path(), Path::new("/opt/a b/nbv"), &plan, &user, &[MachineKeys { host, service }]).unwrap();
        for name in ["a", "alpha", "alpha.x.org", "a.example.net"] {
            let output = std::process::Command::new("ssh").arg("-F").arg(dir.path().join(CONFIG)).args(["-G", name]).output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            assert!(text.contains("'/opt/a b/nbv' internal-proxy --state-dir "), "{text}");
            assert!(text.contains("hostkeyalias a\n") && text.contains("user root\n"), "{text}");
        }
    }
}
