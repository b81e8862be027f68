//! A panic of contained work fails only this work.
//!
//! This test has a process of its own, because the failure of a task is a failure of the process.

use std::time::Duration;

use tasks::Panicked;

#[tokio::test]
async fn contained_work_that_panics_fails_alone_and_is_counted_and_then_that_of_a_task_ends_the_process()
 {
    tasks::install_panic_hook();
    assert_eq!(tasks::contain("calm", async { 7 }).await, Ok(7));
    let panicked = tasks::contain("wild", async { panic!("a bad request") }).await;
    assert_eq!(panicked, Err::<(), _>(Panicked));
    let blocking = tasks::spawn_contained("outer", async {
        let blocking = tasks::spawn_blocking(|| panic!("bad input, found on another thread"));
        blocking.await.map_err(|error| error.is_panic())
    });
    assert_eq!(blocking.await.unwrap(), Ok(Err::<(), _>(true)));
    let panics = tasks::panics();
    assert_eq!((panics["wild"], panics["outer"]), (1, 1));
    assert!(
        tokio::time::timeout(Duration::ZERO, tasks::failed())
            .await
            .is_err(),
        "the process goes on"
    );

    // A task that is not contained belongs to the part, even if contained work has started it.
    let started = tasks::contain("request", async {
        let heart = tasks::spawn("heart", async { panic!("stop") });
        let ended: Result<(), _> = heart.await;
        ended.is_err_and(|error| error.is_panic())
    });
    assert_eq!(started.await, Ok(true));
    let reason = tasks::failed().await;
    assert!(
        reason.starts_with("the task heart has panicked at ") && reason.ends_with(": stop"),
        "{reason}"
    );
}
