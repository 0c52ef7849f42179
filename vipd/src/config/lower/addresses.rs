//! Address lists: one virtual address per line, with keepalived's options for it.

use crate::config::{
    diagnostic::{Sink, Span},
    lexer::Token,
    model::Vip,
    parser::Node,
    values,
};

use super::{File, statement::refuse_preprocessing};

/// Where `Vip`s of one instance are gathered, for checks that need the whole instance.
pub struct Address {
    pub vip: Vip,
    pub span: Span,
    /// The interface it is asked to stand on.
    pub dev: Option<Token>,
}

pub fn lower(list: &Node, into: &mut Vec<Address>, file: &mut File<'_, '_>) {
    for node in list.body.iter().flat_map(|body| &body.nodes) {
        if refuse_preprocessing(file.sink, &node.keyword, &node.args) {
            continue;
        }
        if let Some(body) = &node.body {
            file.sink.error(body.open, "an address takes no block");
            continue;
        }
        // The options are checked even if the address is wrong.
        let vip = values::vip(&node.keyword.text);
        let dev = options(node, file);
        match vip {
            Err(why) => {
                let quoted = file.sink.quote(&node.keyword);
                file.sink.error(node.keyword.span, format!("{quoted} {why}"));
            }
            Ok(vip) => {
                let span = node.keyword.span;
                match file.addresses.get(&vip.address) {
                    Some(first) => {
                        let message = format!("address {} stands in line {first} already", vip.address);
                        file.sink.error(span, message);
                    }
                    None => {
                        file.addresses.insert(vip.address, span.line);
                    }
                }
                into.push(Address { vip, span, dev });
            }
        }
    }
}

/// Reads what follows an address; returns what `dev` names.
fn options(node: &Node, file: &mut File<'_, '_>) -> Option<Token> {
    let mut dev = None;
    let mut rest = node.args.iter();
    while let Some(option) = rest.next() {
        let word = option.text.as_str();
        match word {
            "dev" => dev = argument(file.sink, option, rest.next()).cloned(),
            "brd" | "broadcast" => {
                if let Some(value) = argument(file.sink, option, rest.next())
                    && !matches!(value.text.as_str(), "+" | "-")
                    && let Err(why) = values::ipv4(&value.text)
                {
                    let quoted = file.sink.quote(value);
                    file.sink.error(value.span, format!("`{word}`: {quoted} {why}"));
                }
                note(file, option);
            }
            "scope" | "label" | "preferred_lft" => {
                argument(file.sink, option, rest.next());
                note(file, option);
            }
            "noprefixroute" | "nodad" | "-nodad" | "home" | "mngtmpaddr" | "autojoin" => note(file, option),
            "peer" | "no_track" | "use_vmac" | "track_group" => {
                file.sink.error(option.span, format!("`{word}` of an address is not supported yet"));
                return dev;
            }
            _ if values::vip(word).is_ok() => {
                let quoted = file.sink.quote(option);
                let hint = format!("put {quoted} on a line of its own");
                file.sink.error_hint(option.span, "a second address on one line", hint);
                return dev;
            }
            _ => {
                let quoted = file.sink.quote(option);
                file.sink.error(option.span, format!("unknown address option {quoted}"));
                return dev;
            }
        }
    }
    dev
}

fn argument<'n>(sink: &mut Sink<'_>, option: &Token, value: Option<&'n Token>) -> Option<&'n Token> {
    if value.is_none() {
        sink.error(option.span, format!("`{}` needs a value", option.text));
    }
    value
}

/// Says once per file and option that it changes nothing.
fn note(file: &mut File<'_, '_>, option: &Token) {
    let word = &option.text;
    if file.noted.insert(word.clone()) {
        let why = "vipd puts no address on the interface";
        file.sink.note(option.span, format!("`{word}` has no effect: {why}"));
    }
}
