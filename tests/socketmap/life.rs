//! Start, reload and end: what the service manager and the administrator see.

use super::*;
use mtasts_world::{MAIL, is_mail_for_good};
use std::fs::{self, Permissions};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{SocketAddr as UnixAddress, UnixDatagram};

fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let count = manager.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..count].to_vec()).unwrap()
}

#[test]
fn the_service_manager_is_told_what_goes_on() {
    let stage = Stage::new();
    let path = stage.path("notify");
    let name = format!("mtasts-test-{}", std::process::id());
    let abstract_address = UnixAddress::from_abstract_name(&name).unwrap();
    let managers = [
        (path.display().to_string(), UnixDatagram::bind(&path).unwrap()),
        (format!("@{name}"), UnixDatagram::bind_addr(&abstract_address).unwrap()),
    ];
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    for (address, manager) in managers {
        manager.set_read_timeout(Some(LONG)).unwrap();
        let mut command = stage.command(&["--listen", "inet:127.0.0.1:0"]);
        let server = Server::start(command.env("NOTIFY_SOCKET", &address));
        assert_eq!(told(&manager), "READY=1\nSTATUS=Answering");
        server.tell(Signal::HUP);
        let reloading = told(&manager);
        let microseconds = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().split('\n').next().unwrap();
        assert!(microseconds.parse::<u64>().unwrap() > 0, "{reloading}");
        assert_eq!(told(&manager), "READY=1\nSTATUS=Answering");
        server.stop();
        assert_eq!(told(&manager), "STOPPING=1\nSTATUS=Answering what was asked");
    }
}

#[test]
fn a_reload_takes_effect_and_keeps_connections_and_what_is_under_way() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "slow.test");
    let server = stage.serve();
    let (mut client, mut waiting) = (server.connect(), server.connect());
    assert_eq!(client.ask("sts good.test"), GOOD);
    waiting.request("sts slow.test");
    gate.wait_for(1);
    stage.configure("[domain.\"good.test\"]\nmode = \"none\"\nuntil = 2099-12-31\nwhy = \"a test\"\n");
    server.tell(Signal::HUP);
    server.wait_for_line("the configuration was read again");
    assert_eq!(client.ask("sts good.test"), NOT_FOUND);
    gate.open();
    assert_eq!(waiting.reply().as_deref(), Some("OK secure match=mx.slow.test servername=hostname"));
    assert_eq!(waiting.ask("sts slow.test"), "OK secure match=mx.slow.test servername=hostname");
    assert_eq!(stage.fetches("slow.test"), 1);
}

#[test]
fn a_faulty_configuration_is_told_and_the_one_before_stays() {
    let stage = Stage::new();
    stage.configure("[domain.\"exempt.test\"]\nmode = \"none\"\nuntil = 2099-12-31\nwhy = \"a test\"\n");
    stage.world.publish("exempt.test", "1", policy_body("enforce", &["mx.exempt.test"], 86_400));
    let server = stage.serve();
    let mut client = server.connect();
    assert_eq!(client.ask("sts exempt.test"), NOT_FOUND);
    stage.configure("no_such_key = 1\nrefresh = 7\n");
    server.tell(Signal::HUP);
    let faults = ["mtasts.toml: line 6: key `no_such_key` is not known", "mtasts.toml: line 7: key `refresh`: "];
    for fault in faults {
        let line = server.wait_for_line(fault);
        assert!(line.ends_with("; the configuration stays as it was"), "{line}");
    }
    assert_eq!(client.ask("sts exempt.test"), NOT_FOUND);
    stage.configure("");
    server.tell(Signal::HUP);
    server.wait_for_line("the configuration was read again");
    assert_eq!(client.ask("sts exempt.test"), "OK secure match=mx.exempt.test servername=hostname");
}

#[test]
fn options_stand_above_the_configuration_also_when_it_is_read_again() {
    let stage = Stage::new();
    stage.configure("observe = false\n");
    let server = stage.serve_with(&["--set", "observe = true"]);
    let mut client = server.connect();
    assert_eq!(client.ask("sts good.test"), NOT_FOUND);
    server.tell(Signal::HUP);
    server.wait_for_line("the configuration was read again");
    assert_eq!(client.ask("sts good.test"), NOT_FOUND);
}

