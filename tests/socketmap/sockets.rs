//! Where the server listens, and what lies in its way there.

use super::*;
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};

fn unix(path: &Path) -> String {
    format!("unix:{}", path.display())
}

/// What a server says that does not start.
fn refused(stage: &Stage, arguments: &[&str]) -> String {
    let output = stage.command(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn it_listens_on_all_that_it_is_told() {
    let stage = Stage::new();
    let path = stage.path("socket");
    let server =
        stage.serve_with(&["--listen", "inet:[::1]:0", "--listen", "inet:localhost:0", "--listen", &unix(&path)]);
    server.wait_for_line("listening on unix:");
    let listening: Vec<SocketAddr> =
        server.lines().iter().filter_map(|line| line.rsplit_once("inet:")?.1.parse().ok()).collect();
    assert!(listening.len() >= 3 && listening.iter().any(SocketAddr::is_ipv6), "{listening:?}");
    for address in listening {
        assert_eq!(Client::connect(&address.into()).ask("sts good.test"), GOOD, "{address}");
    }
    assert_eq!(Client::to_path(&path).ask("sts good.test"), GOOD);
    server.wait_for_line("unix: sts good.test: OK");
    server.wait_for_line("inet [::1]:");
}

#[test]
fn the_file_of_a_socket_has_its_mode_and_is_removed_at_the_end() {
    let stage = Stage::new();
    let path = stage.path("socket");
    for (arguments, wanted) in [(&[][..], 0o666), (&["--socket-mode", "660"][..], 0o660)] {
        let server = stage.serve_with(&[&["--listen", &unix(&path)], arguments].concat());
        server.wait_for_line("listening on unix:");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, wanted);
        if !is_root() {
            server.stop();
            assert!(!path.exists());
        }
    }
}

#[test]
fn the_socket_of_a_dead_server_is_replaced_and_that_of_a_live_one_is_not() {
    let stage = Stage::new();
    let path = stage.path("socket");
    let mut server = stage.serve_with(&["--listen", &unix(&path)]);
    server.wait_for_line("listening on unix:");
    let said = refused(&stage, &["--listen", &unix(&path)]);
    assert_eq!(said, format!("mtasts-socketmap: {}: another server answers there\n", unix(&path)));
    assert_eq!(Client::to_path(&path).ask("sts good.test"), GOOD);

    server.process.kill().unwrap();
    server.process.wait().unwrap();
    assert!(UnixStream::connect(&path).is_err() && path.exists());
    let server = stage.serve_with(&["--listen", &unix(&path)]);
    server.wait_for_line("listening on unix:");
    assert_eq!(Client::to_path(&path).ask("sts good.test"), GOOD);

    // A server that comes to its end leaves the socket of its successor alone.
    fs::remove_file(&path).unwrap();
    let successor = UnixListener::bind(&path).unwrap();
    server.stop();
    assert!(UnixStream::connect(&path).is_ok());
    drop(successor);
}

#[test]
fn what_is_no_socket_of_ours_stays_where_it_is() {
    let stage = Stage::new();
    let path = stage.path("file");
    fs::write(&path, "precious").unwrap();
    assert!(refused(&stage, &["--listen", &unix(&path)]).contains("there is a file that is no socket"));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let link = stage.path("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert!(refused(&stage, &["--listen", &unix(&link)]).contains("there is a file that is no socket"));
    let absent = stage.path("absent/socket");
    assert!(refused(&stage, &["--listen", &unix(&absent)]).contains("No such file or directory"));
    let long = stage.path(&"x".repeat(200));
    assert!(refused(&stage, &["--listen", &unix(&long)]).contains("the path is too long for a socket"));

    if !is_root() {
        return skipped("a socket of another user needs root");
    }
    let others = stage.path("others");
    drop(UnixListener::bind(&others).unwrap());
    chown(&others, Some(12_345), None).unwrap();
    let said = refused(&stage, &["--listen", &unix(&others)]);
    assert!(said.contains("there is a socket of user 12345, want one of user 0 or none"), "{said}");
    assert!(fs::symlink_metadata(&others).unwrap().file_type().is_socket());
}

#[test]
fn an_address_in_use_or_of_another_machine_is_refused() {
    let stage = Stage::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("inet:{}", taken.local_addr().unwrap());
    assert!(refused(&stage, &["--listen", &address]).contains(&format!("{address}: Address already in use")));
    assert!(refused(&stage, &["--listen", "inet:192.0.2.1:5461"]).contains("inet:192.0.2.1:5461: "));
    for (wrong, wanted) in [
        ("127.0.0.1:5461", "want inet:HOST:PORT or unix:PATH"),
        ("inet:::1:5461", "with an IPv6 address in brackets"),
        ("unix:socket", "with all of the path"),
    ] {
        let said = refused(&stage, &["--listen", wrong]);
        assert!(said.contains(wrong) && said.contains(wanted), "{said}");
    }
}

#[test]
fn without_anything_to_listen_on_it_says_what_would_be_right() {
    let said = refused(&Stage::new(), &[]);
    assert_eq!(
        said,
        "mtasts-socketmap: nothing to listen on: want --listen inet:127.0.0.1:5461, --listen unix:/run/mtasts/socketmap, \
         or a socket unit of systemd\n"
    );
}

/// A server that gets its sockets as descriptors 3 and 4, as systemd hands them over.
fn activated(stage: &Stage, inet: &TcpListener, unix: &UnixListener) -> Server {
    let mut command = Command::new("sh");
    let line = "LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\" 3<&0 4<&1 </dev/null >/dev/null";
    command.args(["-c", line, "sh"]).arg(env!("CARGO_BIN_EXE_mtasts-socketmap"));
    command.args(["--verbose", "--config"]).arg(stage.path("mtasts.toml"));
    command.stdin(OwnedFd::from(inet.try_clone().unwrap())).stdout(OwnedFd::from(unix.try_clone().unwrap()));
    Server::start(&mut command)
}

#[test]
fn sockets_that_are_handed_over_are_used_and_outlive_the_server() {
    let stage = Stage::new();
    let path = stage.path("activated");
    let (inet, unix) = (TcpListener::bind("127.0.0.1:0").unwrap(), UnixListener::bind(&path).unwrap());
    let server = activated(&stage, &inet, &unix);
    server.wait_for_line(&format!("listening on unix:{}", path.display()));
    assert_eq!(server.address(), inet.local_addr().unwrap());
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    assert_eq!(Client::to_path(&path).ask("sts good.test"), GOOD);
    server.stop();

    // Whoever asks between two servers is answered by the second.
    let mut between = [Client::connect(&inet.local_addr().unwrap().into()), Client::to_path(&path)];
    for client in &mut between {
        client.request("sts good.test");
    }
    let _server = activated(&stage, &inet, &unix);
    for client in &mut between {
        assert_eq!(client.reply().as_deref(), Some(GOOD));
    }
}

#[test]
fn what_is_handed_over_and_does_not_listen_is_refused() {
    let stage = Stage::new();
    let mut command = Command::new("sh");
    let line = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\" 3</dev/null";
    command.args(["-c", line, "sh"]).arg(env!("CARGO_BIN_EXE_mtasts-socketmap"));
    let output = command.args(["--config"]).arg(stage.path("mtasts.toml")).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("socket 0 of the service manager: want a stream socket that listens"), "{said}");
}
