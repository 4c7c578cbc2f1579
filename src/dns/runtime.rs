//! What drives a lookup of hickory's: the calling thread and poll(2).
//!
//! tokio's runtime would hold descriptors of its own, which a child that is forked meanwhile inherits, and which a host
//! that is short of them does not have. A lookup is one future, the tasks that it spawns, a few sockets and timers; all
//! are polled by turns, and none outlives [`block_on`].

use crate::sys::fork::ClosedInChild;
use crate::sys::scoped::Place;
use crate::sys::socket::{self, Readiness};
use futures_io::{AsyncRead, AsyncWrite};
use futures_util::future::{Either, select};
use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// A connection over TCP that nobody bounds otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the futures of this thread wait for.
#[derive(Default)]
struct Waiting {
    sockets: Vec<(RawFd, Readiness, Waker)>,
    timers: Vec<(u64, Instant, Waker)>,
    timers_made: u64,
    spawned: Vec<Task>,
}

thread_local! {
    static WAITING: Place<RefCell<Waiting>> = const { Place::new() };
}

/// Outside of [`block_on`] nobody waits.
fn waiting<R: Default>(change: impl FnOnce(&mut Waiting) -> R) -> R {
    WAITING.with(|place| place.with(|waiting| change(&mut waiting.borrow_mut()))).unwrap_or_default()
}

/// Set when something can go on.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs a future to its end on this thread, which may be ending.
pub fn block_on<R>(future: impl Future<Output = R>) -> R {
    // What is left when a lookup ends, however it does, goes with this.
    let waiting = RefCell::new(Waiting::default());
    WAITING.with(|place| place.lend(&waiting, || run(future)))
}

fn run<R>(future: impl Future<Output = R>) -> R {
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    let mut tasks: Vec<Task> = Vec::new();
    loop {
        flag.0.store(false, Ordering::SeqCst);
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        tasks.append(&mut waiting(|waiting| std::mem::take(&mut waiting.spawned)));
        tasks.retain_mut(|task| task.as_mut().poll(&mut context).is_pending());
        let has_new_tasks = waiting(|waiting| !waiting.spawned.is_empty());
        if !has_new_tasks && !flag.0.load(Ordering::SeqCst) {
            wait();
        }
    }
}

/// Waits for a socket or a timer and wakes what waits for it.
fn wait() {
    let (sockets, next) = waiting(|waiting| {
        let sockets: Vec<_> = waiting.sockets.iter().map(|(fd, readiness, _)| (*fd, *readiness)).collect();
        (sockets, waiting.timers.iter().map(|(_, at, _)| *at).min())
    });
    let ready = socket::wait_for(&sockets, next.map(|at| at.saturating_duration_since(Instant::now())));
    let now = Instant::now();
    let mut wakers = waiting(|waiting| {
        let mut wakers = Vec::new();
        let mut ready = ready.into_iter();
        waiting.sockets.retain(|(.., waker)| {
            let is_ready = ready.next().unwrap_or(false);
            wakers.extend(is_ready.then(|| waker.clone()));
            !is_ready
        });
        waiting.timers.retain(|(_, at, waker)| {
            let is_due = *at <= now;
            wakers.extend(is_due.then(|| waker.clone()));
            !is_due
        });
        wakers
    });
    wakers.drain(..).for_each(Waker::wake);
}

/// Does something with a socket, or has the task woken when that is possible.
fn attempt<R>(
    fd: RawFd,
    readiness: Readiness,
    context: &Context<'_>,
    mut work: impl FnMut() -> io::Result<R>,
) -> Poll<io::Result<R>> {
    loop {
        match work() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                await_readiness(fd, readiness, context);
                return Poll::Pending;
            }
            outcome => return Poll::Ready(outcome),
        }
    }
}

fn await_readiness(fd: RawFd, readiness: Readiness, context: &Context<'_>) {
    waiting(|waiting| {
        waiting.sockets.retain(|(other, kind, _)| (*other, *kind) != (fd, readiness));
        waiting.sockets.push((fd, readiness, context.waker().clone()));
    });
}

/// Ends at a moment.
struct Sleep {
    number: u64,
    until: Instant,
}

impl Sleep {
    fn new(duration: Duration) -> Self {
        let number = waiting(|waiting| {
            waiting.timers_made = waiting.timers_made.wrapping_add(1);
            waiting.timers_made
        });
        let now = Instant::now();
        Self { number, until: now.checked_add(duration).unwrap_or(now) }
    }

    fn forget(&self) {
        waiting(|waiting| waiting.timers.retain(|(number, ..)| *number != self.number));
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.forget();
        if Instant::now() >= self.until {
            return Poll::Ready(());
        }
        waiting(|waiting| waiting.timers.push((self.number, self.until, context.waker().clone())));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

/// What a future brings within some time; none if it is late.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Option<F::Output> {
    match select(pin!(future), pin!(Sleep::new(duration))).await {
        Either::Left((value, _)) => Some(value),
        Either::Right(_) => None,
    }
}

/// hickory's way to sockets, timers and tasks.
#[derive(Clone, Copy, Debug, Default)]
pub struct CallersThread;

impl Spawn for CallersThread {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        waiting(|waiting| waiting.spawned.push(Box::pin(future)));
    }
}

/// A future as the traits of hickory want it.
type Boxed<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

impl Time for CallersThread {
    fn delay_for<'a>(duration: Duration) -> Boxed<'a, ()> {
        Box::pin(Sleep::new(duration))
    }

