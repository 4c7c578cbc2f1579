//! Clients that are many, slow, silent or deaf, and those beside them.

use super::*;
use std::os::unix::fs::{PermissionsExt, chown};

#[test]
fn the_client_that_has_been_idle_the_longest_makes_room_for_a_new_one() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "slow.test");
    let server = stage.serve_with(&["--connections", "4"]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.ask("sts good.test"), GOOD);
    }
    clients[0].request("sts slow.test");
    gate.wait_for(1);
    // Of the others it is the longest that the second has asked anything: what it has begun is no request.
    assert_eq!(clients[2].ask("sts good.test"), GOOD);
    clients[1].send(b"13:sts goo");
    let mut new = server.connect();
    assert_eq!(new.ask("sts good.test"), GOOD);
    assert!(clients[1].is_closed());
    let mut newer = server.connect();
    assert_eq!(newer.ask("sts good.test"), GOOD);
    assert!(clients[3].is_closed());
    assert_eq!((clients[2].ask("sts good.test"), new.ask("sts good.test")), (GOOD.to_owned(), GOOD.to_owned()));
    gate.open();
    assert_eq!(clients[0].reply().as_deref(), Some("OK secure match=mx.slow.test servername=hostname"));
}

#[test]
fn where_all_wait_for_replies_a_new_client_waits_as_well() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "slow.test");
    let server = stage.serve_with(&["--connections", "1"]);
    let mut first = server.connect();
    first.request("sts slow.test");
    gate.wait_for(1);
    let mut second = server.connect();
    second.request("sts good.test");
    gate.open();
    assert_eq!(first.reply().as_deref(), Some("OK secure match=mx.slow.test servername=hostname"));
    assert_eq!(second.reply().as_deref(), Some(GOOD));
    assert!(first.is_closed());
}

#[test]
fn of_more_clients_than_there_is_room_for_each_has_its_reply() {
    let stage = Stage::new();
    let server = stage.serve_with(&["--connections", "8"]);
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    let together = Barrier::new(100);
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                together.wait();
                for _ in 0..5 {
                    let mut client = server.connect();
                    client.request("sts good.test");
                    assert_eq!(client.reply().as_deref(), Some(GOOD), "its place was given away");
                }
            });
        }
    });
    server.stop();
}

#[test]
fn a_request_that_does_not_end_is_waited_for_ten_seconds_and_an_idle_client_longer() {
    let stage = Stage::new();
    let server = stage.serve();
    let mut idle = server.connect();
    assert_eq!(idle.ask("sts good.test"), GOOD);
    let mut silent = server.connect();
    let began = Instant::now();
    let mut slow = server.connect();
    for byte in b"13:sts go" {
        slow.send(&[*byte]);
        thread::sleep(Duration::from_millis(900));
    }
    assert!(slow.is_closed());
    let waited = began.elapsed();
    assert!((Duration::from_secs(10)..Duration::from_secs(13)).contains(&waited), "{waited:?}");
    server.wait_for_line("a request has not come to its end, the connection is closed");
    assert_eq!(idle.ask("sts good.test"), GOOD);
    assert_eq!(silent.ask("sts good.test"), GOOD);
}

