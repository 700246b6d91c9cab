//! The driver's side of a guest: what it is given at its start, and the channel to the programs in it.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, OnceLock};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nbv_guest::client::{Client, Options};
use nbv_guest::initrd::{Interface, MachineData};
use nbv_guest::{Session, Spec};
use nbv_plan::Machine;
use nbv_qemu::migrate;
use nbv_switch::gateway;

use crate::event::MachineId;
use crate::machine::Settings;
use crate::protocol::Terminal;
use crate::together::Together;

/// How long a guest may take until its first program answers; its end comes earlier when QEMU ends.
const GREETING: Duration = Duration::from_secs(24 * 3600);
/// How long all machines that come back together may take to load their states.
const TOGETHER: Duration = Duration::from_secs(120);
/// How long a resumed guest may take for each step; it needs some 100 ms.
const RESUME: Duration = Duration::from_secs(20);
/// Programs of the configuration, as a login has them; the layer's own `/usr/bin` is not among them.
pub const PATH: &str = "/run/wrappers/bin:/root/.nix-profile/bin:/etc/profiles/per-user/root/bin:/nix/var/nix/profiles/default/bin:/run/current-system/sw/bin";

/// What a guest says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// Its first program answers.
    Hello,
    /// systemd has started everything.
    Ready,
    /// It could not be resumed from its saved state; why.
    NotResumed(String),
}

/// What a machine is resumed with.
pub(crate) struct Resumption {
    pub(crate) monitor: Arc<nbv_qemu::Qmp>,
    /// Its devices; its memory QEMU has already.
    pub(crate) state: std::fs::File,
    /// The machines that come back with it.
    pub(crate) together: Arc<Together>,
    /// Names and contents of the files with the keys of this run.
    pub(crate) keys: Vec<(String, String)>,
}

/// The channel to a guest's programs.
pub struct Guest {
    client: Arc<OnceLock<Client>>,
}

impl Guest {
    /// Takes our end of the control channel's socket and waits, in a thread, for the guest to answer.
    ///
    /// # Errors
    /// No threads left.
    pub(crate) fn open(stream: UnixStream, on_notice: impl Fn(Notice) + Send + Sync + 'static) -> io::Result<Self> {
        let client = Arc::new(OnceLock::new());
        let on_notice = Arc::new(on_notice);
        let words = Arc::clone(&on_notice);
        let options = Options {
            on_notice: Some(Box::new(move |notice| {
                if notice.text.lines().any(|line| line == "READY=1") {
                    words(Notice::Ready);
                }
            })),
        };
        std::thread::Builder::new().name("greeting".into()).spawn({
            let client = Arc::clone(&client);
            move || {
                // It fails when the machine ends first, which the dispatcher hears from QEMU.
                if let Ok(connected) = Client::connect_with(stream, GREETING, options) {
                    // What /init had was the time of the start, which was seconds ago.
                    let _ = connected.set_clock(SystemTime::now());
                    let _ = client.set(connected);
                    on_notice(Notice::Hello);
                }
            }
        })?;
        Ok(Self { client })
    }

    /// The same for a machine that waits for its saved state: loads it, lets it run and puts right what must not be as it was saved
    /// (clock, random numbers, keys), before anyone else may speak to it.
    ///
    /// # Errors
    /// No threads left.
    pub(crate) fn resume(stream: UnixStream, resumption: Resumption, on_notice: impl Fn(Notice) + Send + Sync + 'static) -> io::Result<Self> {
        let client = Arc::new(OnceLock::new());
        let (on_notice, is_awake) = (Arc::new(on_notice), Arc::new(AtomicBool::new(false)));
        let options = Options {
            on_notice: Some(Box::new({
                let (words, is_awake) = (Arc::clone(&on_notice), Arc::clone(&is_awake));
                move |notice| {
                    if is_awake.load(Ordering::SeqCst) && notice.text.lines().any(|line| line == "READY=1") {
                        words(Notice::Ready);
                    }
                }
            })),
        };
        std::thread::Builder::new().name("resume".into()).spawn({
            let client = Arc::clone(&client);
            move || match wake(stream, &resumption, options) {
                Ok(connected) => {
                    is_awake.store(true, Ordering::SeqCst);
                    // It repeated what it had said before it was saved.
                    let is_ready = connected.is_ready();
                    let _ = client.set(connected);
                    on_notice(Notice::Hello);
                    if is_ready {
                        on_notice(Notice::Ready);
                    }
                }
                Err(reason) => on_notice(Notice::NotResumed(reason)),
            }
        })?;
        Ok(Self { client })
    }

