//! A platform: what is accepted is read back as itself.

#![no_main]

use archway_oci::{Platform, platform::parse_list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = parse_list(&[text]);
    let Ok(platform) = Platform::parse(text) else { return };
    assert_eq!(platform.clone().normalized(), platform, "parsing normalises");
    assert_eq!(Platform::parse(&platform.specifier()).as_ref(), Ok(&platform));
});
