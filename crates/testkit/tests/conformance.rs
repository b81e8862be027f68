//! All conformance cases, as `cargo xtask conformance` drives them.

use testkit::conformance::{passing, run, table};

#[tokio::test(flavor = "multi_thread")]
async fn exactly_the_listed_cases_pass_and_none_fails() {
    let suite = run(&[], 3).await;
    let suite = suite.unwrap_or_else(|error| panic!("{error:#}"));
    let (_, failed, _) = suite.counts();
    assert_eq!(failed, 0, "{}", table(&suite));
    let listed = passing().unwrap_or_else(|error| panic!("{error:#}"));
    assert_eq!(
        suite.passed(),
        listed,
        "conformance/passing.yaml lists other cases than those that pass"
    );
}
