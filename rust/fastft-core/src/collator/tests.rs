//! Batches by hand: what each recipe makes, and what it refuses.

use crate::column::{Column, NamedColumn, Ragged};
use crate::error::Error;
use crate::token_dataset::Ids;
use crate::tokenizer::TypeIdsView;

use super::*;

pub(super) const PADDING: Padding = Padding {
    pad_token_id: -7,
    pad_token_type_id: Some(9),
    attention_mask: true,
    width: Width::Longest,
    pad_to_multiple_of: None,
    padding_side: PaddingSide::Right,
};

pub(super) const FLAT: Flattening = Flattening {
    separator_id: -1,
    position_ids_start: Some(2),
    seq_idx: true,
    cu_seq_lens: true,
    labels: None,
};

pub(super) fn padded(padding: Padding, labels: Labels) -> Recipe {
    Recipe::Padded(PaddedRecipe {
        padding,
        labels,
        columns: Vec::new(),
    })
}

pub(super) fn label_column(width: LabelWidth) -> Labels {
    Labels::Column(LabelColumn {
        name: "labels".to_owned(),
        pad: -5,
        width,
    })
}

fn dataset() -> TokenDataset<'static> {
    let starts = TypeIdsView::Starts(&[1, 0, 1]);
    TokenDataset::view(Ids::U16(&[1, 2, 3, 4]), &[0, 3, 3, 4], starts)
}

const LABELS: NamedColumn<'static> = NamedColumn {
    name: "labels",
    column: Column::Ragged(Ragged {
        values: &[10, 20, 30, 40],
        offsets: &[0, 3, 3, 4],
    }),
};

#[test]
fn rows_are_padded_to_the_longest() -> Result<()> {
    let batch = collate(&dataset(), &[2, 0], &padded(PADDING, Labels::None))?;
    assert_eq!((batch.num_rows, batch.width), (2, 3));
    assert_eq!(batch.input_ids, [4, -7, -7, 1, 2, 3]);
    assert_eq!(batch.attention_mask, Some(vec![1, 0, 0, 1, 1, 1]));
    assert_eq!(batch.token_type_ids, Some(vec![0, 9, 9, 0, 1, 1]));
    assert_eq!(batch.labels, None);
    Ok(())
}

#[test]
fn padding_goes_to_the_side_and_multiple_asked_for() -> Result<()> {
    let padding = Padding {
        pad_to_multiple_of: Some(2),
        padding_side: PaddingSide::Left,
        pad_token_type_id: None,
        attention_mask: false,
        ..PADDING
    };
    let batch = collate(&dataset(), &[2, 1, 0], &padded(padding, Labels::Ids))?;
    assert_eq!(batch.width, 4);
    assert_eq!(
        batch.input_ids,
        [-7, -7, -7, 4, -7, -7, -7, -7, -7, 1, 2, 3]
    );
    assert_eq!(batch.attention_mask, None);
    assert_eq!(batch.token_type_ids, None);
    let labels = batch.labels.map(|labels| labels.values);
    let x = IGNORE_INDEX;
    assert_eq!(labels, Some(vec![x, x, x, 4, x, x, x, x, x, 1, 2, 3]));
    Ok(())
}

#[test]
fn columns_are_gathered_and_labels_padded() -> Result<()> {
    let scores = NamedColumn {
        name: "scores",
        column: Column::Floats(&[0.5, 1.5, 2.5], 1),
    };
    let columns = [scores, LABELS];
    let dataset = dataset().with_columns(&columns);
    let mut recipe = PaddedRecipe {
        padding: Padding {
            width: Width::Fixed(4),
            ..PADDING
        },
        labels: label_column(LabelWidth::Inputs),
        columns: vec!["scores".to_owned()],
    };
    let batch = collate(&dataset, &[2, 0], &Recipe::Padded(recipe.clone()))?;
    assert_eq!(batch.columns, [Gathered::Floats(vec![2.5, 0.5])]);
    let values = vec![40, -5, -5, -5, 10, 20, 30, -5];
    assert_eq!(batch.labels, Some(Matrix { values, width: 4 }));
    recipe.labels = label_column(LabelWidth::Longest);
    let batch = collate(&dataset, &[2, 1], &Recipe::Padded(recipe.clone()))?;
    let values = vec![40, -5];
    assert_eq!(batch.labels, Some(Matrix { values, width: 1 }));
    recipe.columns = vec!["labels".to_owned()];
    let ragged = collate(&dataset, &[0], &Recipe::Padded(recipe.clone()));
    assert!(matches!(ragged, Err(Error::WrongColumn { .. })));
    recipe.columns = vec!["other".to_owned()];
    let missing = collate(&dataset, &[0], &Recipe::Padded(recipe));
    assert!(matches!(missing, Err(Error::NoSuchColumn { .. })));
    Ok(())
}

