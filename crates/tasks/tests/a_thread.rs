//! A thread that panics.

#[tokio::test]
async fn a_panic_of_any_thread_is_a_failure_of_the_process() {
    tasks::install_panic_hook();
    let thread = tasks::spawn_thread("writer", 128 << 10, || panic!("the pen has broken")).unwrap();
    assert!(thread.join().is_err());
    let reason = tasks::failed().await;
    assert!(
        reason.starts_with("the task writer has panicked at "),
        "{reason}"
    );
}
