//! The runner's socket: what `ssh`, `shell`, `status` and `stop` of other processes talk to.
//!
//! Whoever may enter the state folder may talk: the folder is its owner's alone.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::event::{MachineId, Phase};
use crate::guest::Exec;
use crate::link;
use crate::network::Network;
use crate::protocol::{Reply, Request};
use crate::machine::chain;
use crate::screen::{self, Picture, Viewing};
use crate::session;
use crate::snapshot::{self, Replace};
use crate::socket::{self, LineStream};
use crate::status::Status;

/// How long a machine that boots is waited for, before patience.
const GUEST_PATIENCE: Duration = Duration::from_secs(60);

/// Serves a network at a path until the program ends. `on_stop_all` is called when someone asks to stop the network.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn serve(network: &Network, path: &Path, on_stop_all: impl Fn() + Send + Sync + 'static) -> std::io::Result<()> {
    let listener = socket::listen(path)?;
    let (network, on_stop_all) = (network.clone(), Arc::new(on_stop_all));
    std::thread::Builder::new().name("server".into()).spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let (network, on_stop_all) = (network.clone(), Arc::clone(&on_stop_all));
            // Without a thread the caller sees its connection closed.
            let _ = std::thread::Builder::new().name("client".into()).spawn(move || {
                let reply = answer(&network, &stream, &*on_stop_all);
                let line = serde_json::to_string(&reply).unwrap_or_default();
                // The caller may be gone.
                let _ = socket::send_line(&stream, &line, &[]);
            });
        }
    })?;
    Ok(())
}

fn answer(network: &Network, stream: &UnixStream, on_stop_all: &(dyn Fn() + Send + Sync)) -> Reply {
    let mut lines = LineStream::new(stream);
    let request = match lines.next_line() {
        Ok(Some(line)) => serde_json::from_str::<Request>(&line).map_err(|error| format!("the runner does not understand the request: {error}")),
        Ok(None) => Err("no request".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    let reply = request.and_then(|request| match request {
        Request::Status => Ok(Reply::Status(Box::new(Status::of(network)))),
        Request::Stop { machine: None } => {
            on_stop_all();
            for (id, _) in network.machines() {
                network.wait(id, None, |view| !view.phase.is_running());
            }
            Ok(Reply::Done)
        }
        Request::Stop { machine: Some(word) } => {
            let id = find(network, &word)?;
            network.stop(id);
            network.wait(id, None, |view| !view.phase.is_running());
            match network.view(id).phase {
                Phase::Failed => Err(network.view(id).failure.unwrap_or_default()),
                _ => Ok(Reply::Done),
            }
        }
        Request::SetLink { machine, change } => {
            link::change(network, find(network, &machine)?, &change)?;
            Ok(Reply::Done)
        }
        Request::Partition { groups } => {
            link::partition(network, &groups)?;
            Ok(Reply::Done)
        }
        Request::Capture { machine, segment } => {
            let tap = link::tap(network, machine.as_deref(), segment)?;
            let out = lines.take_fds().pop().ok_or("the request brings no descriptor")?;
            let id = network.switch().capture(tap, u64::MAX, std::fs::File::from(out)).map_err(|error| error.to_string())?;
            // The caller says nothing more; its end is the capture's.
            while let Ok(Some(_)) = lines.next_line() {}
            network.switch().end_capture(id);
            Ok(Reply::Done)
        }
        Request::SaveSnapshot { name, replace } => {
            let replace = if replace { Replace::Yes } else { Replace::No };
            snapshot::save(network, &name, replace).map(|()| Reply::Done).map_err(|error| chain(&error))
        }
        Request::RestoreSnapshot { name } => snapshot::restore(network, &name).map(|()| Reply::Done).map_err(|error| chain(&error)),
        Request::ListSnapshots => snapshot::list(network.settings()).map(Reply::Snapshots).map_err(|error| chain(&error)),
        Request::DeleteSnapshot { name } => snapshot::delete(network.settings(), &name).map(|()| Reply::Done).map_err(|error| chain(&error)),
        Request::Screenshot { machine } => {
            let id = find(network, &machine)?;
            let out = lines.take_fds().pop().ok_or("the request brings no descriptor")?;
            let take = || Picture::take(&*screen::of(network, id)?, &network.settings().machine_dir(id))?.png();
            let png = take().map_err(|error| chain(&error))?;
            std::fs::File::from(out).write_all(&png).map_err(|error| format!("the picture cannot be written: {error}"))?;
            Ok(Reply::Done)
        }
        Request::Vnc { machine, port } => {
            let id = find(network, &machine)?;
            let place = port.map_or_else(|| Viewing::Socket(network.settings().machine_dir(id).join("vnc")), Viewing::Port);
            let view = || screen::view(&*screen::of(network, id)?, place);
            view().map(Reply::Viewing).map_err(|error| chain(&error))
        }
        Request::Link { machine, up } => {
            link::set_up(network, find(network, &machine)?, up);
            Ok(Reply::Done)
        }
        Request::Exec { machine, argv, env, terminal } => {
            let id = find(network, &machine)?;
            run(network, id, Exec::new(argv, env, terminal), &mut lines)
        }
        Request::Ssh { machine } => {
            let id = find(network, &machine)?;
            run(network, id, Exec::sshd(), &mut lines)
        }
    });
    reply.unwrap_or_else(Reply::Error)
}

fn run(network: &Network, id: MachineId, exec: Exec, lines: &mut LineStream<'_>) -> Result<Reply, String> {
    let fds: [OwnedFd; 3] = lines.take_fds().try_into().map_err(|_| "the request brings no descriptors".to_owned())?;
    let patience = GUEST_PATIENCE * network.settings().accelerator(id).patience();
    let guest = network.guest(id, patience)?;
    let started = network.use_programs();
    session::serve(&guest, exec, fds, lines, || drop(started)).map(Reply::Exit).map_err(|error| format!("machine {}: {error}", network.machine(id).name))
}

fn find(network: &Network, word: &str) -> Result<MachineId, String> {
    network.find(word).ok_or_else(|| link::no_machine(network, word))
}
