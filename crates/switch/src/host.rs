//! What the switch has to know of this host.

use std::net::Ipv4Addr;

/// The IPv4 addresses of this host's interfaces.
pub(crate) fn addresses() -> Vec<Ipv4Addr> {
    let mut list: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: getifaddrs writes a list into the pointer, or fails and writes nothing.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    let mut entry = list;
    while !entry.is_null() {
        // SAFETY: entry is an element of the list, which is freed only below.
        let ifaddr = unsafe { &*entry };
        // SAFETY: ifa_addr is null or a socket address; the family says which.
        if !ifaddr.ifa_addr.is_null() && i32::from(unsafe { (*ifaddr.ifa_addr).sa_family }) == libc::AF_INET {
            // SAFETY: an address of family AF_INET is a sockaddr_in; it need not be aligned as one.
            let address = unsafe { ifaddr.ifa_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            addresses.push(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)));
        }
        entry = ifaddr.ifa_next;
    }
    // SAFETY: list came from getifaddrs and no reference into it is left.
    unsafe { libc::freeifaddrs(list) };
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_host_has_a_loopback_address() {
        assert!(addresses().contains(&Ipv4Addr::LOCALHOST));
    }
}
