//! SMTP receivers: enough ESMTP for any MTA to deliver, STARTTLS in every mood, and a log of what happened.
//!
//! Mail is kept as files `mail/0001.eml`, ... with `Return-Path` and `Delivered-To` lines on top. PIPELINING is not
//! offered; every sender and recipient is welcome.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::ca::{Ca, Certificate};
use crate::lock;
use crate::serve::{Log, Stop, TcpServer};
use crate::tls::{self, TlsStream};

/// How a receiver behaves.
#[derive(Clone, Debug)]
pub struct Smtp {
    /// For the name that the client asks for (SNI), or for `default_name`.
    pub certificate: Certificate,
    /// The name in the greeting, and in the certificate for a client that names no host.
    pub default_name: String,
    /// The certificate is for `default_name`, whatever the client asks for.
    pub ignores_sni: bool,
    pub starttls: Starttls,
}

impl Smtp {
    /// A good receiver with this name.
    pub fn new(default_name: &str) -> Self {
        Smtp {
            certificate: Certificate::Good,
            default_name: default_name.into(),
            ignores_sni: false,
            starttls: Starttls::Offered,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Starttls {
    Offered,
    NotOffered,
    /// Offered, but the command is answered with 454.
    Refused,
    /// Offered, accepted with 220, then garbage instead of TLS, then the end.
    Broken,
}

/// A line may not be longer.
const LINE_LIMIT: u64 = 4096;

/// A mail may not be larger.
const MAIL_LIMIT: usize = 16 << 20;

struct Shared {
    ca: Arc<Ca>,
    mail: PathBuf,
    mails: AtomicUsize,
    log: Log,
}

impl Shared {
    /// Under the next free number: a directory that was given may hold mail already.
    fn write_mail(&self, mail: &[u8]) -> io::Result<()> {
        loop {
            let number = self.mails.fetch_add(1, Ordering::SeqCst) + 1;
            match File::create_new(self.mail.join(format!("{number:04}.eml"))) {
                Ok(mut file) => return file.write_all(mail),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
    }
}

type Settings = Arc<Mutex<Smtp>>;

/// All SMTP receivers. Dropping it stops them.
pub struct SmtpServers {
    shared: Arc<Shared>,
    receivers: Mutex<HashMap<SocketAddr, (Settings, TcpServer)>>,
}

impl SmtpServers {
    pub fn new(ca: Arc<Ca>, mail: &Path, log: &Path) -> io::Result<Self> {
        fs::create_dir_all(mail)?;
        let shared = Shared { ca, mail: mail.into(), mails: AtomicUsize::new(0), log: Log::create(log)? };
        Ok(SmtpServers { shared: Arc::new(shared), receivers: Mutex::default() })
    }

    /// Starts a receiver, or changes the one that already listens there.
    pub fn start(&self, address: SocketAddr, smtp: Smtp) -> io::Result<SocketAddr> {
        let mut receivers = lock(&self.receivers);
        if let Some((settings, _)) = receivers.get(&address) {
            *lock(settings) = smtp;
            return Ok(address);
        }
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let settings = Arc::new(Mutex::new(smtp));
        let server = TcpServer::start(listener, {
            let (shared, settings) = (self.shared.clone(), settings.clone());
            Arc::new(move |stream: TcpStream, _: &Stop| {
                let smtp = lock(&settings).clone();
                shared.log.line(format!("{address} connect"));
                let mut session = Session::new(&shared, address, &smtp);
                // An error means that the client went away, which is its right.
                let _ = session.serve(stream);
            })
        })?;
        receivers.insert(address, (settings, server));
        Ok(address)
    }

    pub fn log(&self) -> Vec<String> {
        self.shared.log.lines()
    }

    pub fn clear_log(&self) {
        self.shared.log.clear();
    }
}

enum Next {
    Reply(String),
    StartTls,
    Quit,
}

struct Session<'a> {
    shared: &'a Shared,
    address: SocketAddr,
    smtp: &'a Smtp,
    tls: bool,
    sender: Option<String>,
    recipients: Vec<String>,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, address: SocketAddr, smtp: &'a Smtp) -> Self {
        Session { shared, address, smtp, tls: false, sender: None, recipients: Vec::new() }
    }

    fn serve(&mut self, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        reply(&mut stream, &format!("220 {} ESMTP mtasts-world", self.smtp.default_name))?;
        if !self.talk(&mut stream)? {
            return Ok(());
        }
        // What the client sent before the handshake is forgotten with the buffer (RFC 3207 section 4.2).
        let mut stream = stream.into_inner();
        if self.smtp.starttls == Starttls::Broken {
            stream.write_all(b"this is not TLS\r\n")?;
            tls::finish(&mut stream);
            self.log("starttls broken");
            return Ok(());
        }
        let Some(stream) = self.shake_hands(stream) else { return Ok(()) };
        let mut stream = BufReader::new(stream);
        self.tls = true;
        self.reset();
        self.talk(&mut stream)?;
        tls::close(stream.get_mut());
        Ok(())
    }

    fn shake_hands(&self, mut stream: TcpStream) -> Option<TlsStream> {
        let hello = match tls::read_hello(&mut stream) {
            Ok(hello) => hello,
            Err(error) => {
                self.log(&format!("handshake-failed sni=- {error}"));
                return None;
            }
        };
        let shown = hello.sni.as_deref().unwrap_or("-").to_string();
        let wanted = hello.sni.clone().filter(|_| !self.smtp.ignores_sni);
        let host = wanted.unwrap_or_else(|| self.smtp.default_name.clone());
        let config = self.shared.ca.server_config(&host, self.smtp.certificate, false);
        match config.and_then(|config| tls::shake_hands(hello, stream, config)) {
            Ok(stream) => {
                self.log(&format!("starttls sni={shown} version={}", tls::version(&stream)));
                Some(stream)
            }
            Err(error) => {
                self.log(&format!("handshake-failed sni={shown} {error}"));
                None
            }
        }
    }

    /// Answers commands until the client quits or leaves (false) or starts TLS (true).
    fn talk<S: Read + Write>(&mut self, stream: &mut BufReader<S>) -> io::Result<bool> {
        while let Some(line) = read_line(stream)? {
            match self.command(&String::from_utf8_lossy(&line), stream)? {
                Next::Reply(text) => reply(stream, &text)?,
                Next::StartTls => {
                    reply(stream, "220 go ahead")?;
                    return Ok(true);
                }
                Next::Quit => {
                    reply(stream, "221 bye")?;
                    return Ok(false);
                }
            }
        }
        Ok(false)
    }

    fn command<S: Read + Write>(&mut self, line: &str, stream: &mut BufReader<S>) -> io::Result<Next> {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        let text = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                self.reset();
                let offered = !self.tls && self.smtp.starttls != Starttls::NotOffered;
                let starttls = if offered { "250-STARTTLS\r\n" } else { "" };
                format!("250-{}\r\n{starttls}250-8BITMIME\r\n250 SIZE {MAIL_LIMIT}", self.smtp.default_name)
            }
            "HELO" => {
                self.reset();
                format!("250 {}", self.smtp.default_name)
            }
            "STARTTLS" => match self.smtp.starttls {
                _ if self.tls => "503 5.5.1 TLS is already on".into(),
                Starttls::NotOffered => "502 5.5.1 no STARTTLS here".into(),
                Starttls::Refused => {
                    self.log("starttls refused");
                    "454 4.7.0 TLS not available".into()
                }
                Starttls::Offered | Starttls::Broken => return Ok(Next::StartTls),
            },
            "MAIL" => match path(rest, "FROM:") {
                Some(sender) => {
                    self.sender = Some(sender);
                    self.recipients.clear();
                    "250 2.1.0 ok".into()
                }
                None => "501 5.5.4 want MAIL FROM:<address>".into(),
            },
            "RCPT" if self.sender.is_some() => match path(rest, "TO:") {
                Some(recipient) => {
                    self.recipients.push(recipient);
                    "250 2.1.5 ok".into()
                }
                None => "501 5.5.4 want RCPT TO:<address>".into(),
            },
            "DATA" if !self.recipients.is_empty() => {
                reply(stream, "354 end with a dot")?;
                match read_mail(stream)? {
                    Some(mail) => self.keep(&mail),
                    None => "552 5.3.4 too large".into(),
                }
            }
            "RCPT" | "DATA" => "503 5.5.1 bad sequence of commands".into(),
            "RSET" => {
                self.reset();
                "250 2.0.0 ok".into()
            }
            "NOOP" => "250 2.0.0 ok".into(),
            "QUIT" => return Ok(Next::Quit),
            _ => "502 5.5.1 unknown command".into(),
        };
        Ok(Next::Reply(text))
    }

    fn keep(&mut self, mail: &[u8]) -> String {
        let sender = self.sender.take().unwrap_or_default();
        let recipients = std::mem::take(&mut self.recipients);
        let mut kept = format!("Return-Path: <{sender}>\r\n");
        for recipient in &recipients {
            kept.push_str(&format!("Delivered-To: <{recipient}>\r\n"));
        }
        if let Err(error) = self.shared.write_mail(&[kept.as_bytes(), mail].concat()) {
            return format!("451 4.3.0 cannot keep it: {error}");
        }
        let recipients: Vec<String> = recipients.iter().map(|recipient| format!("<{recipient}>")).collect();
        let tls = if self.tls { "yes" } else { "no" };
        self.log(&format!("delivered from=<{sender}> to={} tls={tls}", recipients.join(",")));
        "250 2.0.0 kept".into()
    }

    fn reset(&mut self) {
        self.sender = None;
        self.recipients.clear();
    }

    fn log(&self, event: &str) {
        self.shared.log.line(format!("{} {event}", self.address));
    }
}

/// The address in `FROM:<address> ...`.
fn path(rest: &str, keyword: &str) -> Option<String> {
    let rest = rest.trim_start();
    let after = rest.get(keyword.len()..)?;
    let (address, _) = after.trim_start().strip_prefix('<')?.split_once('>')?;
    rest[..keyword.len()].eq_ignore_ascii_case(keyword).then(|| address.to_string())
}

fn reply<S: Read + Write>(stream: &mut BufReader<S>, text: &str) -> io::Result<()> {
    stream.get_mut().write_all(format!("{text}\r\n").as_bytes())?;
    stream.get_mut().flush()
}

/// A line without its end; `None` when the client has left.
fn read_line<S: Read>(stream: &mut BufReader<S>) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    stream.take(LINE_LIMIT).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(line))
}

/// A mail with CRLF line ends and without the dots that SMTP put in; `None` if it is too large.
fn read_mail<S: Read>(stream: &mut BufReader<S>) -> io::Result<Option<Vec<u8>>> {
    let mut mail = Vec::new();
    loop {
        let line = read_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if line == b"." {
            return Ok((mail.len() <= MAIL_LIMIT).then_some(mail));
        }
        if mail.len() <= MAIL_LIMIT {
            mail.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
            mail.extend_from_slice(b"\r\n");
        }
    }
}
