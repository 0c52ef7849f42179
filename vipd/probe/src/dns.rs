//! The wire format of DNS_CHECK (RFC 1035): one question, and the records of an answer as text.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

/// A query with recursion desired. Escapes of names are not supported.
///
/// # Errors
///
/// The name is too long, or one of its labels is, or is empty. In lower case.
pub(crate) fn query(id: u16, name: &str, record: u16) -> Result<Vec<u8>, &'static str> {
    let mut message = Vec::with_capacity(64);
    // Flags: RD. One question.
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend(word.to_be_bytes());
    }
    let labels = name.strip_suffix('.').unwrap_or(name);
    for label in labels.split('.').filter(|_| !labels.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|length| *length <= LABEL_MOST);
        match length {
            Some(0) => return Err("a label is empty"),
            None => return Err("a label is longer than 63 octets"),
            Some(length) => message.push(length),
        }
        message.extend(label.bytes());
    }
    message.push(0);
    if message.len() - HEADER > NAME_MOST {
        return Err("it is longer than 255 octets");
    }
    for word in [record, CLASS_IN] {
        message.extend(word.to_be_bytes());
    }
    Ok(message)
}

/// An answer with the id of the query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsAnswer<'a> {
    message: &'a [u8],
}

/// A record of an answer: its fields as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DnsRecord {
    fields: Vec<String>,
}

impl<'a> DnsAnswer<'a> {
    /// `None`: too short, no answer (QR), or of another query.
    pub(crate) fn new(message: &'a [u8], id: u16) -> Option<Self> {
        let answer = message.len() >= HEADER && message[..2] == id.to_be_bytes() && message[2] & 0x80 != 0;
        answer.then_some(Self { message })
    }

    /// RCODE.
    pub(crate) const fn code(&self) -> u8 {
        self.message[3] & 0x0f
    }

    /// TC: records are missing.
    pub(crate) const fn is_truncated(&self) -> bool {
        self.message[2] & 0x02 != 0
    }

    /// How many records it says that it has.
    pub(crate) fn answers(&self) -> u16 {
        self.word(6).unwrap_or(0)
    }

    /// The records of a type, and with it CNAMEs that lead there. A malformed one is an error, in lower case.
    pub(crate) fn records(&self, record: u16) -> Result<Vec<DnsRecord>, &'static str> {
        let mut at = HEADER;
        for _ in 0..self.word(4).unwrap_or(0) {
            at = self.name(at)?.1 + 4;
        }
        let mut found = Vec::new();
        for _ in 0..self.answers() {
            let data = self.name(at)?.1;
            let (kind, length) = self.word(data).zip(self.word(data + 8)).ok_or("a record is cut off")?;
            let start = data + 10;
            at = start + usize::from(length);
            let octets = self.message.get(start..at).ok_or("a record is cut off")?;
            if kind == record || kind == CNAME {
                found.push(DnsRecord { fields: self.fields(kind, start, octets)? });
            }
        }
        Ok(found)
    }

    fn fields(&self, kind: u16, start: usize, octets: &[u8]) -> Result<Vec<String>, &'static str> {
        let address = "an address has another length";
        Ok(match kind {
            A => vec![Ipv4Addr::from(<[u8; 4]>::try_from(octets).map_err(|_| address)?).to_string()],
            AAAA => vec![Ipv6Addr::from(<[u8; 16]>::try_from(octets).map_err(|_| address)?).to_string()],
            NS | CNAME => vec![self.name(start)?.0],
            MX => vec![self.word(start).ok_or("an MX is cut off")?.to_string(), self.name(start + 2)?.0],
            SOA => {
                let (primary, end) = self.name(start)?;
                let (mailbox, end) = self.name(end)?;
                let numbers = self.message.get(end..end + 20).ok_or("an SOA is cut off")?;
                let number = |octets: &[u8]| {
                    octets.iter().fold(0_u32, |number, octet| number << 8 | u32::from(*octet))
                };
                let numbers = numbers.chunks(4).map(|octets| number(octets).to_string());
                [primary, mailbox].into_iter().chain(numbers).collect()
            }
            TXT => {
                let (mut text, mut rest) = (Vec::new(), octets);
                while let Some((&length, after)) = rest.split_first() {
                    let (string, after) =
                        after.split_at_checked(usize::from(length)).ok_or("a TXT is cut off")?;
                    text.extend_from_slice(string);
                    rest = after;
                }
                vec![String::from_utf8_lossy(&text).into_owned()]
            }
            _ => vec![octets.iter().map(|octet| format!("{octet:02x}")).collect()],
        })
    }

    /// The name at an offset, and the offset behind it. RFC 1035 4.1.4: pointers lead backwards, so they end.
    fn name(&self, start: usize) -> Result<(String, usize), &'static str> {
        let (mut name, mut at, mut end) = (String::new(), start, None);
        let mut least = start;
        loop {
            let length = *self.message.get(at).ok_or("a name is cut off")?;
            match length {
                0 => break,
                1..=LABEL_MOST => {
                    let label =
                        self.message.get(at + 1..at + 1 + usize::from(length)).ok_or("a name is cut off")?;
                    name.extend(label.iter().map(|&octet| char::from(octet)));
                    name.push('.');
                    if name.chars().count() > NAME_MOST {
                        return Err("a name is longer than 255 octets");
                    }
                    at += 1 + usize::from(length);
                }
                0xc0.. => {
                    let to = usize::from(self.word(at).ok_or("a name is cut off")? & 0x3fff);
                    end.get_or_insert(at + 2);
                    if to >= least {
                        return Err("a pointer of a name does not lead backwards");
                    }
                    (at, least) = (to, to);
                }
                _ => return Err("a label of an unknown kind"),
            }
        }
        if name.is_empty() {
            name.push('.');
        }
        Ok((name, end.unwrap_or(at + 1)))
    }

    fn word(&self, at: usize) -> Option<u16> {
        let octets = self.message.get(at..at + 2)?;
        Some(u16::from_be_bytes([octets[0], octets[1]]))
    }
}

