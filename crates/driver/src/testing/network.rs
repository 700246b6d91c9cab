//! A network and its machines in a test's hands: what test scripts, steps and Rust tests do with them.
//!
//! ```no_run
//! use nbv_driver::testing::TestNetwork;
//! use nbv_driver::{Host, RunOptions};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = RunOptions { result: "result".into(), ..RunOptions::default() };
//! let network = TestNetwork::open(&options, &Host::from_environment()?)?;
//! network.start_all()?;
//! let web = network.machine("web")?;
//! web.wait_for_unit("httpd")?;
//! web.within(Duration::from_secs(30)).wait_for_open_port(80)?;
//! assert_eq!(network.machine("client")?.http_get("http://web/")?.status, 200);
//! network.partition(&[&["web"], &["client"]])?;
//! network.machine("client")?.fail("ping -c 1 -W 2 web")?;
//! # Ok(())
//! # }
//! ```
//!
//! A machine that is off is started by whatever needs it. All that waits has a limit, 15 minutes unless [`Machine::within`] says
//! otherwise. When the [`TestNetwork`] is dropped, its machines end.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::error::TestError;
use super::machine::Machine;
use crate::event::MachineId;
use crate::host::Host;
use crate::network::Network;
use crate::options::RunOptions;
use crate::run::{Prepared, prepare};

/// What all handles on a network's machines share.
pub(crate) struct Shared {
    pub(crate) network: Network,
    pub(crate) out_dir: PathBuf,
    is_ended: AtomicBool,
    /// Variables of commands, and the start of the machine that they are of.
    pub(super) logins: Mutex<HashMap<MachineId, (u64, Arc<Vec<(String, String)>>)>>,
}

impl Shared {
    pub(crate) fn new(network: Network, out_dir: PathBuf) -> Arc<Self> {
        Arc::new(Self { network, out_dir, is_ended: AtomicBool::new(false), logins: Mutex::default() })
    }

    /// Whoever waits in a method of a machine gives up.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::SeqCst)
    }

    pub(crate) fn machine(self: &Arc<Self>, name: &str) -> Result<Machine, TestError> {
        let known = || self.network.machines().map(|(_, machine)| machine.name.as_str()).collect::<Vec<_>>().join(", ");
        let id = self.network.find(name).ok_or_else(|| TestError::NoMachine { name: name.to_owned(), known: known() })?;
        Ok(Machine::new(Arc::clone(self), id))
    }

    pub(crate) fn machines(self: &Arc<Self>) -> Vec<Machine> {
        self.network.machines().map(|(id, _)| Machine::new(Arc::clone(self), id)).collect()
    }

    /// Parts groups of machines, by their names, from each other; none: all are together again.
    pub(crate) fn partition<G: AsRef<[S]>, S: AsRef<str>>(self: &Arc<Self>, groups: &[G]) -> Result<(), TestError> {
        let named = |word: &S| self.machine(word.as_ref()).map(|machine| machine.name().to_owned());
        let groups: Vec<Vec<String>> = groups.iter().map(|group| group.as_ref().iter().map(named).collect()).collect::<Result<_, _>>()?;
        self.network.switch().partition(&groups);
        Ok(())
    }

    /// Lets time pass, unless the test ends.
    pub(crate) fn sleep(&self, time: Duration) -> Result<(), TestError> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            if self.is_ended() {
                return Err(TestError::Ended);
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
        Ok(())
    }
}

/// A network for a Rust test: it is made from a result, and ends with this object.
pub struct TestNetwork {
    shared: Arc<Shared>,
    prepared: Option<Prepared>,
}

impl TestNetwork {
    /// Makes the network of a result; its machines are off. Copies from machines go to the current folder.
    ///
    /// # Errors
    /// No result, no QEMU, no state folder.
    pub fn open(options: &RunOptions, host: &Host) -> Result<Self, TestError> {
        let prepared = prepare(options, host)?;
        let shared = Shared::new(prepared.network.clone(), host.current_dir.clone());
        Ok(Self { shared, prepared: Some(prepared) })
    }

    /// The machine of a name (or host name, or target host).
    ///
    /// # Errors
    /// There is none.
    pub fn machine(&self, name: &str) -> Result<Machine, TestError> {
        self.shared.machine(name)
    }

    /// All machines, by name.
    #[must_use]
    pub fn machines(&self) -> Vec<Machine> {
        self.shared.machines()
    }

    /// Starts all machines; returns at once.
    ///
    /// # Errors
    /// One could not be started.
    pub fn start_all(&self) -> Result<(), TestError> {
        self.machines().iter().try_for_each(Machine::start)
    }

    /// Waits until all machines are off.
    ///
    /// # Errors
    /// One failed, or is not off in time.
    pub fn join_all(&self) -> Result<(), TestError> {
        self.machines().iter().try_for_each(Machine::wait_for_shutdown)
    }

    /// Parts groups of machines from each other: no frame passes between two groups. Machines in no group reach everyone.
    ///
    /// # Errors
    /// A name is no machine.
    pub fn partition<G: AsRef<[S]>, S: AsRef<str>>(&self, groups: &[G]) -> Result<(), TestError> {
        self.shared.partition(groups)
    }

    /// Ends a partition.
    pub fn heal(&self) {
        self.shared.network.switch().partition(&[]);
    }

    /// The network itself.
    #[must_use]
    pub fn network(&self) -> &Network {
        &self.shared.network
    }
}

impl Drop for TestNetwork {
    fn drop(&mut self) {
        self.shared.end();
        if let Some(prepared) = self.prepared.take() {
            prepared.end();
        }
    }
}
