//! A layer from packages made here, in the shape of Debian's: what is merged, moved, linked and left out.

use nbv_debian::{Archive, Config, DebianError, Pin, Selection, Silent, System, SystemLock, build_layer, unpack_layer};
use nbv_image::ErofsImage;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

enum Item<'a> {
    File(&'a str, u32, &'a str, Vec<u8>),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
}
use Item::{File, Hard, Link};

fn xz(data: &[u8]) -> Vec<u8> {
    let mut e = liblzma::write::XzEncoder::new(Vec::new(), 1);
    e.write_all(data).unwrap();
    e.finish().unwrap()
}

fn tar(items: &[Item<'_>]) -> Vec<u8> {
    let mut b = tar::Builder::new(Vec::new());
    for item in items {
        let mut h = tar::Header::new_gnu();
        h.set_uid(0);
        h.set_gid(0);
        h.set_username("root").unwrap();
        h.set_groupname("root").unwrap();
        match item {
            File(path, mode, owner, data) => {
                let (user, group) = owner.split_once(':').unwrap();
                h.set_username(user).unwrap();
                h.set_groupname(group).unwrap();
                h.set_mode(*mode);
                h.set_size(data.len() as u64);
                b.append_data(&mut h, format!("./{path}"), &data[..]).unwrap();
            }
            Link(path, target) => {
                h.set_entry_type(tar::EntryType::Symlink);
                h.set_mode(0o777);
                h.set_size(0);
                b.append_link(&mut h, format!("./{path}"), target).unwrap();
            }
            Hard(path, target) => {
                h.set_entry_type(tar::EntryType::Link);
                h.set_mode(0o755);
                h.set_size(0);
                b.append_link(&mut h, format!("./{path}"), format!("./{target}")).unwrap();
            }
        }
    }
    b.into_inner().unwrap()
}

/// Puts a package into the cache and gives its pin.
fn package(cache: &Path, items: &[Item<'_>], postinst: &str) -> Pin {
    let control = xz(&tar(&[File("postinst", 0o755, "root:root", postinst.as_bytes().to_vec())]));
    let data = xz(&tar(items));
    let mut deb = b"!<arch>\n".to_vec();
    for (name, body) in [("debian-binary", &b"2.0\n"[..]), ("control.tar.xz", &control), ("data.tar.xz", &data)] {
        deb.extend_from_slice(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100_644, body.len()).as_bytes());
        deb.extend_from_slice(body);
        if body.len() % 2 == 1 {
            deb.push(b'\n');
        }
    }
    let sha256: String = Sha256::digest(&deb).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::create_dir_all(cache.join("debs")).unwrap();
    std::fs::write(cache.join("debs").join(&sha256), &deb).unwrap();
    Pin { version: "1".into(), size: deb.len() as u64, sha256, path: "pool/x.deb".into(), apart: false }
}

fn text(s: &str) -> Vec<u8> {
    s.as_bytes().to_vec()
}

/// A bzImage with an empty payload.
fn kernel(cache: &Path) -> Pin {
    let mut vmlinuz = vec![0u8; 8192];
    vmlinuz[0x1f1] = 1;
    vmlinuz[0x202..0x206].copy_from_slice(b"HdrS");
    vmlinuz[0x24c..0x250].copy_from_slice(&64u32.to_le_bytes());
    package(
        cache,
        &[
            File("boot/vmlinuz-6.1", 0o644, "root:root", vmlinuz),
            File("lib/modules/6.1/kernel/lib/x.ko", 0o644, "root:root", text("no module")),
            File("lib/modules/6.1/modules.builtin", 0o644, "root:root", text("kernel/fs/ext4/ext4.ko\n")),
        ],
        "",
    )
}

fn layer(cache: &Path, out: &Path, packages: BTreeMap<String, Pin>) -> nbv_debian::Result<nbv_debian::LayerInfo> {
    let mut config = Config::new(cache);
    config.mirror = Some("http://127.0.0.1:1".into());
    let lock = SystemLock { packages, ..SystemLock::default() };
    let selection = Selection { system: System::by_name("i686-linux").unwrap(), lock, conflicts: Vec::new() };
    std::fs::create_dir(out).unwrap();
    build_layer(&Archive::new(config, Arc::new(Silent)), &selection, out)
}

#[test]
fn shape_of_a_layer() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path();
    let root = "root:root";
    let big = vec![9u8; 10_000];
    let mut packages = BTreeMap::from([("linux-image-6.1".to_string(), kernel(cache))]);
    packages.insert(
        "a".into(),
        package(
            cache,
            &[
                File("sbin/ip", 0o755, root, big.clone()),
                File("usr/bin/mawk", 0o4755, "nobody:root", text("m")),
                File("usr/bin/chage", 0o2755, "root:shadow", text("c")),
                File("usr/bin/agent", 0o2755, "root:_ssh", text("s")),
                File("usr/bin/su", 0o4755, root, text("s")),
                File("lib/i386-linux-gnu/libx.so.1", 0o644, root, text("x")),
                File("usr/lib/i386-linux-gnu/opt/libo.so.3", 0o644, root, text("o")),
                File("etc/ld.so.conf.d/o.conf", 0o644, root, text("/usr/lib/i386-linux-gnu/opt\n")),
                File("etc/a/conf", 0o644, root, text("conf")),
                File("usr/share/man/man1/a.1.gz", 0o644, root, text("man")),
                File("lib/systemd/system/a.service", 0o644, root, text("[Unit]")),
                Link("lib/systemd/system/w.wants/a.service", "../a.service"),
                File("usr/lib/dbus-1.0/dbus-daemon-launch-helper", 0o755, root, text("h")),
                Hard("usr/bin/su2", "usr/bin/su"),
            ],
            "update-alternatives --install /usr/bin/awk awk /usr/bin/mawk 5\n",
        ),
    );
    // the same in bin as a link to the other's place, and a package that conflicts
    packages.insert("b".into(), package(cache, &[Link("bin/ip", "/sbin/ip"), File("usr/bin/b", 0o755, root, text("b"))], ""));
    let mut apart = package(cache, &[File("usr/bin/b", 0o755, root, text("other b"))], "");
    apart.apart = true;
    packages.insert("c".into(), apart);

    let out = dir.path().join("out");
    let info = layer(cache, &out, packages.clone()).unwrap();
    assert_eq!((info.kernel.version.as_str(), info.kernel.format.as_str()), ("6.1", "bzImage"));
    let image = ErofsImage::open(&out.join("layer.erofs")).unwrap();
    let stat = |p: &str| image.lookup(p.as_bytes()).unwrap().unwrap_or_else(|| panic!("{p} is not there"));
    let read = |p: &str| String::from_utf8(image.read(&stat(p)).unwrap()).unwrap();
    assert_eq!(image.read(&stat("bin/ip")).unwrap(), big);
    assert_eq!((read("sbin").as_str(), read("bin/awk").as_str()), ("bin", "mawk"));
    assert_eq!(stat("bin/mawk").mode & 0o7777, 0o755, "an unknown user's setuid is dropped");
    assert_eq!((stat("bin/chage").mode & 0o7777, stat("bin/chage").gid), (0o2755, 318));
    assert_eq!(stat("bin/agent").mode & 0o7777, 0o755);
    assert_eq!(stat("bin/su").mode & 0o7777, 0o4755);
    assert_eq!(stat("bin/su").nid, stat("bin/su2").nid);
    let helper = stat("lib/dbus-1.0/dbus-daemon-launch-helper");
    assert_eq!((helper.mode & 0o7777, helper.gid), (0o4754, 4));
    assert_eq!(read("lib/i386-linux-gnu/libo.so.3"), "opt/libo.so.3");
    assert_eq!(read("share/nbv/etc/a/conf"), "conf");
    assert_eq!(read("share/nbv/systemd/system/w.wants/a.service"), "../a.service");
    assert!(image.list(&stat("lib/systemd/system")).unwrap().is_empty());
    assert!(image.lookup(b"share/man").unwrap().is_none());
    assert_eq!((read("bin/b").as_str(), read("share/nbv/apart/c/bin/b").as_str()), ("b", "other b"));
    assert!(read("lib/modules/6.1/modules.dep").is_empty());
    let files = &info.manifest.packages["a"].files;
    assert!(files.contains(&"bin/ip".to_string()) && !files.iter().any(|f| f.contains("man1")));
    assert_eq!(info.manifest.alternatives["bin/awk"], "bin/mawk");

    // again: the same bytes; and as a folder
    layer(cache, &dir.path().join("again"), packages).unwrap();
    assert!(std::fs::read(out.join("layer.erofs")).unwrap() == std::fs::read(dir.path().join("again/layer.erofs")).unwrap());
    unpack_layer(&out.join("layer.erofs"), &dir.path().join("usr")).unwrap();
    assert_eq!(std::fs::read(dir.path().join("usr/bin/ip")).unwrap(), big);
}

