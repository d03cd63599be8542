//! AWS Signature Version 4, as far as single objects need it.

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

/// Size of SHA-256's blocks, for HMAC (RFC 2104).
const BLOCK: usize = 64;

/// Who signs, and for where.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    pub(super) session_token: Option<String>,
    pub(super) region: String,
}

/// What is signed of a request.
pub(super) struct Signed<'a> {
    pub(super) method: &'a str,
    /// Host, and port where it is not the scheme's.
    pub(super) host: &'a str,
    /// The path as it is sent, percent-encoded.
    pub(super) path: &'a str,
    /// The query as it is sent, its names sorted.
    pub(super) query: &'a str,
    /// SHA-256 of the body, hexadecimal.
    pub(super) body: &'a str,
}

impl Signer {
    /// The headers to send besides `host`.
    pub(super) fn headers(&self, request: &Signed<'_>, now: Timestamp) -> Vec<(&'static str, String)> {
        let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
        let date = &time[..8];
        let mut headers =
            vec![("x-amz-content-sha256", request.body.to_owned()), ("x-amz-date", time.clone())];
        if let Some(token) = &self.session_token {
            headers.push(("x-amz-security-token", token.clone()));
        }
        let mut canonical = format!("host:{}\n", request.host);
        let mut names = "host".to_owned();
        for (name, value) in &headers {
            canonical.push_str(&format!("{name}:{value}\n"));
            names.push_str(&format!(";{name}"));
        }
        let Signed { method, path, query, body, .. } = request;
        let canonical = format!("{method}\n{path}\n{query}\n{canonical}\n{names}\n{body}");
        let scope = format!("{date}/{}/s3/aws4_request", self.region);
        let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256(canonical.as_bytes()));
        let mut key = format!("AWS4{}", self.secret_access_key).into_bytes();
        for part in [date, &self.region, "s3", "aws4_request"] {
            key = hmac(&key, part.as_bytes()).to_vec();
        }
        let signature = hex(&hmac(&key, text.as_bytes()));
        let credential = format!("{}/{scope}", self.access_key_id);
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={credential},SignedHeaders={names},Signature={signature}");
        headers.push(("authorization", authorization));
        headers
    }
}

/// SHA-256, hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0; BLOCK];
    if key.len() > BLOCK {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let case = |key: &[u8], text: &[u8]| hex(&hmac(key, text));
        assert_eq!(
            case(b"Jefe", b"what do ya want for nothing?"),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            case(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First"),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    /// The example "GET Bucket Lifecycle" of the description of Signature Version 4 for S3.
    #[test]
    fn requests_are_signed_as_aws_does() {
        let signer = Signer {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
            region: "us-east-1".into(),
        };
        let request = Signed {
            method: "GET",
            host: "examplebucket.s3.amazonaws.com",
            path: "/",
            query: "lifecycle=",
            body: &sha256(b""),
        };
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        let headers = signer.headers(&request, now);
        assert_eq!(
            headers.last().unwrap().1,
            "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
             SignedHeaders=host;x-amz-content-sha256;x-amz-date,\
             Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
    }
}
