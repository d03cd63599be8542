//! `STOPSIGNAL`

use archway_dockerfile::ast::Word;

use crate::{
    error::{LowerError, LowerProblem},
    nearest::nearest,
    stage::{Layer, StageBuilder},
};

/// Linux's signals by name, without `SIG` (signal(7)). Real-time signals are counted from either end.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE",
    "POLL", "PROF", "PWR", "QUIT", "RTMAX", "RTMIN", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP",
    "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
];

/// Checks the signal and keeps it as it is written. On Windows, which has none, it has no effect.
pub(crate) fn stop_signal(builder: &mut StageBuilder<'_>, word: &Word) -> Result<(), LowerError> {
    let signal = builder.expander().word(word)?;
    if !is_signal(&signal) {
        let nearest = nearest(bare(&signal.to_ascii_uppercase()), NAMES).map(|name| format!("SIG{name}"));
        let problem = LowerProblem::UnknownSignal { value: signal, nearest };
        return Err(LowerError { problem, span: word.span });
    }
    builder.state.record(format!("STOPSIGNAL {signal}"), Layer::None);
    builder.state.image.config.stop_signal = signal;
    Ok(())
}

fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<u8>() {
        return (1..=64).contains(&number);
    }
    let upper = text.to_ascii_uppercase();
    let name = bare(&upper);
    let is_real_time = |prefix: &str, highest: u8| {
        let offset = name.strip_prefix(prefix).and_then(|offset| offset.parse::<u8>().ok());
        offset.is_some_and(|offset| offset <= highest)
    };
    NAMES.contains(&name) || is_real_time("RTMIN+", 15) || is_real_time("RTMAX-", 14)
}

fn bare(name: &str) -> &str {
    name.strip_prefix("SIG").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::is_signal;

    #[test]
    fn signals_have_names_and_numbers() {
        for signal in ["SIGTERM", "term", "KILL", "9", "64", "SIGRTMIN", "SIGRTMIN+3", "RTMAX-14"] {
            assert!(is_signal(signal), "{signal}");
        }
        for signal in ["", "0", "65", "-9", "SIG", "SIGFOO", "RTMIN+16", "RTMAX+1", "SIGSIGTERM"] {
            assert!(!is_signal(signal), "{signal}");
        }
    }
}
