//! What a binary needs of the system, from its own dynamic section: the `Depends` of the package.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::sh;

/// Debian's packages of the libraries, with the versions that the symbols in use came with.
pub fn depends(binaries: &[PathBuf]) -> Result<String> {
    let dump = sh::output(Command::new("objdump").arg("--private-headers").args(binaries));
    parse(&dump.with_context(|| format!("objdump cannot read {binaries:?}"))?)
}

fn parse(dump: &str) -> Result<String> {
    let mut packages = Vec::new();
    for library in dump.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")) {
        let (package, symbols) = match library.trim() {
            // The C library's parts come in one package and with one version.
            "libc.so.6" | "libm.so.6" | "libdl.so.2" | "libpthread.so.0" | "librt.so.1" => {
                ("libc6", "GLIBC_")
            }
            name if name.starts_with("ld-linux") => ("libc6", "GLIBC_"),
            "libgcc_s.so.1" => ("libgcc-s1", "GCC_"),
            other => bail!("vipd is linked with {other}: which package has it?"),
        };
        if !packages.contains(&(package, symbols)) {
            packages.push((package, symbols));
        }
    }
    packages.sort_unstable();
    let newest = |symbols: &str| {
        let versions = dump.split_whitespace().filter_map(|word| word.strip_prefix(symbols));
        versions.max_by_key(|version| numbers(version)).map(str::to_owned)
    };
    let line = packages.iter().map(|(package, symbols)| match newest(symbols) {
        Some(version) => format!("{package} (>= {version})"),
        None => (*package).to_owned(),
    });
    Ok(line.collect::<Vec<_>>().join(", "))
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|part| part.parse().unwrap_or(0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = "
Dynamic Section:
  NEEDED               libgcc_s.so.1
  NEEDED               libc.so.6
  NEEDED               ld-linux-x86-64.so.2

Version References:
  required from libgcc_s.so.1:
    0x09276060 0x00 26 GCC_4.2.0
    0x0b792650 0x00 04 GCC_3.0
  required from libc.so.6:
    0x0d696919 0x00 13 GLIBC_2.9
    0x069691b4 0x00 02 GLIBC_2.34
    0x0d696913 0x00 21 GLIBC_2.3
";

    #[test]
    fn the_newest_symbol_of_each_library_counts() {
        assert_eq!(parse(DUMP).unwrap(), "libc6 (>= 2.34), libgcc-s1 (>= 4.2.0)");
    }

    #[test]
    fn a_library_that_nobody_knows_is_no_surprise_for_the_user() {
        let error = parse(&DUMP.replace("libgcc_s.so.1\n  NEEDED", "libssl.so.3\n  NEEDED")).unwrap_err();
        assert!(error.to_string().contains("libssl.so.3"), "{error}");
    }
}
