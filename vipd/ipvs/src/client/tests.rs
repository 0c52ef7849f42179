//! Against a kernel of our own, which keeps a table and answers as `ip_vs_ctl.c` does.

use std::{collections::VecDeque, num::NonZeroU32};

use netlink_packet_core::DefaultNla;
use vipd_common::Family;

use super::*;
use crate::{
    DestinationKey, ForwardingMethod, KernelName, PersistenceMask, ServiceProtocol, SyncRole,
    attributes::{nest, octets_of},
};

/// A kernel with IPVS, or without it.
#[derive(Debug, Default)]
struct Kernel {
    /// The id of the family; `None`: no IPVS.
    family: Option<u16>,
    services: Vec<(VirtualService, Vec<IpvsDestination>)>,
    daemons: Vec<SyncDaemon>,
    /// Whether the caller lacks CAP_NET_ADMIN.
    forbids: bool,
    /// Services that others make before the next dumps of services, one before each.
    made_by_others: Vec<VirtualService>,
    /// Sent in front of the answers to the next request.
    noise: Vec<Vec<u8>>,
    /// How many messages each datagram had.
    sent: Vec<usize>,
    answers: VecDeque<Vec<u8>>,
}

impl KernelChannel for Kernel {
    fn send(&mut self, messages: &[u8]) -> Result<(), IpvsError> {
        self.answers.extend(self.noise.drain(..));
        // A request is framed as an object is.
        let frames: Vec<_> = ReplyFrames::new(messages).map(Result::unwrap).collect();
        self.sent.push(frames.len());
        for frame in frames {
            let ReplyFrame::Object { sequence, family, command, attributes, .. } = frame else {
                panic!("{frame:?}")
            };
            self.handle(sequence, family, command, attributes);
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut Vec<u8>) -> Result<(), IpvsError> {
        *buffer = self.answers.pop_front().ok_or(IpvsError::TimedOut)?;
        Ok(())
    }
}

impl Kernel {
    fn handle(&mut self, sequence: u32, family: u16, command: u8, attributes: AttributeList<'_>) {
        if family == CONTROLLER {
            match self.family {
                Some(id) => {
                    let id = DefaultNla::new(1, id.to_ne_bytes().to_vec());
                    self.answer(message(
                        CONTROLLER,
                        0,
                        sequence,
                        &[&[1, 2, 0, 0], octets_of(&[id]).as_slice()],
                    ));
                }
                None => self.end(2, sequence, libc::ENOENT),
            }
            return;
        }
        if Some(family) != self.family {
            return self.end(2, sequence, libc::ENOENT);
        }
        if self.forbids {
            return self.end(2, sequence, libc::EPERM);
        }
        const MULTI: u16 = 2;
        match command {
            4 if attributes.find(1).is_some() => match self.find(attributes) {
                Some(place) => {
                    let service = nest(1, &self.services[place].0.attributes());
                    self.object(0, sequence, 1, service);
                }
                None => self.end(2, sequence, libc::ESRCH),
            },
            4 => {
                self.services.extend(self.made_by_others.pop().map(|service| (service, Vec::new())));
                for (service, _) in self.services.clone() {
                    self.object(MULTI, sequence, 1, nest(1, &service.attributes()));
                }
                self.end(3, sequence, 0);
            }
            8 => {
                let found = self.find(attributes).map(|place| self.services[place].1.clone());
                for destination in found.unwrap_or_default() {
                    self.object(MULTI, sequence, 5, nest(2, &destination.attributes()));
                }
                self.end(3, sequence, 0);
            }
            11 => {
                for daemon in self.daemons.clone() {
                    self.object(MULTI, sequence, 9, nest(3, &daemon.attributes()));
                }
                self.end(3, sequence, 0);
            }
            13 => self.object(0, sequence, 12, DefaultNla::new(4, 900_u32.to_ne_bytes().to_vec())),
            _ => {
                let errno = self.change(command, attributes);
                self.end(2, sequence, errno);
            }
        }
    }

