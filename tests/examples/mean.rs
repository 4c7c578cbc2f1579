//! SMTP servers that no mail server should fall for.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

/// What a server says to a line that begins so; "" is for the greeting.
pub type Script = &'static [(&'static str, Says)];

#[derive(Clone, Copy)]
pub enum Says {
    /// These bytes at once.
    Text(&'static str),
    /// One byte after the other, until the client has had enough.
    Slowly(&'static str),
    /// These bytes again and again.
    Forever(&'static str),
    Nothing,
    Goodbye,
}

use Says::{Forever, Goodbye, Nothing, Slowly, Text};

const GREETING: (&str, Says) = ("", Text("220 mx\r\n"));
const HELLO: (&str, Says) = ("EHLO", Text("250-mx\r\n250 STARTTLS\r\n"));
const HELLO_IN_THE_CLEAR: (&str, Says) = ("EHLO", Text("250 mx\r\n"));

/// Each with a word of what is said about it under an enforced policy.
pub const HOSTS: &[(Script, &str)] = &[
    (&[("", Nothing)], "timed out"),
    (&[("", Goodbye)], "no proper reply"),
    (&[("", Slowly("220-never "))], "timed out"),
    (&[("", Forever("220-again\r\n"))], "more lines"),
    (&[("", Forever("2"))], "no proper reply"),
    (&[("", Text("\x1b[2Jnot SMTP\r\n"))], "no reply of SMTP"),
    (&[("", Text("220\x1b[31m mx\r\n"))], "no reply of SMTP"),
    (&[("", Text("554 \x1b[31mgo away\r\n"))], "554 ?[31mgo away"),
    (&[GREETING, ("EHLO", Nothing)], "timed out"),
    (&[GREETING, HELLO, ("STARTTLS", Goodbye)], "4.7."),
    (&[GREETING, HELLO, ("STARTTLS", Nothing)], "4.7."),
    (&[GREETING, HELLO, ("STARTTLS", Text("220 go\r\n250 injected\r\n"))], "before the handshake"),
    (&[GREETING, HELLO, ("STARTTLS", Slowly("220 go\r\n"))], "4.7."),
];

/// Knows no recipient.
pub const STRICT: Script =
    &[GREETING, HELLO_IN_THE_CLEAR, ("MAIL", Text("250 ok\r\n")), ("RCPT", Text("550 5.1.1 \x07who\x07\r\n"))];

/// Is content before it has the message.
pub const HASTY: Script = &[
    GREETING,
    HELLO_IN_THE_CLEAR,
    ("MAIL", Text("250 ok\r\n")),
    ("RCPT", Text("250 ok\r\n")),
    ("DATA", Text("250 2.0.0 ok\r\n")),
];

/// Starts a server, which lives as long as the test.
pub fn start(script: Script) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || talk(stream.unwrap(), script));
        }
    });
    address
}

/// An error means that the client went away, as it should.
fn talk(stream: TcpStream, script: Script) -> Option<()> {
    let mut lines = BufReader::new(stream.try_clone().ok()?).lines();
    let mut line = String::new();
    loop {
        let (_, says) =
            script.iter().find(|(start, _)| start.is_empty() == line.is_empty() && line.starts_with(start))?;
        say(&stream, *says)?;
        line = lines.next()?.ok()?;
    }
}

fn say(mut stream: &TcpStream, says: Says) -> Option<()> {
    match says {
        Text(text) => stream.write_all(text.as_bytes()).ok(),
        Slowly(text) => text.bytes().cycle().take(10_000).try_for_each(|byte| {
            thread::sleep(Duration::from_millis(20));
            stream.write_all(&[byte]).ok()
        }),
        Forever(text) => loop {
            stream.write_all(text.as_bytes()).ok()?;
        },
        Nothing => {
            thread::sleep(Duration::from_secs(60));
            None
        }
        Goodbye => None,
    }
}
