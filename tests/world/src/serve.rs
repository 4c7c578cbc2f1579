//! What all servers share: a TCP server with a thread per connection that ends at once when it is dropped, the signal
//! that ends it, and a log that is kept in memory and written to a file as it grows.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lock;

/// Tells threads to end.
#[derive(Default)]
pub struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    pub fn set(&self) {
        *lock(&self.stopped) = true;
        self.changed.notify_all();
    }

    pub fn is_set(&self) -> bool {
        *lock(&self.stopped)
    }

    /// Waits for `pause`; true if told to end meanwhile.
    pub fn wait(&self, pause: Duration) -> bool {
        let end = Instant::now() + pause;
        let mut stopped = lock(&self.stopped);
        while !*stopped {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            stopped = self.changed.wait_timeout(stopped, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *stopped
    }
}

type Handler = dyn Fn(TcpStream, &Stop) + Send + Sync;

/// Accepts connections and hands each to `handler` on a thread of its own. Dropping it closes all of them and waits for
/// the threads.
pub struct TcpServer {
    address: SocketAddr,
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl TcpServer {
    pub fn start(listener: TcpListener, handler: Arc<Handler>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let stop = Arc::new(Stop::default());
        let thread = thread::Builder::new().name(format!("accept {address}")).spawn({
            let stop = stop.clone();
            move || accept_until_stopped(&listener, &handler, &stop)
        })?;
        Ok(TcpServer { address, stop, thread: Some(thread) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.stop.set();
        // Wakes the thread from `accept`. If it cannot connect, the thread has connections waiting and wakes anyway.
        let _ = TcpStream::connect_timeout(&reachable(self.address), Duration::from_secs(1));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept_until_stopped(listener: &TcpListener, handler: &Arc<Handler>, stop: &Arc<Stop>) {
    let open: Arc<Mutex<HashMap<u64, TcpStream>>> = Arc::default();
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for number in 0.. {
        let accepted = listener.accept();
        if stop.is_set() {
            break;
        }
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: let some connections end.
            stop.wait(Duration::from_millis(10));
            continue;
        };
        let Ok(handle) = stream.try_clone() else { continue };
        lock(&open).insert(number, handle);
        let spawned = thread::Builder::new().spawn({
            let (handler, stop, open) = (handler.clone(), stop.clone(), open.clone());
            move || {
                handler(stream, &stop);
                lock(&open).remove(&number);
            }
        });
        match spawned {
            Ok(thread) => threads.push(thread),
            Err(_) => drop(lock(&open).remove(&number)),
        }
        threads.retain(|thread| !thread.is_finished());
    }
    for stream in lock(&open).values() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for thread in threads {
        let _ = thread.join();
    }
}

/// The address under which a server that listens on `address` is reached.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Lines, in memory and in a file.
pub struct Log {
    lines: Mutex<Vec<String>>,
    file: File,
}

impl Log {
    /// Starts empty, whatever the file held.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.set_len(0)?;
        Ok(Log { lines: Mutex::default(), file })
    }

    pub fn line(&self, line: String) {
        // The lock keeps the lines of the file whole and in the same order.
        let mut lines = lock(&self.lines);
        let _ = (&self.file).write_all(format!("{line}\n").as_bytes());
        lines.push(line);
    }

    pub fn lines(&self) -> Vec<String> {
        lock(&self.lines).clone()
    }

    pub fn clear(&self) {
        let mut lines = lock(&self.lines);
        let _ = self.file.set_len(0);
        lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn dropping_a_server_ends_connections_that_wait() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let handler = |mut stream: TcpStream, _: &Stop| drop(stream.read(&mut [0]));
        let server = TcpServer::start(listener, Arc::new(handler)).unwrap();
        let mut client = TcpStream::connect(server.address()).unwrap();
        drop(server);
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    }

    #[test]
    fn a_wait_ends_when_told_to_stop() {
        let stop = Arc::new(Stop::default());
        assert!(!stop.wait(Duration::from_millis(1)));
        let waiter = thread::spawn({
            let stop = stop.clone();
            move || stop.wait(Duration::from_secs(60))
        });
        stop.set();
        assert!(waiter.join().unwrap());
    }
}
