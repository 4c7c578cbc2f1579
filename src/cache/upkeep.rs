//! What an administrator does to the cache as a whole: looks at it, throws out, takes in from another host.
//!
//! It works on the file, in small steps: between two of them no lock is held, so that lookups go on, and a visitor sees
//! each row as it was at some moment of the visit. A file that cannot be used is left as it is, and the error says what
//! helps. Other processes see what has changed within five seconds.

use super::Cache;
use super::census::Census;
use super::row::{Row, is_later, trusted_time};
use super::sqlite::Name;
use crate::syntax::{Mode, PolicyDomain};
use crate::sys::log::Sink;
use crate::time::{Clock, Deadline, UnixTime};
use std::ops::ControlFlow;
use std::time::Duration;

/// The longest wait in one step for another program that holds the file.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two steps that write, others who wait for the file get their turn: longer than they pause.
const GAP: Duration = Duration::from_millis(5);
/// So many rows are looked for, or taken in, in one step.
const STEP: usize = 256;
/// Rows that are taken in by one step have about so many bytes.
const STEP_BYTES: usize = 1 << 20;

/// Which rows are meant: those to which all of it applies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Rows with a policy of this mode, or with none: `Some(None)`.
    pub mode: Option<Option<Mode>>,
    /// Rows that have been known for more than so many seconds.
    pub older_than: Option<u64>,
    /// Rows that have been known for less than so many seconds.
    pub newer_than: Option<u64>,
    /// Rows in which nothing counts any more: the policy has expired, or what DNS said without one.
    pub is_over: bool,
}

impl Filter {
    /// Whether a row is meant.
    pub fn matches(&self, row: &Row, now: UnixTime) -> bool {
        let age = now.seconds_since(row.since());
        self.mode.is_none_or(|mode| mode == row.mode())
            && self.older_than.is_none_or(|limit| age > limit)
            && self.newer_than.is_none_or(|limit| age < limit)
            && (!self.is_over || row.is_over(now))
    }
}

/// In which order rows are visited. Rows that are alike come in the order of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// By name. Only this order needs no memory; each other takes about 50 bytes a row.
    #[default]
    Domain,
    /// No policy, none, testing, enforce.
    Mode,
    /// The most recently learnt first.
    Age,
    /// What ends first.
    Expires,
    /// The most recently checked first.
    Checked,
    /// What is to be fetched anew first.
    Refresh,
}

impl Order {
    fn key(self, row: &Row, now: UnixTime) -> i64 {
        match self {
            Self::Domain => 0,
            Self::Mode => row.mode().map_or(0, strength),
            Self::Age => row.since().0.saturating_neg(),
            Self::Expires => row.until(now).0,
            Self::Checked => row.check.at.0.saturating_neg(),
            Self::Refresh => row.refresh_at.0,
        }
    }
}

fn strength(mode: Mode) -> i64 {
    match mode {
        Mode::None => 1,
        Mode::Testing => 2,
        Mode::Enforce => 3,
    }
}

/// What has become of a row that was to be taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is stored.
    Stored,
    /// It stays out, since what is known here is as recent or later.
    Known,
    /// It stays out although it is later: a stricter policy is in force here. The next fetch will tell.
    Weaker,
    /// It stays out, since the cache is full of enforced policies.
    Full,
    /// It stays out, since it could not have been stored like that. The text says what is wrong with it.
    Refused(String),
}

/// Looks after the cache of a context.
pub struct Upkeep<'a> {
    pub(crate) cache: &'a Cache,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) log: &'a dyn Sink,
    /// No plan for a refresh reaches further than so many seconds.
    pub(crate) longest_plan: u64,
}

