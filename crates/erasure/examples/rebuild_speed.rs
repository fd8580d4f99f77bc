//! How fast lost shards are rebuilt, beside a decode by the library.
//!
//! `cargo run --release -p strata-erasure --example rebuild_speed`: one thread, shards that fit into a cache of a few MiB and
//! such that do not. GB/s are of the data of the stripe.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::cast_precision_loss, reason = "a measurement")]

use std::hint::black_box;
use std::time::Instant;

use reed_solomon_simd::ReedSolomonDecoder;
use strata_erasure::{Codec, CodecId};

/// Data, parity and lost data shards.
const CASES: [(usize, usize, usize); 6] = [(1, 1, 1), (4, 2, 1), (4, 2, 2), (8, 4, 4), (16, 4, 1), (16, 4, 4)];
/// Bytes of a shard.
const LENGTHS: [usize; 3] = [4 << 10, 64 << 10, 1 << 20];
/// Data bytes rebuilt per measurement.
const BYTES: usize = 128 << 20;

fn seconds(rounds: usize, mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    (0..rounds).for_each(|_| work());
    begun.elapsed().as_secs_f64() / rounds as f64
}

fn main() {
    println!("| layout | lost | shard | rebuilt in us (GB/s) | by the library in us (GB/s) | times faster |");
    println!("|---|---|---|---|---|---|");
    for (data, parity, lost) in CASES {
        for len in LENGTHS {
            let mut codec = Codec::new(CodecId::Leopard16, data, parity).unwrap();
            let byte = |shard: usize, at: usize| (at * 31 + shard * 7 + at / 3) as u8;
            let mut shards: Vec<Vec<u8>> =
                (0..data).map(|shard| (0..len).map(|at| byte(shard, at)).collect()).collect();
            let mut coded = vec![vec![0; len]; parity];
            codec.encode(&shards, &mut coded).unwrap();
            shards.extend(coded);
            let slot = |(index, shard): (usize, &Vec<u8>)| if index < lost { None } else { Some(shard.clone()) };
            let kept: Vec<Option<Vec<u8>>> = shards.iter().enumerate().map(slot).collect();
            let slots: Vec<Option<&[u8]>> = kept.iter().map(Option::as_deref).collect();
            for (index, bytes) in codec.reconstruct_data(&slots).unwrap() {
                assert!(bytes == shards[index]);
            }
            let rounds = (BYTES / (len * data)).clamp(5, 2000);
            let ours = seconds(rounds, || drop(black_box(codec.reconstruct_data(&slots).unwrap())));
            let mut decoder = ReedSolomonDecoder::new(data, parity, len).unwrap();
            let theirs = seconds(rounds, || {
                decoder.reset(data, parity, len).unwrap();
                for (index, shard) in slots.iter().enumerate().skip(lost).take(data) {
                    match index < data {
                        true => decoder.add_original_shard(index, shard.unwrap()).unwrap(),
                        false => decoder.add_recovery_shard(index - data, shard.unwrap()).unwrap(),
                    }
                }
                let restored = decoder.decode().unwrap();
                drop(black_box(restored.restored_original_iter().map(|(_, bytes)| bytes.to_vec()).collect::<Vec<_>>()));
            });
            let rate = |seconds: f64| (len * data) as f64 / seconds / 1e9;
            println!(
                "| {data}+{parity} | {lost} | {} KiB | {:.1} ({:.2}) | {:.1} ({:.2}) | {:.1} |",
                len >> 10,
                ours * 1e6,
                rate(ours),
                theirs * 1e6,
                rate(theirs),
                theirs / ours
            );
        }
    }
}