    fn change(&mut self, command: u8, attributes: AttributeList<'_>) -> i32 {
        let place = attributes.find(1).and_then(|_| self.find(attributes));
        let service =
            || VirtualService::parse(&ServiceView::new_checked(attributes.find(1).unwrap()).unwrap());
        let destination = |family| {
            let view = DestinationView::new_checked(attributes.find(2).unwrap()).unwrap();
            IpvsDestination::parse(&view, family).unwrap()
        };
        match (command, place) {
            (1, Some(_)) => return libc::EEXIST,
            (1 | 2, _) if service().unwrap().scheduler.as_str() == "none-such" => return libc::ENOENT,
            (1, None) => self.services.push((service().unwrap(), Vec::new())),
            (17, _) => self.services.clear(),
            (9, _) => {
                let view = SyncDaemonView::new_checked(attributes.find(3).unwrap()).unwrap();
                let daemon = SyncDaemon::parse(&view).unwrap();
                if daemon.interface.as_str() == "none-such" {
                    return libc::ENODEV;
                }
                if self.daemons.iter().any(|other| other.role == daemon.role) {
                    return libc::EEXIST;
                }
                self.daemons.push(daemon);
            }
            (10, _) => return libc::ESRCH,
            (_, None) => return libc::ESRCH,
            (2, Some(place)) => self.services[place].0 = service().unwrap(),
            (3, Some(place)) => _ = self.services.remove(place),
            (5..=7, Some(place)) => {
                let (service, destinations) = &mut self.services[place];
                let key = attributes.find(2).unwrap();
                let found =
                    destinations.iter().position(|it| key.starts_with(&octets_of(&it.key.attributes())));
                match (command, found) {
                    (5, Some(_)) => return libc::EEXIST,
                    // In front of the others.
                    (5, None) => destinations.insert(0, destination(service.key.family())),
                    (_, None) => return libc::ENOENT,
                    (6, Some(found)) => destinations[found] = destination(service.key.family()),
                    (_, Some(found)) => _ = destinations.remove(found),
                }
            }
            _ => return libc::EOPNOTSUPP,
        }
        0
    }

    fn find(&self, attributes: AttributeList<'_>) -> Option<usize> {
        let wanted = attributes.find(1).unwrap();
        self.services
            .iter()
            .position(|(service, _)| wanted.starts_with(&octets_of(&service.key.attributes())))
    }

    fn object(&mut self, flags: u16, sequence: u32, command: u8, attribute: DefaultNla) {
        let family = self.family.unwrap();
        let attributes = octets_of(&[attribute]);
        self.answer(message(family, flags, sequence, &[&[command, 1, 0, 0], attributes.as_slice()]));
    }

    fn end(&mut self, kind: u16, sequence: u32, errno: i32) {
        self.answer(message(kind, 0, sequence, &[&(-errno).to_ne_bytes()]));
    }

    fn answer(&mut self, message: Vec<u8>) {
        self.answers.push_back(message);
    }
}

fn message(kind: u16, flags: u16, sequence: u32, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = u32::try_from(16 + body.len()).unwrap();
    let header =
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &flags.to_ne_bytes(), &sequence.to_ne_bytes()];
    [&header.concat()[..], &[0; 4], &body].concat()
}

const ID: u16 = 0x20;

fn client() -> IpvsClient<Kernel> {
    IpvsClient::over(Kernel { family: Some(ID), ..Kernel::default() }).unwrap()
}

fn key(port: u16) -> VirtualServiceKey {
    VirtualServiceKey::Address { protocol: ServiceProtocol::Tcp, address: "192.0.2.1".parse().unwrap(), port }
}

fn service(port: u16) -> VirtualService {
    VirtualService::new(key(port), KernelName::new("wlc").unwrap())
}

fn destination(last: u8, weight: u32) -> IpvsDestination {
    let key = DestinationKey { address: [10, 0, 0, last].into(), port: 80 };
    IpvsDestination::new(key, ForwardingMethod::Route, weight)
}

fn daemon(sync_id: u8) -> SyncDaemon {
    SyncDaemon::new(SyncRole::Master, KernelName::new("eth0").unwrap(), sync_id)
}

/// The result of one step.
fn apply(client: &mut IpvsClient<Kernel>, step: IpvsStep) -> Result<StepResult, StepRefusal> {
    client.apply(&[step]).unwrap().pop().unwrap()
}

