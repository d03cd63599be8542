//! Two versions: turned around the order is turned around, and a version equals itself.

#![no_main]

use archway_attest::vulnerability::version::Scheme;
use libfuzzer_sys::fuzz_target;

const SCHEMES: [Scheme; 7] = [
    Scheme::Dpkg,
    Scheme::Apk,
    Scheme::Rpm,
    Scheme::SemVer,
    Scheme::Pep440,
    Scheme::Maven,
    Scheme::Gem,
];

fuzz_target!(|input: (&str, &str)| {
    let (left, right) = input;
    for scheme in SCHEMES {
        let order = scheme.compare(left, right);
        assert_eq!(order, scheme.compare(right, left).map(std::cmp::Ordering::reverse), "{scheme:?}");
        assert!(scheme.compare(left, left).is_none_or(std::cmp::Ordering::is_eq), "{scheme:?}");
    }
});
