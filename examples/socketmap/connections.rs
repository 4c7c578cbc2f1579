//! The clients that are connected: a thread for each, and so many at most. A thread waits for its client in the kernel, and
//! a request that is remembered costs it one call to read and one to write.

use crate::log::Log;
use crate::lookups::Lookups;
use crate::netstring::{self, Frame, MAX_FRAME_BYTES};
use mtasts::context::Level;
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::{SockAddr, Socket};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// From its first byte on a request may take so long to come.
const REQUEST_TIME: Duration = Duration::from_secs(10);
/// A client has so much time to ask before another one may take its place.
const TIME_TO_ASK: Duration = Duration::from_millis(100);
/// A client may take so long to read a reply.
const REPLY_TIME: Duration = Duration::from_secs(10);
/// Ten times what a look into the cache file takes, unoptimized. What is not used is not there.
const STACK_BYTES: usize = 512 * 1024;
/// A larger buffer is not kept between two replies.
const KEPT_REPLY_BYTES: usize = 4096;
/// So much of a request or a reply is shown in the log.
const SHOWN_BYTES: usize = 200;

/// All clients.
pub struct Connections {
    lookups: Lookups,
    log: Log,
    most: usize,
    open: Mutex<Open>,
    is_stopping: AtomicBool,
    began: Instant,
}

#[derive(Default)]
struct Open {
    clients: HashMap<u64, Arc<Client>>,
    last: u64,
}

impl Connections {
    /// `most`: so many at a time.
    pub fn new(lookups: Lookups, log: Log, most: usize) -> Self {
        let (open, is_stopping) = (Mutex::default(), AtomicBool::new(false));
        Self { lookups, log, most, open, is_stopping, began: Instant::now() }
    }

    /// What replies.
    pub fn lookups(&self) -> &Lookups {
        &self.lookups
    }

    /// Whether one more client can be taken.
    pub fn has_room(&self) -> bool {
        self.open.lock().clients.len() < self.most
    }

    /// Whether no client is connected.
    pub fn is_empty(&self) -> bool {
        self.open.lock().clients.is_empty()
    }

    /// Closes the connection whose client has asked nothing for the longest time, or has been about to for that long.
    /// None is closed that waits for a reply, or that has only just come. Whether there was one.
    pub fn close_longest_idle(&self) -> bool {
        let mut open = self.open.lock();
        let latest = self.now().saturating_sub(u64::try_from(TIME_TO_ASK.as_micros()).unwrap_or_default());
        let since = |(id, client): (&u64, &Arc<Client>)| Some((client.idle_since()?, *id));
        let mut idle: Vec<(u64, u64)> = open.clients.iter().filter_map(since).collect();
        idle.retain(|(since, _)| *since <= latest);
        idle.sort_unstable();
        let is_closed =
            |(since, id): &(u64, u64)| open.clients.get(id).is_some_and(|it| it.close_if_idle_since(*since));
        let closed = idle.into_iter().find(is_closed);
        closed.is_some_and(|(_, id)| open.clients.remove(&id).is_some())
    }

    /// A thread for a client that is yet to be taken: without one none is, and waits for its turn.
    pub fn attendant(self: &Arc<Self>) -> io::Result<Attendant> {
        let (client, taken) = mpsc::sync_channel::<(Arc<Client>, Entry)>(1);
        let attend = move || {
            if let Ok((client, entry)) = taken.recv() {
                entry.connections.attend(&client);
            }
        };
        thread::Builder::new().name("client".into()).stack_size(STACK_BYTES).spawn(attend)?;
        Ok(Attendant { connections: Arc::clone(self), client })
    }

    /// Lets clients have the replies to what they have asked, and no more.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::SeqCst);
        for client in self.open.lock().clients.values() {
            // What has come is still read. Who is not connected any more needs nothing.
            let _ = client.socket.shutdown(Shutdown::Read);
        }
    }

    fn now(&self) -> u64 {
        self.at(Instant::now())
    }

    fn at(&self, moment: Instant) -> u64 {
        u64::try_from(moment.duration_since(self.began).as_micros()).unwrap_or_default()
    }

    fn attend(&self, client: &Client) {
        if let Err(fault) = self.converse(client) {
            self.log.about_client(|| format!("{}: {fault}, the connection is closed", client.name));
        }
    }

    fn converse(&self, client: &Client) -> Result<(), &'static str> {
        let (mut buffer, mut filled, mut begun) = ([0; MAX_FRAME_BYTES], 0, None);
        let mut frame = Vec::new();
        loop {
            let is_last_look = self.is_stopping.load(Ordering::SeqCst);
            if let Some(begun) = begun
                && !wait(&client.socket, PollFlags::IN, Some(begun + REQUEST_TIME))
            {
                return Err("a request has not come to its end");
            }
            match (&client.socket).read(buffer.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => return Ok(()),
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Ok(()), // the client has gone
            }
            let arrived = Instant::now();
            let (all, mut at) = (buffer.get(..filled).unwrap_or_default(), 0);
            let fault = loop {
                match netstring::read(all.get(at..).unwrap_or_default()) {
                    Frame::Whole(request, size) => {
                        if !client.begin_work() {
                            return Ok(());
                        }
                        self.answer(client, request, arrived, &mut frame)?;
                        at += size;
                    }
                    Frame::Begun => break None,
                    Frame::Malformed(fault) => break Some(fault),
                }
            };
            if let Some(fault) = fault {
                return Err(fault);
            }
            begun = if at == filled { None } else { begun.filter(|_| at == 0).or(Some(arrived)) };
            buffer.copy_within(at..filled, 0);
            filled -= at;
            if is_last_look {
                return Ok(());
            }
        }
    }

    fn answer(
        &self,
        client: &Client,
        request: &[u8],
        arrived: Instant,
        frame: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        let (reply, why) = self.lookups.reply(request, arrived);
        if self.log.wants(Level::Debug) {
            let request = request.get(..SHOWN_BYTES).unwrap_or(request).escape_ascii();
            let shown = reply.get(..SHOWN_BYTES).unwrap_or(&reply).trim_end();
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            let microseconds = arrived.elapsed().as_micros();
            self.log.line(Level::Debug, format!("{}: {request}: {shown}{why}; {microseconds} us", client.name));
        }
        netstring::write(&reply, frame);
        // Who reads has its reply before its place can be another's.
        let left = send_at_once(&client.socket, frame);
        client.end_work(self.at(arrived));
        let sent = if left.is_empty() { Ok(()) } else { client.send_when_read(left) };
        if frame.capacity() > KEPT_REPLY_BYTES {
            *frame = Vec::new();
        }
        sent
    }
}

