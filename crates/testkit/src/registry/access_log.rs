//! The registry's access log (Apache's combined format).

/// One request the registry answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, `PUT`, …
    pub method: String,
    /// Path and query.
    pub path: String,
    /// HTTP status of the answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// The client's `User-Agent`.
    pub user_agent: String,
}

impl Request {
    /// Parses `127.0.0.1 - - [time] "GET /v2/ HTTP/1.1" 200 2 "" "agent"`; other lines are `None`.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let mut quoted = line.split('"');
        let (_, request, answer) = (quoted.next()?, quoted.next()?, quoted.next()?);
        let (_, _, user_agent) = (quoted.next()?, quoted.next()?, quoted.next()?);
        let mut request = request.split(' ');
        let (method, path, protocol) = (request.next()?, request.next()?, request.next()?);
        let mut answer = answer.split_whitespace();
        let (status, bytes) = (answer.next()?.parse().ok()?, answer.next()?.parse().ok()?);
        protocol.starts_with("HTTP/").then(|| Self {
            method: method.to_owned(),
            path: path.to_owned(),
            status,
            bytes,
            user_agent: user_agent.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_a_request_among_messages() {
        let line = r#"127.0.0.1 - - [21/Nov/2026:04:48:11 +0000] "PUT /v2/a/blobs/uploads/1?digest=x HTTP/1.1" 201 7 "" "curl/7""#;
        let want = Request {
            method: "PUT".into(),
            path: "/v2/a/blobs/uploads/1?digest=x".into(),
            status: 201,
            bytes: 7,
            user_agent: "curl/7".into(),
        };
        assert_eq!(Request::parse(line), Some(want));
        let message =
            r#"time="2026-11-21" level=info msg="response completed" http.request.method=GET x="y""#;
        assert_eq!(Request::parse(message), None);
        assert_eq!(Request::parse(""), None);
    }
}
