//! Load balancing beside Debian's keepalived: two directors with the same file, one of each, check the same servers. After each step the kernel's
//! tables are compared with each other and with what keepalived's manual says, and so are the lines of the FIFOs and of the notify scripts.
//!
//! Needs IPVS in the kernel: `cargo xtask guest --kernel debian-12 balancing_differential`.

mod game;
mod long_rows;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use anyhow::Result;
use game::{Match, Row};
use support::{web::has_ipvs, *};
use vipd_tests::{find_program, skip};

/// Plays rows one after the other; `VIPD_ROWS` has parts of the names of those to play, with a comma between.
fn play(rows: &[Row]) -> Result<()> {
    let known: Vec<&str> = rows::ROWS.iter().chain(long_rows::ROWS).map(|row| row.name).collect();
    let wanted = named_rows(rows, |row| row.name, &known)?;
    let nodes = |lab: vipd_tests::Builder| {
        let lab = lab.node("lb01", "10.0.0.5/24").link("10.1.0.5/24");
        let lab = lab.node("lb02", "10.0.0.6/24").link("10.1.0.6/24").node("client", "10.0.0.100/24");
        let lab = lab.node("web1", "10.77.0.1/24").link("10.1.0.11/24");
        lab.node("web2", "10.77.0.2/24").link("10.1.0.12/24")
    };
    let Some((lab, permit)) = lab(nodes)? else { return Ok(()) };
    if !has_ipvs() {
        return Ok(());
    }
    if find_program("keepalived").is_none() {
        skip("comparing with keepalived, which is not installed");
        return Ok(());
    }
    if wanted.is_empty() {
        skip("rows that VIPD_ROWS does not name");
        return Ok(());
    }
    let mut game = Match::new(lab, permit)?;
    let mut faults = Vec::new();
    for row in wanted {
        if row.port == game::TLS_PORT && find_program("openssl").is_none() {
            skip(format!("{}: openssl is not installed", row.name));
            continue;
        }
        match game.play_row(row) {
            // Nothing twice is equal too.
            Ok(0) => {
                println!("{}: nothing was told", row.name);
                faults.push(row.name);
            }
            Ok(told) => {
                println!("{}: equal after {} steps; {told} lines were told", row.name, row.steps.len())
            }
            Err(error) => {
                println!("{}: {error:#}", row.name);
                faults.push(row.name);
            }
        }
        game.reset()?;
    }
    anyhow::ensure!(faults.is_empty(), "these rows differ: {faults:?}");
    Ok(())
}

#[test]
fn keepalived_and_vipd_agree() -> Result<()> {
    play(rows::ROWS)
}

#[test]
#[ignore = "long tier: ten minutes"]
fn keepalived_and_vipd_agree_in_every_row() -> Result<()> {
    play(long_rows::ROWS)
}
