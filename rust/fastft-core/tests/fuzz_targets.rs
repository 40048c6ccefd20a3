//! The fuzz targets on stable: the same functions, with drawn bytes instead of searched ones.

#[path = "../../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "elsewhere it is a crate")]
mod targets;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Every run draws the same bytes, more of them if `PROPTEST_CASES` says so; a failure names them.
fn for_drawn(num_cases: u32, strategy: impl Strategy<Value = Vec<u8>>, target: fn(&[u8])) {
    let default = Config::default();
    let config = Config {
        cases: default.cases.max(num_cases),
        failure_persistence: None,
        ..default
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let outcome = TestRunner::new_with_rng(config, rng).run(&strategy, |bytes| {
        target(&bytes);
        Ok(())
    });
    assert_eq!(outcome, Ok(()));
}

#[test]
fn encode() {
    let choices = prop::collection::vec(any::<u8>(), 10);
    let row = prop_oneof!["\\PC{0,20}", "[a-z ]{0,40}", any::<String>()];
    let rows = prop::collection::vec(row, 0..5).prop_map(|rows| {
        let rows: Vec<Vec<u8>> = rows.into_iter().map(String::into_bytes).collect();
        rows.join(&0xFF)
    });
    let bytes = (choices, rows).prop_map(|(choices, rows)| [choices, rows].concat());
    for_drawn(300, bytes, targets::encode);
}

#[test]
fn load_a_changed_definition() {
    let bytes = prop::collection::vec(any::<u8>(), 12..40);
    let bytes = bytes.prop_filter("this begins JSON", |bytes| bytes[0] != b'{');
    for_drawn(1000, bytes, targets::load);
}

#[test]
fn load_a_damaged_file() {
    let file = std::rc::Rc::new(targets::smallest_definition().into_bytes());
    let places = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4);
    let bytes = (places, any::<bool>()).prop_map(move |(places, cuts)| {
        let mut damaged = file.to_vec();
        for (place, byte) in places {
            let at = 1 + place.index(damaged.len() - 1);
            if cuts {
                damaged.remove(at);
            } else {
                damaged[at] = byte;
            }
        }
        damaged
    });
    for_drawn(200, bytes, targets::load);
}
