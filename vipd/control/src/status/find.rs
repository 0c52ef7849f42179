//! Which instances a name or an address on the command line stands for.

use std::net::IpAddr;

use crate::model::{InstanceStatus, Status};

/// Names and addresses that an error lists.
const LISTED: usize = 12;

/// A name or an address that no instance has.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("no instance is called {wanted}{}; there is {}", hint(nearest.as_deref()), list(there))]
    Name { wanted: String, nearest: Option<String>, there: Vec<String> },
    #[error("no instance has the VIP {wanted}; the VIPs are {}", list(there))]
    Address { wanted: IpAddr, there: Vec<String> },
}

/// The positions of the instances that `wanted` stands for: the instance of that name, or else those with that VIP.
///
/// # Errors
///
/// There is none.
pub fn find(status: &Status, wanted: &str) -> Result<Vec<usize>, Unknown> {
    let positions = |is: &dyn Fn(&InstanceStatus) -> bool| -> Vec<usize> {
        status.instances.iter().enumerate().filter(|(_, i)| is(i)).map(|(at, _)| at).collect()
    };
    let named = positions(&|i| i.name == wanted);
    if !named.is_empty() {
        return Ok(named);
    }
    let Ok(address) = wanted.parse::<IpAddr>() else {
        let there: Vec<String> = status.instances.iter().map(|i| i.name.clone()).collect();
        let nearest = nearest(wanted, there.iter().map(String::as_str)).map(str::to_owned);
        return Err(Unknown::Name { wanted: wanted.to_owned(), nearest, there });
    };
    let having = positions(&|i| vips(i).any(|vip| vip == address));
    if having.is_empty() {
        let there = status.instances.iter().flat_map(vips).map(|vip| vip.to_string()).collect();
        return Err(Unknown::Address { wanted: address, there });
    }
    Ok(having)
}

/// Every VIP of an instance, in adverts or not.
pub fn vips(i: &InstanceStatus) -> impl Iterator<Item = IpAddr> {
    i.vips.iter().chain(&i.vips_excluded).copied()
}

/// The name that `wanted` is most likely a misspelling of: at most a third of its characters differ.
pub fn nearest<'n>(wanted: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let wanted = wanted.to_lowercase();
    let distances = names.map(|name| (distance(&wanted, &name.to_lowercase()), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.chars().count() / 3).max(1)).then_some(name)
}

/// How many characters have to be inserted, removed or replaced to make one text of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (n, of_a) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = n + 1;
        for (m, of_b) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(of_a != *of_b);
            diagonal = row[m + 1];
            row[m + 1] = replaced.min(row[m] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" (did you mean {name}?)")).unwrap_or_default()
}

fn list(there: &[String]) -> String {
    match there.split_at(there.len().min(LISTED)) {
        ([], _) => "none".into(),
        (all, []) => all.join(", "),
        (some, rest) => format!("{} and {} more", some.join(", "), rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::samples;

    #[test]
    fn a_name_or_a_vip_finds_its_instance() {
        let status = samples::status();
        for (wanted, expect) in [
            ("VI_1", 0),
            ("VI_F", 2),
            ("10.0.0.3", 0),
            // Not in adverts.
            ("10.0.0.4", 0),
            ("2001:db8::100", 1),
            ("2001:DB8:0::100", 1),
        ] {
            assert_eq!(find(&status, wanted), Ok(vec![expect]), "{wanted}");
        }
        let mut status = status;
        status.instances[2].name = "10.0.0.3".into();
        assert_eq!(find(&status, "10.0.0.3"), Ok(vec![2]), "a name counts before an address");
        status.instances[1].vips.push("10.0.0.7".parse().unwrap());
        assert_eq!(find(&status, "10.0.0.7"), Ok(vec![1, 2]));
    }

    #[test]
    fn an_error_names_the_nearest() {
        let mut status = samples::status();
        status.instances[2].name = "frontend".into();
        for (wanted, expect) in [
            (
                "fronted",
                "no instance is called fronted (did you mean frontend?); there is VI_1, VI_6, frontend",
            ),
            ("vi_6", "no instance is called vi_6 (did you mean VI_6?); there is VI_1, VI_6, frontend"),
            ("database", "no instance is called database; there is VI_1, VI_6, frontend"),
            (
                "10.0.0.9",
                "no instance has the VIP 10.0.0.9; the VIPs are 10.0.0.3, 10.0.0.4, 2001:db8::100, 10.0.0.7",
            ),
        ] {
            assert_eq!(find(&status, wanted).unwrap_err().to_string(), expect);
        }
        let none = find(&Status::default(), "VI_1").unwrap_err();
        assert_eq!(none.to_string(), "no instance is called VI_1; there is none");
        status.instances[0].vips = (1..=14).map(|n| IpAddr::from([10, 1, 0, n])).collect();
        let many = find(&status, "10.0.0.9").unwrap_err().to_string();
        assert!(many.ends_with("10.1.0.12 and 5 more"), "{many}");
    }

    #[test]
    fn distances() {
        for (a, b, expect) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("VI_1", "VI_2", 1), ("ab", "ba", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expect, expect), "{a} {b}");
        }
    }
}
