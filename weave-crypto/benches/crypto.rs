//! What cryptography costs: `cargo bench -p weave-crypto --bench crypto`.
//!
//! Sealing and opening one packet with either suite, as a worker does it for each; both sides of a link's set-up, without and
//! with passwords; and stretching a password, once at start. Throughput counts the bytes sealed.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs,
    reason = "a benchmark reads the clock, and is no API"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weave_crypto::{
    Identity, LinkHandshake, LinkLocal, NetworkId, PasswordKey, Passwords, Suite, TunnelKeys,
};

criterion_group!(benches, seal, open, set_up, stretch);
criterion_main!(benches);

fn seal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seal");
    for (name, suite) in SUITES {
        let (keys, _) = TunnelKeys::pair([1; 32], suite, 1, 2);
        for size in SIZES {
            let mut packet = vec![0x5a; size];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter(|| {
                    let counter = keys.reserve(1).unwrap();
                    keys.seal(counter, &HEADER, black_box(&mut packet)).unwrap()
                });
            });
        }
    }
}

/// Opening changes a packet, so each is opened once; copying them is outside of the measured time.
fn open(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for (name, suite) in SUITES {
        let (sender, receiver) = TunnelKeys::pair([1; 32], suite, 1, 2);
        for size in SIZES {
            let counter = sender.reserve(1).unwrap();
            let mut sealed = vec![0x5a; size];
            let tag = sender.seal(counter, &HEADER, &mut sealed).unwrap();
            sealed.extend_from_slice(&tag);
            let mut copies = vec![sealed.clone(); 64];
            group.throughput(Throughput::Bytes(size as u64));
            group.bench_function(BenchmarkId::new(name, size), |bencher| {
                bencher.iter_custom(|iterations| {
                    let runs = iterations.div_ceil(64);
                    let spent = (0..runs).map(|_| {
                        for copy in &mut copies {
                            copy.copy_from_slice(&sealed);
                        }
                        let start = Instant::now();
                        for copy in &mut copies {
                            black_box(receiver.open(counter, &HEADER, copy).unwrap());
                        }
                        start.elapsed()
                    });
                    let spent: std::time::Duration = spent.sum();
                    spent.mul_f64(iterations as f64 / (runs * 64) as f64)
                });
            });
        }
    }
}

/// Both sides together.
fn set_up(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("link set-up");
    let key = |byte| PasswordKey::from_bytes([byte; 32]);
    let identities = [1, 2].map(|byte| Arc::new(Identity::from_seed([byte; 32])));
    for (name, passwords) in [
        ("no password", Passwords::none()),
        ("one password", Passwords::one(key(1))),
        ("two passwords", Passwords::two(key(1), key(2))),
    ] {
        let local = |side: usize| LinkLocal {
            identity: identities[side].clone(),
            network: NetworkId::from_name("weave"),
            boot_id: 1,
            passwords: passwords.clone(),
        };
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (mut to_listener, mut to_dialler) = (Vec::new(), Vec::new());
                let mut dialler = LinkHandshake::dialler(local(0), [3; 32], &mut to_listener);
                let mut listener = LinkHandshake::listener(local(1), [4; 32]);
                loop {
                    let bytes = std::mem::take(&mut to_listener);
                    if let Some(link) = listener.handle_bytes(&bytes, &mut to_dialler).unwrap() {
                        break link;
                    }
                    let bytes = std::mem::take(&mut to_dialler);
                    dialler.handle_bytes(&bytes, &mut to_listener).unwrap();
                }
            });
        });
    }
}

fn stretch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("password");
    group.sample_size(10);
    group.bench_function("stretch", |bencher| {
        bencher
            .iter(|| PasswordKey::derive(b"correct horse", NetworkId::from_name("weave")).unwrap());
    });
}

const SUITES: [(&str, Suite); 2] = [
    ("AES-256-GCM", Suite::Aes256Gcm),
    ("ChaCha20-Poly1305", Suite::ChaCha20Poly1305),
];
/// Of a body, in bytes; the tag comes on top.
const SIZES: [usize; 2] = [64, 1_400];
/// As long as the header of a sealed packet.
const HEADER: [u8; 12] = [7; 12];
