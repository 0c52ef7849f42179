//! Messages: requests as the kernel wants them, and its answers, one after another in a datagram.

use netlink_packet_core::{
    DefaultNla, DoneBuffer, Emitable, ErrorBuffer, NLM_F_ACK, NLM_F_DUMP, NLM_F_MULTIPART, NLM_F_REQUEST,
    NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_generic::{
    GenlFamily, GenlHeader, GenlMessage,
    constants::GENL_HDRLEN,
    ctrl::{GenlCtrl, GenlCtrlCmd, nlas::GenlCtrlAttrs},
};

use crate::attributes::{AttributeList, AttributeReader, MalformedReply};

/// Commands of the family (`IPVS_CMD_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "the kernel's names")]
pub enum IpvsCommand {
    NewService = 1,
    SetService = 2,
    DelService = 3,
    GetService = 4,
    NewDest = 5,
    SetDest = 6,
    DelDest = 7,
    GetDest = 8,
    NewDaemon = 9,
    DelDaemon = 10,
    GetDaemon = 11,
    SetConfig = 12,
    GetConfig = 13,
    /// In answers only.
    SetInfo = 14,
    GetInfo = 15,
    Zero = 16,
    Flush = 17,
}

/// A request to IPVS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpvsRequest {
    command: IpvsCommand,
    attributes: Vec<DefaultNla>,
}

impl IpvsRequest {
    /// Number of the attribute that is a service: `IPVS_CMD_ATTR_SERVICE`.
    pub const SERVICE: u16 = 1;
    /// Number of the attribute that is a destination: `IPVS_CMD_ATTR_DEST`.
    pub const DEST: u16 = 2;
    /// Number of the attribute that is a sync daemon: `IPVS_CMD_ATTR_DAEMON`.
    pub const DAEMON: u16 = 3;

    pub(crate) const fn new(command: IpvsCommand, attributes: Vec<DefaultNla>) -> Self {
        Self { command, attributes }
    }

    /// What is asked for.
    pub const fn command(&self) -> IpvsCommand {
        self.command
    }

    /// The octets of the message to the family with this id.
    pub(crate) fn message(self, family: u16, flags: u16, sequence: u32) -> Vec<u8> {
        let mut message = GenlMessage::from_payload(self);
        message.set_resolved_family_id(family);
        serialized(message.into(), flags, sequence)
    }
}

impl GenlFamily for IpvsRequest {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        self.command as u8
    }

    fn version(&self) -> u8 {
        VERSION
    }
}

impl Emitable for IpvsRequest {
    fn buffer_len(&self) -> usize {
        self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        self.attributes.as_slice().emit(buffer);
    }
}

/// Flags of a request that changes something: the kernel acknowledges it.
pub(crate) const CHANGE: u16 = NLM_F_REQUEST | NLM_F_ACK;
/// Flags of a request for one object: the answer is the acknowledgement.
pub(crate) const GET: u16 = NLM_F_REQUEST;
/// Flags of a request for all objects of a kind.
pub(crate) const DUMP: u16 = NLM_F_REQUEST | NLM_F_DUMP;

/// The id of generic netlink's own family, which knows the others.
pub(crate) const CONTROLLER: u16 = 16;

/// The request for the id of a family. The kernel loads the module of one that it does not have, if it may.
pub(crate) fn family_request(name: &str, sequence: u32) -> Vec<u8> {
    let request =
        GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![GenlCtrlAttrs::FamilyName(name.into())] };
    serialized(GenlMessage::from_payload(request).into(), GET, sequence)
}

/// The id in the answer to [`family_request`].
///
/// The decoder of netlink-packet-generic refuses attributes that it does not know, as later kernels may send.
pub(crate) fn family_id(attributes: AttributeList<'_>) -> Result<u16, MalformedReply> {
    let controller = AttributeReader("the family");
    let value = attributes.find(CTRL_ATTR_FAMILY_ID).ok_or(controller.missing(CTRL_ATTR_FAMILY_ID))?;
    controller.u16(CTRL_ATTR_FAMILY_ID, value)
}

