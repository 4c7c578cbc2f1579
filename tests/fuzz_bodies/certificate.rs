//! The arguments of `mtasts_exim_certificate`: a host, and what should be a certificate in base64.

use super::Input;
use super::exim::{call, configure};
use mtasts::exim::mtasts_exim_certificate;
use std::ffi::CString;

pub fn run(bytes: &[u8]) {
    configure();
    let mut input = Input(bytes);
    let host = CString::new(input.text()).unwrap();
    let base64 = CString::new(input.text()).unwrap();
    let (status, text) = call(mtasts_exim_certificate, &[&host, &base64]);
    assert_eq!(status, 0, "a failure refuses nothing in an event");
    if text.is_empty() {
        // Confirmed: then the name stands in the certificate, or that of its parent behind a star.
        let der = decode(base64.as_bytes()).to_ascii_lowercase();
        let lower = String::from_utf8_lossy(host.as_bytes()).to_ascii_lowercase();
        let name = lower.trim_end_matches('.');
        let contains = |name: &str| der.windows(name.len().max(1)).any(|part| part == name.as_bytes());
        let parent = name.split_once('.').map_or(String::new(), |(_, parent)| format!("*.{parent}"));
        assert!(!host.is_empty() && (contains(name) || contains(&parent) || !name.is_ascii()), "{host:?}");
    } else {
        assert!(text.starts_with(b"MTA-STS: ") && text.len() <= 410, "{}", text.escape_ascii());
        assert!(text.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' '), "{}", text.escape_ascii());
    }
}

/// Base64 as far as it goes.
fn decode(text: &[u8]) -> Vec<u8> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for &letter in text {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    bytes
}