#[test]
fn rows_are_laid_end_to_end() -> Result<()> {
    let batch = collate(&dataset(), &[0, 1, 2], &Recipe::Flattened(FLAT))?;
    assert_eq!((batch.num_rows, batch.width), (1, 4));
    assert_eq!(batch.input_ids, [1, 2, 3, 4]);
    let labels = batch.labels.map(|labels| labels.values);
    assert_eq!(labels, Some(vec![-1, 2, 3, -1]));
    assert_eq!(batch.position_ids, Some(vec![2, 3, 4, 2]));
    assert_eq!(batch.seq_idx, Some(vec![0, 0, 0, 1]));
    let boundaries = Boundaries {
        cu_seq_lens: vec![0, 3, 4],
        max_length: 3,
    };
    assert_eq!(batch.boundaries, Some(boundaries));
    let recipe = Flattening {
        labels: Some("labels".to_owned()),
        position_ids_start: None,
        seq_idx: false,
        cu_seq_lens: false,
        ..FLAT
    };
    let columns = [LABELS];
    let labelled = dataset().with_columns(&columns);
    let batch = collate(&labelled, &[2, 0], &Recipe::Flattened(recipe))?;
    let labels = batch.labels.map(|labels| labels.values);
    assert_eq!(labels, Some(vec![-1, -1, 20, 30]));
    let none = (batch.position_ids, batch.seq_idx, batch.boundaries);
    assert_eq!(none, (None, None, None));
    Ok(())
}

#[test]
fn what_cannot_be_done_is_an_error() {
    let with = |width, pad_to_multiple_of| Padding {
        width,
        pad_to_multiple_of,
        ..PADDING
    };
    let error =
        |indices, padding| collate(&dataset(), indices, &padded(padding, Labels::None)).err();
    let longest = with(Width::Longest, None);
    for outside in [error(&[3], longest), error(&[-1], longest)] {
        assert!(matches!(outside, Some(Error::IndexOutOfRange { .. })));
    }
    let too_long = Error::RowTooLong {
        row: 0,
        length: 3,
        width: 2,
    };
    assert_eq!(error(&[1, 0], with(Width::Fixed(2), None)), Some(too_long));
    let zero = with(Width::Longest, Some(0));
    assert!(matches!(error(&[0], zero), Some(Error::Zero { .. })));
    let huge = with(Width::Fixed(usize::MAX / 2), None);
    let beyond = with(Width::Fixed(usize::MAX), Some(2));
    for too_large in [error(&[0, 1, 2], huge), error(&[0], beyond)] {
        assert!(matches!(too_large, Some(Error::BatchTooLarge { .. })));
    }
    let numbers = collate_as(&dataset(), &[0], &[], &padded(PADDING, Labels::None));
    assert!(matches!(numbers, Err(Error::LengthMismatch { .. })));
}

#[test]
fn labels_that_do_not_stand_beside_tokens_are_an_error() {
    let long = NamedColumn {
        name: "labels",
        column: Column::Ragged(Ragged {
            values: &[1, 2, 3, 4],
            offsets: &[0, 0, 1, 4],
        }),
    };
    let columns = [long];
    let dataset = dataset().with_columns(&columns);
    let beside = padded(PADDING, label_column(LabelWidth::Inputs));
    let flat = Recipe::Flattened(Flattening {
        labels: Some("labels".to_owned()),
        ..FLAT
    });
    for recipe in [beside, flat] {
        let error = Error::LabelsDoNotFit {
            row: 2,
            num_tokens: 1,
            num_labels: 3,
        };
        assert_eq!(collate(&dataset, &[2], &recipe), Err(error));
    }
}

#[test]
fn an_empty_batch_is_empty() -> Result<()> {
    let batch = collate(&dataset(), &[], &padded(PADDING, Labels::Ids))?;
    assert_eq!((batch.num_rows, batch.width), (0, 0));
    assert!(batch.input_ids.is_empty());
    let flat = collate(&dataset(), &[1], &Recipe::Flattened(FLAT))?;
    assert_eq!((flat.num_rows, flat.width), (1, 0));
    let cu_seq_lens = flat.boundaries.map(|boundaries| boundaries.cu_seq_lens);
    assert_eq!(cu_seq_lens, Some(vec![0]));
    Ok(())
}
