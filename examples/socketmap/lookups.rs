//! The way of a request to its reply. What is remembered is replied at once, on the thread of the connection. What must be
//! looked for is looked for by a few threads that do nothing else, one for each domain, so that policy hosts that do not
//! answer hold nobody up but those who ask for their domains.

use crate::log::Log;
use mtasts::context::{Context, Level};
use mtasts::discovery::{Answer, Effort};
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
        drop(old); // no longer under the lock
    }

    /// The reply to a request, and in words why it is that, if somebody wants to know.
    pub fn reply(&self, request: &[u8], arrived: Instant) -> (String, Option<String>) {
        let question = match Question::read(request) {
            Ok(question) => question,
            Err(reply) => return (reply.to_owned(), None),
        };
        let context = Arc::clone(&*self.context.read());
        let answer = match context.recall(&question.domain, Some(PATIENCE_WITH_CACHE)) {
            Some(answer) => Arc::new(answer),
            None => match self.look_for(&question, &context, arrived + PATIENCE) {
                Ok(answer) => answer,
                Err(reply) => return (reply, Some("it is still being looked for".to_owned())),
            },
        };
        let why = self.log.wants(Level::Debug).then(|| answer.text().into_owned());
        (question.reply(&answer), why)
    }

    /// What is found until a moment; the error is the reply if that is not enough. A policy that is remembered is a reply
    /// at once, unless this request is the one for which it is looked at anew.
    fn look_for(&self, question: &Question, context: &Arc<Context>, until: Instant) -> Result<Arc<Answer>, String> {
        let (fetch, is_first) = self.fetches.begin(question, context);
        if !is_first && let Some(cached) = cached_policy(question, context) {
            return Ok(Arc::new(cached));
        }
        let found = fetch.and_then(|fetch| fetch.wait_until(until));
        found.ok_or_else(|| question.reply_meanwhile(context))
    }
}

fn cached_policy(question: &Question, context: &Context) -> Option<Answer> {
    let domain = question.domain.as_str().as_bytes();
    let answer = context.query(domain, Effort::CacheOnly, Some(PATIENCE_WITH_CACHE));
    answer.policy.is_some().then_some(answer)
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
    waiting: VecDeque<Work>,
    threads: usize,
    idle_threads: usize,
}

struct Work {
    question: Question,
    context: Arc<Context>,
    fetch: Arc<Fetch>,
}

impl Fetches {
    /// The search for this domain, begun now unless it is under way, and whether a thread goes about it for this question.
    /// None if there is too much to do already.
    fn begin(self: &Arc<Self>, question: &Question, context: &Arc<Context>) -> (Option<Arc<Fetch>>, bool) {
        let mut state = self.state.lock();
        if let Some(fetch) = state.under_way.get(&question.domain) {
            return (Some(Arc::clone(fetch)), false);
        }
        if state.waiting.len() >= MOST_WAITING {
            return (None, false);
        }
        let has_thread = state.idle_threads > state.waiting.len() || self.start_thread(&mut state);
        if state.threads == 0 {
            return (None, false); // the system has no thread to give
        }
        let fetch = Arc::new(Fetch::default());
        state.under_way.insert(question.domain.clone(), Arc::clone(&fetch));
        let (question, context) = (question.clone(), Arc::clone(context));
        state.waiting.push_back(Work { question, context, fetch: Arc::clone(&fetch) });
        drop(state);
        self.has_work.notify_one();
        (Some(fetch), has_thread)
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
            // A fault of the library has been told when it came, and must not stop what comes after it.
            let answer = panic::catch_unwind(AssertUnwindSafe(|| question.ask(&context, None)));
            self.state.lock().under_way.remove(&question.domain);
            fetch.end(answer.ok().map(Arc::new));
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
