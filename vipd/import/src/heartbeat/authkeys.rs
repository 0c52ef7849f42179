//! authkeys: read only to say that VRRP has no equal. No key appears anywhere.

use crate::{
    note::{Note, NoteSink as _},
    text::{SourceText, words},
};

pub(crate) fn read(text: &SourceText, notes: &mut Vec<Note>) {
    for (place, line) in text.lines() {
        let words = words(line);
        match words.first() {
            None => {}
            Some(word) if word.text.starts_with('#') => {}
            Some(word) if word.text == "auth" || word.text.parse::<u32>().is_ok() => {
                let method = words.get(1).map_or("", |word| word.text);
                if word.text == "auth" || method == "crc" {
                    notes.notice(&place, "no part of VRRP");
                } else {
                    notes.warning(
                        &place,
                        "VRRP version 3 has no authentication; the key is not imported",
                        "filter protocol 112 and its groups at the edge of the segment",
                    );
                }
            }
            Some(word) => notes.error(
                &place.at(line, word.at),
                "a line is `auth N`, or `N METHOD KEY`",
                "correct the line, or put # before it",
            ),
        }
    }
}
