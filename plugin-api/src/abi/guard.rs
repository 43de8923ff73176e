//! Panic containment.

use std::{
    any::Any,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

/// Runs `f`; a panic becomes its message. The payload's own drop may panic too: that is contained as well.
pub fn guard<T>(f: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f)).map_err(|payload| {
        let text = message(&*payload);
        discard(payload);
        text
    })
}

/// Drops a value; a panic in its drop is contained.
pub fn discard<T>(value: T) {
    if let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(value))) {
        mem::forget(second);
    }
}

fn message(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panicked without a message".to_owned())
}

/// A future whose panics in `poll` and `drop` are contained; it yields the panic's message.
pub struct Contained<F> {
    /// `None` once it has finished or panicked.
    future: Option<Pin<Box<F>>>,
}

impl<F: Future> Contained<F> {
    /// Wraps a future.
    pub fn new(future: F) -> Self {
        Self {
            future: Some(Box::pin(future)),
        }
    }
}

impl<F: Future> Future for Contained<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(future) = self.future.as_mut() else {
            return Poll::Ready(Err("polled after its end".to_owned()));
        };
        let result = match guard(|| future.as_mut().poll(cx)) {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        discard(self.future.take());
        Poll::Ready(result)
    }
}

impl<F> Drop for Contained<F> {
    fn drop(&mut self) {
        discard(self.future.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("second");
        }
    }

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(guard(|| panic!("number {}", 7)).unwrap_err(), "number 7");
        assert_eq!(guard(|| 5).unwrap(), 5);
    }

    #[test]
    fn a_payload_that_panics_in_its_drop_is_contained() {
        let outcome: Result<(), _> = guard(|| std::panic::panic_any(Bomb));
        assert_eq!(outcome.unwrap_err(), "panicked without a message");
    }

    #[tokio::test]
    async fn a_panic_in_poll_and_in_drop_is_contained() {
        assert_eq!(Contained::new(async { panic!("poll") }).await.unwrap_err(), "poll");
        let held = Contained::new(async {
            let _bomb = Bomb;
            std::future::pending::<()>().await;
        });
        drop(held);
    }
}
