//! The lines of `virtual_ipaddress` and `virtual_ipaddress_excluded`: an address and words about it.

use std::net::IpAddr;

use super::{
    keywords::{self, Block, Status},
    lexer::Word,
    lower::Lowering,
    model::Vip,
    parser::Node,
    settings::{Settings, Spanned},
    values,
};

impl Lowering<'_, '_> {
    pub fn vip_line(&mut self, line: &Node, block: Block, settings: &mut Settings) {
        let Some(address) = line.words.first().filter(|_| !line.unsupported) else {
            settings.partial = true;
            return;
        };
        if self.has_definition(&line.words, block) {
            settings.partial = true;
            return;
        }
        if line.block.is_some() {
            let message = format!("{} takes no block", self.report.quote(address));
            self.report.error(address.span, message);
            return;
        }
        match vip(&address.text) {
            Ok(vip) if block == Block::VirtualIpaddressExcluded => {
                settings.excluded.push(Spanned::new(vip, address));
            }
            Ok(vip) => settings.vips.push(Spanned::new(vip, address)),
            Err(problem) => {
                settings.partial = true;
                let message = format!("{} {problem}", self.report.quote(address));
                if keywords::find(Block::Instance, &address.text).is_some() {
                    self.report.error_hint(address.span, message, "is the `}` of the addresses missing?");
                    return;
                }
                self.report.error(address.span, message);
            }
        }
        self.vip_options(&line.words[1..], settings);
    }

    fn vip_options(&mut self, mut words: &[Word], settings: &mut Settings) {
        while let [word, rest @ ..] = words {
            let Some(keyword) = keywords::find(Block::VipOption, &word.text) else {
                return self.unknown_option(word);
            };
            let values = match &keyword.status {
                Status::NotYet(advice) => return self.not_yet(word, advice),
                Status::NoEffect { reason, values } => {
                    self.notice(keyword, word.span, reason);
                    *values
                }
                Status::Supported(form) => {
                    let statement = &words[..words.len().min(2)];
                    values::set(keyword, form, statement, Block::VipOption, settings, self.report);
                    1
                }
            };
            if rest.len() < values && !matches!(keyword.status, Status::Supported(_)) {
                let message = format!("{} needs a value", self.report.quote(word));
                self.report.error(word.span, message);
            }
            words = rest.get(values..).unwrap_or_default();
        }
    }

    fn unknown_option(&mut self, word: &Word) {
        let shown = self.report.quote(word);
        if vip(&word.text).is_ok() {
            let hint = format!("put {shown} on a line of its own");
            self.report.error_hint(word.span, format!("second address on one line: {shown}"), hint);
        } else if let Some(meant) = keywords::nearest(Block::VipOption, &word.text) {
            let hint = format!("did you mean `{}`?", meant.name);
            self.report.error_hint(word.span, format!("unknown word {shown} after an address"), hint);
        } else {
            let hint = "a comment starts with `#`";
            self.report.error_hint(word.span, format!("unknown word {shown} after an address"), hint);
        }
    }
}

/// `ADDR` or `ADDR/LEN`; without a length it is the host alone, as in keepalived.
fn vip(text: &str) -> Result<Vip, String> {
    let (address, prefix_len) = text.split_once('/').unwrap_or((text, "32"));
    let address = IpAddr::V4(values::unicast(address)?);
    let prefix_len =
        values::whole(prefix_len, 0, 32).map_err(|problem| format!("has a prefix length that {problem}"))?;
    // In range, so it fits.
    Ok(Vip { address, prefix_len: u8::try_from(prefix_len).unwrap_or(32) })
}
