//! Arbitrary bytes neither break the wire nor hang it; `cargo xtask fuzz` does the same for longer.

use pgharness_tests::fuzz::{Until, fuzz};

#[test]
fn arbitrary_bytes_neither_break_nor_hang_the_wire() {
    let fuzzed = fuzz(7, None, Until::Count(1_500)).unwrap();
    assert!(fuzzed.findings.is_empty(), "{}", fuzzed.findings.join("\n"));
    assert_eq!((fuzzed.understood, fuzzed.carried), (3_000, 1_500));
}
