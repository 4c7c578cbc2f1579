//! What the service manager is told (sd_notify(3)): one datagram each. Without a service manager nobody is told.

use rustix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the service manager.
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// The one that the environment names.
    pub fn from_environment() -> Self {
        let way = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let socket = UnixDatagram::unbound().ok()?;
            // A manager that does not read must not stop us.
            socket.set_nonblocking(true).ok()?;
            Some((socket, address(&name)?))
        });
        Self(way)
    }

    /// Requests are answered.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again; [`Notify::ready`] says that this has ended.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=Reading the configuration again"));
    }

    /// No further requests are taken.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Answering what was asked");
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.0 {
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }
}

/// A path, or behind an @ the name of an abstract address.
fn address(name: &OsStr) -> Option<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = name.as_encoded_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name).ok();
    }
    SocketAddr::from_pathname(name).ok()
}
