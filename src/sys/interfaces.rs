//! The addresses of this machine.

use super::fork::{self, Work};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses of the machine's interfaces; none if they cannot be had.
pub fn own_addresses() -> Vec<IpAddr> {
    // The C library asks by a socket of its own.
    fork::held_off(Work::Disk, list)
}

fn list() -> Vec<IpAddr> {
    let mut first = std::ptr::null_mut();
    // SAFETY: the call writes the beginning of a list to a place that lives here.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Vec::new();
    }
    let mut addresses = Vec::new();
    let mut next = first;
    while !next.is_null() {
        // SAFETY: not NULL, so that it is an entry of the list, which nobody else has and which is freed below only.
        let entry = unsafe { &*next };
        // SAFETY: NULL or the address of an interface, as the list holds them.
        addresses.extend(unsafe { address(entry.ifa_addr) });
        next = entry.ifa_next;
    }
    // SAFETY: the list that was handed out above, freed once.
    unsafe { libc::freeifaddrs(first) };
    addresses
}

/// # Safety
/// The address must be NULL or point to an address of the size that its family has.
unsafe fn address(address: *const libc::sockaddr) -> Option<IpAddr> {
    if address.is_null() {
        return None;
    }
    // SAFETY: not NULL; every address begins with its family. One of IPv4 or IPv6 has the size and the alignment of
    // its own type, as the caller promises.
    unsafe {
        match i32::from((*address).sa_family) {
            libc::AF_INET => {
                let address = std::ptr::read_unaligned(address.cast::<libc::sockaddr_in>());
                Some(Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let address = std::ptr::read_unaligned(address.cast::<libc::sockaddr_in6>());
                Some(Ipv6Addr::from(address.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn the_address_from_which_this_machine_speaks_is_its_own() {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        // Nothing is sent. A machine that has no way out has only the loopback.
        if socket.connect("192.0.2.1:9").is_ok() {
            let own = socket.local_addr().unwrap().ip();
            assert!(own_addresses().contains(&own), "{own}");
        }
    }
}
