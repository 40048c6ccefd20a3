//! Rows to batches, as each recipe makes them: `cargo bench -p fastft-core --bench collate`.
//!
//! Beside them what no gather can beat: memory of the same size, filled once or copied.

#![expect(clippy::unwrap_used, reason = "a panic is how a bench says no")]
#![allow(
    missing_docs,
    reason = "some versions of Criterion's macros write none"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastft_core::collator::{
    Labels, Masking, PaddedRecipe, Padding, PaddingSide, Predicts, Recipe, Width, collate,
    loss_positions,
};
use fastft_core::token_dataset::{Ids, TokenDataset};
use fastft_core::tokenizer::TypeIdsView;

const NUM_ROWS: u64 = 2048;
const BATCH: usize = 32;

/// Row lengths from 8 to 512, mixed, most of them short.
fn row_offsets() -> Vec<u64> {
    let lengths = (0..NUM_ROWS).map(|row| 8 + (row * 7919 % 504) * (row * 104_729 % 504) / 503);
    let ends = lengths.scan(0, |end, length| {
        *end += length;
        Some(*end)
    });
    std::iter::once(0).chain(ends).collect()
}

fn recipe(labels: Labels) -> Recipe {
    let padding = Padding {
        pad_token_id: 0,
        pad_token_type_id: None,
        attention_mask: true,
        width: Width::Longest,
        pad_to_multiple_of: Some(8),
        padding_side: PaddingSide::Right,
    };
    Recipe::Padded(PaddedRecipe {
        padding,
        labels,
        columns: Vec::new(),
    })
}

fn masking() -> Masking {
    Masking {
        seed: 1,
        epoch: 0,
        probability: 0.15,
        mask_replace_prob: 0.8,
        random_replace_prob: 0.1,
        mask_token_id: 103,
        vocab_size: 30_000,
        special_ids: vec![0, 100, 101, 102, 103],
    }
}

fn batches(criterion: &mut Criterion) {
    let row_offsets = row_offsets();
    let num_ids = *row_offsets.last().unwrap();
    let wide: Vec<u32> = (0..num_ids)
        .map(|at| u32::try_from(at % 30_000).unwrap())
        .collect();
    let narrow: Vec<u16> = (0..num_ids)
        .map(|at| u16::try_from(at % 30_000).unwrap())
        .collect();
    // A multiplier that shares no factor with the number of rows visits them out of order.
    let indices: Vec<i64> = (0..BATCH)
        .map(|at| i64::try_from(at * 1501 % 2048).unwrap())
        .collect();
    let dataset =
        |ids| TokenDataset::new(ids, &row_offsets, TypeIdsView::Zero, Some(30_000)).unwrap();
    let (wide, narrow) = (dataset(Ids::U32(&wide)), dataset(Ids::U16(&narrow)));
    let causal = recipe(Labels::Ids);
    let batch = collate(&wide, &indices, &causal).unwrap();
    let size = BATCH * batch.width;
    let mut group = criterion.benchmark_group("a batch of 32, ids, mask and labels");
    group.throughput(Throughput::Bytes(3 * 8 * size as u64));
    group.bench_function("memory filled once", |bencher| {
        bencher.iter(|| [(); 3].map(|()| vec![black_box(1i64); size]));
    });
    group.bench_function("memory copied", |bencher| {
        bencher.iter(|| [(); 3].map(|()| black_box(&batch.input_ids).clone()));
    });
    let masked = recipe(Labels::Masked(masking()));
    for (ids, dataset) in [("16-bit", &narrow), ("32-bit", &wide)] {
        for (name, recipe) in [("causal", &causal), ("masked", &masked)] {
            group.bench_function(format!("{name}, {ids} ids"), |bencher| {
                bencher.iter(|| collate(dataset, black_box(&indices), recipe).unwrap());
            });
        }
    }
    let labels = batch.labels.unwrap();
    group.bench_function("positions of the loss", |bencher| {
        bencher.iter(|| loss_positions(black_box(&labels.values), labels.width, Predicts::Next));
    });
}

fn config() -> Criterion {
    Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
}

criterion_group! { name = benches; config = config(); targets = batches }
criterion_main!(benches);
