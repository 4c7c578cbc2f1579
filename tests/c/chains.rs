//! Certificate chains of `mx.good.test` as files for C programs.

use crate::harness::Host;
use mtasts_world::Certificate;
use std::fs;
use std::path::PathBuf;

const HOST: &str = "mx.good.test";

/// Writes each chain into a directory of its name, as `0.der`, `1.der` and so on. Tells the directory and the names.
pub fn write_chains(host: &Host) -> (PathBuf, Vec<String>) {
    let world = &host.world;
    let chain = |certificate| world.certificate_chain(HOST, certificate).0;
    let good = chain(Certificate::Good);
    let truncated = |der: &[u8]| der[..der.len() - 1].to_vec();
    let mut chains: Vec<(&str, Vec<Vec<u8>>)> =
        Certificate::ALL.into_iter().map(|(name, certificate)| (name, chain(certificate))).collect();
    chains.extend([
        ("with-strangers", [&good[..], &world.certificate_chain("other.test", Certificate::UnknownCa).0].concat()),
        ("for-an-address", world.certificate_chain("192.0.2.1", Certificate::Good).0),
        ("reversed", good.iter().rev().cloned().collect()),
        ("hundred", world.deep_chain(HOST, 99)),
        ("critical-extension", world.chain_with_critical_extension(HOST)),
        ("garbage", vec![b"garbage".to_vec()]),
        ("no-bytes", vec![Vec::new(), good[1].clone()]),
        ("truncated", vec![truncated(&good[0]), good[1].clone()]),
        ("truncated-intermediate", vec![good[0].clone(), truncated(&good[1])]),
        ("empty", Vec::new()),
    ]);
    let directory = host.path("chains");
    for (name, chain) in &chains {
        fs::create_dir_all(directory.join(name)).unwrap();
        for (number, der) in chain.iter().enumerate() {
            fs::write(directory.join(name).join(format!("{number}.der")), der).unwrap();
        }
    }
    (directory, chains.into_iter().map(|(name, _)| name.to_owned()).collect())
}