impl DnsRecord {
    /// Whether the record or one of its fields is this text: without case, and without a dot at the end of names.
    pub(crate) fn has(&self, text: &str) -> bool {
        let plain = |text: &str| text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let text = plain(text);
        plain(&self.to_string()) == text || self.fields.iter().any(|field| plain(field) == text)
    }
}

impl fmt::Display for DnsRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fields.join(" "))
    }
}

const HEADER: usize = 12;
const CLASS_IN: u16 = 1;
const LABEL_MOST: u8 = 63;
const NAME_MOST: usize = 255;
const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1035 4.1.4's example of compression, as an answer: F.ISI.ARPA, FOO.F.ISI.ARPA, ARPA, the root.
    fn answer(records: &[u8], count: u8) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
        message.extend(b"\x01F\x03ISI\x04ARPA\x00\x00\x01\x00\x01");
        message.extend(records);
        message
    }

    fn records(octets: &[u8], count: u8, kind: u16) -> Result<Vec<String>, &'static str> {
        let message = answer(octets, count);
        let records = DnsAnswer::new(&message, 0x1234).unwrap().records(kind)?;
        Ok(records.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_query_is_as_rfc_1035_has_it() {
        let expected =
            b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01F\x03ISI\x04ARPA\x00\x00\x06\x00\x01";
        assert_eq!(query(0x1234, "F.ISI.ARPA", SOA).unwrap(), expected);
        assert_eq!(query(0x1234, "F.ISI.ARPA.", SOA).unwrap(), expected);
        assert_eq!(query(1, ".", SOA).unwrap(), b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\0\0\x06\0\x01");
        assert!(query(1, "a..b", A).is_err());
        assert!(query(1, &"a".repeat(64), A).is_err());
        assert!(query(1, &vec!["a".repeat(63); 4].join("."), A).is_err());
        assert!(query(1, &format!("{0}.{0}.{0}.{1}", "a".repeat(63), "a".repeat(61)), A).is_ok());
    }

    #[test]
    fn records_are_read_through_compression() {
        let a = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x00\x00\x07";
        assert_eq!(records(a, 1, A).unwrap(), ["10.0.0.7"]);
        // FOO.F.ISI.ARPA: a label and a pointer.
        let cname = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x06\x03FOO\xc0\x0c";
        assert_eq!(records(cname, 1, A).unwrap(), ["FOO.F.ISI.ARPA."]);
        let mx = b"\xc0\x0c\x00\x0f\x00\x01\x00\x00\x00\x3c\x00\x04\x00\x0a\xc0\x12";
        assert_eq!(records(mx, 1, MX).unwrap(), ["10 ARPA."]);
        let txt = b"\xc0\x0c\x00\x10\x00\x01\x00\x00\x00\x3c\x00\x08\x03v=1\x03 ok";
        assert_eq!(records(txt, 1, TXT).unwrap(), ["v=1 ok"]);
        let soa = b"\xc0\x0c\x00\x06\x00\x01\x00\x00\x00\x3c\x00\x17\xc0\x0c\x00\0\0\0\x07\0\0\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x04";
        assert_eq!(records(soa, 1, SOA).unwrap(), ["F.ISI.ARPA. . 7 1 2 3 4"]);
        let record = DnsRecord { fields: vec!["10".to_owned(), "Mail.Example.".to_owned()] };
        assert!(record.has("mail.example") && record.has("10 mail.example.") && !record.has("ail.example"));
    }

    #[test]
    fn hostile_answers_end_in_an_error() {
        for (what, octets) in [
            ("a pointer to itself", &b"\xc0\x1c\x00\x01\x00\x01\0\0\0\0\0\0"[..]),
            ("a pointer forwards", b"\xc0\xff\x00\x01\x00\x01\0\0\0\0\0\0"),
            ("a pointer out of the message", b"\xff\xff\x00\x01\x00\x01\0\0\0\0\0\0"),
            ("a label cut off", b"\x3fabc"),
            ("an unknown label", b"\x40abc"),
            ("a record cut off", b"\xc0\x0c\x00\x01\x00\x01\0\0\0\0\x00\xff\x0a"),
            ("an address of 3 octets", b"\xc0\x0c\x00\x01\x00\x01\0\0\0\0\x00\x03\x0a\0\0"),
            ("none of the records", b""),
        ] {
            assert!(records(octets, 1, A).is_err(), "{what}");
        }
        let a = answer(b"", 0);
        assert!(DnsAnswer::new(&a, 0x1235).is_none(), "another id");
        assert!(DnsAnswer::new(&a[..11], 0x1234).is_none(), "too short");
        let mut query = a.clone();
        query[2] &= 0x7f;
        assert!(DnsAnswer::new(&query, 0x1234).is_none(), "a query");
        // Any octets: no panic, no loop.
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..50_000 {
            let mut message = answer(&std::array::from_fn::<_, 40, _>(|_| random.u8(..)), random.u8(..));
            let at = random.usize(4..message.len());
            message[at] = random.u8(..);
            let answer = DnsAnswer::new(&message, 0x1234).unwrap();
            for kind in [A, NS, CNAME, SOA, MX, TXT, AAAA, 99] {
                let _ = answer.records(kind);
            }
        }
    }
}
