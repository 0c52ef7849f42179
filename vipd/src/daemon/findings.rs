//! What a configuration that runs is told about, in the log.

use vipd_config::{Code, Diagnostic, Failure, Severity};

use super::interfaces::RefusedInterfaces;

/// Logs the warnings, each with its lines, and in one line the keywords that have no effect.
pub fn log(findings: &[Diagnostic]) {
    let (without_effect, others): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| finding.code == Code::NoEffect);
    for finding in others {
        match finding.severity {
            Severity::Notice => tracing::info!("{}", finding.summary()),
            Severity::Error | Severity::Warning => tracing::warn!("{finding}"),
        }
    }
    if let Some(text) = summary(&without_effect) {
        tracing::info!("{text}");
    }
}

/// How many errors a refused configuration has: `2 errors`.
pub fn count(error: &anyhow::Error) -> String {
    match (error.downcast_ref::<Failure>(), error.downcast_ref::<RefusedInterfaces>()) {
        (Some(failure), _) => failure.count(),
        (None, Some(refused)) => refused.count(),
        (None, None) => "1 error".to_owned(),
    }
}

/// The warnings among findings, a line each.
pub fn warnings(findings: &[Diagnostic]) -> Vec<String> {
    let warnings = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Warning && finding.code != Code::NoEffect);
    warnings.map(Diagnostic::summary).collect()
}

/// `3 keywords have no effect: a, b, c`; `None` if there are none.
fn summary(findings: &[&Diagnostic]) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    for name in findings.iter().map(|finding| subject(&finding.message)) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let have = match names.len() {
        0 => return None,
        1 => "1 keyword has".to_owned(),
        count => format!("{count} keywords have"),
    };
    Some(format!("{have} no effect and can be removed (`vipd check` shows where): {}", names.join(", ")))
}

/// What a message is about: what it has between its first backquotes, or all of it.
fn subject(message: &str) -> &str {
    message.split('`').nth(1).unwrap_or(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_without_effect_are_one_line() {
        let text = "global_defs {\nmax_auto_priority 5\nprocess_names\nmax_auto_priority 6\n}\nvrrp_instance VI_1 {\n\
                    interface eth0\nvirtual_router_id 51\nvirtual_ipaddress {\n10.0.0.3\n}\n}\n";
        let path = std::path::Path::new("k.conf");
        let loaded =
            vipd_config::parse(path, text, &vipd_config::Nothing, vipd_config::Unsupported::Refused).unwrap();
        let findings: Vec<&Diagnostic> =
            loaded.warnings.iter().filter(|finding| finding.code == Code::NoEffect).collect();
        assert!(findings.iter().all(|finding| finding.severity == Severity::Notice), "{findings:?}");
        assert_eq!(
            summary(&findings).unwrap(),
            "2 keywords have no effect and can be removed (`vipd check` shows where): max_auto_priority, process_names"
        );
        assert!(summary(&[]).is_none());
    }
}
