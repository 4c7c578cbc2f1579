//! Plays a scene and says what was otherwise than it wants.

use crate::grammar::{Act, Expect, Scene, Step};
use crate::promise::Promise;
use crate::stage::{DOMAIN, Stage};
use mtasts::cache::StoredPolicy;
use mtasts::config::Settings;
use mtasts::context::{Context, Level};
use mtasts::discovery::{Answer, Effort};
use mtasts::time::Clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How the questions of a scene are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// All to one context. It does not repeat a line of its log, so that no log is checked.
    OneContext,
    /// Each to a new context, as by a process that has just begun.
    NewContexts,
}

fn effort(word: Option<&str>) -> Effort {
    match word {
        Some("cache-only") => Effort::CacheOnly,
        Some("refresh") => Effort::Refresh,
        _ => Effort::Usual,
    }
}

/// How late a busy machine may be.
const LATE: Duration = Duration::from_millis(1_500);

/// Plays a scene up to its first fault.
pub fn play(scene: &Scene, way: Way) -> Option<String> {
    let stage = Stage::new();
    let settings = stage.settings();
    let mut player = Player { way, stage, settings, context: None, lines: Arc::default(), promise: Promise::default() };
    for step in &scene.steps {
        for time in &step.times {
            let faults = player.step(step, *time).unwrap_or_else(|error| vec![error]);
            if !faults.is_empty() {
                let at = format!("{}:{}: {way:?}, {time} seconds into the scene", scene.path, step.line);
                return Some(format!("{at}:\n    {}", faults.join("\n    ")));
            }
        }
    }
    None
}

struct Player {
    way: Way,
    stage: Stage,
    settings: Settings,
    context: Option<Context>,
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    promise: Promise,
}

impl Player {
    fn step(&mut self, step: &Step, time: i64) -> Result<Vec<String>, String> {
        self.stage.begin(time);
        for act in &step.acts {
            match act {
                Act::Restart => self.context = None,
                Act::Set(key, value) => {
                    self.settings.set(key, value).map_err(|error| error.to_string())?;
                    if let Some(context) = &self.context {
                        context.set(key, value).map_err(|error| error.to_string())?;
                    }
                }
                act => self.stage.act(act)?,
            }
        }
        if step.expect.is_empty() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let (answer, pass) = self.ask(step)?;
        let (taken, limit) = (began.elapsed(), step.timeout.unwrap_or(self.settings.deadline));
        let mut faults = Vec::new();
        if taken >= limit + LATE {
            faults.push(format!("took {taken:?} where {limit:?} were given"));
        }
        let (now, connections) = (self.stage.clock.now().0, self.stage.world.https_connections());
        let served = self.stage.served.as_deref();
        match &answer {
            Some(answer) => faults.extend(self.promise.judge(answer, served, connections, now)),
            None if pass.0 > 0 => self.promise.renew(served, now),
            None => {}
        }
        let queries = self.stage.world.dns_log().iter().filter(|line| line.starts_with("TXT ")).count();
        let lines = std::mem::take(&mut *self.lines.lock().unwrap());
        let mut brought: BTreeMap<&str, String> = [
            ("txt", queries.to_string()),
            ("https", connections.to_string()),
            ("log", loudest(&lines).to_owned()),
            ("lines", lines.iter().map(|(_, line)| format!("{line}\n")).collect()),
            ("done", pass.0.to_string()),
            ("failed", pass.1.to_string()),
        ]
        .into();
        brought.extend(answer.iter().flat_map(|answer| describe(answer, now)));
        let wrong = |expect: &&Expect| {
            let is = brought.get(&*expect.key).map_or("", String::as_str);
            match &*expect.key {
                "log" | "lines" if self.way == Way::OneContext => false,
                "text" | "lines" => !is.contains(&expect.values[0]),
                _ => !expect.values.iter().any(|value| value == is),
            }
        };
        faults
            .extend(step.expect.iter().filter(wrong).map(|expect| format!("want {} {:?}", expect.key, expect.values)));
        if !faults.is_empty() {
            faults.push(format!("got {brought:?}"));
        }
        Ok(faults)
    }

    fn ask(&mut self, step: &Step) -> Result<(Option<Answer>, (u32, u32)), String> {
        if self.way == Way::NewContexts {
            self.context = None;
        }
        let context = self.context.get_or_insert_with(|| {
            let context = Context::with_clock(self.settings.clone(), Box::new(self.stage.clock.clone()));
            let lines = Arc::clone(&self.lines);
            context.set_log(Some(Box::new(move |level, line| lines.lock().unwrap().push((level, line.to_owned())))));
            context
        });
        let effort = effort(step.effort.as_deref());
        let hosts: Vec<&[u8]> = step.mx.iter().flatten().map(|host| host.as_bytes()).collect();
        if step.is_pass {
            let refreshed = context.refresh(0, step.timeout)?;
            return Ok((None, (refreshed.done, refreshed.failed)));
        }
        let answer = match step.mx {
            Some(_) => context.query_for(DOMAIN.as_bytes(), &hosts, effort, step.timeout),
            None => context.query(DOMAIN.as_bytes(), effort, step.timeout),
        };
        Ok((Some(answer), (0, 0)))
    }
}

/// What can be expected of an answer.
fn describe(answer: &Answer, now: i64) -> [(&'static str, String); 7] {
    let of_policy = |tell: &dyn Fn(&StoredPolicy) -> String| answer.policy.as_deref().map_or_else(String::new, tell);
    [
        ("mode", answer.mode_str().to_owned()),
        ("reason", answer.reason.as_str().to_owned()),
        ("from", answer.source.as_str().to_owned()),
        ("id", of_policy(&|policy| policy.id.to_string())),
        ("expires", of_policy(&|policy| (policy.expires_at.0 - now).to_string())),
        ("result", answer.result_type().as_str().unwrap_or("none").to_owned()),
        ("text", answer.text().into_owned()),
    ]
}

fn loudest(lines: &[(Level, String)]) -> &'static str {
    match lines.iter().map(|(level, _)| *level).min() {
        Some(Level::Error) => "error",
        Some(Level::Warning) => "warning",
        Some(Level::Notice) => "notice",
        Some(Level::Debug) | None => "silent",
    }
}