impl Upkeep<'_> {
    /// The time by which rows are judged.
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// No plan for a refresh reaches further than this.
    pub fn latest_plan(&self) -> UnixTime {
        self.now().plus(self.longest_plan)
    }

    /// The rows of some domains.
    pub fn find(&self, domains: &[PolicyDomain]) -> Result<Vec<Option<Row>>, String> {
        let mut rows = Vec::new();
        for some in domains.chunks(STEP) {
            rows.extend(self.cache.database.find(some, patience())?);
        }
        Ok(rows)
    }

    /// Shows the rows that are meant to a visitor, until that breaks off. Returns how many rows were passed over because
    /// their key is no domain.
    pub fn visit(
        &self,
        filter: &Filter,
        order: Order,
        is_reversed: bool,
        mut visitor: impl FnMut(&PolicyDomain, &Row) -> ControlFlow<()>,
    ) -> Result<u64, String> {
        let now = self.now();
        if order == Order::Domain {
            return self.walk(is_reversed, |domain, row| {
                if filter.matches(row, now) { visitor(domain, row) } else { ControlFlow::Continue(()) }
            });
        }
        let mut keys: Vec<(i64, PolicyDomain)> = Vec::new();
        let unreadable = self.walk(false, |domain, row| {
            if filter.matches(row, now) {
                keys.push((order.key(row, now), domain.clone()));
            }
            ControlFlow::Continue(())
        })?;
        keys.sort_unstable();
        if is_reversed {
            keys.reverse();
        }
        let domains: Vec<PolicyDomain> = keys.into_iter().map(|(_, domain)| domain).collect();
        for some in domains.chunks(STEP) {
            let rows = self.cache.database.find(some, patience())?;
            for (domain, row) in some.iter().zip(rows) {
                // What has gone or changed meanwhile is not meant any more.
                let Some(row) = row.filter(|row| filter.matches(row, now)) else { continue };
                if visitor(domain, &row).is_break() {
                    return Ok(unreadable);
                }
            }
        }
        Ok(unreadable)
    }

    fn walk(
        &self,
        is_backward: bool,
        mut visitor: impl FnMut(&PolicyDomain, &Row) -> ControlFlow<()>,
    ) -> Result<u64, String> {
        let mut unreadable: u64 = 0;
        self.leaf_through(is_backward, |page| {
            for (name, row) in page {
                match name.domain() {
                    Some(domain) if visitor(&domain, row).is_break() => return Ok(ControlFlow::Break(())),
                    Some(_) => {}
                    None => unreadable = unreadable.saturating_add(1),
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(unreadable)
    }

    /// Hands over all rows in the order of their keys, page by page, with nothing held in between.
    fn leaf_through(
        &self,
        is_backward: bool,
        mut reader: impl FnMut(&[(Name, Row)]) -> Result<ControlFlow<()>, String>,
    ) -> Result<(), String> {
        let mut after = None;
        loop {
            let page = self.cache.database.page(after.as_ref(), is_backward, patience())?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            if reader(&page)?.is_break() {
                return Ok(());
            }
        }
    }

    /// Counts the rows.
    pub fn census(&self) -> Result<Census, String> {
        let (now, latest) = (self.now(), self.latest_plan());
        let mut census = Census::default();
        census.unreadable = self.walk(false, |_, row| {
            census.count(row, now, latest);
            ControlFlow::Continue(())
        })?;
        census.file_bytes = self.cache.database.size().unwrap_or_default();
        Ok(census)
    }

    /// Throws out what is known about some domains; returns for each what that was.
    pub fn purge(&self, domains: &[PolicyDomain]) -> Result<Vec<Option<Row>>, String> {
        let mut purged = Vec::new();
        for some in domains.chunks(STEP) {
            let names: Vec<Name> = some.iter().map(Name::from).collect();
            let mut removed = self.remove(&names, |_| true)?.into_iter().peekable();
            for name in &names {
                purged.push(removed.next_if(|(gone, _)| gone == name).map(|(_, row)| row));
            }
        }
        Ok(purged)
    }

    /// Throws out all rows that are meant, also those whose key is no domain, and shows each; with `is_dry_run` it only
    /// shows them.
    pub fn purge_all(
        &self,
        filter: &Filter,
        is_dry_run: bool,
        mut visitor: impl FnMut(Option<&PolicyDomain>, &Row),
    ) -> Result<(), String> {
        let now = self.now();
        self.leaf_through(false, |page| {
            let mut gone: Vec<(Name, Row)> = page.iter().filter(|(_, row)| filter.matches(row, now)).cloned().collect();
            if !is_dry_run && !gone.is_empty() {
                let names: Vec<Name> = gone.into_iter().map(|(name, _)| name).collect();
                gone = self.remove(&names, |row| filter.matches(row, now))?;
                std::thread::sleep(GAP);
            }
            for (name, row) in &gone {
                visitor(name.domain().as_ref(), row);
            }
            Ok(ControlFlow::Continue(()))
        })
    }

    fn remove(&self, names: &[Name], goes: impl Fn(&Row) -> bool) -> Result<Vec<(Name, Row)>, String> {
        let removed = self.cache.database.remove(names, goes, patience())?;
        self.forget(removed.iter().filter_map(|(name, _)| name.domain()));
        Ok(removed)
    }

    /// Takes in rows of another host, and says what has become of each. A policy that was fetched later stays, and so does
    /// one in force that is stricter. Makes the file if there is none, but not for a dry run.
    pub fn import(&self, rows: Vec<(PolicyDomain, Row)>, is_dry_run: bool) -> Result<Vec<Imported>, String> {
        let (now, latest) = (self.now(), self.latest_plan());
        let mut outcomes: Vec<Imported> = Vec::new();
        let mut sound = Vec::new();
        for (domain, row) in rows {
            let fault = row.vet(now, latest).err();
            if fault.is_none() {
                sound.push((domain, row));
            }
            outcomes.push(fault.map_or(Imported::Stored, Imported::Refused));
        }
        let mut verdicts = Vec::new();
        for some in steps(&sound) {
            verdicts.extend(self.import_step(some, now, is_dry_run)?);
        }
        let mut verdicts = verdicts.into_iter();
        for outcome in outcomes.iter_mut().filter(|outcome| **outcome == Imported::Stored) {
            *outcome = verdicts.next().unwrap_or(Imported::Stored);
        }
        Ok(outcomes)
    }

    fn import_step(
        &self,
        rows: &[(PolicyDomain, Row)],
        now: UnixTime,
        is_dry_run: bool,
    ) -> Result<Vec<Imported>, String> {
        let database = &self.cache.database;
        if is_dry_run {
            let domains: Vec<PolicyDomain> = rows.iter().map(|(domain, _)| domain.clone()).collect();
            let found =
                if database.is_there()? { database.find(&domains, patience())? } else { vec![None; domains.len()] };
            return Ok(rows.iter().zip(found).map(|((_, row), known)| judge(known.as_ref(), row, now)).collect());
        }
        let takes = |known: Option<&Row>, row: &Row| {
            let verdict = judge(known, row, now);
            (verdict == Imported::Stored, verdict)
        };
        let done = database.insert(rows, takes, now, patience(), self.log)?;
        self.forget(rows.iter().map(|(domain, _)| domain.clone()));
        std::thread::sleep(GAP);
        Ok(done.into_iter().map(|(verdict, has_room)| if has_room { verdict } else { Imported::Full }).collect())
    }

    /// What memory has is read again when it is next asked for.
    fn forget(&self, domains: impl Iterator<Item = PolicyDomain>) {
        domains.for_each(|domain| self.cache.memory.forget(&domain));
    }
}

fn patience() -> Deadline {
    Deadline::after(PATIENCE)
}

/// Cuts rows into pieces that are bounded in number and in bytes.
fn steps(rows: &[(PolicyDomain, Row)]) -> impl Iterator<Item = &[(PolicyDomain, Row)]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes: usize = 0;
        let fits = |(_, row): &&(PolicyDomain, Row)| {
            let is_first = bytes == 0;
            bytes = bytes.saturating_add(row.size());
            is_first || bytes <= STEP_BYTES
        };
        let count = rest.iter().take(STEP).take_while(fits).count();
        let (some, others) = rest.split_at_checked(count).filter(|(some, _)| !some.is_empty())?;
        rest = others;
        Some(some)
    })
}

/// Whether a row from elsewhere is to be stored in place of what is known here.
fn judge(known: Option<&Row>, offered: &Row, now: UnixTime) -> Imported {
    let Some(known) = known else { return Imported::Stored };
    let is_later = match (&known.policy, &offered.policy) {
        (None, Some(_)) => true,
        (Some(_), None) => false,
        (Some(ours), Some(theirs)) => is_later(theirs.fetched_at, ours.fetched_at, now),
        (None, None) => offered.check.at > trusted_time(known.check.at, now),
    };
    let in_force = |row: &Row| row.policy.as_ref().and_then(|stored| stored.in_force(now));
    let strength_of = |row: &Row| in_force(row).map_or(0, |stored| strength(stored.policy.mode()));
    match is_later {
        false => Imported::Known,
        true if strength_of(offered) < strength_of(known) => Imported::Weaker,
        true => Imported::Stored,
    }
}
