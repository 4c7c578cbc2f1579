//! The way of a request to its reply. What is remembered is replied at once, on the thread of the connection. What must be
//! looked for is looked for by a few threads that do nothing else, one for each domain, so that policy hosts that do not
//! answer hold nobody up but those who ask for their domains.

use crate::log::Log;
use mtasts::context::{Context, Level};
use mtasts::discovery::Answer;
use mtasts::socketmap::Question;
use mtasts::syntax::PolicyDomain;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// After so long a client is told to come back later. Sendmail waits for 5 seconds and takes no answer for trouble with
/// all mail.
const PATIENCE: Duration = Duration::from_millis(4_300);
/// How long a cache file is waited for that another program has locked.
const PATIENCE_WITH_CACHE: Duration = Duration::from_millis(150);
/// So many domains are looked for at once, at most.
pub const MOST_THREADS: usize = 64;
/// So many more wait for that.
const MOST_WAITING: usize = 10_000;
/// A thread that finds nothing to do for so long ends.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// What a search has come to for which nobody could wait is kept for so long, and of so many domains. Whoever was told to
/// come back comes within this time.
const EARLIER: (Duration, usize) = (Duration::from_secs(4 * 3600), 10_000);

/// Replies to requests.
pub struct Lookups {
    searches: RwLock<Arc<Searches>>,
    most_threads: usize,
    log: Log,
}

impl Lookups {
    /// Replies by what this context knows and finds. `most_threads`: looks for so many domains at once.
    pub fn new(context: Context, most_threads: usize, log: Log) -> Self {
        Self { searches: RwLock::new(Searches::new(context, most_threads)), most_threads, log }
    }

    /// Goes on with another context. What is being looked for ends as it began, and is told to those who wait for it.
    pub fn replace_context(&self, context: Context) {
        let new = Searches::new(context, self.most_threads);
        let old = std::mem::replace(&mut *self.searches.write(), new);
        old.release_threads();
    }

    /// The reply to a request, and in words why it is that, if somebody wants to know.
    pub fn reply(&self, request: &[u8], arrived: Instant) -> (String, Option<String>) {
        let question = match Question::read(request) {
            Ok(question) => question,
            Err(reply) => return (reply.to_owned(), None),
        };
        let current = self.searches.read();
        if let Some(answer) = current.context.recall(&question.domain, Some(PATIENCE_WITH_CACHE)) {
            drop(current);
            return self.told(&question, &answer);
        }
        let searches = Arc::clone(&current);
        drop(current);
        match searches.look_for(&question, arrived + PATIENCE) {
            Some(answer) => self.told(&question, &answer),
            None => (question.reply_later(), None),
        }
    }

    fn told(&self, question: &Question, answer: &Answer) -> (String, Option<String>) {
        let why = self.log.wants(Level::Debug).then(|| answer.text().into_owned());
        (question.reply(answer), why)
    }
}

/// One context, and what is being looked for with it by threads that are there while there is something to do.
struct Searches {
    context: Context,
    most_threads: usize,
    state: Mutex<State>,
    has_work: Condvar,
}

#[derive(Default)]
struct State {
    under_way: HashMap<PolicyDomain, Arc<Search>>,
    /// What has taken longer than anybody waits, and is nothing for the cache: DNS has not answered. The next search may
    /// take as long.
    earlier: HashMap<PolicyDomain, (Arc<Answer>, Instant)>,
    waiting: VecDeque<(Question, Arc<Search>)>,
    threads: usize,
    idle_threads: usize,
    /// Whether another context has taken over, so that there is hardly anything left to do.
    is_over: bool,
}

/// A search, seen by one who wants its outcome.
struct Begun {
    /// None if there is too much to do already.
    search: Option<Arc<Search>>,
    /// Whether a thread goes about it now, for this question.
    is_first: bool,
    /// What the last one has come to.
    earlier: Option<Arc<Answer>>,
}

impl Searches {
    fn new(context: Context, most_threads: usize) -> Arc<Self> {
        Arc::new(Self { context, most_threads, state: Mutex::default(), has_work: Condvar::new() })
    }

