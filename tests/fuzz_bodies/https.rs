//! What a policy host says, byte for byte: before the handshake, as the whole answer, as its head, as its body.

use super::Input;
use super::responder::{self, Responder};
use mtasts::config::Settings;
use mtasts::https::fetch;
use mtasts::syntax::{MAX_BODY_BYTES, PolicyDomain};
use mtasts::time::Deadline;
use mtasts::tls::Trust;
use mtasts_world::{Certificate, World};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(1000);

/// What the policy host does next.
#[derive(Clone)]
struct Script {
    says: Vec<u8>,
    before_handshake: bool,
    is_cut: bool,
}

struct Host {
    settings: Settings,
    trust: Arc<ClientConfig>,
    script: Arc<Mutex<Script>>,
    _world: World,
}

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let world = World::start();
    let resolver = Responder::start();
    resolver.answer_with(|query| vec![responder::address(query, IpAddr::from(Ipv4Addr::LOCALHOST))]);
    let (chain, key) = world.certificate_chain("mta-sts.example.test", Certificate::Good);
    let server = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.into_iter().map(CertificateDer::from).collect(), PrivateKeyDer::try_from(key).unwrap())
        .unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let settings = Settings {
        nameservers: vec![resolver.address],
        https_port: listener.local_addr().unwrap().port(),
        allow_private_addresses: true,
        ..Settings::default()
    };
    let script = Arc::new(Mutex::new(Script { says: Vec::new(), before_handshake: true, is_cut: false }));
    let read = Arc::clone(&script);
    std::thread::spawn(move || {
        let server = Arc::new(server);
        for stream in listener.incoming() {
            let script = read.lock().unwrap().clone();
            let _ = stream.and_then(|stream| serve(stream, &server, &script));
        }
    });
    let trust = Trust::new(Some(world.ca_file().to_owned())).client_config().unwrap();
    Host { settings, trust, script, _world: world }
});

fn serve(mut stream: TcpStream, config: &Arc<ServerConfig>, script: &Script) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_nodelay(true)?;
    if script.before_handshake {
        return stream.write_all(&script.says);
    }
    let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    while !request.ends_with(b"\r\n\r\n") {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => request.extend_from_slice(&buffer[..length]),
        }
    }
    stream.write_all(&script.says)?;
    stream.flush()?;
    if !script.is_cut {
        stream.conn.send_close_notify();
        stream.flush()?;
    }
    stream.sock.shutdown(std::net::Shutdown::Write)?;
    // A reset would take away what the client has not read yet.
    while stream.sock.read(&mut buffer)? > 0 {}
    Ok(())
}

pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let choice = input.byte();
    let rest = input.0;
    let whole_head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", rest.len());
    let head: &[u8] = match choice & 3 {
        0 | 1 => b"",
        2 => b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n",
        _ => whole_head.as_bytes(),
    };
    let says = [head, rest].concat();
    let (before_handshake, is_cut) = (choice & 3 == 0, choice & 4 != 0);
    *HOST.script.lock().unwrap() = Script { says: says.clone(), before_handshake, is_cut };
    let domain = PolicyDomain::parse(b"example.test").unwrap();
    let began = Instant::now();
    let outcome = fetch(&HOST.settings, &HOST.trust, &domain, Deadline::after(LIMIT));
    assert!(began.elapsed() < LIMIT + Duration::from_secs(2), "{:?}", began.elapsed());
    match outcome {
        Ok(body) => {
            assert!(!before_handshake && body.len() <= MAX_BODY_BYTES);
            let lower = String::from_utf8_lossy(&says).to_ascii_lowercase();
            // Interim answers may stand before the one that counts.
            let says_ok = |line: &str| line.starts_with("http/1.") && line.contains(" 200");
            assert!(lower.starts_with("http/1.") && lower.lines().any(says_ok), "{lower:?}");
            assert!(lower.contains("content-type") && lower.contains("text/plain"), "{lower:?}");
            let tells_its_length = lower.contains("content-length") || lower.contains("chunked");
            assert!(!is_cut || tells_its_length, "cut off and taken: {lower:?}");
            if choice & 3 == 3 {
                assert_eq!(body, rest);
            }
        }
        Err(error) => {
            assert!(choice & 3 != 3 || rest.len() > MAX_BODY_BYTES || began.elapsed() >= LIMIT, "{error:?}");
            assert!(!error.text.chars().any(char::is_control), "{:?}", error.text);
        }
    }
}
