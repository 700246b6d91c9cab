//! What maintainer scripts would have done and no file of a package says: owners, modes, alternatives.

/// Users of Debian's packages and the ids that they have on a NixOS system. All others become root.
const USERS: [(&str, u32); 3] = [("root", 0), ("messagebus", 4), ("uucp", 10)];

/// Groups likewise.
const GROUPS: [(&str, u32); 16] = [
    ("root", 0),
    ("kmem", 2),
    ("tty", 3),
    ("messagebus", 4),
    ("disk", 6),
    ("audio", 17),
    ("floppy", 18),
    ("uucp", 19),
    ("lp", 20),
    ("cdrom", 24),
    ("tape", 25),
    ("video", 26),
    ("dialout", 27),
    ("utmp", 29),
    ("systemd-journal", 62),
    ("shadow", 318),
];

pub(crate) fn user(name: &str) -> u32 {
    USERS.iter().find(|u| u.0 == name).map_or(0, |u| u.1)
}
pub(crate) fn group(name: &str) -> u32 {
    GROUPS.iter().find(|g| g.0 == name).map_or(0, |g| g.1)
}

/// Path in the layer, group, mode: set by scripts after unpacking.
pub(crate) const MODES: [(&str, &str, u16); 1] = [
    // started by the bus daemon, which runs as messagebus
    ("lib/dbus-1.0/dbus-daemon-launch-helper", "messagebus", 0o4754),
];

/// Alternatives whose registration in the scripts has variables in it: package, link, program.
pub(crate) const ALTERNATIVES: [(&str, &str, &str); 25] = [
    ("iptables", "bin/iptables", "bin/iptables-nft"),
    ("iptables", "bin/ip6tables", "bin/ip6tables-nft"),
    ("iptables", "bin/iptables-save", "bin/iptables-nft-save"),
    ("iptables", "bin/iptables-restore", "bin/iptables-nft-restore"),
    ("iptables", "bin/ip6tables-save", "bin/ip6tables-nft-save"),
    ("iptables", "bin/ip6tables-restore", "bin/ip6tables-nft-restore"),
    ("nodejs", "bin/js", "bin/nodejs"),
    ("php8.4-cli", "bin/php", "bin/php8.4"),
    ("php8.2-cli", "bin/php", "bin/php8.2"),
    ("php8.4-phpdbg", "bin/phpdbg", "bin/phpdbg8.4"),
    ("php8.4-cgi", "bin/php-cgi", "bin/php-cgi8.4"),
    ("php8.2-cgi", "bin/php-cgi", "bin/php-cgi8.2"),
    ("php8.4-fpm", "bin/php-fpm", "bin/php-fpm8.4"),
    ("php8.2-fpm", "bin/php-fpm", "bin/php-fpm8.2"),
    ("openjdk-21-jre-headless", "bin/java", "lib/jvm/java-21-openjdk-amd64/bin/java"),
    ("openjdk-21-jre-headless", "bin/java", "lib/jvm/java-21-openjdk-arm64/bin/java"),
    ("openjdk-21-jre-headless", "bin/java", "lib/jvm/java-21-openjdk-riscv64/bin/java"),
    ("openjdk-17-jre-headless", "bin/java", "lib/jvm/java-17-openjdk-i386/bin/java"),
    ("openjdk-21-jre-headless", "bin/keytool", "lib/jvm/java-21-openjdk-amd64/bin/keytool"),
    ("openjdk-17-jre-headless", "bin/keytool", "lib/jvm/java-17-openjdk-i386/bin/keytool"),
    ("openjdk-21-jdk-headless", "bin/javac", "lib/jvm/java-21-openjdk-amd64/bin/javac"),
    ("openjdk-21-jdk-headless", "bin/jar", "lib/jvm/java-21-openjdk-amd64/bin/jar"),
    ("openjdk-17-jdk-headless", "bin/javac", "lib/jvm/java-17-openjdk-i386/bin/javac"),
    ("openjdk-17-jdk-headless", "bin/jar", "lib/jvm/java-17-openjdk-i386/bin/jar"),
    ("pinentry-curses", "bin/pinentry", "bin/pinentry-curses"),
];
