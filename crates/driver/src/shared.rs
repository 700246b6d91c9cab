//! Folders of the host that a machine shares: a virtio-fs device per folder, served by threads of this process.
//!
//! QEMU speaks vhost-user on an inherited socket; the file system is a passthrough that never leaves its folder (names are single
//! components, symbolic links are the guest's to follow). All that a guest does is done as the user who runs this program, whoever
//! did it in the guest.
//!
//! Not here: the mount in the guest (the activation manifest), which machine shares what (the plan).

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::sync::Arc;

use fuse_backend_rs::abi::fuse_abi::{CreateIn, FsOptions, OpenOptions, SetattrValid, stat64, statvfs64};
use fuse_backend_rs::api::filesystem::{Context, DirEntry, Entry, FileSystem, GetxattrReply, ListxattrReply, ZeroCopyReader, ZeroCopyWriter};
use fuse_backend_rs::api::server::Server;
use fuse_backend_rs::passthrough::{CachePolicy, Config, PassthroughFs};
use fuse_backend_rs::transport::{Reader, VirtioFsWriter, Writer};
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon, VringMutex, VringT};
use virtio_queue::QueueOwnedT;
use vm_memory::{GuestAddressSpace, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;
use vmm_sys_util::event::{EventConsumer, EventFlag, EventNotifier, new_event_consumer_and_notifier};

/// `VIRTIO_F_VERSION_1` (virtio 1.2, 6).
const VERSION_1: u64 = 1 << 32;
/// `VIRTIO_F_INDIRECT_DESC` (virtio 1.2, 6).
const INDIRECT: u64 = 1 << 28;
/// The queue for what must not wait, and one for requests (virtio 1.2, 5.11.2).
const QUEUES: usize = 2;
const QUEUE_MAX: usize = 1024;

type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// Starts to serve a folder and gives the socket for QEMU. The threads end when QEMU closes it.
///
/// `dir` is a private folder; for a moment a socket lies in it.
///
/// # Errors
/// The folder cannot be opened; no threads left.
pub(crate) fn serve(source: &Path, dir: &Path, tag: &str) -> io::Result<OwnedFd> {
    let text = source.to_str().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its name is not UTF-8"))?;
    let config = Config {
        root_dir: text.to_owned(),
        // Without it names would not be checked.
        do_import: true,
        xattr: true,
        // The host may change files at any time.
        cache_policy: CachePolicy::Auto,
        entry_timeout: Duration::from_secs(1),
        attr_timeout: Duration::from_secs(1),
        ..Config::default()
    };
    let inner = PassthroughFs::<()>::new(config)?;
    let memory = Memory::new(GuestMemoryMmap::new());
    let backend = Arc::new(Backend { memory: memory.clone(), server: Server::new(AsOneself(inner)) });
    let other = |error: vhost_user_backend::Error| io::Error::other(error.to_string());
    let mut daemon = VhostUserDaemon::new(format!("share-{tag}"), backend, memory).map_err(other)?;
    // A path below the open folder is always short enough for a socket's address.
    let folder = std::fs::File::open(dir)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/share", folder.as_raw_fd()));
    let mut listener = vhost::vhost_user::Listener::new(&path, true).map_err(io::Error::other)?;
    let peer = UnixStream::connect(&path)?;
    daemon.start(&mut listener).map_err(other)?;
    drop(listener);
    let _ = std::fs::remove_file(&path);
    std::thread::Builder::new().name(format!("share-{tag}")).spawn(move || {
        // It ends with QEMU; how, QEMU says itself.
        let _ = daemon.wait();
    })?;
    Ok(peer.into())
}

struct Backend {
    memory: Memory,
    server: Server<AsOneself>,
}

impl Backend {
    fn answer(&self, vring: &VringMutex<Memory>) -> io::Result<()> {
        let memory = self.memory.memory();
        loop {
            let chains: Vec<_> = match vring.get_mut().get_queue_mut().iter(self.memory.memory()) {
                Ok(chains) => chains.collect(),
                Err(error) => return Err(io::Error::other(error)),
            };
            if chains.is_empty() {
                return Ok(());
            }
            for chain in chains {
                let head = chain.head_index();
                let reader = Reader::from_descriptor_chain(&*memory, chain.clone());
                let writer = VirtioFsWriter::new(&*memory, chain);
                let len = match (reader, writer) {
                    (Ok(reader), Ok(writer)) => self.server.handle_message(reader, Writer::VirtioFs(writer), None, None).unwrap_or(0),
                    _ => 0,
                };
                vring.add_used(head, u32::try_from(len).unwrap_or(0)).map_err(io::Error::other)?;
            }
            vring.signal_used_queue()?;
        }
    }
}

impl VhostUserBackend for Backend {
    type Bitmap = ();
    type Vring = VringMutex<Memory>;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_MAX
    }

    fn features(&self) -> u64 {
        VERSION_1 | INDIRECT | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&self, _enabled: bool) {}

    fn update_memory(&self, _memory: Memory) -> io::Result<()> {
        // It is the one that we hold.
        Ok(())
    }

    fn exit_event(&self, _thread: usize) -> Option<(EventConsumer, EventNotifier)> {
        new_event_consumer_and_notifier(EventFlag::CLOEXEC | EventFlag::NONBLOCK).ok()
    }

    fn handle_event(&self, queue: u16, events: EventSet, vrings: &[Self::Vring], _thread: usize) -> io::Result<()> {
        match vrings.get(usize::from(queue)) {
            Some(vring) if events == EventSet::IN => self.answer(vring),
            _ => Ok(()),
        }
    }
}

