//! Whether the certificate that Exim was shown names the MX host as RFC 8461 section 4.2 wants.
//!
//! Only the names are looked at: Exim has checked the rest, and its GnuTLS takes a common name for a host name.

use super::Verdict;
use crate::syntax::MxHost;
use crate::tls;

/// Confirms, with the empty text, that a certificate has a DNS-ID for the host. `base64` is what Exim's
/// `${base64:$tls_out_peercert}` gives.
pub fn certificate(host: &[u8], base64: &[u8]) -> Verdict {
    let shown = || host.escape_ascii();
    let Ok(parsed) = MxHost::parse(host) else {
        return Verdict::Hold(format!("`{}` is not the name of an MX host", shown()));
    };
    let Some(der) = tls::certificate_of_base64(base64) else {
        return Verdict::Hold(format!("no certificate of {} in base64 was handed over", shown()));
    };
    match tls::verify_name(&der, &parsed) {
        Ok(()) => Verdict::Text(String::new()),
        Err(unverified) => Verdict::Hold(unverified.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mtasts_world::{Certificate, World};

    const HOST: &str = "mx.good.test";

    fn base64(bytes: &[u8]) -> String {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |three: &[u8]| {
            let bits = three.iter().chain(&[0, 0]).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
            let digit = |at: usize| if at > three.len() { '=' } else { ALPHABET[bits >> (18 - 6 * at) & 63].into() };
            (0..4).map(digit).collect::<String>()
        };
        bytes.chunks(3).map(group).collect()
    }

    fn shown(world: &World, name: &str, kind: Certificate) -> String {
        base64(&world.certificate_chain(name, kind).0[0])
    }

    fn confirmed() -> Verdict {
        Verdict::Text(String::new())
    }

    #[track_caller]
    fn refused(host: &str, base64: impl AsRef<[u8]>, want: &str) {
        match certificate(host.as_bytes(), base64.as_ref()) {
            Verdict::Hold(why) if why.contains(want) => {}
            verdict => panic!("{verdict:?}, want `{want}` in a refusal"),
        }
    }

    // Conformance: S4.2-2.
    #[test]
    fn a_certificate_is_confirmed_by_a_dns_name_and_by_nothing_else_that_it_says() {
        let world = World::start();
        for (name, kind) in Certificate::ALL {
            let told = shown(&world, HOST, kind);
            match kind {
                Certificate::CnOnly => {
                    refused(HOST, told, "the certificate of mx.good.test is for another name: it has no")
                }
                Certificate::NoDnsId | Certificate::TwoLevelWildcard | Certificate::PartialWildcard => {
                    refused(HOST, told, "is for another name");
                }
                Certificate::WrongName => refused(HOST, told, "is for another name: elsewhere.test"),
                // Who has signed, when and for what is Exim's matter.
                _ => assert_eq!(certificate(HOST.as_bytes(), told.as_bytes()), confirmed(), "{name}"),
            }
        }
    }

    #[test]
    fn a_host_counts_in_any_case_and_with_a_final_dot_and_must_be_one() {
        let world = World::start();
        let told = shown(&world, HOST, Certificate::Good);
        for host in ["MX.Good.Test", "mx.good.test."] {
            assert_eq!(certificate(host.as_bytes(), told.as_bytes()), confirmed(), "{host}");
        }
        refused("other.good.test", &told, "is for another name: mx.good.test");
        refused("good.test", &told, "is for another name");
        for host in ["", ".", "*", "*.good.test", "mx good.test", "[192.0.2.1]", "mx.good.test\n", "$host"] {
            refused(host, &told, "is not the name of an MX host");
        }
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert_ne!(certificate(address.as_bytes(), told.as_bytes()), confirmed(), "{address}");
        }
    }

    #[test]
    fn white_space_in_base64_does_not_matter() {
        let world = World::start();
        let told = shown(&world, HOST, Certificate::Good);
        let lines: Vec<&str> = told.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
        for between in ["\n", "\r\n", " ", "\t", "\n \n"] {
            let told = format!("{between}{}{between}", lines.join(between));
            assert_eq!(certificate(HOST.as_bytes(), told.as_bytes()), confirmed(), "{between:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_confirms_nothing() {
        let world = World::start();
        let good = shown(&world, HOST, Certificate::Good);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{good}\n-----END CERTIFICATE-----\n");
        // What Exim gives without a certificate is its base64 of the words `tls_out_peercert`.
        for told in ["", "dGxzX291dF9wZWVyY2VydA==", "AAAA", &good[4..], &good[..good.len() / 8 * 4]] {
            assert_ne!(certificate(HOST.as_bytes(), told.as_bytes()), confirmed(), "{told}");
        }
        for told in ["=", "====", "A", "$", "tls_out_peercert", "-----END CERTIFICATE-----", "\u{ff}", &pem] {
            refused(HOST, told, "no certificate of mx.good.test in base64");
        }
        refused(HOST, format!("{good}\n-----END CERTIFICATE-----"), "in base64");
        refused(HOST, format!("{good}{good}"), "");
        refused(HOST, base64(&vec![0x30; 300_000]), "is not acceptable");
    }

    #[test]
    fn no_damaged_byte_panics_or_confirms_another_host() {
        let world = World::start();
        let der = world.certificate_chain(HOST, Certificate::Good).0.remove(0);
        for at in 0..der.len() {
            let mut damaged = der.clone();
            damaged[at] ^= 0x55;
            refused("other.test", base64(&damaged), "the certificate of other.test");
            refused(HOST, base64(&der[..at]), "");
        }
    }
}
