//! How a step is named in progress and in errors.

use archway_report::Step;

/// `linux/arm64 build 3/7`: who needs it, its stage if that has a name, its place in the stage.
/// `requested` is the number of platforms of the build.
pub(crate) fn step_label(step: &Step, requested: usize) -> String {
    let who = platforms(step, requested);
    if step.position == 0 {
        return format!("{who} {}", step.stage);
    }
    let place = format!("{}/{}", step.position, step.total);
    match step.stage.parse::<u32>() {
        // A stage without a name is shown by its place alone.
        Ok(_) => format!("{who} {place}"),
        Err(_) => format!("{who} {} {place}", step.stage),
    }
}

/// The platforms that need a step, in few words.
pub(crate) fn platforms(step: &Step, requested: usize) -> String {
    match step.platforms.as_slice() {
        [] => step.runs_on.to_string(),
        [only] => only.to_string(),
        all if all.len() == requested => "all".to_owned(),
        [first, rest @ ..] => format!("{first}+{}", rest.len()),
    }
}

#[cfg(test)]
pub(crate) mod fixtures {
    use archway_oci::Platform;
    use archway_report::{Step, StepId};

    pub(crate) fn platform(text: &str) -> Platform {
        text.parse().expect("a platform")
    }

    pub(crate) fn step(id: u32, platforms: &[&str], stage: &str, name: &str) -> Step {
        Step {
            id: StepId(id),
            platforms: platforms.iter().map(|p| platform(p)).collect(),
            runs_on: platform("linux/amd64"),
            stage: stage.into(),
            position: id + 1,
            total: 4,
            name: name.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{fixtures::step, *};

    #[test]
    fn labels() {
        let cases = [
            (step(0, &["linux/arm64"], "0", ""), "linux/arm64 1/4"),
            (step(1, &["linux/arm64"], "build", ""), "linux/arm64 build 2/4"),
            (step(2, &["linux/amd64", "linux/arm64", "linux/386"], "build", ""), "all build 3/4"),
            (step(3, &["linux/arm64", "linux/386"], "0", ""), "linux/arm64+1 4/4"),
        ];
        for (step, want) in cases {
            assert_eq!(step_label(&step, 3), want);
        }
        let besides = Step { position: 0, total: 0, ..step(0, &["linux/arm64"], "internal", "") };
        assert_eq!(step_label(&besides, 3), "linux/arm64 internal");
    }
}
