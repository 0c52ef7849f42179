//! `vipd completions`: what a shell completes after `vipd`; `cargo xtask dist` packs the same text.

use clap_complete::{Shell, generate};

/// The completions of a shell, to be read by it.
pub fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    // `vipd help` is `vipd --help`, and would double the text.
    generate(shell, &mut super::command().disable_help_subcommand(true), "vipd", &mut text);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_every_command_and_its_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::Elvish, Shell::PowerShell] {
            let text = String::from_utf8(completions(shell)).unwrap();
            for command in super::super::command().get_subcommands() {
                assert!(text.contains(command.get_name()), "{shell}: no {command}");
            }
            for option in ["runtime-dir", "metrics-listen", "allow-unsupported", "check"] {
                assert!(text.contains(option), "{shell}: no --{option}");
            }
        }
    }
}