#[test]
fn damaged_packages_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let cache = dir.path();
    // no kernel
    let one = package(cache, &[File("usr/bin/b", 0o755, "root:root", text("b"))], "");
    let e = layer(cache, &dir.path().join("o1"), BTreeMap::from([("b".into(), one)])).unwrap_err();
    assert!(matches!(e, DebianError::NoKernel { .. }), "{e}");
    // not a .deb, though its hash is right
    let sha256: String = Sha256::digest(b"junk").iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(cache.join("debs").join(&sha256), b"junk").unwrap();
    let junk = Pin { version: "1".into(), size: 4, sha256, path: "pool/junk.deb".into(), apart: false };
    let e = layer(cache, &dir.path().join("o2"), BTreeMap::from([("junk".into(), junk)])).unwrap_err().to_string();
    assert!(e.contains("the package junk") && e.contains("ar archive"), "{e}");
    // damaged in the cache and no mirror
    let pin = kernel(cache);
    std::fs::write(cache.join("debs").join(&pin.sha256), vec![0u8; pin.size as usize]).unwrap();
    let e = layer(cache, &dir.path().join("o3"), BTreeMap::from([("linux-image".into(), pin)])).unwrap_err();
    assert!(matches!(e, DebianError::Fetch { .. }), "{e}");
}