#[test]
fn a_faulty_configuration_or_option_ends_the_start_with_each_fault() {
    let stage = Stage::new();
    stage.configure("no_such_key = 1\nrefresh = 7\n");
    for (arguments, wanted) in [
        (
            &["--set", "observe=maybe"][..],
            &["line 6: key `no_such_key`", "line 7: key `refresh`", "--set: key `observe`"][..],
        ),
        (&["--set", "observe"], &["--set observe: want KEY=VALUE"]),
        (&["--connections", "0"], &["--connections"]),
        (&["--socket-mode", "888"], &["want an octal number from 0 to 777"]),
        (&["--socket-mode", "1777"], &["want an octal number from 0 to 777"]),
        (&["--nonsense"], &["--nonsense"]),
        (&["operand"], &["operand"]),
    ] {
        let output = stage.command(&[&["--listen", "inet:127.0.0.1:0"], arguments].concat()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        for part in wanted {
            assert!(said.contains(part), "{arguments:?}: {said}");
        }
    }
    let missing = stage.command(&["--listen", "inet:127.0.0.1:0", "--set", "user=root"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
}

#[test]
fn version_and_help_are_told() {
    let run = |option| {
        let output = Command::new(env!("CARGO_BIN_EXE_mtasts-socketmap")).arg(option).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(run("--version"), concat!("mtasts-socketmap ", env!("CARGO_PKG_VERSION"), "\n"));
    assert!(run("--help").contains("Exit status:"));
}

#[test]
fn it_stops_when_what_was_asked_is_answered() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "slow.test");
    let mut server = stage.serve();
    let address = server.address().into();
    let (mut asking, mut idle, mut begun) = (server.connect(), server.connect(), server.connect());
    assert_eq!(idle.ask("sts good.test"), GOOD);
    begun.send(b"13:sts goo");
    asking.request("sts slow.test");
    gate.wait_for(1);
    server.tell(Signal::TERM);
    assert!(idle.is_closed() && begun.is_closed());
    eventually("no new client is taken", || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.connect(&address).is_err()
    });
    assert_eq!(server.process.try_wait().unwrap(), None, "somebody waits for a reply");
    gate.open();
    assert_eq!(asking.reply().as_deref(), Some("OK secure match=mx.slow.test servername=hostname"));
    assert!(asking.is_closed());
    assert_eq!(server.end().code(), Some(0));
    assert!(server.lines().last().unwrap().contains("sts slow.test: OK "), "{:?}", server.lines());
}

#[test]
fn it_stops_within_seconds_whoever_does_not_answer_and_at_once_if_told_twice() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "slow.test");
    for (signal, times) in [(Signal::TERM, 1), (Signal::INT, 2)] {
        let mut server = stage.serve();
        let mut client = server.connect();
        client.request("sts slow.test");
        server.wait_for_line("listening on");
        eventually("the domain is looked for", || stage.world.dns_log().iter().any(|line| line.contains("slow.test")));
        let began = Instant::now();
        server.tell(signal);
        server.wait_for_line("stopping");
        if times == 2 {
            server.tell(signal);
        }
        assert_eq!(server.end().code(), Some(0));
        if times == 1 {
            assert!(client.reply().unwrap().starts_with("TEMP "));
            assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        } else {
            assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        }
        stage.world.clear_logs();
    }
    gate.open();
}

#[test]
fn nobody_waits_for_a_log_that_nobody_reads() {
    let stage = Stage::new();
    let (reader, writer) = std::io::pipe().unwrap();
    let path = stage.path("socket");
    let mut command = stage.command(&["--verbose", "--listen", &format!("unix:{}", path.display())]);
    let mut process = command.stderr(writer).spawn().unwrap();
    eventually("it listens", || path.exists());
    let mut client = Client::to_path(&path);
    for _ in 0..5_000 {
        assert_eq!(client.ask("sts good.test"), GOOD);
    }
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let began = Instant::now();
    eventually("it ends", || {
        began.elapsed() > LONG
            || matches!(fs::read_to_string(format!("/proc/{}/stat", process.id())), Ok(stat) if stat.contains(") Z "))
    });
    assert_eq!(process.wait().unwrap().code(), Some(0));
    drop(reader);
}

#[test]
fn in_the_journal_each_line_has_its_priority() {
    let stage = Stage::new();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let found = fs::File::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap())).metadata().unwrap();
    let mut command = stage.command(&[]);
    command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino())).stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(2));
    drop(command);
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("<3>mtasts-socketmap: nothing to listen on"), "{said}");
}

#[test]
fn started_by_root_it_becomes_the_owner_of_the_cache_for_good() {
    if !is_root() {
        return skipped("not root");
    }
    let stage = Stage::new();
    // What only root may read and where only root may put a socket.
    let config = stage.path("mtasts.toml");
    fs::set_permissions(&config, Permissions::from_mode(0o600)).unwrap();
    chown(stage.world.directory(), Some(0), Some(0)).unwrap();
    let path = stage.path("socket");
    let server = stage.serve_with(&["--listen", &format!("unix:{}", path.display())]);
    server.wait_for_line("listening on unix:");
    assert_eq!(Client::to_path(&path).ask("sts good.test"), GOOD);
    let process = server.process.id();
    let tasks: Vec<_> = fs::read_dir(format!("/proc/{process}/task")).unwrap().collect();
    // The thread of the client who has gone may end meanwhile.
    let statuses = tasks.iter().filter_map(|task| fs::read_to_string(task.as_ref().ok()?.path().join("status")).ok());
    let statuses: Vec<_> = statuses.collect();
    assert!(statuses.len() >= 3);
    assert!(statuses.iter().all(|status| is_mail_for_good(status)), "{statuses:#?}");
    for name in ["cache.db", "cache.lock"] {
        let found = fs::metadata(stage.cache.with_file_name(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (MAIL, MAIL), "{name}");
    }

    // The user that it has become may not read the configuration.
    server.tell(Signal::HUP);
    let line = server.wait_for_line("the configuration stays as it was");
    assert!(line.contains("mtasts.toml") && line.to_lowercase().contains("permission denied"), "{line}");
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    server.tell(Signal::HUP);
    server.wait_for_line("the configuration was read again");
    server.stop();

    // It may not remove the socket either. The next one, root again, does.
    assert!(path.exists());
    let again = stage.serve_with(&["--listen", &format!("unix:{}", path.display())]);
    again.wait_for_line("listening on unix:");
    assert_eq!(Client::to_path(&path).ask("sts good.test"), GOOD);
}

#[test]
fn root_without_a_cache_of_another_user_becomes_nobody_and_says_so() {
    if !is_root() {
        return skipped("not root");
    }
    let stage = Stage::new();
    let server = stage.serve_with(&["--set", "cache=/nonexistent/cache.db"]);
    let said = server.wait_for_line("not as root");
    assert!(said.contains("the cache /nonexistent/cache.db belongs to no other user"), "{said}");
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
}