#[test]
fn a_client_that_reads_no_reply_is_closed_and_hurts_nobody() {
    let stage = Stage::new();
    let server = stage.serve_with(&["--listen", &format!("unix:{}", stage.path("socket").display())]);
    let mut other = server.connect();
    assert_eq!(other.ask("sts good.test"), GOOD);
    let deaf = [server.connect(), Client::to_path(&stage.path("socket"))];
    let writers: Vec<_> = deaf
        .into_iter()
        .map(|client| {
            thread::spawn(move || {
                let requests = b"24:postfix-tlsrpt good.test,".repeat(1000);
                let began = Instant::now();
                // Ends when the server has closed the connection.
                while (&client.0).write_all(&requests).is_ok() {}
                began.elapsed()
            })
        })
        .collect();
    while !writers.iter().all(thread::JoinHandle::is_finished) {
        let asked = Instant::now();
        assert_eq!(other.ask("sts good.test"), GOOD);
        assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    for writer in writers {
        let waited = writer.join().unwrap();
        assert!((Duration::from_secs(9)..Duration::from_secs(30)).contains(&waited), "{waited:?}");
    }
    server.wait_for_line("unix: a reply is not read, the connection is closed");
}

#[test]
fn a_client_that_reads_no_reply_makes_room_for_a_new_one() {
    let stage = Stage::new();
    let server = stage.serve_with(&["--connections", "1"]);
    let mut deaf = server.connect();
    assert_eq!(deaf.ask("sts good.test"), GOOD);
    deaf.0.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let requests = b"24:postfix-tlsrpt good.test,".repeat(1000);
    while deaf.0.write_all(&requests).is_ok() {}
    let mut new = server.connect();
    new.0.set_read_timeout(Some(PATIENCE_OF_SENDMAIL)).unwrap();
    assert_eq!(new.ask("sts good.test"), GOOD);
}

#[test]
fn clients_that_go_amid_everything_leave_nothing_behind() {
    let stage = Stage::new();
    let gate = Gate::default();
    stage.publish_behind(&gate, "slow.test");
    let server = stage.serve();
    let process = server.process.id();
    let count = |what: &str| std::fs::read_dir(format!("/proc/{process}/{what}")).unwrap().count();
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    let (threads, descriptors) = (count("task"), count("fd"));
    for _ in 0..100 {
        server.connect();
        server.connect().send(b"13:sts");
        server.connect().request("sts good.test");
        server.connect().request("sts slow.test");
    }
    gate.open();
    // A thread or two that fetch, and what the library opens for that, may stay a while.
    eventually("threads end", || count("task") <= threads + 2);
    eventually("descriptors are closed", || count("fd") <= descriptors + 6);
    assert_eq!(server.connect().ask("sts slow.test"), "OK secure match=mx.slow.test servername=hostname");
}

#[test]
fn a_want_of_descriptors_ends_by_itself() {
    let stage = Stage::new();
    // Only what is hard cannot be raised.
    let mut command = Command::new("sh");
    let line = "ulimit -n 40; exec \"$@\"";
    command.args(["-c", line, "sh"]).arg(env!("CARGO_BIN_EXE_mtasts-socketmap"));
    command.args(["--listen", "inet:127.0.0.1:0", "--connections", "500", "--config"]).arg(stage.path("mtasts.toml"));
    let server = Server::start(&mut command);
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    server.wait_for_line("takes 20 clients at most: the limit of open files is 40");
    let clients: Vec<Client> = (0..100).map(|_| server.connect()).collect();
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    drop(clients);
    server.stop();
}

#[test]
fn where_descriptors_are_few_an_enforced_policy_is_found_or_waited_for() {
    let stage = Stage::new();
    let gate = Gate::default();
    for number in 0..30 {
        stage.publish_behind(&gate, &format!("slow{number}.test"));
    }
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$@\"", "sh"]).arg(env!("CARGO_BIN_EXE_mtasts-socketmap"));
    command.args(["--listen", "inet:127.0.0.1:0", "--config"]).arg(stage.path("mtasts.toml"));
    let server = Server::start(&mut command);
    let mut clients: Vec<Client> = (0..30).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.request(&format!("sts slow{number}.test"));
    }
    for client in &mut clients {
        let reply = client.reply().expect("a reply");
        assert!(reply.starts_with("TEMP "), "{reply}");
    }
    gate.open();
    for (number, client) in clients.iter_mut().enumerate() {
        let request = format!("sts slow{number}.test");
        eventually("the policy is found", || {
            let reply = client.ask(&request);
            assert!(!reply.starts_with(NOT_FOUND), "{request}: {reply}");
            reply.starts_with("OK ")
        });
    }
    server.stop();
}

#[test]
fn without_a_thread_for_it_a_client_waits() {
    // What root starts works as the owner of the cache: the limit counts the threads of a user that nobody else is.
    const USER: u32 = 61_461;
    if !is_root() {
        return skipped("only root can be a user of whom there is nobody else");
    }
    let stage = Stage::new();
    std::fs::set_permissions(stage.world.directory(), std::fs::Permissions::from_mode(0o755)).unwrap();
    chown(stage.cache.parent().unwrap(), Some(USER), Some(USER)).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -p 12 2>/dev/null || ulimit -u 12; exec \"$@\"", "sh"])
        .arg(env!("CARGO_BIN_EXE_mtasts-socketmap"));
    command.args(["--listen", "inet:127.0.0.1:0", "--config"]).arg(stage.path("mtasts.toml"));
    let server = Server::start(&mut command);
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    let clients: Vec<Client> = (0..30)
        .map(|number| {
            let mut client = server.connect();
            client.request("sts good.test");
            assert_eq!(client.reply().as_deref(), Some(GOOD), "client {number}");
            client
        })
        .collect();
    server.wait_for_line("no client can be taken: no thread: ");
    drop(clients);
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    server.stop();
}

#[test]
fn a_want_of_threads_is_told_and_ends_by_itself() {
    if !is_root() {
        return skipped("a limit for one user alone needs root");
    }
    let stage = Stage::new();
    // Nobody else is this user. Two threads are the server's own, one looks for the domain.
    let user = format!("user={}", 1_000_000 + std::process::id());
    let options = ["--set", &user, "--set", "cache=/nonexistent/cache.db", "--verbose", "--config"];
    let mut command = Command::new("prlimit");
    command.args(["--nproc=6", env!("CARGO_BIN_EXE_mtasts-socketmap"), "--listen", "inet:127.0.0.1:0"]);
    command.args(options).arg(stage.path("mtasts.toml")).env_remove("NOTIFY_SOCKET");
    let server = Server::start(&mut command);
    let mut first = server.connect();
    assert_eq!(first.ask("sts good.test"), GOOD);
    let clients: Vec<Client> = (0..8).map(|_| server.connect()).collect();
    server.wait_for_line("no client can be taken: no thread: ");
    eventually("a new client is served", || {
        let mut client = server.connect();
        client.request("sts good.test");
        client.reply().is_some_and(|reply| reply == GOOD)
    });
    drop(clients);
    server.stop();
}
