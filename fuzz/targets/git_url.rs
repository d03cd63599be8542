//! A git URL: a subdirectory cannot leave the repository, and credentials are not shown.

#![no_main]

use archway_remote::{GitUrl, redacted};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = redacted(text);
    let url = match GitUrl::parse(text) {
        Ok(Some(url)) => url,
        Ok(None) => return,
        Err(error) => {
            let _ = (error.to_string(), error.hint());
            return;
        }
    };
    assert!(!url.remote.is_empty());
    if let Some(subdir) = &url.subdir {
        assert!(!subdir.split('/').any(|part| part == ".."), "{subdir}");
    }
});
