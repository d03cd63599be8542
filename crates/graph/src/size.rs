//! Sizes as Docker's command line has them: `64m`, `1.5 GiB`. All units are powers of 1024.

/// The bytes that `text` says; `None` if it is no size.
pub fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let is_spelled = matches!(unit.strip_prefix(['k', 'm', 'g', 't', 'p']).unwrap_or(&unit), "" | "b" | "ib");
    if !is_spelled || unit == "ib" || !number.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let bytes = number.parse::<f64>().ok()? * 1024_f64.powi(power);
    // Exact up to 8 PiB, which is more memory than there is.
    (bytes <= (1_u64 << 53) as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        let table = [
            ("0", Some(0)),
            ("1000", Some(1000)),
            ("32b", Some(32)),
            ("64k", Some(64 << 10)),
            ("64KiB", Some(64 << 10)),
            ("128m", Some(128 << 20)),
            ("1.5 GB", Some(3 << 29)),
            ("2T", Some(2 << 40)),
            ("", None),
            ("m", None),
            ("-1m", None),
            ("1x", None),
            ("1mm", None),
            ("1ib", None),
            ("1.2.3", None),
            ("1e3", None),
            ("99999p", None),
        ];
        for (text, expected) in table {
            assert_eq!(bytes(text), expected, "{text:?}");
        }
    }
}
