//! A Dockerfile and what is around it.

use archway_check::{CheckError, Finding, Inputs, KnownBases, Report, check};
use archway_dockerfile::{ast::Dockerfile, ignore::IgnorePatterns};
use archway_graph::{BuildArgs, NamedContexts};
use archway_oci::{ImageConfig, Platform};

/// Everything a check starts from, with what a test leaves open.
pub(crate) struct Scene {
    pub(crate) file: Dockerfile,
    pub(crate) build_args: BuildArgs,
    pub(crate) named_contexts: NamedContexts,
    pub(crate) target: Option<&'static str>,
    pub(crate) platforms: Vec<Platform>,
    pub(crate) ignore: Option<IgnorePatterns>,
    pub(crate) bases: KnownBases,
    pub(crate) all_stages: bool,
    pub(crate) multi_platform: bool,
}

pub(crate) fn platform(name: &str) -> Platform {
    name.parse().expect("a platform")
}

impl Scene {
    pub(crate) fn new(dockerfile: &str) -> Self {
        Self {
            file: archway_dockerfile::parse("Dockerfile", dockerfile).expect("a Dockerfile"),
            build_args: BuildArgs::default(),
            named_contexts: NamedContexts::default(),
            target: None,
            platforms: vec![platform("linux/arm64")],
            ignore: None,
            bases: KnownBases::default(),
            all_stages: true,
            multi_platform: true,
        }
    }

    /// Makes a base image known, for the platforms of the scene: its variables, and what it is for.
    pub(crate) fn base(mut self, name: &str, env: &[&str], offered: &[&str]) -> Self {
        for wanted in &self.platforms {
            let offered = offered.iter().map(|name| platform(name));
            let found =
                offered.clone().find(|candidate| candidate == wanted).or_else(|| offered.clone().next());
            let mut config = ImageConfig { platform: found.unwrap_or_default(), ..ImageConfig::default() };
            config.config.env = env.iter().map(|entry| (*entry).to_owned()).collect();
            self.bases.configs.insert((name.to_owned(), wanted.clone()), config);
            self.bases.platforms.insert(name.to_owned(), offered.collect());
        }
        self
    }

    pub(crate) fn try_check(&self) -> Result<Report, CheckError> {
        check(&Inputs {
            dockerfile: &self.file,
            build_args: &self.build_args,
            named_contexts: &self.named_contexts,
            target: self.target,
            all_stages: self.all_stages,
            platforms: &self.platforms,
            build_platform: &platform("linux/amd64"),
            ignore: self.ignore.as_ref(),
            bases: &self.bases,
            multi_platform: self.multi_platform,
        })
    }

    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.try_check().expect("a valid check directive").findings
    }

    /// `LINE RULE marked text`, a line for each finding.
    pub(crate) fn summary(&self) -> Vec<String> {
        let line = |finding: &Finding| {
            let line = self.file.source.position(finding.span.start).line;
            let marked = self.file.source.slice(finding.span).trim_end().replace('\n', "⏎");
            format!("{line} {} {marked}", finding.rule.name)
        };
        self.findings().iter().map(line).collect()
    }
}

/// The findings in a Dockerfile, summarised.
pub(crate) fn summary(dockerfile: &str) -> Vec<String> {
    Scene::new(dockerfile).summary()
}

/// The Dockerfile after all fixes of one rule, each on its own turn.
pub(crate) fn fixed(dockerfile: &str, rule: &str) -> String {
    let mut text = dockerfile.to_owned();
    for _ in 0..10 {
        let findings = Scene::new(&text).findings();
        let fix =
            findings.into_iter().filter(|finding| finding.rule.name == rule).find_map(|finding| finding.fix);
        match fix {
            Some(fix) => text = fix.apply(&text),
            None => break,
        }
    }
    text
}
