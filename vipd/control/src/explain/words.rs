//! Words for what may happen to something tracked.

/// That something tracked becomes well, or not: `check chk_nginx succeeds`.
pub fn becomes(keyword: &str, name: &str, well: bool) -> String {
    match (keyword, well) {
        ("interface", true) => format!("interface {name} is up"),
        ("interface", false) => format!("interface {name} goes down"),
        ("vrrp_track_process", true) => format!("process {name} runs"),
        ("vrrp_track_process", false) => format!("process {name} ends"),
        ("arbiter", true) => format!("arbiter {name} is reached"),
        ("arbiter", false) => format!("arbiter {name} is not reached"),
        ("bfd_instance", true) => format!("bfd session {name} is up"),
        ("bfd_instance", false) => format!("bfd session {name} goes down"),
        ("track_file", _) => format!("the number in file {name} changes"),
        (_, true) => format!("check {name} succeeds"),
        (_, false) => format!("check {name} fails"),
    }
}
