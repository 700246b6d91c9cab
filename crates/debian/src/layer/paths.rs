//! Where a path of a package goes in the layer (whose root is the guest's /usr).

/// Where packages' /etc is kept, relative to /usr.
pub const ETC: &str = "share/nbv/etc";
/// Where Debian's own units, tmpfiles rules and so on are kept out of effect.
pub const ASIDE: &str = "share/nbv/systemd";
/// Where packages are unpacked that conflict with others.
pub const APART: &str = "share/nbv/apart";

/// Folders of configuration that systemd and others read from /usr/lib: moved to [`ASIDE`]. Their folders stay,
/// empty, where NixOS' programs look.
pub(crate) const MOVED: [(&str, &str); 16] = [
    ("lib/systemd/system", "system"),
    ("lib/systemd/user", "user"),
    ("lib/systemd/system-preset", "system-preset"),
    ("lib/systemd/user-preset", "user-preset"),
    ("lib/systemd/user-generators", "user-generators"),
    ("lib/systemd/system-environment-generators", "system-environment-generators"),
    ("lib/systemd/user-environment-generators", "user-environment-generators"),
    ("lib/systemd/system-shutdown", "system-shutdown"),
    ("lib/systemd/system-sleep", "system-sleep"),
    ("lib/sysusers.d", "sysusers.d"),
    ("lib/tmpfiles.d", "tmpfiles.d"),
    ("share/user-tmpfiles.d", "user-tmpfiles.d"),
    ("lib/sysctl.d", "sysctl.d"),
    ("lib/modules-load.d", "modules-load.d"),
    ("lib/environment.d", "environment.d"),
    ("lib/binfmt.d", "binfmt.d"),
];

/// systemd's own generators that a NixOS system has too; all others are moved.
const GENERATORS_KEPT: [&str; 8] = [
    "systemd-debug-generator",
    "systemd-fstab-generator",
    "systemd-getty-generator",
    "systemd-gpt-auto-generator",
    "systemd-hibernate-resume-generator",
    "systemd-run-generator",
    "systemd-system-update-generator",
    "systemd-tpm2-generator",
];

/// What nobody reads in a guest: documentation, translations, data of Debian's own tools.
const DROPPED: [&str; 14] = [
    "share/doc", "share/doc-base", "share/info", "share/man", "share/lintian", "share/linda", "share/bug", "share/reportbug", "share/menu",
    "share/apport", "share/initramfs-tools", "share/pixmaps/debian", "share/debconf", "local",
];

/// Drivers that a virtual machine has no device for; only the full kernels have them.
const DRIVERS_DROPPED: [&str; 36] = [
    "drivers/media", "drivers/staging", "drivers/infiniband", "drivers/isdn", "drivers/nfc", "drivers/gnss", "drivers/comedi", "drivers/iio",
    "drivers/net/wireless", "drivers/net/wwan", "drivers/net/can", "drivers/net/arcnet", "drivers/net/hamradio", "drivers/net/fddi", "drivers/bluetooth",
    "drivers/gpu/drm/amd", "drivers/gpu/drm/i915", "drivers/gpu/drm/nouveau", "drivers/gpu/drm/radeon", "drivers/gpu/drm/gma500",
    "drivers/hwmon", "drivers/leds", "drivers/mmc", "drivers/memstick", "drivers/mfd", "drivers/misc", "drivers/mtd", "drivers/parport",
    "drivers/pcmcia", "drivers/regulator", "drivers/thunderbolt", "drivers/usb/serial", "drivers/platform", "drivers/video/fbdev", "sound/isa", "sound/soc",
];
/// Of network cards, those that QEMU emulates or that hosts pass through often.
const ETHERNET_KEPT: [&str; 6] = ["intel/e1000", "intel/e1000e", "intel/igb", "realtek", "amd", "dec"];

/// A place in the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Relative to /usr.
    Usr(String),
    /// The kernel's image.
    Kernel,
    /// Not in the layer.
    Nowhere,
}

/// `path` relative to the package's root, without leading slash. `apart`: name of the package when it has a folder of its own.
pub(crate) fn place(path: &str, package: &str, apart: Option<&str>) -> Place {
    let inner = match place_in(path, package) {
        Place::Usr(p) => p,
        other => return other,
    };
    match apart {
        None => Place::Usr(inner),
        Some(_) if inner.is_empty() => Place::Usr(inner),
        Some(name) => Place::Usr(format!("{APART}/{name}/{inner}")),
    }
}