#[test]
fn steps_are_sent_in_batches_and_answered_in_order() {
    let mut client = client();
    let service_of = |index: u8| key(u16::from(index / 10));
    let mut steps: Vec<_> = (0..10).map(|port| IpvsStep::NewService(service(port))).collect();
    steps.extend((0..100).map(|index| IpvsStep::NewDestination {
        service: service_of(index),
        destination: destination(index, 1),
    }));
    // A service that is not there.
    steps.insert(50, IpvsStep::DeleteService(key(99)));
    let results = client.apply(&steps).unwrap();
    assert_eq!(results.len(), 111);
    for (index, result) in results.iter().enumerate() {
        match result {
            Ok(StepResult::Done) if index != 50 => {}
            Err(StepRefusal::NoService) if index == 50 => {}
            other => panic!("{index}: {other:?}"),
        }
    }
    // The first is the request for the family.
    assert_eq!(client.channel.sent, [1, 32, 32, 32, 15]);
    let table = client.read_table().unwrap();
    assert_eq!((table.services.len(), table.timeouts.tcp_s), (10, 900));
    for (port, served) in (0..).zip(&table.services) {
        assert_eq!(served.service, service(port));
        let expected: Vec<_> = (0..10).rev().map(|it| destination((port * 10 + it) as u8, 1)).collect();
        let found: Vec<_> = served.destinations.iter().map(|served| served.destination).collect();
        assert_eq!(found, expected);
    }
    assert_eq!(table.service(&key(3)).unwrap().service.key, key(3));
    assert!(table.service(&key(99)).is_none());
    assert!(client.apply(&[]).unwrap().is_empty());
}

#[test]
fn what_is_there_already_is_compared() {
    let mut client = client();
    let new = |destination| IpvsStep::NewDestination { service: key(80), destination };
    for (first, same, differs, present) in [
        (
            IpvsStep::NewService(service(80)),
            IpvsStep::NewService(service(80)),
            IpvsStep::NewService(VirtualService { timeout_s: 300, ..service(80) }),
            Existing::Service(service(80)),
        ),
        // The trap: a weight of 0 that was left stays.
        (
            new(destination(1, 0)),
            new(destination(1, 0)),
            new(destination(1, 5)),
            Existing::Destination(destination(1, 0)),
        ),
        (
            IpvsStep::StartDaemon(daemon(7)),
            IpvsStep::StartDaemon(daemon(7)),
            IpvsStep::StartDaemon(daemon(8)),
            Existing::Daemon(daemon(7)),
        ),
    ] {
        assert_eq!(apply(&mut client, first).unwrap(), StepResult::Done);
        assert_eq!(apply(&mut client, same).unwrap(), StepResult::AlreadyThere);
        match apply(&mut client, differs) {
            Err(StepRefusal::Exists(existing)) => assert_eq!(*existing, present),
            other => panic!("{other:?}"),
        }
    }
    let table = client.read_table().unwrap();
    assert_eq!(table.services[0].service, service(80));
    assert_eq!(table.services[0].destinations[0].destination, destination(1, 0));
    assert_eq!(table.daemons, [daemon(7)]);
}

#[test]
fn destinations_are_read_once_for_a_batch() {
    let mut client = client();
    let mut steps = vec![IpvsStep::NewService(service(80))];
    steps.extend(
        (1..20).map(|last| IpvsStep::NewDestination { service: key(80), destination: destination(last, 1) }),
    );
    client.apply(&steps).unwrap();
    let before = client.channel.sent.len();
    let results = client.apply(&steps).unwrap();
    assert!(results.iter().all(|result| matches!(result, Ok(StepResult::AlreadyThere))), "{results:?}");
    // The steps, the service, its destinations.
    assert_eq!(client.channel.sent[before..], [20, 1, 1]);
}

#[test]
fn what_is_gone_again_is_not_taken_for_there() {
    let mut client = client();
    for step in [
        IpvsStep::NewService(service(80)),
        IpvsStep::NewDestination { service: key(80), destination: destination(1, 1) },
        IpvsStep::StartDaemon(daemon(7)),
    ] {
        let result = client.compare_existing(&step, &mut BTreeMap::new()).unwrap();
        assert!(matches!(result, Err(StepRefusal::Vanished)), "{result:?}");
    }
}

#[test]
fn refusals_are_named() {
    let mut client = client();
    apply(&mut client, IpvsStep::NewService(service(80))).unwrap();
    let (here, gone) = (key(80), key(81));
    let destination = destination(1, 1);
    let unknown = VirtualService { scheduler: KernelName::new("none-such").unwrap(), ..service(82) };
    let with_engine =
        VirtualService { persistence_engine: KernelName::new("sip"), key: here, ..unknown.clone() };
    let elsewhere = SyncDaemon { interface: KernelName::new("none-such").unwrap(), ..daemon(1) };
    for (step, expected) in [
        (IpvsStep::SetService(service(81)), "no such service"),
        (IpvsStep::DeleteService(gone), "no such service"),
        (IpvsStep::NewDestination { service: gone, destination }, "no such service"),
        (IpvsStep::SetDestination { service: gone, destination }, "no such service"),
        (IpvsStep::DeleteDestination { service: gone, destination: destination.key }, "no such service"),
        (IpvsStep::Zero(Some(gone)), "no such service"),
        (IpvsStep::SetDestination { service: here, destination }, "no such destination"),
        (IpvsStep::DeleteDestination { service: here, destination: destination.key }, "no such destination"),
        (
            IpvsStep::NewService(unknown),
            "no such scheduler or persistence engine: try modprobe ip_vs_none-such",
        ),
        (
            IpvsStep::SetService(with_engine),
            "no such scheduler or persistence engine: try modprobe ip_vs_none-such and modprobe ip_vs_pe_sip",
        ),
        (IpvsStep::StopDaemon(SyncRole::Backup), "it does not run"),
        (IpvsStep::StartDaemon(elsewhere), "no interface none-such"),
        (IpvsStep::Zero(Some(here)), "Operation not supported (os error 95)"),
    ] {
        assert_eq!(apply(&mut client, step.clone()).unwrap_err().to_string(), expected, "{step}");
    }
}

