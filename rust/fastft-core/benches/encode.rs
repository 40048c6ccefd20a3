//! Text to ids in bytes a second: `cargo bench -p fastft-core --bench encode`.
//!
//! One thread. "new" is text that no tokenizer has seen, read by one that knows text of the same kind;
//! "repeated" is the same text again, so that every piece is recalled; "reference" is the
//! `tokenizers` crate. "limits" holds what no encoder can beat: a copy of the bytes, and a loop that
//! looks at each. The vocabularies are the small ones of the tests, whose words are short of tokens:
//! read ratios between the rows, not the figures of a real tokenizer.

#![expect(clippy::unwrap_used, reason = "a panic is how a bench says no")]
#![allow(
    missing_docs,
    reason = "some versions of Criterion's macros write none"
)]

#[path = "../tests/definitions/mod.rs"]
mod definitions;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use definitions::Named;
use fastft_core::tokenizer::{EncodeOptions, EncodedColumn, LoadOptions, TextColumn, Tokenizer};

const TEXT: &str = include_str!("../../../examples/data/pride_and_prejudice/train.txt");

/// The lines of a text as Arrow lays them out.
struct Column {
    bytes: Vec<u8>,
    offsets: Vec<i64>,
}

impl Column {
    fn new(text: &str) -> Self {
        let mut offsets = vec![0];
        let mut bytes = Vec::new();
        for line in text.lines() {
            bytes.extend_from_slice(line.as_bytes());
            offsets.push(i64::try_from(bytes.len()).unwrap());
        }
        Self { bytes, offsets }
    }

    fn encode(&self, tokenizer: &Tokenizer, return_offsets_mapping: bool) -> EncodedColumn {
        let column = TextColumn::new(&self.bytes, &self.offsets).unwrap();
        let options = EncodeOptions {
            return_offsets_mapping,
            num_threads: Some(1),
            ..EncodeOptions::default()
        };
        tokenizer.encode(&column, None, &options).unwrap()
    }
}

/// The two halves of the text: what is read first, and what is timed.
fn halves() -> (Column, Column) {
    let (first, second) =
        TEXT.split_at(TEXT.len() / 2 + TEXT[TEXT.len() / 2..].find('\n').unwrap());
    (Column::new(first), Column::new(second))
}

fn engines(criterion: &mut Criterion) {
    // One definition an engine; what the others differ in costs no time.
    let timed = ["uncased", "GPT-2", "Llama 2", "T5"];
    for named in definitions::all() {
        if timed.contains(&named.name) {
            engine(criterion, &named);
        }
    }
}

fn engine(criterion: &mut Criterion, named: &Named) {
    let (first, second) = halves();
    let (reference, ours) = (load(named, true), load(named, false));
    assert_eq!(ours.engine(), Ok(named.engine));
    assert_eq!(second.encode(&ours, true), second.encode(&reference, true));
    let prepared = || {
        let tokenizer = load(named, false);
        first.encode(&tokenizer, false);
        tokenizer
    };
    let mut group = criterion.benchmark_group(named.engine);
    group.throughput(Throughput::Bytes(second.bytes.len() as u64));
    group.bench_function("new", |bencher| {
        let encode = |tokenizer: &mut Tokenizer| second.encode(tokenizer, false);
        bencher.iter_batched_ref(prepared, encode, BatchSize::PerIteration);
    });
    let routes = [
        ("repeated", &ours, false),
        ("repeated, with offsets", &ours, true),
        ("reference", &reference, false),
        ("reference, with offsets", &reference, true),
    ];
    for (name, tokenizer, with_offsets) in routes {
        group.bench_function(name, |bencher| {
            bencher.iter(|| second.encode(tokenizer, with_offsets));
        });
    }
}

fn load(named: &Named, reference_only: bool) -> Tokenizer {
    let options = LoadOptions {
        reference_only,
        ..LoadOptions::default()
    };
    Tokenizer::from_definition(&named.definition.to_string(), options).unwrap()
}

fn limits(criterion: &mut Criterion) {
    let bytes = halves().1.bytes;
    let mut group = criterion.benchmark_group("limits");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    let mut target = vec![0u8; bytes.len()];
    group.bench_function("copy of the bytes", |bencher| {
        bencher.iter(|| black_box(&mut target).copy_from_slice(black_box(&bytes)));
    });
    group.bench_function("a look at each byte", |bencher| {
        bencher.iter(|| black_box(&bytes).iter().fold(0, |all, &byte| all ^ byte));
    });
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = config(); targets = limits, engines }
criterion_main!(benches);