    /// What is found until a moment, else what is at hand: the cached policy, or what the last search has come to. That is
    /// told at once to whoever asks while another one is waiting for the search, or all threads have other things to do.
    fn look_for(self: &Arc<Self>, question: &Question, until: Instant) -> Option<Arc<Answer>> {
        let Begun { search, is_first, earlier } = self.begin(question);
        // Looked up while the search goes on: at the end there is no time left to wait for a locked cache file.
        let at_hand = question.cached(&self.context, PATIENCE_WITH_CACHE).map(Arc::new).or(earlier);
        if at_hand.is_some() && !is_first {
            return at_hand;
        }
        search.and_then(|search| search.wait_until(until)).or(at_hand)
    }

    /// The search for a domain, begun now unless it is under way.
    fn begin(self: &Arc<Self>, question: &Question) -> Begun {
        let mut state = self.state.lock();
        let earlier = state.earlier.get(&question.domain).filter(|(_, at)| at.elapsed() < EARLIER.0);
        let earlier = earlier.map(|(answer, _)| Arc::clone(answer));
        if let Some(search) = state.under_way.get(&question.domain) {
            return Begun { search: Some(Arc::clone(search)), is_first: false, earlier };
        }
        if state.waiting.len() >= MOST_WAITING {
            return Begun { search: None, is_first: false, earlier };
        }
        let is_first = state.idle_threads > state.waiting.len() || self.start_thread(&mut state);
        if state.threads == 0 {
            return Begun { search: None, is_first, earlier }; // the system has no thread to give
        }
        let search = Arc::new(Search::default());
        state.under_way.insert(question.domain.clone(), Arc::clone(&search));
        state.waiting.push_back((question.clone(), Arc::clone(&search)));
        drop(state);
        self.has_work.notify_one();
        Begun { search: Some(search), is_first, earlier }
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> bool {
        let searches = Arc::clone(self);
        let start = || thread::Builder::new().name("search".into()).spawn(move || searches.work()).is_ok();
        let has_started = state.threads < self.most_threads && start();
        state.threads += usize::from(has_started);
        has_started
    }

    fn work(&self) {
        while let Some((question, search)) = self.next() {
            let began = Instant::now();
            // A fault of the library has been told when it came, and must not stop what comes after it.
            let answer = panic::catch_unwind(AssertUnwindSafe(|| question.ask(&self.context, None)));
            let answer = answer.ok().map(Arc::new);
            let missed = answer.clone().filter(|answer| answer.policy.is_none() && began.elapsed() >= PATIENCE);
            self.state.lock().end(question.domain, missed);
            search.end(answer);
        }
    }

    /// What to look for next; none if there has been nothing for a while.
    fn next(&self) -> Option<(Question, Arc<Search>)> {
        let mut state = self.state.lock();
        let until = Instant::now() + IDLE_TIME;
        loop {
            let work = state.waiting.pop_front();
            if work.is_some() {
                return work;
            }
            if state.is_over || Instant::now() >= until {
                state.threads -= 1;
                return None;
            }
            state.idle_threads += 1;
            self.has_work.wait_until(&mut state, until);
            state.idle_threads -= 1;
        }
    }

    fn release_threads(&self) {
        self.state.lock().is_over = true;
        self.has_work.notify_all();
    }
}

impl State {
    /// A search has ended; `missed` is what the cache does not keep of it.
    fn end(&mut self, domain: PolicyDomain, missed: Option<Arc<Answer>>) {
        let now = Instant::now();
        self.under_way.remove(&domain);
        self.earlier.remove(&domain);
        if self.earlier.len() >= EARLIER.1 {
            self.earlier.retain(|_, (_, at)| now.duration_since(*at) < EARLIER.0);
        }
        if let Some(answer) = missed.filter(|_| self.earlier.len() < EARLIER.1) {
            self.earlier.insert(domain, (answer, now));
        }
    }
}

/// The search for the policy of one domain, for all who ask for it.
#[derive(Default)]
struct Search {
    outcome: Mutex<Outcome>,
    has_ended: Condvar,
}

#[derive(Default)]
struct Outcome {
    is_there: bool,
    answer: Option<Arc<Answer>>,
}

impl Search {
    fn end(&self, answer: Option<Arc<Answer>>) {
        *self.outcome.lock() = Outcome { is_there: true, answer };
        self.has_ended.notify_all();
    }

