//! Certificates for servers on this machine, and for their clients.

use std::{path::Path, process::Command};

use crate::process::{self, ProcessError};

/// Makes an authority (`ca.pem`) and a certificate signed by it (`cert.pem`, `key.pem`).
///
/// # Errors
/// When `openssl` is missing or fails.
pub fn make(directory: &Path) -> Result<(), ProcessError> {
    let script = "
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 \
            -subj '/CN=archway-testkit authority' -keyout ca-key.pem -out ca.pem
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
            -subj /CN=localhost -keyout key.pem -out request.pem
        printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\nbasicConstraints=CA:FALSE\\n' > extensions
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 30 \
            -extfile extensions -out cert.pem";
    process::output(Command::new("sh").args(["-euc", script]).current_dir(directory)).map(|_| ())
}
