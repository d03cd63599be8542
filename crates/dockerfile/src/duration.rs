//! Durations as Go's `time.ParseDuration` reads them: `1m30s`, `1.5h`, `300ms`.

/// Nanoseconds; `None` if the text is no duration, is negative, or is beyond 2^63 - 1.
pub(crate) fn parse_nanoseconds(text: &str) -> Option<u64> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (amount, after) = rest.split_at_checked(rest.find(|c: char| !c.is_ascii_digit() && c != '.')?)?;
        let unit_length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, next) = after.split_at_checked(unit_length)?;
        total = total.checked_add(scaled(amount, unit_nanoseconds(unit)?)?)?;
        rest = next;
    }
    (total <= i64::MAX as u64).then_some(total)
}

fn unit_nanoseconds(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// `amount` (digits with at most one point) times `unit`. Digits of the fraction that are worth less
/// than a nanosecond are dropped.
fn scaled(amount: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    // Twenty digits of the largest unit reach far below a nanosecond.
    let fraction = fraction.get(..fraction.len().min(20))?;
    let digits: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = digits * u128::from(unit) / 10_u128.pow(fraction.len() as u32);
    let part = u64::try_from(part).ok()?;
    whole.checked_mul(unit)?.checked_add(part)
}