    fn wait_until(&self, until: Instant) -> Option<Arc<Answer>> {
        let mut outcome = self.outcome.lock();
        while !outcome.is_there && !self.has_ended.wait_until(&mut outcome, until).timed_out() {}
        outcome.answer.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mtasts::config::Settings;
    use mtasts::time::{Clock, SystemClock, UnixTime};
    use mtasts_world::{World, policy_body};
    use std::sync::atomic::{AtomicI64, Ordering};

    /// The time of the system and so many seconds.
    struct Ahead(Arc<AtomicI64>);

    impl Clock for Ahead {
        fn now(&self) -> UnixTime {
            UnixTime(SystemClock.now().0 + self.0.load(Ordering::SeqCst))
        }
    }

    fn settings(world: &World) -> Settings {
        Settings {
            cache: world.make_cache(),
            nameservers: vec![world.dns_addr()],
            https_port: world.https_addr().port(),
            ca_file: Some(world.ca_file().to_owned()),
            allow_private_addresses: true,
            ..Settings::default()
        }
    }

    fn question(domain: &str) -> Question {
        Question::read(format!("sts {domain}").as_bytes()).unwrap()
    }

    #[test]
    fn who_has_a_policy_waits_for_no_thread_and_what_waits_is_bounded() {
        let world = World::start();
        let settings = settings(&world);
        world.publish("good.test", "1", policy_body("enforce", &["mx.good.test"], 604_800));
        let ahead = Arc::new(AtomicI64::new(0));
        let searches = Searches::new(Context::with_clock(settings, Box::new(Ahead(Arc::clone(&ahead)))), MOST_THREADS);
        let good = question("good.test");
        let soon = || Instant::now() + PATIENCE;
        assert!(searches.look_for(&good, soon()).unwrap().policy.is_some());
        while searches.state.lock().idle_threads == 0 {
            thread::yield_now(); // it has answered, and has yet to look for more work
        }

        // Nobody answers any more, and each thread has a domain of its own to wait for.
        world.dns_off(true);
        for number in 0..MOST_THREADS {
            assert!(searches.begin(&question(&format!("{number}.test"))).is_first);
        }
        ahead.store(2 * 3600, Ordering::SeqCst);
        assert!(searches.context.recall(&good.domain, None).is_none(), "a look at the record is due");
        let began = Instant::now();
        let answer = searches.look_for(&good, soon()).unwrap();
        assert!(answer.policy.is_some() && began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());

        // That one waits for a thread now.
        for number in 1..MOST_WAITING {
            let begun = searches.begin(&question(&format!("waiting{number}.test")));
            assert!(begun.search.is_some() && !begun.is_first, "{number}");
        }
        assert!(searches.begin(&question("beyond.test")).search.is_none());
        assert!(searches.begin(&question("7.test")).search.is_some(), "it is under way");
        assert!(searches.look_for(&question("beyond.test"), soon()).is_none());
        assert!(began.elapsed() < PATIENCE, "nobody has waited");
        assert_eq!(searches.state.lock().threads, MOST_THREADS);
    }

    #[test]
    fn nobody_waits_for_a_locked_cache_when_time_is_over() {
        let world = World::start();
        let settings = settings(&world);
        world.publish("good.test", "1", policy_body("enforce", &["mx.good.test"], 604_800));
        let cache = settings.cache.clone();
        let searches = Searches::new(Context::with_settings(settings), MOST_THREADS);
        let until = || Instant::now() + PATIENCE;
        assert!(searches.look_for(&question("good.test"), until()).unwrap().policy.is_some());

        world.dns_off(true);
        let lock = rusqlite::Connection::open(cache).unwrap();
        lock.execute_batch("BEGIN EXCLUSIVE").unwrap();
        let (began, time) = (Instant::now(), PATIENCE_WITH_CACHE * 3);
        assert!(searches.look_for(&question("other.test"), began + time).is_none());
        let late = began.elapsed().checked_sub(time).expect("it is waited for");
        assert!(late < PATIENCE_WITH_CACHE, "{late:?}");
    }
}