    fn timeout<'a, F>(duration: Duration, future: F) -> Boxed<'a, io::Result<F::Output>>
    where
        F: Future + Send + 'static + 'a,
    {
        Box::pin(async move { timeout(duration, future).await.ok_or_else(|| ErrorKind::TimedOut.into()) })
    }
}

impl RuntimeProvider for CallersThread {
    type Handle = Self;
    type Timer = Self;
    type Udp = Datagrams;
    type Tcp = Stream;

    fn create_handle(&self) -> Self {
        *self
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Boxed<'static, io::Result<Stream>> {
        Box::pin(async move {
            let connecting = Connecting(Some(socket::begin_connecting(server)?));
            let outcome = timeout(limit.unwrap_or(CONNECT_TIMEOUT), connecting).await;
            outcome.unwrap_or_else(|| Err(ErrorKind::TimedOut.into()))
        })
    }

    fn bind_udp(&self, local: SocketAddr, _: SocketAddr) -> Boxed<'static, io::Result<Datagrams>> {
        Box::pin(async move { Ok(Datagrams { socket: socket::datagrams(local)?, taken: AtomicU32::new(0) }) })
    }
}

/// A socket for questions and answers.
#[derive(Debug)]
pub struct Datagrams {
    socket: ClosedInChild<UdpSocket>,
    /// Since somebody else had a turn.
    taken: AtomicU32,
}

/// So many datagrams are taken before others have a turn. Whoever asked drops those that are no answer and asks for the
/// next, so that a flood of them would keep the deadline from being looked at.
const MOST_TAKEN: u32 = 32;

impl DnsUdpSocket for Datagrams {
    type Time = CallersThread;

    fn poll_recv_from(&self, context: &mut Context<'_>, data: &mut [u8]) -> Poll<io::Result<(usize, SocketAddr)>> {
        let own = self.socket.own()?;
        if self.taken.fetch_add(1, Ordering::Relaxed) >= MOST_TAKEN {
            self.taken.store(0, Ordering::Relaxed);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        attempt(own.as_raw_fd(), Readiness::Read, context, || own.recv_from(data))
    }

    fn poll_send_to(&self, context: &mut Context<'_>, data: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        let own = self.socket.own()?;
        attempt(own.as_raw_fd(), Readiness::Write, context, || own.send_to(data, target))
    }
}

/// A connection on its way.
struct Connecting(Option<ClosedInChild<TcpStream>>);

impl Future for Connecting {
    type Output = io::Result<Stream>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(stream) = &self.0 else { return Poll::Ready(Err(ErrorKind::NotConnected.into())) };
        let own = stream.own()?;
        let fd = own.as_raw_fd();
        let is_decided = socket::wait_for(&[(fd, Readiness::Write)], Some(Duration::ZERO)).contains(&true);
        if !is_decided {
            await_readiness(fd, Readiness::Write, context);
            return Poll::Pending;
        }
        socket::outcome(own)?;
        Poll::Ready(self.0.take().map(Stream).ok_or_else(|| ErrorKind::NotConnected.into()))
    }
}

/// A connection for answers that do not fit into a datagram.
#[derive(Debug)]
pub struct Stream(ClosedInChild<TcpStream>);

impl DnsTcpStream for Stream {
    type Time = CallersThread;
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, data: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut own = self.0.own()?;
        attempt(own.as_raw_fd(), Readiness::Read, context, || own.read(data))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let mut own = self.0.own()?;
        attempt(own.as_raw_fd(), Readiness::Write, context, || own.write(data))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.own().and_then(|own| own.shutdown(std::net::Shutdown::Write)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_ends_a_wait_and_leaves_nothing_behind() {
        let left = || waiting(|waiting| waiting.timers.len());
        block_on(async {
            assert_eq!(timeout(Duration::from_millis(5), std::future::pending::<()>()).await, None);
            assert_eq!(timeout(Duration::MAX, async { left() }).await, Some(0));
            let mut late = pin!(timeout(Duration::from_secs(60), std::future::pending::<()>()));
            assert!(futures_util::poll!(late.as_mut()).is_pending());
            assert_eq!(left(), 1);
        });
        assert_eq!(left(), 0);
    }

    #[test]
    fn tasks_run_beside_the_future_and_end_with_it() {
        let (done, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(()));
        let (done_there, kept) = (Arc::clone(&done), Arc::clone(&seen));
        block_on(async {
            CallersThread.spawn_bg(async move { done_there.store(true, Ordering::SeqCst) });
            CallersThread.spawn_bg(async move {
                std::future::pending::<()>().await;
                drop(kept);
            });
            Sleep::new(Duration::from_millis(5)).await;
        });
        assert!(done.load(Ordering::SeqCst));
        assert_eq!(Arc::strong_count(&seen), 1, "the task that never ends is dropped");
    }

    #[test]
    fn a_flood_of_datagrams_that_nobody_wants_holds_up_no_deadline() {
        let own = block_on(CallersThread.bind_udp(([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 53).into())).unwrap();
        let address = own.socket.own().unwrap().local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let wanted = std::future::poll_fn(|context| {
            // There is always one more, however many are taken.
            loop {
                sender.send_to(b"no answer", address).unwrap();
                let taken = own.poll_recv_from(context, &mut [0; 32]);
                if taken.is_pending() {
                    return Poll::<()>::Pending;
                }
            }
        });
        assert_eq!(block_on(timeout(Duration::from_millis(20), wanted)), None);
    }
}
