//! `EXPOSE`

use std::collections::BTreeSet;

use archway_dockerfile::ast::Word;

use super::config::add_to_set;
use crate::{
    error::{LowerError, LowerProblem, PortProblem},
    history,
    stage::{Layer, StageBuilder},
};

/// Adds ports, ranges spelled out, as `port/protocol`.
pub(crate) fn expose(builder: &mut StageBuilder<'_>, words: &[Word]) -> Result<(), LowerError> {
    let mut words: Vec<&Word> = words.iter().collect();
    // The order that BuildKit's history has: of the words, before variables are replaced.
    words.sort_by(|a, b| a.value.cmp(&b.value));
    let mut ports = Vec::new();
    let mut seen = BTreeSet::new();
    for word in words {
        for value in builder.expander().words(word)? {
            let parsed = parse(&value).map_err(|problem| LowerError {
                problem: LowerProblem::BadPort { value: value.clone(), problem },
                span: word.span,
            })?;
            ports.extend(parsed.filter(|port| seen.insert(*port)));
        }
    }
    let ports: Vec<String> = ports.iter().map(|(port, protocol)| format!("{port}/{protocol}")).collect();
    builder.state.record(format!("EXPOSE {}", history::list(&ports)), Layer::None);
    add_to_set(&mut builder.state.image.config.exposed_ports, ports);
    Ok(())
}

type Port = (u16, &'static str);

/// `port[-port][/protocol]`
fn parse(text: &str) -> Result<impl Iterator<Item = Port>, PortProblem> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, ""));
    if ports.contains(':') || ports.contains('[') {
        return Err(PortProblem::HostPart);
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => "tcp",
        "udp" => "udp",
        "sctp" => "sctp",
        _ => return Err(PortProblem::UnknownProtocol),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let (first, last) = (number(first)?, number(last)?);
    if last < first {
        return Err(PortProblem::EmptyRange);
    }
    Ok((first..=last).map(move |port| (port, protocol)))
}

fn number(text: &str) -> Result<u16, PortProblem> {
    if text.is_empty() {
        return Err(PortProblem::Missing);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PortProblem::NotANumber);
    }
    text.parse().map_err(|_| PortProblem::OutOfRange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_normalised() {
        let table: [(&str, &[Port]); 6] = [
            ("80", &[(80, "tcp")]),
            ("80/", &[(80, "tcp")]),
            ("53/UDP", &[(53, "udp")]),
            ("8000-8002/sctp", &[(8000, "sctp"), (8001, "sctp"), (8002, "sctp")]),
            ("7-7", &[(7, "tcp")]),
            ("0", &[(0, "tcp")]),
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
            ("+80", PortProblem::NotANumber),
            ("65536", PortProblem::OutOfRange),
            ("99999999999999999999", PortProblem::OutOfRange),
            ("90-80", PortProblem::EmptyRange),
            ("80/icmp", PortProblem::UnknownProtocol),
            ("80/tcp/udp", PortProblem::UnknownProtocol),
            ("8080:80", PortProblem::HostPart),
            ("[::1]:80", PortProblem::HostPart),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).err(), Some(expected), "{text}");
        }
    }
}