    /// The client, once the guest has answered.
    ///
    /// # Errors
    /// It has not yet.
    pub fn client(&self) -> Result<&Client, String> {
        self.client.get().ok_or_else(|| "the guest does not answer yet".to_owned())
    }

    /// Tells systemd to power off; nothing is waited for.
    pub(crate) fn power_off(&self) {
        let Ok(client) = self.client() else { return };
        // The signal means poweroff.target to systemd, and needs no program to be started in a busy guest.
        let argv = ["/usr/bin/systemctl", "--no-block", "poweroff"];
        let asked = client.run(argv, Some(Duration::from_secs(60)));
        if !asked.is_ok_and(|output| output.status.success()) {
            let _ = client.run(["/usr/bin/kill", "-s", "RTMIN+4", "1"], Some(Duration::from_secs(30)));
        }
    }

    /// Starts a program.
    ///
    /// # Errors
    /// The guest cannot, or is gone.
    pub(crate) fn exec(&self, exec: &Exec) -> Result<Session, nbv_guest::Error> {
        let mut spec = Spec::new(&exec.argv).env("PATH", PATH);
        for (name, value) in &exec.env {
            spec = spec.env(name, value);
        }
        if let Some(terminal) = exec.terminal {
            spec = spec.pty(terminal.rows, terminal.columns);
        }
        self.client().map_err(|_| nbv_guest::Error::Disconnected)?.open(&spec)
    }
}

/// Resumes a guest; gives the channel once all is right in it.
fn wake(stream: UnixStream, resumption: &Resumption, options: Options) -> Result<Client, String> {
    let text = |error: nbv_guest::client::Error| error.to_string();
    migrate::load(&resumption.monitor, &resumption.state).map_err(|error| error.to_string())?;
    resumption.together.loaded(Instant::now() + TOGETHER)?;
    migrate::go_on(&resumption.monitor).map_err(|error| error.to_string())?;
    resumption.together.runs();
    let client = Client::connect_with(stream, RESUME, options).map_err(text)?;
    let mut seed = [0; 512];
    crate::keys::fill_random(&mut seed).map_err(|error| error.to_string())?;
    let files: Vec<_> = resumption.keys.iter().map(|(name, text)| (0o600, name.as_str(), text.as_bytes())).collect();
    // At once: the guest needs longer to wake for a request than to answer it.
    let done = std::thread::scope(|scope| {
        let entropy = scope.spawn(|| client.add_entropy(&seed));
        let keys = scope.spawn(|| client.write_files(&files));
        let clock = client.set_clock(SystemTime::now());
        let ended = |_| Err(nbv_guest::client::Error::Disconnected);
        clock.and(entropy.join().unwrap_or_else(ended)).and(keys.join().unwrap_or_else(ended))
    });
    done.map(|()| client).map_err(text)
}

/// Files in a guest that hold the keys of this run.
pub(crate) fn new_keys(settings: &Settings, id: MachineId) -> Vec<(String, String)> {
    ssh_files(settings, &settings.keys[id.0]).into_iter().map(|(name, text)| (format!("/run/nbv/ssh/{name}"), text)).collect()
}

fn ssh_files(settings: &Settings, keys: &crate::machine::MachineKeys) -> [(&'static str, String); 5] {
    [
        ("host_key", keys.host.private.clone()),
        ("authorized_keys", format!("{}\n", settings.user_key)),
        ("sshd_config", sshd_config()),
        ("service_key", keys.service.private.clone()),
        ("service_key.pub", format!("{}\n", keys.service.public)),
    ]
}

/// A program to run in a guest.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    pub(crate) terminal: Option<Terminal>,
}

impl Exec {
    /// A program as the user named it; a login shell when there is none.
    pub(crate) fn new(argv: Vec<String>, env: Vec<(String, String)>, terminal: Option<Terminal>) -> Self {
        let argv = if argv.is_empty() { vec!["bash".into(), "--login".into()] } else { argv };
        Self { argv, env, terminal }
    }

    /// The private sshd for one connection.
    pub(crate) fn sshd() -> Self {
        // The folder is compiled into Debian's sshd, and only the service of the configuration would make it.
        let script = "[ -d /run/sshd ] || mkdir -p -m 755 /run/sshd; exec /usr/bin/sshd -i -f /run/nbv/ssh/sshd_config";
        let argv = ["/usr/bin/sh", "-c", script].map(str::to_owned).into();
        Self { argv, env: vec![("PATH".into(), "/usr/bin".into())], terminal: None }
    }
}

