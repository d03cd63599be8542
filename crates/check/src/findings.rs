//! Collects findings, without those nobody wants to see.

use archway_dockerfile::ast::{SourceText, Span};

use crate::{
    config::{self, Config},
    finding::Finding,
    lines::Lines,
    rule::Rule,
    site::Site,
};

/// The findings so far.
#[derive(Debug)]
pub(crate) struct Findings<'a> {
    pub(crate) source: &'a SourceText,
    pub(crate) lines: Lines<'a>,
    config: &'a Config,
    found: Vec<Finding>,
}

impl<'a> Findings<'a> {
    pub(crate) fn new(source: &'a SourceText, config: &'a Config) -> Self {
        Self { source, lines: Lines::new(source), config, found: Vec::new() }
    }

    /// Adds what was found in an instruction, unless the directive or a comment above it says otherwise.
    pub(crate) fn add(&mut self, site: &Site<'_>, finding: Finding) {
        self.add_of(&[site], finding);
    }

    /// The same for a finding about several instructions; it is shown at the first one.
    pub(crate) fn add_of(&mut self, sites: &[&Site<'_>], mut finding: Finding) {
        if !sites.iter().all(|site| self.checks(finding.rule, site)) {
            return;
        }
        if let Some(site) = sites.first().filter(|_| finding.instruction == Span::default()) {
            finding.instruction = site.span;
        }
        self.found.push(finding);
    }

    fn checks(&self, rule: &Rule, site: &Site<'_>) -> bool {
        let inline = config::inline(&site.comments).and_then(|text| Config::parse(text.value).ok());
        match inline {
            Some(inline) => self.config.merged(&inline).checks(rule),
            None => self.config.checks(rule),
        }
    }

    /// In the order of the file, each once, for however many platforms it was found.
    pub(crate) fn into_sorted(mut self) -> Vec<Finding> {
        let key = |finding: &Finding| (finding.span.start, finding.rule.name, finding.span.end);
        self.found.sort_by(|a, b| key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message)));
        self.found.dedup();
        self.found
    }
}