/// The passthrough, with all requests made by the user who runs this program: an ordinary user cannot become another.
struct AsOneself(PassthroughFs<()>);

/// Methods that are the passthrough's own.
macro_rules! same {
    ($(fn $name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        $(#[allow(clippy::too_many_arguments)] fn $name(&self, $($arg: $type),*) $(-> $result)? { self.0.$name($($arg),*) })*
    };
}

impl FileSystem for AsOneself {
    type Inode = u64;
    type Handle = u64;

    fn id_remap(&self, context: &mut Context) -> io::Result<()> {
        // For the passthrough 0 means: no change.
        (context.uid, context.gid) = (0, 0);
        Ok(())
    }

    fn init(&self, capable: FsOptions) -> io::Result<FsOptions> {
        // The passthrough clears the process's umask, which is ours to keep.
        let umask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let result = self.0.init(capable);
        rustix::process::umask(umask);
        result
    }

    fn lookup(&self, ctx: &Context, parent: u64, name: &CStr) -> io::Result<Entry> {
        // A guest's kernel resolves these itself; one that asks wants out of the folder.
        if matches!(name.to_bytes(), b"" | b"." | b"..") {
            return Err(rustix::io::Errno::INVAL.into());
        }
        self.0.lookup(ctx, parent, name)
    }

    same! {
        fn destroy();
        fn forget(ctx: &Context, inode: u64, count: u64);
        fn batch_forget(ctx: &Context, requests: Vec<(u64, u64)>);
        fn getattr(ctx: &Context, inode: u64, handle: Option<u64>) -> io::Result<(stat64, Duration)>;
        fn setattr(ctx: &Context, inode: u64, attr: stat64, handle: Option<u64>, valid: SetattrValid) -> io::Result<(stat64, Duration)>;
        fn readlink(ctx: &Context, inode: u64) -> io::Result<Vec<u8>>;
        fn symlink(ctx: &Context, to: &CStr, parent: u64, name: &CStr) -> io::Result<Entry>;
        fn mknod(ctx: &Context, inode: u64, name: &CStr, mode: u32, rdev: u32, umask: u32) -> io::Result<Entry>;
        fn mkdir(ctx: &Context, parent: u64, name: &CStr, mode: u32, umask: u32) -> io::Result<Entry>;
        fn unlink(ctx: &Context, parent: u64, name: &CStr) -> io::Result<()>;
        fn rmdir(ctx: &Context, parent: u64, name: &CStr) -> io::Result<()>;
        fn rename(ctx: &Context, from: u64, old: &CStr, to: u64, new: &CStr, flags: u32) -> io::Result<()>;
        fn link(ctx: &Context, inode: u64, parent: u64, name: &CStr) -> io::Result<Entry>;
        fn open(ctx: &Context, inode: u64, flags: u32, fuse_flags: u32) -> io::Result<(Option<u64>, OpenOptions, Option<u32>)>;
        fn create(ctx: &Context, parent: u64, name: &CStr, args: CreateIn) -> io::Result<(Entry, Option<u64>, OpenOptions, Option<u32>)>;
        fn read(ctx: &Context, inode: u64, handle: u64, w: &mut dyn ZeroCopyWriter, size: u32, offset: u64, owner: Option<u64>, flags: u32) -> io::Result<usize>;
        fn write(ctx: &Context, inode: u64, handle: u64, r: &mut dyn ZeroCopyReader, size: u32, offset: u64, owner: Option<u64>, delayed: bool, flags: u32, fuse_flags: u32) -> io::Result<usize>;
        fn flush(ctx: &Context, inode: u64, handle: u64, owner: u64) -> io::Result<()>;
        fn fsync(ctx: &Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()>;
        fn fallocate(ctx: &Context, inode: u64, handle: u64, mode: u32, offset: u64, length: u64) -> io::Result<()>;
        fn release(ctx: &Context, inode: u64, flags: u32, handle: u64, flush: bool, flock: bool, owner: Option<u64>) -> io::Result<()>;
        fn statfs(ctx: &Context, inode: u64) -> io::Result<statvfs64>;
        fn setxattr(ctx: &Context, inode: u64, name: &CStr, value: &[u8], flags: u32) -> io::Result<()>;
        fn getxattr(ctx: &Context, inode: u64, name: &CStr, size: u32) -> io::Result<GetxattrReply>;
        fn listxattr(ctx: &Context, inode: u64, size: u32) -> io::Result<ListxattrReply>;
        fn removexattr(ctx: &Context, inode: u64, name: &CStr) -> io::Result<()>;
        fn opendir(ctx: &Context, inode: u64, flags: u32) -> io::Result<(Option<u64>, OpenOptions)>;
        fn readdir(ctx: &Context, inode: u64, handle: u64, size: u32, offset: u64, add: &mut dyn FnMut(DirEntry) -> io::Result<usize>) -> io::Result<()>;
        fn readdirplus(ctx: &Context, inode: u64, handle: u64, size: u32, offset: u64, add: &mut dyn FnMut(DirEntry, Entry) -> io::Result<usize>) -> io::Result<()>;
        fn fsyncdir(ctx: &Context, inode: u64, datasync: bool, handle: u64) -> io::Result<()>;
        fn releasedir(ctx: &Context, inode: u64, flags: u32, handle: u64) -> io::Result<()>;
        fn access(ctx: &Context, inode: u64, mask: u32) -> io::Result<()>;
        fn lseek(ctx: &Context, inode: u64, handle: u64, offset: u64, whence: u32) -> io::Result<u64>;
    }
}