/// Configuration of the private sshd: independent of the machine's own.
fn sshd_config() -> String {
    format!(
        "HostKey /run/nbv/ssh/host_key\nAuthorizedKeysFile /run/nbv/ssh/authorized_keys\nPidFile none\nStrictModes no\nUsePAM no\nUseDNS no\n\
         PermitRootLogin yes\nPubkeyAuthentication yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nPrintMotd no\nPrintLastLog no\n\
         LogLevel ERROR\nSubsystem sftp internal-sftp\nSetEnv PATH={PATH}\n"
    )
}

/// Appends to an initrd what only this start of a machine knows.
pub(crate) fn append_start_files(initrd: &mut Vec<u8>, settings: &Settings, id: MachineId) -> io::Result<()> {
    let machine = &settings.plan.machines[id.0];
    let keys = &settings.keys[id.0];
    let mut seed = vec![0; 256];
    crate::keys::fill_random(&mut seed)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut interfaces = vec![Interface { name: "eth0".into(), addresses: vec![format!("{}/24", gateway::GUEST)] }];
    interfaces.extend(machine.interfaces.iter().map(|own| Interface { name: own.name.clone(), addresses: own.addresses.clone() }));
    let data = MachineData {
        host_name: machine.host_name.clone(),
        interfaces,
        gateways: vec![gateway::HOST.to_string()],
        name_servers: vec![gateway::NAMESERVER.to_string()],
        search: machine.domain.iter().cloned().collect(),
        time: Some((now.as_secs(), now.subsec_nanos())),
        hosts: hosts(&settings.everyone, machine),
        seed,
        ssh: ssh_files(settings, keys).into_iter().map(|(name, text)| (name.to_owned(), text.into_bytes())).collect(),
    };
    // Archives of an initrd begin at multiples of four.
    initrd.resize(initrd.len().next_multiple_of(4), 0);
    initrd.extend(data.archive().map_err(io::Error::other)?);
    Ok(())
}

/// Lines of /etc/hosts for one machine: every machine by the address on a segment that both share, else by its first.
fn hosts(everyone: &[Machine], own: &Machine) -> String {
    let mut text = String::new();
    for machine in everyone {
        let shared = |interface: &&nbv_plan::Interface| own.interfaces.iter().any(|mine| mine.segment == interface.segment);
        let Some(interface) = machine.interfaces.iter().find(shared).or_else(|| machine.interfaces.first()) else { continue };
        // The canonical name comes first: the fully qualified one.
        let mut names: Vec<String> = Vec::new();
        let fqdn = machine.domain.as_ref().map(|domain| format!("{}.{domain}", machine.host_name));
        let target = machine.target_host.clone().filter(|target| target.parse::<std::net::IpAddr>().is_err());
        for name in [fqdn, target, Some(machine.host_name.clone()), Some(machine.name.clone())].into_iter().flatten() {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        for address in &interface.addresses {
            let address = address.split('/').next().unwrap_or_default();
            text.push_str(&format!("{address} {}\n", names.join(" ")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, extra: &str) -> Machine {
        let text = format!(
            r#"{{ "name": "{name}", "hostName": "{name}", "number": 1, "system": "x86_64-linux", "toplevel": "/nix/store/x", "memoryMib": 1, "cores": 1, {extra} }}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn machines_know_each_other_by_every_name_on_a_shared_segment() {
        let interface = |name: &str, segment: u32, host: u32| {
            format!(r#"{{ "name": "{name}", "segment": {segment}, "mac": "x", "addresses": ["192.168.{segment}.{host}/24", "2001:db8:{segment}::{host}/64"] }}"#)
        };
        let a = machine("a", &format!(r#""interfaces": [{}]"#, interface("eth1", 2, 1)));
        let b = machine("b", &format!(r#""domain": "x.org", "targetHost": "b.example.net", "interfaces": [{}, {}]"#, interface("eth1", 1, 2), interface("eth2", 2, 2)));
        let c = machine("c", r#""targetHost": "192.0.2.1""#);
        let text = hosts(&[a.clone(), b, c], &a);
        assert_eq!(text, "192.168.2.1 a\n2001:db8:2::1 a\n192.168.2.2 b.x.org b.example.net b\n2001:db8:2::2 b.x.org b.example.net b\n");
    }
}