/// A thread that waits for its client.
pub struct Attendant {
    connections: Arc<Connections>,
    client: SyncSender<(Arc<Client>, Entry)>,
}

impl Attendant {
    /// Serves a client until one of the two ends that.
    pub fn serve(self, socket: Socket, address: &SockAddr) -> io::Result<()> {
        // Not every system gives an accepted socket a mode of its own.
        socket.set_nonblocking(false)?;
        if !address.is_unix() {
            // It fails for a client that has gone. Whoever goes without a word does not stay for ever.
            let _ = socket.set_tcp_nodelay(true).and_then(|()| socket.set_keepalive(true));
        }
        let state = AtomicU64::new(self.connections.now());
        let client = Arc::new(Client { socket, name: shown(address), state, is_deaf: AtomicBool::new(false) });
        let id = {
            let mut open = self.connections.open.lock();
            open.last += 1;
            let id = open.last;
            open.clients.insert(id, Arc::clone(&client));
            id
        };
        // There is room for one, and the thread waits for nothing else.
        let _ = self.client.send((client, Entry { connections: self.connections, id }));
        Ok(())
    }
}

/// Takes a client off the list when its thread ends, however that comes about.
struct Entry {
    connections: Arc<Connections>,
    id: u64,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.connections.open.lock().clients.remove(&self.id);
    }
}

struct Client {
    socket: Socket,
    name: String,
    /// Since when the client has asked nothing, in microseconds since the beginning; or one of the two below.
    state: AtomicU64,
    /// Whether it does not read its reply.
    is_deaf: AtomicBool,
}

/// Something is being looked for.
const AT_WORK: u64 = u64::MAX;
/// Another client is to have the place.
const CLOSED: u64 = u64::MAX - 1;

impl Client {
    /// Whether the connection is still this client's.
    fn begin_work(&self) -> bool {
        self.state.swap(AT_WORK, Ordering::SeqCst) != CLOSED
    }

    fn end_work(&self, now: u64) {
        self.state.store(now, Ordering::SeqCst);
    }

    /// Sends what the client has had no room for.
    fn send_when_read(&self, mut left: &[u8]) -> Result<(), &'static str> {
        self.is_deaf.store(true, Ordering::SeqCst);
        let until = Some(Instant::now() + REPLY_TIME);
        while !left.is_empty() {
            if !wait(&self.socket, PollFlags::OUT, until) {
                return Err("a reply is not read");
            }
            left = send_at_once(&self.socket, left);
        }
        self.is_deaf.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn idle_since(&self) -> Option<u64> {
        Some(self.state.load(Ordering::SeqCst)).filter(|state| *state < CLOSED)
    }

    /// Closes the connection unless the client has asked something, be it that its thread has not come to read that.
    fn close_if_idle_since(&self, since: u64) -> bool {
        let has_asked = !self.is_deaf.load(Ordering::SeqCst) && wait(&self.socket, PollFlags::IN, None);
        let is_closed =
            !has_asked && self.state.compare_exchange(since, CLOSED, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if is_closed {
            let _ = self.socket.shutdown(Shutdown::Both);
        }
        is_closed
    }
}

fn shown(address: &SockAddr) -> String {
    address.as_socket().map_or_else(|| "unix".to_owned(), |address| format!("inet {address}"))
}

/// Sends what is taken without a wait; what is left.
fn send_at_once<'b>(socket: &Socket, mut bytes: &'b [u8]) -> &'b [u8] {
    while !bytes.is_empty() {
        match socket.send_with_flags(bytes, libc::MSG_DONTWAIT) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(_) => return &[], // the client has gone, as the next look will show
        }
    }
    bytes
}

/// Whether a socket is ready until a moment, or without one, now.
fn wait(socket: &impl AsFd, what: PollFlags, until: Option<Instant>) -> bool {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(left.unwrap_or_default()).ok();
        match poll(&mut [PollFd::new(socket, what)], timeout.as_ref()) {
            Err(Errno::INTR) => {}
            outcome => return outcome.is_ok_and(|count| count > 0) && left != Some(Duration::ZERO),
        }
    }
}
