//! `EXPOSE`

use std::net::IpAddr;

use archway_dockerfile::ast::Word;

use super::config::add_to_set;
use crate::{
    error::{LowerError, LowerProblem, PortProblem},
    history,
    op::Warning,
    stage::{Layer, StageBuilder},
};

/// Twice all that there are of each protocol.
const MAX_PORTS: usize = 6 << 16;

/// Adds ports, ranges spelled out, as `port/protocol`.
pub(crate) fn expose(builder: &mut StageBuilder<'_>, words: &[Word]) -> Result<(), LowerError> {
    let mut words: Vec<&Word> = words.iter().collect();
    // The order that BuildKit's history has: of the words, before variables are replaced.
    words.sort_by(|a, b| a.value.cmp(&b.value));
    let mut ports = Vec::new();
    for word in words {
        for value in builder.expander().words(word)? {
            let bad = |problem| LowerError {
                problem: LowerProblem::BadPort { value: value.clone(), problem },
                span: word.span,
            };
            let (host, inside) = split(&value);
            let exposed = parse(inside).map_err(bad)?;
            if !host.is_empty() {
                check_host(host, exposed.len()).map_err(bad)?;
                builder.warn(Warning {
                    message: format!(
                        "EXPOSE {value}: the address and the port of the host mean nothing here"
                    ),
                    span: Some(word.span),
                    hint: Some(format!(
                        "write {inside}; ports of the host are chosen when a container starts"
                    )),
                });
            }
            // The history has each as often as it was written, which a short line could make very long.
            if ports.len() + exposed.len() > MAX_PORTS {
                return Err(bad(PortProblem::TooMany));
            }
            ports.extend(exposed);
        }
    }
    let ports: Vec<String> = ports.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
    builder.state.record(format!("EXPOSE {}", history::list(&ports)), Layer::None);
    add_to_set(&mut builder.state.image.config.exposed_ports, ports);
    Ok(())
}

type Port = (u16, &'static str);

/// `[[address:]port:]` of the host, as for `docker run -p`, and what is inside.
fn split(text: &str) -> (&str, &str) {
    text.rsplit_once(':').unwrap_or(("", text))
}

/// Whether the part about the host, which has no effect, is at least well formed.
fn check_host(host: &str, ports: usize) -> Result<(), PortProblem> {
    let (address, port) = host.rsplit_once(':').unwrap_or(("", host));
    let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(PortProblem::BadAddress);
    }
    // One port inside may get any of a range outside.
    if !port.is_empty() && range(port)?.len() != ports && ports != 1 {
        return Err(PortProblem::RangesDiffer);
    }
    Ok(())
}

/// `port[-port][/protocol]`
fn parse(text: &str) -> Result<impl ExactSizeIterator<Item = Port>, PortProblem> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(PortProblem::UnknownProtocol),
    };
    let ports = range(ports)?;
    // An inclusive range of 16 bits does not know its length.
    let first = ports.start;
    Ok((0..ports.len()).map(move |offset| (first + offset as u16, protocol)))
}

/// `port[-port]`
fn range(text: &str) -> Result<Range, PortProblem> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (start, end) = (number(first)?, number(last)?);
    if end < start { Err(PortProblem::EmptyRange) } else { Ok(Range { start, end }) }
}

/// Ports, both ends included.
struct Range {
    start: u16,
    end: u16,
}

impl Range {
    fn len(&self) -> usize {
        usize::from(self.end - self.start) + 1
    }
}

fn number(text: &str) -> Result<u16, PortProblem> {
    if text.is_empty() {
        return Err(PortProblem::Missing);
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PortProblem::NotANumber);
    }
    digits.parse().map_err(|_| PortProblem::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_normalised() {
        let table: [(&str, &[Port]); 7] = [
            ("80", &[(80, "tcp")]),
            ("80/", &[(80, "tcp")]),
            ("53/UDP", &[(53, "udp")]),
            ("8000-8002/sctp", &[(8000, "sctp"), (8001, "sctp"), (8002, "sctp")]),
            ("7-7", &[(7, "tcp")]),
            ("0", &[(0, "tcp")]),
            ("+80", &[(80, "tcp")]),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).unwrap().collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_port_says_why() {
        let table = [
            ("", PortProblem::Missing),
            ("/tcp", PortProblem::Missing),
            ("80-", PortProblem::Missing),
            ("http", PortProblem::NotANumber),
            ("-80", PortProblem::Missing),
            ("+", PortProblem::NotANumber),
            ("65536", PortProblem::OutOfRange),
            ("99999999999999999999", PortProblem::OutOfRange),
            ("90-80", PortProblem::EmptyRange),
            ("80/icmp", PortProblem::UnknownProtocol),
            ("80/tcp/udp", PortProblem::UnknownProtocol),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).err(), Some(expected), "{text}");
        }
    }

    #[test]
    fn the_part_about_the_host_is_checked_and_dropped() {
        let table = [
            ("8080:80", "80", None),
            (":80", "80", None),
            ("127.0.0.1:8080:80", "80", None),
            ("127.0.0.1::80", "80", None),
            ("[::1]:8080:80/udp", "80/udp", None),
            ("::1:8080:80", "80", None),
            ("8000-8010:80", "80", None),
            ("8000-8001:80-81", "80-81", None),
            ("8000-8002:80-81", "80-81", Some(PortProblem::RangesDiffer)),
            ("local:8080:80", "80", Some(PortProblem::BadAddress)),
            ("http:80", "80", Some(PortProblem::NotANumber)),
        ];
        for (text, inside, problem) in table {
            let (host, port) = split(text);
            assert_eq!(port, inside, "{text}");
            assert_eq!(check_host(host, parse(port).unwrap().len()).err(), problem, "{text}");
        }
    }
}
