//! The monitor of a qemu: commands in QMP, over a socket.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

const ANSWER: Duration = Duration::from_secs(30);

/// Has a qemu execute a command without arguments, and waits until it has.
pub fn execute(socket: &Path, command: &str) -> Result<()> {
    let mut qemu = UnixStream::connect(socket).with_context(|| format!("connect to {}", socket.display()))?;
    qemu.set_read_timeout(Some(ANSWER))?;
    let mut lines = BufReader::new(qemu.try_clone()?).lines();
    // qemu takes commands after a negotiation, and greets before it.
    for command in ["qmp_capabilities", command] {
        writeln!(qemu, "{}", json!({ "execute": command }))?;
        loop {
            let line = lines.next().context("qemu has closed its monitor")??;
            let said: Value = serde_json::from_str(&line).with_context(|| format!("qemu said {line:?}"))?;
            if said.get("return").is_some() {
                break;
            }
            // Anything else is the greeting, or an event.
            if let Some(error) = said.get("error") {
                bail!("qemu refuses {command}: {error}");
            }
        }
    }
    Ok(())
}
