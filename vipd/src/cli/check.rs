//! `vipd check`: prints the diagnostics of a configuration, for people or for programs.

use std::io::{self, Write};

use annotate_snippets::Renderer;
use serde::Serialize;
use vipd_config::{Diagnostic, Severity};

use super::{Exit, chosen::Chosen, replaced::replaced, unnoticed::unnoticed};

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct CheckFindings<'f> {
    /// The file that was read first.
    configuration: String,
    /// Why it is this one: `given`, `running`, `unit` or `keepalived`.
    chosen: &'static str,
    errors: usize,
    warnings: usize,
    notices: usize,
    /// In the order of the file.
    diagnostics: Vec<CheckFinding<'f>>,
}

#[derive(Debug, Serialize)]
struct CheckFinding<'f> {
    file: &'f str,
    /// From 1.
    line: u32,
    /// From 1, in characters.
    column: u32,
    /// Column behind the last character.
    end: u32,
    /// `error`, `warning` or `notice`.
    severity: String,
    code: &'static str,
    message: &'f str,
    notes: &'f [String],
    help: Option<&'f str>,
}

/// OutputForm of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputForm {
    People,
    Json,
    /// The configuration, then the diagnostics.
    Explain,
}

/// Prints the diagnostics of a configuration; the exit code is that of the worst one.
pub fn check(chosen: &Chosen, form: OutputForm, strict: bool) -> (Exit, io::Result<()>) {
    let (explained, diagnostics) = match chosen.source.load() {
        Ok(loaded) => {
            let explained = vipd_config::explain(&loaded.config, &loaded.origins);
            let times = replaced(&loaded.config) + &unnoticed(&loaded.config.balance);
            (explained + &times, loaded.warnings)
        }
        Err(failure) => (String::new(), failure.diagnostics),
    };
    let has = |severity| diagnostics.iter().any(|d| d.severity == severity);
    let exit = match (has(Severity::Error), has(Severity::Warning)) {
        (true, _) => Exit::Usage,
        (false, true) if strict => Exit::Failure,
        (false, _) => Exit::Success,
    };
    (exit, print(chosen, form, &explained, &diagnostics))
}

fn print(chosen: &Chosen, form: OutputForm, explained: &str, diagnostics: &[Diagnostic]) -> io::Result<()> {
    let count = |severity| diagnostics.iter().filter(|d| d.severity == severity).count();
    let [errors, warnings, notices] = [Severity::Error, Severity::Warning, Severity::Notice].map(count);
    let counts = [(errors, "error"), (warnings, "warning"), (notices, "notice")];
    match form {
        OutputForm::Json => {
            let diagnostics = diagnostics.iter().map(finding).collect();
            let (configuration, chosen) = (chosen.source.path.display().to_string(), chosen.why.name());
            let findings = CheckFindings { configuration, chosen, errors, warnings, notices, diagnostics };
            let mut text = serde_json::to_vec_pretty(&findings)?;
            text.push(b'\n');
            io::stdout().write_all(&text)
        }
        // Colours only where they are seen, and not with NO_COLOR.
        OutputForm::People => people(anstream::stdout().lock(), chosen, diagnostics, counts),
        // What is explained can be redirected by itself.
        OutputForm::Explain => {
            io::stdout().write_all(explained.as_bytes())?;
            people(anstream::stderr().lock(), chosen, diagnostics, counts)
        }
    }
}

fn people(
    mut out: impl Write,
    chosen: &Chosen,
    diagnostics: &[Diagnostic],
    counts: [(usize, &str); 3],
) -> io::Result<()> {
    for diagnostic in diagnostics {
        writeln!(out, "{}\n", diagnostic.render(&Renderer::styled()))?;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }))
        .collect();
    let verdict = if counts.is_empty() { "no errors or warnings".to_owned() } else { counts.join(", ") };
    writeln!(out, "{chosen}: {verdict}")
}

fn finding(diagnostic: &Diagnostic) -> CheckFinding<'_> {
    let Diagnostic { severity, code, file, line, column, message, width, notes, hint, .. } = diagnostic;
    CheckFinding {
        file,
        line: *line,
        column: *column,
        end: column.saturating_add(*width),
        severity: severity.to_string(),
        code: code.name(),
        message,
        notes,
        help: hint.as_deref(),
    }
}