fn place_in(path: &str, package: &str) -> Place {
    let (top, rest) = path.split_once('/').unwrap_or((path, ""));
    match top {
        "usr" if rest.is_empty() => Place::Usr(String::new()),
        "usr" => usr(rest, package),
        "bin" | "sbin" | "lib" | "lib32" | "lib64" | "libx32" | "libo32" => usr(path, package),
        "etc" if rest.is_empty() => Place::Usr(ETC.into()),
        "etc" if rest.starts_with("init.d/") || rest == "init.d" || rest.starts_with("rc") && rest.contains(".d/") => Place::Nowhere,
        "etc" => Place::Usr(format!("{ETC}/{rest}")),
        "var" if !rest.is_empty() && !matches!(rest.split('/').next(), Some("run" | "lock" | "cache" | "tmp")) => {
            Place::Usr(format!("share/nbv/var/{rest}"))
        }
        "opt" if !rest.is_empty() => Place::Usr(format!("share/nbv/opt/{rest}")),
        "boot" if rest.starts_with("vmlinuz-") || rest.starts_with("vmlinux-") => Place::Kernel,
        _ => Place::Nowhere,
    }
}

/// Whether `path` is `dir` or below it.
pub(crate) fn within(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir).is_some_and(|r| r.is_empty() || r.starts_with('/'))
}

fn usr(path: &str, package: &str) -> Place {
    if DROPPED.iter().any(|d| within(path, d)) {
        return Place::Nowhere;
    }
    if let Some(rest) = path.strip_prefix("share/locale/") {
        let language = rest.split('/').next().unwrap_or("");
        // the list of names stays; translations other than English go
        if rest.contains('/') && !language.starts_with("en") {
            return Place::Nowhere;
        }
        if !rest.contains('/') && !language.starts_with("en") && !language.contains('.') {
            return Place::Nowhere;
        }
    }
    if within(path, "lib/modules") && dropped_driver(path) {
        return Place::Nowhere;
    }
    for games in ["sbin", "games"] {
        if within(path, games) {
            return Place::Usr(format!("bin{}", &path[games.len()..]));
        }
    }
    for (from, to) in MOVED {
        if within(path, from) {
            return Place::Usr(format!("{ASIDE}/{to}{}", &path[from.len()..]));
        }
    }
    if let Some(name) = path.strip_prefix("lib/systemd/system-generators/")
        && !(package.starts_with("systemd") && GENERATORS_KEPT.contains(&name))
    {
        return Place::Usr(format!("{ASIDE}/system-generators/{name}"));
    }
    // lib/systemd/journald.conf.d and the like
    if let Some(rest) = path.strip_prefix("lib/systemd/")
        && rest.split('/').next().is_some_and(|d| d.ends_with(".conf.d"))
    {
        return Place::Usr(format!("{ASIDE}/{rest}"));
    }
    // udev rules come through services.udev.packages, those of systemd itself apart
    if within(path, "lib/udev/rules.d") && !matches!(package, "udev" | "systemd") && path.len() > "lib/udev/rules.d".len() {
        return Place::Usr(format!("share/nbv/udev/{}", &path["lib/udev/".len()..]));
    }
    Place::Usr(path.into())
}

fn dropped_driver(path: &str) -> bool {
    let Some((_, in_kernel)) = path.split_once("/kernel/") else { return false };
    if DRIVERS_DROPPED.iter().any(|d| within(in_kernel, d)) {
        return true;
    }
    match in_kernel.strip_prefix("drivers/net/ethernet/") {
        Some(e) => !ETHERNET_KEPT.iter().any(|k| within(e, k) || k.starts_with(&format!("{e}/"))),
        None => false,
    }
}

/// Resolves `.` and `..` and empty components; the result has no leading slash.
pub(crate) fn normalise(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    for c in path.split('/') {
        match c {
            "" | "." => {}
            ".." => {
                out.pop();
            }
            c => out.push(c),
        }
    }
    out.join("/")
}

pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |p| p.0)
}

/// The link text that leads from the folder `from` to `to`, both relative to the same root.
pub(crate) fn relative(from: &str, to: &str) -> String {
    let a: Vec<&str> = from.split('/').filter(|c| !c.is_empty()).collect();
    let b: Vec<&str> = to.split('/').filter(|c| !c.is_empty()).collect();
    let same = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let mut out: Vec<&str> = vec![".."; a.len() - same];
    out.extend(&b[same..]);
    if out.is_empty() { ".".into() } else { out.join("/") }
}