#[test]
fn what_the_kernel_could_not_take_is_not_sent() {
    let mut client = client();
    let v6 = VirtualServiceKey::Mark { family: Family::V6, mark: NonZeroU32::MIN };
    let v6_service = VirtualService::new(v6, KernelName::new("rr").unwrap());
    let mask = |mask| VirtualService { mask, ..v6_service.clone() };
    let new = |service, destination| IpvsStep::NewDestination { service, destination };
    let heavy = destination(1, 1 << 31);
    let thresholds = IpvsDestination { lower_threshold: 2, upper_threshold: 1, ..destination(1, 1) };
    let late = IpvsTimeouts { udp_s: 2_147_484, ..IpvsTimeouts::default() };
    let length = |role, max_length, group: Option<&str>| SyncDaemon {
        role,
        max_length: std::num::NonZeroU16::new(max_length),
        group: group.map(|group| group.parse().unwrap()),
        ..daemon(1)
    };
    let steps = [
        IpvsStep::NewService(service(80)),
        IpvsStep::NewService(mask(PersistenceMask::whole(Family::V4))),
        IpvsStep::NewService(mask(PersistenceMask::V6(0))),
        IpvsStep::SetService(mask(PersistenceMask::V6(129))),
        IpvsStep::SetService(VirtualService { timeout_s: 4_294_968, ..service(80) }),
        new(key(80), heavy),
        IpvsStep::SetDestination { service: key(80), destination: thresholds },
        new(v6, destination(1, 1)),
        IpvsStep::SetTimeouts(late),
        IpvsStep::StartDaemon(length(SyncRole::Master, 1400, Some("192.0.2.1"))),
        IpvsStep::StartDaemon(length(SyncRole::Backup, 1023, None)),
        IpvsStep::StartDaemon(length(SyncRole::Master, 65_508, None)),
        IpvsStep::StartDaemon(length(SyncRole::Master, 65_488, Some("ff02::1"))),
        IpvsStep::NewService(service(81)),
    ];
    let expected = [
        "the persistence mask is of another address family than the service",
        "the persistence prefix length is 0, not 1 to 128",
        "the persistence prefix length is 129, not 1 to 128",
        "the timeout is 4294968 s, above 4294967 s",
        "the weight is 2147483648, above 2147483647",
        "the lower threshold 2 is above the upper one, 1",
        "the destination is of another address family than the service, which only a tunnel allows",
        "the timeout is 2147484 s, above 2147483 s",
        "192.0.2.1 is no multicast group",
        "the maximum length of sync messages is 1023, not 1024 to 65507",
        "the maximum length of sync messages is 65508, not 1 to 65507",
        "the maximum length of sync messages is 65488, not 1 to 65487",
    ];
    let results = client.apply(&steps).unwrap();
    assert!(results[0].is_ok() && results[13].is_ok(), "{results:?}");
    let found: Vec<_> = results[1..13].iter().map(|it| it.as_ref().unwrap_err().to_string()).collect();
    assert_eq!(found, expected);
    assert_eq!(client.channel.sent, [1, 2]);
    // None of a batch.
    assert!(client.apply(&steps[1..3]).unwrap().iter().all(Result::is_err));
    assert_eq!(client.channel.sent, [1, 2]);
}

#[test]
fn a_kernel_without_ipvs_is_told_with_the_remedy() {
    let error = IpvsClient::over(Kernel::default()).unwrap_err();
    assert!(matches!(error, IpvsError::NoIpvs), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("modprobe ip_vs") && text.contains("CONFIG_IP_VS"), "{text}");
}

#[test]
fn a_caller_without_privileges_is_told() {
    let mut client = client();
    client.channel.forbids = true;
    assert!(matches!(client.read_table(), Err(IpvsError::NotPermitted)));
    assert!(matches!(client.apply(&[IpvsStep::Flush]), Err(IpvsError::NotPermitted)));
}

