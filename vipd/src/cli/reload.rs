//! `vipd reload`, with and without `--dry-run`.

use std::{
    io::{self, Write},
    path::Path,
};

use super::{Exit, not_answered, print_json, shown};
use crate::control::{self, Request, Response};

/// Reloads, or asks what a reload would change, and prints the changes.
pub fn reload(socket: &Path, dry_run: bool, json: bool, exit_code: bool) -> Exit {
    let request = if dry_run { Request::Compare } else { Request::Reload };
    let differences = match control::request(socket, &request) {
        Ok(Response::Reloaded(differences) | Response::Compared(differences)) => differences,
        Ok(_) => return super::fail(&anyhow::anyhow!("vipd has answered another question")),
        Err(error) => return not_answered(error),
    };
    let printed = match json {
        true => print_json(&differences),
        false => writeln!(io::stdout(), "{differences}"),
    };
    match shown(printed.map_err(Into::into)) {
        Exit::Success if exit_code && !differences.changes.is_empty() => Exit::Failure,
        exit => exit,
    }
}