/// The target of a symbolic link whose path goes from `path` (in the package) to `to` (in the layer).
/// None: it would lead to itself, since both are merged.
pub(crate) fn link_target(path: &str, to: &str, target: &str, package: &str, apart: Option<&str>) -> Option<String> {
    let absolute = target.starts_with('/');
    let full = if absolute { normalise(target) } else { normalise(&format!("{}/{target}", parent(path))) };
    let top = full.split('/').next().unwrap_or("");
    let from_etc = path.starts_with("etc/");
    // /etc of the guest comes from its configuration; only links inside of a package's own /etc stay there
    if absolute && matches!(top, "etc" | "var" | "run" | "dev" | "proc" | "sys" | "tmp") {
        return Some(target.into());
    }
    if !absolute && top == "etc" && !from_etc {
        return Some(format!("/{full}"));
    }
    let Place::Usr(dest) = place(&full, package, apart) else { return Some(format!("/{full}")) };
    if dest == to {
        return None;
    }
    if !absolute && normalise(&format!("{}/{target}", parent(to))) == dest {
        return Some(target.into());
    }
    if absolute && full.strip_prefix("usr/") == Some(dest.as_str()) {
        return Some(target.into());
    }
    Some(relative(parent(to), &dest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(path: &str) -> String {
        match place(path, "p", None) {
            Place::Usr(p) => p,
            Place::Kernel => "KERNEL".into(),
            Place::Nowhere => "-".into(),
        }
    }

    #[test]
    fn places() {
        for (from, to) in [
            ("usr/sbin/sshd", "bin/sshd"),
            ("sbin/ip", "bin/ip"),
            ("usr/sbin", "bin"),
            ("lib/i386-linux-gnu/libc.so.6", "lib/i386-linux-gnu/libc.so.6"),
            ("etc/ssh/moduli", "share/nbv/etc/ssh/moduli"),
            ("etc/init.d/ssh", "-"),
            ("usr/lib/systemd/system/ssh.service", "share/nbv/systemd/system/ssh.service"),
            ("lib/systemd/system", "share/nbv/systemd/system"),
            ("usr/lib/systemd/journald.conf.d/x.conf", "share/nbv/systemd/journald.conf.d/x.conf"),
            ("usr/lib/systemd/systemd", "lib/systemd/systemd"),
            ("usr/lib/udev/rules.d/1.rules", "share/nbv/udev/rules.d/1.rules"),
            ("boot/vmlinuz-6.1", "KERNEL"),
            ("usr/share/doc/x/copyright", "-"),
            ("usr/share/locale/de/LC_MESSAGES/x.mo", "-"),
            ("usr/games/cowsay", "bin/cowsay"),
            ("lib/modules/6.1/kernel/drivers/net/ethernet/intel/e1000/e1000.ko", "lib/modules/6.1/kernel/drivers/net/ethernet/intel/e1000/e1000.ko"),
            ("lib/modules/6.1/kernel/drivers/net/ethernet/mellanox/x.ko", "-"),
            ("run/x", "-"),
        ] {
            assert_eq!(at(from), to, "{from}");
        }
        assert_eq!(place("usr", "p", Some("p")), Place::Usr(String::new()));
        assert_eq!(place("usr/bin/x", "p", Some("p")), Place::Usr("share/nbv/apart/p/bin/x".into()));
    }

    #[test]
    fn links() {
        let link = |path: &str, target: &str| {
            let Place::Usr(to) = place(path, "p", None) else { panic!("{path}") };
            link_target(path, &to, target, "p", None)
        };
        assert_eq!(link("usr/sbin/ip", "/bin/ip"), None);
        assert_eq!(link("usr/sbin/lsmod", "../bin/kmod").as_deref(), Some("../bin/kmod"));
        assert_eq!(link("lib/a/b.so", "../../usr/lib/c.so").as_deref(), Some("../c.so"));
        assert_eq!(link("usr/bin/x", "/usr/share/x/y").as_deref(), Some("/usr/share/x/y"));
        assert_eq!(link("usr/bin/x", "/usr/sbin/y").as_deref(), Some("y"));
        assert_eq!(link("usr/lib/ssl/certs", "/etc/ssl/certs").as_deref(), Some("/etc/ssl/certs"));
        assert_eq!(link("usr/lib/systemd/system/a.service", "/dev/null").as_deref(), Some("/dev/null"));
        assert_eq!(link("usr/lib/systemd/system/w.wants/a.service", "../a.service").as_deref(), Some("../a.service"));
        assert_eq!(link("etc/apache2/on/a", "../avail/a").as_deref(), Some("../avail/a"));
        assert_eq!(link("etc/os-release", "../usr/lib/os-release").as_deref(), Some("../../../lib/os-release"));
        assert_eq!(relative("a/b", "a/c/d"), "../c/d");
    }
}