#[test]
fn a_module_that_was_loaded_again_is_no_missing_destination() {
    let mut client = client();
    let step = IpvsStep::DeleteDestination { service: key(80), destination: destination(1, 1).key };
    client.channel.family = Some(ID + 1);
    assert!(matches!(client.apply(std::slice::from_ref(&step)), Err(IpvsError::Reloaded)));
    // With the new id the answer means what it says.
    assert!(matches!(apply(&mut client, step.clone()), Err(StepRefusal::NoService)));
    client.channel.family = Some(ID);
    assert!(matches!(client.services(), Err(IpvsError::Reloaded)));
    client.channel.family = None;
    assert!(matches!(client.apply(&[step]), Err(IpvsError::NoIpvs)));
    assert!(matches!(client.services(), Err(IpvsError::NoIpvs)));
}

#[test]
fn late_answers_to_earlier_requests_are_ignored() {
    let mut client = client();
    let old = |kind: u16, errno: i32| message(kind, 0, 1, &[&(-errno).to_ne_bytes()]);
    let noise =
        vec![old(2, libc::EBUSY), old(3, 0), message(ID, 2, 1, &[&[1, 1, 0, 0]]), message(1, 0, 0, &[])];
    client.channel.noise = noise.clone();
    assert_eq!(apply(&mut client, IpvsStep::NewService(service(80))).unwrap(), StepResult::Done);
    client.channel.noise = noise;
    assert_eq!(client.services().unwrap().len(), 1);
}

#[test]
fn the_table_is_read_until_nobody_changes_it() {
    let mut client = client();
    // Each reading has two dumps of services.
    client.channel.made_by_others = vec![service(3), service(2), service(1)];
    assert_eq!(client.read_table().unwrap().services.len(), 3);
    client.channel.made_by_others = (100..100 + 2 * READS as u16).map(service).collect();
    assert!(matches!(client.read_table(), Err(IpvsError::Changing)));
    assert!(client.channel.made_by_others.is_empty());
    // The same service twice, as when another moves in front of it.
    client.channel.services.push((service(1), Vec::new()));
    assert!(matches!(client.read_table(), Err(IpvsError::Changing)));
    client.channel.services.pop();
    client.channel.services[0].1 = vec![destination(1, 1); 2];
    assert!(matches!(client.read_table(), Err(IpvsError::Changing)));
}

#[test]
fn an_answer_that_is_malformed_is_read_to_its_end() {
    let mut client = client();
    client.channel.services = [service(1), service(2)].map(|it| (it, Vec::new())).into();
    // The next sequence number is 2.
    let odd = [(1, &[1, 1, 0, 0][..]), (5, &[5, 1, 0, 0])];
    let expected = [MalformedReply::Missing { nest: "an answer", attribute: 1 }, MalformedReply::Command(5)];
    for ((_, body), expected) in odd.into_iter().zip(expected) {
        let sequence = client.sequence + 1;
        client.channel.noise = vec![message(ID, 2, sequence, &[body])];
        match client.services() {
            Err(IpvsError::Malformed(error)) => assert_eq!(error, expected),
            other => panic!("{other:?}"),
        }
        assert!(client.channel.answers.is_empty());
        assert_eq!(client.services().unwrap().len(), 2);
    }
    // The end of the request, and no object.
    client.channel.noise = vec![message(2, 0, client.sequence + 1, &[&[0; 4]])];
    assert!(matches!(client.timeouts(), Err(IpvsError::Malformed(MalformedReply::Empty))));
    // Of another family.
    client.channel.answers.clear();
    client.channel.noise = vec![message(ID + 1, 0, client.sequence + 1, &[&[12, 1, 0, 0]])];
    assert!(matches!(client.timeouts(), Err(IpvsError::Malformed(MalformedReply::Command(12)))));
    // No end.
    client.channel.answers.clear();
    let sequence = client.sequence + 1;
    assert!(matches!(client.receive(sequence, |_, _, _| Ok(())), Err(IpvsError::TimedOut)));
}

/// This kernel, whatever it has: its own family is always there.
#[test]
fn families_of_this_kernel_are_found_by_name() {
    let channel = NetlinkSocket::open().unwrap();
    let mut client = IpvsClient { channel, family: 0, sequence: u32::MAX - 1, buffer: Vec::new() };
    for _ in 0..3 {
        assert_eq!(client.resolve("nlctrl").unwrap(), Some(CONTROLLER));
        assert_eq!(client.resolve("vipd-none-such").unwrap(), None);
    }
}
