//! The command `mtasts-world`: a world from a scene file, for demonstrations and for programs that are not Rust.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use mtasts_world::{World, scene};

const USAGE: &str = "\
Usage: mtasts-world --dir DIR [--dns ADDR:PORT] [--https ADDR:PORT]... SCENE

Starts a DNS server, an HTTPS server and SMTP receivers as the file SCENE says (default: 127.0.0.1, any port).
Writes DIR/ca.pem, DIR/world.env (DNS=ADDR:PORT, HTTPS=ADDR:PORT, HTTPS_PORT=PORT), DIR/dns.log, DIR/https.log,
DIR/smtp.log and DIR/mail/, prints `ready`, and runs until its standard input ends. Each line of standard input is a
command and gets one line as answer (`error REASON` if it fails):

  load FILE        puts another scene on top: `loaded`
  off dns|https    the server falls silent, or closes every connection at once: `done`
  on dns|https     it is back: `done`
  clear            empties the logs: `done`
  quit             ends

";

struct Arguments {
    directory: PathBuf,
    dns: SocketAddr,
    https: Vec<SocketAddr>,
    scene: PathBuf,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--help") {
        print!("{USAGE}{}", scene::GRAMMAR);
        return ExitCode::SUCCESS;
    }
    let arguments = match parse(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("mtasts-world: {error}; `mtasts-world --help` says more");
            return ExitCode::from(2);
        }
    };
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mtasts-world: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse(words: Vec<String>) -> Result<Arguments, String> {
    let (mut directory, mut dns, mut https, mut scene) = (None, None, Vec::new(), None);
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} without a value"));
        match word.as_str() {
            "--dir" => directory = Some(PathBuf::from(value()?)),
            "--dns" => dns = Some(address(&value()?)?),
            "--https" => https.push(address(&value()?)?),
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            file if scene.is_none() => scene = Some(PathBuf::from(file)),
            file => return Err(format!("two scenes, the second is {file}, want one")),
        }
    }
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    if https.is_empty() {
        https.push(any_port);
    }
    Ok(Arguments {
        directory: directory.ok_or("no directory, want --dir DIR")?,
        dns: dns.unwrap_or(any_port),
        https,
        scene: scene.ok_or("no scene file")?,
    })
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("address {text:?}, want ADDR:PORT"))
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let world = World::start_in(&arguments.directory, arguments.dns, &arguments.https)
        .map_err(|error| format!("cannot start: {error}"))?;
    scene::load(&world, &arguments.scene)?;
    let https = world.https_addr();
    let env = format!("DNS={}\nHTTPS={https}\nHTTPS_PORT={}\n", world.dns_addr(), https.port());
    let env_file = arguments.directory.join("world.env");
    std::fs::write(&env_file, env).map_err(|error| format!("{}: {error}", env_file.display()))?;

    say("ready")?;
    for line in io::stdin().lock().split(b'\n') {
        let line = line.map_err(|error| format!("standard input: {error}"))?;
        let line = String::from_utf8_lossy(&line);
        let (command, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let done = match (command, value.trim()) {
            ("", _) => continue,
            ("quit", "") => break,
            ("load", file) if !file.is_empty() => scene::load(&world, file.as_ref()).map(|()| "loaded"),
            ("off" | "on", "dns") => {
                world.dns_off(command == "off");
                Ok("done")
            }
            ("off" | "on", "https") => {
                world.https_off(command == "off");
                Ok("done")
            }
            ("clear", "") => {
                world.clear_logs();
                Ok("done")
            }
            _ => Err(format!("command {:?}, want load FILE, off dns|https, on dns|https, clear or quit", line.trim())),
        };
        match done {
            Ok(word) => say(word)?,
            Err(error) => say(&format!("error {}", error.replace('\n', " ")))?,
        }
    }
    Ok(())
}

/// One line on standard output, at once.
fn say(line: &str) -> Result<(), String> {
    writeln!(io::stdout(), "{line}")
        .and_then(|()| io::stdout().flush())
        .map_err(|error| format!("standard output: {error}"))
}
