//! vipd's probes: octets, read back, and why others are malformed.

extern crate std;

use std::{vec, vec::Vec};

use zerocopy::IntoBytes;

use super::{
    Malformed, View,
    bfd::{Control, Diagnostic, SessionState, flag as bfd_flag},
    checksum,
    probe::{BLOCK, MAX_PAYLOAD, MAX_ROUTERS, Probe, Repr, Router, discriminator, flag, router_flag},
    tests::{changed, hex},
};

fn control() -> super::bfd::Repr {
    super::bfd::Repr {
        diagnostic: Diagnostic::NONE,
        state: SessionState::Up,
        flags: bfd_flag::DEMAND,
        multiplier: 3,
        authentication_length: 0,
        my_discriminator: 0xc000_020a,
        your_discriminator: 0xc000_020b,
        desired_min_tx_us: 3_300,
        required_min_rx_us: 1_000,
        required_min_echo_rx_us: 0,
    }
}

fn probe(routers: &[Router]) -> Vec<u8> {
    let mut octets = vec![0xa5; 24 + BLOCK];
    control().emit((&mut octets[..24]).try_into().unwrap());
    let repr = Repr {
        flags: flag::TAKES_OVER,
        routers: u8::try_from(routers.len()).unwrap(),
        generation: 7,
        clock_ns: 0x0102_0304_0506_0708,
    };
    repr.emit((&mut octets[24..]).try_into().unwrap());
    octets.extend_from_slice(routers.as_bytes());
    octets
}

const OWNER: Router =
    Router { family: 4, vrid: 51, priority: 150, flags: router_flag::PARTICIPATES | router_flag::OWNER };

#[test]
fn probes() {
    let octets = probe(&[OWNER]);
    assert_eq!(
        hex(&octets),
        "20c20318c000020ac000020b00000ce4000003e800000000\
         76697064010101000000000701020304050607080433\
         9603"
    );
    let probe = Probe::new_checked(&octets).unwrap();
    assert_eq!((probe.block.clock_ns(), probe.block.generation()), (0x0102_0304_0506_0708, 7));
    assert_eq!(probe.block.flags(), flag::TAKES_OVER);
    assert_eq!(probe.routers().collect::<Vec<_>>(), [OWNER]);
}

#[test]
fn as_many_routers_as_a_link_has() {
    let octets = probe(&[OWNER; MAX_ROUTERS]);
    assert_eq!(octets.len(), MAX_PAYLOAD);
    assert_eq!(Probe::new_checked(&octets).unwrap().routers().count(), MAX_ROUTERS);
}

#[test]
fn malformed_probes() {
    let octets = probe(&[OWNER]);
    let error = |octets: &[u8]| Probe::new_checked(octets).err();
    assert_eq!(error(&octets), None);
    assert_eq!(error(&octets[..43]), Some(Malformed::Truncated));
    assert_eq!(error(&octets[..47]), Some(Malformed::Length));
    assert_eq!(error(&[&octets[..], &[0]].concat()), Some(Malformed::Length));
    for (changes, expect) in [
        (&[(0, 0x00)][..], Malformed::Version),
        (&[(2, 0)], Malformed::Multiplier),
        // BFD's own packet goes on into the block.
        (&[(3, 26)], Malformed::Length),
        (&[(24, b'V')], Malformed::Type),
        (&[(28, 2)], Malformed::Version),
        (&[(30, 2)], Malformed::Length),
        (&[(30, 0)], Malformed::Length),
        // A tag is announced, and there is none.
        (&[(31, 16)], Malformed::Length),
    ] {
        assert_eq!(error(&changed(&octets, changes)), Some(expect), "{changes:?}");
    }
}

#[test]
fn the_answer_swaps_the_discriminators_and_keeps_the_checksum_right() {
    for (flags, state, expect) in [
        (bfd_flag::DEMAND, SessionState::Up, 0),
        (bfd_flag::DEMAND | bfd_flag::POLL, SessionState::AdminDown, bfd_flag::FINAL),
        (
            bfd_flag::DEMAND | bfd_flag::CONTROL_PLANE_INDEPENDENT,
            SessionState::Up,
            bfd_flag::CONTROL_PLANE_INDEPENDENT,
        ),
    ] {
        let asked = super::bfd::Repr { flags, ..control() };
        let answer = asked.control().reflected(state);
        let expected = super::bfd::Repr {
            flags: expect,
            state,
            my_discriminator: asked.your_discriminator,
            your_discriminator: asked.my_discriminator,
            ..asked
        };
        assert_eq!(super::bfd::Repr::parse(&answer), expected);
        let sum = |octets: &[u8]| u16::from_be_bytes(checksum::Checksum::default().over(octets).finish());
        let before = asked.control();
        let adjusted = checksum::adjusted(sum(before.as_bytes()), before.first_word(), answer.first_word());
        assert_eq!(adjusted, sum(answer.as_bytes()));
        let (read, _) = Control::new_prefix(answer.as_bytes()).unwrap();
        assert!(!read.has(bfd_flag::DEMAND));
    }
}

#[test]
fn a_discriminator_is_made_of_the_address() {
    for (address, expect) in [
        ("192.0.2.10", 0xc000_020a),
        ("0.0.0.0", 1),
        ("fe80::10", 0xfe80_0010),
        ("2001:db8:1:2:3:4:5:6", 0x2001_0db8 ^ 0x0001_0002 ^ 0x0003_0004 ^ 0x0005_0006),
        ("::", 1),
    ] {
        assert_eq!(discriminator(address.parse().unwrap()), expect, "{address}");
    }
}