fn serialized<F: GenlFamily + Emitable + std::fmt::Debug>(
    payload: NetlinkPayload<GenlMessage<F>>,
    flags: u16,
    sequence: u32,
) -> Vec<u8> {
    let mut header = NetlinkHeader::default();
    (header.flags, header.sequence_number) = (flags, sequence);
    let mut message = NetlinkMessage::new(header, payload);
    message.finalize();
    // A whole number of words, as every attribute is padded: messages may follow each other.
    let mut octets = vec![0; message.buffer_len()];
    message.serialize(&mut octets);
    octets
}

/// One message of the kernel.
#[derive(Clone, Copy, Debug)]
pub enum ReplyFrame<'a> {
    /// The end of a request.
    End {
        /// Of the request.
        sequence: u32,
        /// 0, or the kernel's error number, such as `ENOENT`.
        errno: i32,
    },
    /// An object.
    Object {
        /// Of the request.
        sequence: u32,
        /// The number of the family.
        family: u16,
        /// The command, by which the kernel says what it is.
        command: u8,
        /// Whether more will follow.
        multipart: bool,
        /// Its attributes.
        attributes: AttributeList<'a>,
    },
    /// No answer to anything (`NLMSG_NOOP`, `NLMSG_OVERRUN`).
    Nothing,
}

/// The messages of a datagram. Ends after one that is malformed.
#[derive(Clone, Copy, Debug)]
pub struct ReplyFrames<'a> {
    rest: &'a [u8],
}

impl<'a> ReplyFrames<'a> {
    /// Of what one receive gave.
    pub const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }
}

impl<'a> Iterator for ReplyFrames<'a> {
    type Item = Result<ReplyFrame<'a>, MalformedReply>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let datagram = std::mem::take(&mut self.rest);
        let Ok(message) = NetlinkBuffer::new_checked(datagram) else {
            return Some(Err(MalformedReply::Truncated));
        };
        // The length was checked against the datagram; the padding of the last message may be missing.
        let length = usize::try_from(message.length()).unwrap_or(usize::MAX);
        let next = length.checked_next_multiple_of(ALIGNMENT).unwrap_or(usize::MAX);
        self.rest = datagram.get(next..).unwrap_or_default();
        Some(frame(&message))
    }
}

fn frame<'a>(message: &NetlinkBuffer<&'a [u8]>) -> Result<ReplyFrame<'a>, MalformedReply> {
    let (sequence, body) = (message.sequence_number(), message.payload());
    Ok(match message.message_type() {
        NLMSG_ERROR => {
            let error = ErrorBuffer::new_checked(body).map_err(|_| MalformedReply::Truncated)?;
            ReplyFrame::End { sequence, errno: error.code().map_or(0, |code| errno(code.get())) }
        }
        // Kernels may leave the status out.
        NLMSG_DONE if body.is_empty() => ReplyFrame::End { sequence, errno: 0 },
        NLMSG_DONE => {
            let done = DoneBuffer::new_checked(body).map_err(|_| MalformedReply::Truncated)?;
            ReplyFrame::End { sequence, errno: errno(done.code()) }
        }
        family if family >= NLMSG_MIN_TYPE => {
            let header = GenlHeader::parse(body).map_err(|_| MalformedReply::Truncated)?;
            ReplyFrame::Object {
                sequence,
                family,
                command: header.cmd,
                multipart: message.flags() & NLM_F_MULTIPART != 0,
                attributes: AttributeList::new_checked(&body[GENL_HDRLEN..])?,
            }
        }
        _ => ReplyFrame::Nothing,
    })
}

/// The kernel has them negative.
fn errno(code: i32) -> i32 {
    i32::try_from(code.unsigned_abs()).unwrap_or(i32::MAX)
}

/// `IPVS_GENL_NAME` and `IPVS_GENL_VERSION`.
pub(crate) const FAMILY: &str = "IPVS";
const VERSION: u8 = 1;

// linux/genetlink.h and linux/netlink.h
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLMSG_MIN_TYPE: u16 = 0x10;
const ALIGNMENT: usize = 4;

#[cfg(test)]
mod tests;
