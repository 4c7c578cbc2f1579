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
/// So many domains are looked for at once.
const MOST_THREADS: usize = 64;
/// So many more wait for that.
const MOST_WAITING: usize = 10_000;
/// A thread that finds nothing to do for so long ends.
const IDLE_TIME: Duration = Duration::from_secs(30);
/// What a search has come to for which nobody could wait is kept for so long, and of so many domains. Whoever was told to
/// come back comes within this time.
const EARLIER: (Duration, usize) = (Duration::from_secs(4 * 3600), 10_000);

/// Replies to requests.
pub struct Lookups {
    context: RwLock<Arc<Context>>,
    fetches: Arc<Fetches>,
    log: Log,
}

impl Lookups {
    /// Replies by what this context knows and finds.
    pub fn new(context: Context, log: Log) -> Self {
        Self { context: RwLock::new(Arc::new(context)), fetches: Arc::default(), log }
    }

    /// Goes on with another context. What is being looked for ends as it began.
    pub fn replace_context(&self, context: Context) {
        let old = std::mem::replace(&mut *self.context.write(), Arc::new(context));
        self.fetches.forget_earlier();
        drop(old); // no longer under the lock
    }

    /// The reply to a request, and in words why it is that, if somebody wants to know.
    pub fn reply(&self, request: &[u8], arrived: Instant) -> (String, Option<String>) {
        let question = match Question::read(request) {
            Ok(question) => question,
            Err(reply) => return (reply.to_owned(), None),
        };
        let context = Arc::clone(&*self.context.read());
        let recalled = context.recall(&question.domain, Some(PATIENCE_WITH_CACHE)).map(Arc::new);
        let Some(answer) = recalled.or_else(|| self.look_for(&question, &context, arrived + PATIENCE)) else {
            return (question.reply_later(), None);
        };
        let why = self.log.wants(Level::Debug).then(|| answer.text().into_owned());
        (question.reply(&answer), why)
    }

    /// What is found until a moment, else what is at hand: the cached policy, or what the last search has come to. That is
    /// told at once to whoever asks while another one is waiting for the search, or all threads have other things to do.
    fn look_for(&self, question: &Question, context: &Arc<Context>, until: Instant) -> Option<Arc<Answer>> {
        let Begun { fetch, is_first, earlier } = self.fetches.begin(question, context);
        let at_hand = || question.cached(context, PATIENCE_WITH_CACHE).map(Arc::new).or_else(|| earlier.clone());
        let soon = if is_first { None } else { at_hand() };
        soon.or_else(|| fetch?.wait_until(until)).or_else(at_hand)
    }
}

/// What is being looked for, by threads that are there while there is something to do.
#[derive(Default)]
struct Fetches {
    state: Mutex<State>,
    has_work: Condvar,
}

#[derive(Default)]
struct State {
    under_way: HashMap<PolicyDomain, Arc<Fetch>>,
    /// What has taken longer than anybody waits, and is nothing for the cache: DNS has not answered. The next search may
    /// take as long.
    earlier: HashMap<PolicyDomain, (Arc<Answer>, Instant)>,
    waiting: VecDeque<Work>,
    threads: usize,
    idle_threads: usize,
}

struct Work {
    question: Question,
    context: Arc<Context>,
    fetch: Arc<Fetch>,
}

/// A search, seen by one who wants its outcome.
struct Begun {
    /// None if there is too much to do already.
    fetch: Option<Arc<Fetch>>,
    /// Whether a thread goes about it now, for this question.
    is_first: bool,
    /// What the last one has come to.
    earlier: Option<Arc<Answer>>,
}

impl Fetches {
    /// The search for this domain, begun now unless it is under way.
    fn begin(self: &Arc<Self>, question: &Question, context: &Arc<Context>) -> Begun {
        let mut state = self.state.lock();
        let earlier = state.earlier.get(&question.domain).filter(|(_, at)| at.elapsed() < EARLIER.0);
        let earlier = earlier.map(|(answer, _)| Arc::clone(answer));
        if let Some(fetch) = state.under_way.get(&question.domain) {
            return Begun { fetch: Some(Arc::clone(fetch)), is_first: false, earlier };
        }
        if state.waiting.len() >= MOST_WAITING {
            return Begun { fetch: None, is_first: false, earlier };
        }
        let is_first = state.idle_threads > state.waiting.len() || self.start_thread(&mut state);
        if state.threads == 0 {
            return Begun { fetch: None, is_first, earlier }; // the system has no thread to give
        }
        let fetch = Arc::new(Fetch::default());
        state.under_way.insert(question.domain.clone(), Arc::clone(&fetch));
        let (question, context) = (question.clone(), Arc::clone(context));
        state.waiting.push_back(Work { question, context, fetch: Arc::clone(&fetch) });
        drop(state);
        self.has_work.notify_one();
        Begun { fetch: Some(fetch), is_first, earlier }
    }

    /// Under another configuration the searches may come to something else.
    fn forget_earlier(&self) {
        self.state.lock().earlier.clear();
    }

    fn start_thread(self: &Arc<Self>, state: &mut State) -> bool {
        let fetches = Arc::clone(self);
        let has_room = state.threads < MOST_THREADS;
        let has_started = has_room && thread::Builder::new().name("fetch".into()).spawn(move || fetches.work()).is_ok();
        state.threads += usize::from(has_started);
        has_started
    }

    fn work(&self) {
        while let Some(Work { question, context, fetch }) = self.next() {
            let began = Instant::now();
            // A fault of the library has been told when it came, and must not stop what comes after it.
            let answer = panic::catch_unwind(AssertUnwindSafe(|| question.ask(&context, None)));
            let answer = answer.ok().map(Arc::new);
            let missed = answer.clone().filter(|answer| answer.policy.is_none() && began.elapsed() >= PATIENCE);
            self.state.lock().end(question.domain, missed);
            fetch.end(answer);
        }
    }

    /// The next work; none if there has been nothing to do for a while.
    fn next(&self) -> Option<Work> {
        let mut state = self.state.lock();
        let until = Instant::now() + IDLE_TIME;
        loop {
            if let Some(work) = state.waiting.pop_front() {
                return Some(work);
            }
            state.idle_threads += 1;
            let has_waited_long = self.has_work.wait_until(&mut state, until).timed_out();
            state.idle_threads -= 1;
            if has_waited_long && state.waiting.is_empty() {
                state.threads -= 1;
                return None;
            }
        }
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
struct Fetch {
    outcome: Mutex<Outcome>,
    has_ended: Condvar,
}

#[derive(Default)]
struct Outcome {
    is_there: bool,
    answer: Option<Arc<Answer>>,
}

impl Fetch {
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
