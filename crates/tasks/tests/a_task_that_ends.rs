//! A task that ends although it must not end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn a_task_that_ends_before_it_is_told_to_is_a_failure_of_the_process() {
    tasks::install_panic_hook();
    let stop = CancellationToken::new();
    let told = tasks::spawn_until("obedient", stop.clone(), {
        let stop = stop.clone();
        async move { stop.cancelled().await }
    });
    stop.cancel();
    told.await.unwrap();
    assert!(
        tokio::time::timeout(Duration::ZERO, tasks::failed())
            .await
            .is_err()
    );

    let early = tasks::spawn_until("early", CancellationToken::new(), async {});
    early.await.unwrap();
    assert_eq!(
        tasks::failed().await,
        "the task early has ended without being told to"
    );
}
