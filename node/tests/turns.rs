//! Turns for questions that may take long.

use parallax_node::turns::{MAX_AT_ONCE, MAX_WAITING, TooMany, Turns};
use std::task::{Context, Waker};

#[tokio::test]
async fn questions_wait_for_their_turn_and_are_refused_when_too_many_wait() {
    let all = Turns::default();
    let mut working = Vec::new();
    for _ in 0..MAX_AT_ONCE {
        working.push(all.turn().await.unwrap());
    }
    let mut polled = Context::from_waker(Waker::noop());
    let mut waiting: Vec<_> = (MAX_AT_ONCE..MAX_WAITING).map(|_| Box::pin(all.turn())).collect();
    assert!(waiting.iter_mut().all(|turn| turn.as_mut().poll(&mut polled).is_pending()));
    assert_eq!(all.turn().await.unwrap_err(), TooMany);
    // One is done: the first that waits has its turn.
    drop(working.pop());
    let first = waiting.remove(0).await.unwrap();
    assert!(waiting.iter_mut().all(|turn| turn.as_mut().poll(&mut polled).is_pending()));
    // Who gives up waiting frees the place.
    drop((waiting, working, first));
    assert!(all.turn().await.is_ok());
}
