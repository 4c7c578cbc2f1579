//! A process that is started for one answer from the cache: what it opens.

use crate::harness::Host;
use std::fs;
use std::process::Command;

const FIRST: &str = "benches/c/first.c";

/// The system calls by which files, sockets and threads come into being, once the program itself is loaded; none, told
/// aloud, without strace.
fn calls(host: &Host, domain: &str) -> Option<Vec<String>> {
    if Command::new("strace").arg("-V").output().is_err() {
        println!("SKIPPED: strace not installed");
        assert_ne!(std::env::var("MTASTS_NO_SKIP").as_deref(), Ok("1"), "skipped, and MTASTS_NO_SKIP=1 forbids that");
        return None;
    }
    let program = host.compile(FIRST);
    let (configuration, trace) = (host.configuration(), host.path("trace"));
    let [program, configuration, shown] = [&program, &configuration, &trace].map(|path| path.to_str().unwrap());
    let kinds = "trace=?open,openat,socket,connect,clone,?clone3,?fork,?vfork,execve,eventfd2,epoll_create1,pipe2";
    let run = host.run(&["strace", "-f", "-qq", "-s", "400", "-e", kinds, "-o", shown, program, configuration, domain]);
    assert_eq!((run.status, run.stdout.as_str()), (Some(0), "2\n"), "{}", run.stderr);
    let lines = fs::read_to_string(shown).unwrap();
    // The configuration is the first file that the library opens; what comes before is the loader's.
    let ours = lines.lines().skip_while(|line| line.contains("execve(") || !line.contains(configuration));
    Some(ours.map(str::to_owned).collect())
}

#[test]
fn a_cached_answer_opens_the_configuration_and_the_database_and_nothing_else() {
    let host = Host::new();
    // The first process fetches the policy: it shows that the trace would tell.
    let Some(fetch) = calls(&host, "good.test") else { return };
    let ca_file = host.world.ca_file().to_str().unwrap().to_owned();
    for wanted in ["socket(", ca_file.as_str(), "cache.lock"] {
        assert!(fetch.iter().any(|line| line.contains(wanted)), "{wanted}: {fetch:#?}");
    }
    // No name server and no roots are configured any more: the system's would have to be looked for.
    fs::write(host.configuration(), format!("cache = \"{}\"\n", host.path("cache/cache.db").display())).unwrap();
    host.world.clear_logs();
    let cached = calls(&host, "good.test").unwrap();
    // SQLite seeds its random numbers when it is set up.
    let is_needed = |line: &&String| {
        line.contains("open")
            && ["mtasts.toml\"", "cache.db\"", "\"/dev/urandom\""].iter().any(|file| line.contains(file))
    };
    let others: Vec<&String> = cached.iter().filter(|line| !is_needed(line)).collect();
    assert!(others.is_empty(), "{others:#?}");
    assert!(cached.len() <= 3, "each once: {cached:#?}");
    assert_eq!((host.world.dns_log(), host.world.https_connections()), (Vec::new(), 0));
}
