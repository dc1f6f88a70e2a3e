//! How long to wait before a request is sent again.

use std::time::{Duration, SystemTime};

use reqwest::header::{HeaderMap, RETRY_AFTER};

use crate::runtime::random::random;

/// The bound of the first random wait.
const FIRST: Duration = Duration::from_millis(500);
/// Waits beyond this are all the same: nobody waits for so long.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);
/// The header of OpenAI's servers, in milliseconds.
const RETRY_AFTER_MS: &str = "retry-after-ms";

/// A random time from 0 to min(`max`, 500 ms * 2^n).
pub(super) fn random_wait(n: u32, max: Duration) -> Duration {
    let bound = FIRST.saturating_mul(2_u32.saturating_pow(n)).min(max);
    bound.mul_f64(fraction())
}

/// A random number from 0 to 1.
fn fraction() -> f64 {
    (random() >> 11) as f64 / (1_u64 << 53) as f64
}

/// How long a server asks to wait: `retry-after-ms` in milliseconds, else `Retry-After` in seconds or as a date.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |value: &reqwest::header::HeaderValue| value.to_str().ok().map(|text| text.trim().to_owned());
    if let Some(wait) = headers.get(RETRY_AFTER_MS).and_then(text).and_then(|text| seconds(&text, 1000.0)) {
        return Some(wait);
    }
    let value = headers.get(RETRY_AFTER).and_then(text)?;
    seconds(&value, 1.0).or_else(|| until(&value, SystemTime::now()))
}

/// A number of units of which `per_second` are a second; `None` unless it is at least 0 and written in decimal digits.
fn seconds(text: &str, per_second: f64) -> Option<Duration> {
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let value: f64 = text.parse().ok().filter(|_| is_decimal)?;
    Some(Duration::try_from_secs_f64(value / per_second).map_or(LONGEST, |wait| wait.min(LONGEST)))
}

/// The time until a date of HTTP; 0 for one in the past.
fn until(date: &str, now: SystemTime) -> Option<Duration> {
    let at = httpdate::parse_http_date(date).ok()?;
    Some(at.duration_since(now).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn after(headers: &[(&'static str, &'static str)]) -> Option<f64> {
        let headers = headers.iter().map(|(name, value)| {
            let name = reqwest::header::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        retry_after(&headers.collect()).map(|wait| wait.as_secs_f64())
    }

    #[test]
    fn retry_after_has_three_forms() {
        assert_eq!(after(&[("retry-after", "2")]), Some(2.0));
        assert_eq!(after(&[("retry-after", " 0.15 ")]), Some(0.15));
        assert_eq!(after(&[("retry-after-ms", "150"), ("retry-after", "9")]), Some(0.15));
        assert_eq!(after(&[("retry-after-ms", "x"), ("retry-after", "9")]), Some(9.0));
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:35 GMT").expect("a date");
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(until(date, now), Some(Duration::from_secs(2)));
        assert_eq!(after(&[("retry-after", date)]), Some(0.0));
        for bad in ["", "-1", "inf", "NaN", "1e3", "soon", "1.2.3", "."] {
            assert_eq!(after(&[("retry-after", bad)]), None, "{bad:?}");
        }
        assert_eq!(seconds(&"9".repeat(400), 1.0), Some(LONGEST));
        assert_eq!(after(&[]), None);
    }

    #[test]
    fn random_waits_have_a_bound_that_doubles() {
        for n in 0..70 {
            let bound = Duration::from_millis(500 << n.min(4)).min(Duration::from_secs(8));
            assert!((0..50).all(|_| random_wait(n, Duration::from_secs(8)) <= bound), "{n}");
        }
        let waits: std::collections::BTreeSet<Duration> =
            (0..50).map(|_| random_wait(0, Duration::from_secs(8))).collect();
        assert!(waits.len() > 40, "{waits:?}");
    }
}
