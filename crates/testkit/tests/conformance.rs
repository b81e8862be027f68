//! All conformance cases, as `cargo xtask conformance` drives them.

#[tokio::test(flavor = "multi_thread")]
async fn every_supported_case_passes() {
    let suite = testkit::conformance::run(&[], 3).await;
    let suite = suite.unwrap_or_else(|error| panic!("{error:#}"));
    let (passed, failed, not_yet) = suite.counts();
    assert_eq!(failed, 0, "{}", testkit::conformance::table(&suite));
    assert!(
        passed >= 85 && not_yet <= 68,
        "{passed} passed, {not_yet} not yet: have cases been lost?"
    );
}
