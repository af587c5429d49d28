//! Until when a caller waits.

use crate::error::{Error, Kind, Result};
use http::{HeaderMap, HeaderName};
use std::{
    future::poll_fn,
    pin::pin,
    task::Poll,
    time::{Duration, Instant},
};
use tokio::time::sleep_until;

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The caller's own timeout, in gRPC's notation: at most eight digits and a unit.
pub(super) fn asked(headers: &HeaderMap) -> Result<Option<Duration>> {
    let Some(value) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    let message = "grpc-timeout must be one to eight digits and one of H M S m u n, such as 200m";
    let timeout = value.to_str().ok().and_then(parse);
    timeout.map(Some).ok_or_else(|| Error::invalid("grpc-timeout", message))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let fits = (1..=8).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if fits { digits.parse().ok()? } else { return None };
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Drives `work` until the deadline; `None` when it is over.
///
/// The clock is read before each step, so that expired work reaches no store. The timer is only armed when the work has
/// to wait: most online reads never do.
pub(super) async fn within<T>(deadline: Option<Instant>, work: impl Future<Output = T>) -> Option<T> {
    let Some(deadline) = deadline else { return Some(work.await) };
    let mut work = pin!(work);
    let mut timer = pin!(sleep_until(deadline.into()));
    poll_fn(|context| {
        if Instant::now() >= deadline {
            return Poll::Ready(None);
        }
        match work.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => timer.as_mut().poll(context).map(|()| None),
        }
    })
    .await
}

/// What a caller is told whose deadline is over.
pub(super) fn over() -> Error {
    let message = "the deadline was over before the answer was ready; ask for less or wait longer";
    Error::new(Kind::DeadlineExceeded, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn timeouts_parse_as_grpc_has_them() {
        assert_eq!(parse("200m"), Some(Duration::from_millis(200)));
        assert_eq!(parse("99999999H"), Some(Duration::from_secs(99_999_999 * 3_600)));
        for text in ["", "m", "1", "1s", "-1S", "1 S", "123456789S", "1é", "é"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[tokio::test]
    async fn expired_work_is_not_begun() {
        let begun = AtomicBool::new(false);
        let work = async { begun.store(true, Ordering::Relaxed) };
        assert_eq!(within(Some(Instant::now()), work).await, None);
        assert!(!begun.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn work_that_waits_is_ended() {
        let deadline = Some(Instant::now() + Duration::from_millis(20));
        assert_eq!(within(deadline, std::future::pending::<()>()).await, None);
        assert_eq!(within(deadline.map(|at| at + Duration::from_secs(60)), async { 7 }).await, Some(7));
        assert_eq!(within(None, async { 7 }).await, Some(7));
    }
}
