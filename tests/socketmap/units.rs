//! The units of systemd.

use super::*;
use std::fs;

/// The values of a key, in their order.
fn values<'t>(unit: &'t str, key: &str) -> Vec<&'t str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn the_units_are_valid_and_hardened_and_start_a_server_that_answers() {
    let stage = Stage::new();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    let read = |name: &str| fs::read_to_string(units.join(name)).unwrap();
    let (service, socket) = (read("mtasts-socketmap.service"), read("mtasts-socketmap.socket"));
    assert_eq!(values(&socket, "ListenStream"), ["127.0.0.1:5461", "/run/mtasts/socketmap"]);
    assert_eq!(values(&socket, "SocketMode"), ["0666"]);
    assert_eq!(values(&service, "Type"), ["notify"]);

    // As the service starts it, with its descriptors and without another option.
    assert_eq!(values(&service, "ExecStart"), ["mtasts-socketmap"]);
    let inet = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new("sh");
    let line = "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" 3<&0 </dev/null";
    command.args(["-c", line, env!("CARGO_BIN_EXE_mtasts-socketmap")]).env("MTASTS_CONFIG", stage.path("mtasts.toml"));
    command.env_remove("NOTIFY_SOCKET").stdin(std::os::fd::OwnedFd::from(inet));
    let server = Server::start(&mut command);
    assert_eq!(server.connect().ask("sts good.test"), GOOD);
    let reload = values(&service, "ExecReload")[0].strip_prefix('+').unwrap();
    let reload = reload.replace("$MAINPID", &server.process.id().to_string());
    assert!(Command::new("sh").args(["-c", &reload]).status().unwrap().success());
    server.wait_for_line("the configuration was read again");

    // Only what is installed passes: the program by its path.
    let copies = stage.path("units");
    fs::create_dir(&copies).unwrap();
    let here =
        service.replace("ExecStart=mtasts-socketmap", concat!("ExecStart=", env!("CARGO_BIN_EXE_mtasts-socketmap")));
    fs::write(copies.join("mtasts-socketmap.service"), here).unwrap();
    fs::write(copies.join("mtasts-socketmap.socket"), socket).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze").args(arguments).current_dir(&copies).output();
        output.map_err(|error| skipped(&format!("systemd-analyze: {error}"))).ok()
    };
    let units = ["./mtasts-socketmap.service", "./mtasts-socketmap.socket"];
    let Some(verified) = analyze(&[&["verify", "--man=no"], &units[..]].concat()) else { return };
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    let judged = analyze(&["security", "--offline=yes", "--threshold=25", units[0]]).unwrap();
    assert!(judged.status.success(), "exposed more than 2.5: {}", String::from_utf8_lossy(&judged.stdout));
}
