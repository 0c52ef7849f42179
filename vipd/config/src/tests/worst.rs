//! The fifteen worst messages that public files got once: one mistake, one message, at its place, with what to write. Exactly as shown.

use super::*;

/// All that is said of a file, as people see it.
fn shown(text: &str) -> String {
    diagnostics(text).iter().map(|diagnostic| format!("{diagnostic}\n")).collect::<Vec<_>>().join("\n")
}

#[test]
fn each_is_told_once_and_with_what_to_write() {
    let mut failing = Vec::new();
    for (what, text, expected) in WORST {
        let shown = shown(text);
        if shown.trim_end() != expected.trim() {
            failing.push(format!("{what}:\n{text}\n   shown:\n{shown}\nexpected:\n{expected}"));
        }
    }
    assert!(failing.is_empty(), "{}", failing.join("\n\n"));
}

/// What it is, the file, and what is said.
const WORST: &[(&str, &str, &str)] = &[
    (
        "a missing inner brace",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress {
    10.1.0.9/24
}

vrrp_instance VI_2 {
  interface eth0
  virtual_router_id 52
  virtual_ipaddress {
    10.1.0.10/24
  }
}
"#,
        r#"
error[unclosed-block]: `virtual_ipaddress` is not closed before the `}` of `vrrp_instance VI_1` on line 6
 --> k.conf:4:3
  |
4 |   virtual_ipaddress {
  |   ^^^^^^^^^^^^^^^^^
  |
  = help: add the missing `}`
"#,
    ),
    (
        "an interface on the line of its block",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  track_interface eth0
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
error[missing-brace]: `track_interface` is a block: `eth0` does not stand on its line
 --> k.conf:4:19
  |
4 |   track_interface eth0
  |                   ^^^^
  |
  = help: write `track_interface {`, then `eth0`, then `}`, each on a line of its own
"#,
    ),
    (
        "an address on the line of its block",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress 10.1.0.9
}
"#,
        r#"
error[missing-brace]: `virtual_ipaddress` is a block: `10.1.0.9` does not stand on its line
 --> k.conf:4:21
  |
4 |   virtual_ipaddress 10.1.0.9
  |                     ^^^^^^^^
  |
  = help: write `virtual_ipaddress {`, then `10.1.0.9`, then `}`, each on a line of its own
"#,
    ),
    (
        "a peer on the line of its block",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  unicast_peer 10.1.0.2
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
error[missing-brace]: `unicast_peer` is a block: `10.1.0.2` does not stand on its line
 --> k.conf:4:16
  |
4 |   unicast_peer 10.1.0.2
  |                ^^^^^^^^
  |
  = help: write `unicast_peer {`, then `10.1.0.2`, then `}`, each on a line of its own
"#,
    ),
    (
        "a template",
        r#"vrrp_instance VI_1 {
  interface {{ IFACE }}
  virtual_router_id {{ vrid }}
  virtual_ipaddress {
    {{ vip }}
  }
}
"#,
        r#"
error[template]: `{{ IFACE }}` is a template that nothing has filled in
 --> k.conf:2:13
  |
2 |   interface {{ IFACE }}
  |             ^^^^^^^^^^^
  |
  = help: let the program that the template is for write the file (Ansible, Puppet, Helm, ...), and check what it has written
"#,
    ),
    (
        "a template of another kind",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress {
    %VIP%
  }
}
"#,
        r#"
error[template]: `%VIP%` is a template that nothing has filled in
 --> k.conf:5:5
  |
5 |     %VIP%
  |     ^^^^^
  |
  = help: let the program that the template is for write the file (Ansible, Puppet, Helm, ...), and check what it has written
"#,
    ),
    (
        "prefix lengths of routers",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  unicast_src_ip 10.1.0.1/24
  unicast_peer {
    10.1.0.2/24
  }
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
warning[ignored]: `/24` behind an address of a router is ignored
 --> k.conf:4:18
  |
4 |   unicast_src_ip 10.1.0.1/24
  |                  ^^^^^^^^^^^
  |
  = help: remove it: only VIPs have a prefix length

warning[ignored]: `/24` behind an address of a router is ignored
 --> k.conf:6:5
  |
6 |     10.1.0.2/24
  |     ^^^^^^^^^^^
  |
  = help: remove it: only VIPs have a prefix length
"#,
    ),
    (
        "a word after a switch",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  nopreempt 1
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
warning[ignored]: `nopreempt` takes no value: `1` is ignored
 --> k.conf:4:13
  |
4 |   nopreempt 1
  |             ^
  |
  = help: remove `1`
"#,
    ),
    (
        "the files of two machines in one",
        r#"global_defs {
  router_id lb01
}
vrrp_script chk {
  script /bin/true
}
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  track_script {
    chk
  }
  virtual_ipaddress {
    10.1.0.9/24
  }
}
global_defs {
  router_id lb01
}
vrrp_script chk {
  script /bin/true
}
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  track_script {
    chk
  }
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
warning[repeated]: `router_id` given again: the last one counts
  --> k.conf:18:3
   |
18 |   router_id lb01
   |   ^^^^^^^^^
   |
   = help: it was given on line 2 already

error[duplicate]: second `vrrp_instance VI_1` with the same virtual_router_id; the first is on line 7
  --> k.conf:23:15
   |
23 | vrrp_instance VI_1 {
   |               ^^^^
   |
   = help: this file has the configuration of two machines: keep that of this one, or write `@HOST ` before each line that is for one of them
"#,
    ),
    (
        "members of a group without their block",
        r#"vrrp_sync_group G { VI_1 }
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
error[unknown-keyword]: `VI_1` stands outside of `group { }`
 --> k.conf:1:21
  |
1 | vrrp_sync_group G { VI_1 }
  |                     ^^^^
  |
  = help: write `group {` before the names of the instances, each on a line, and `}` behind them
"#,
    ),
    (
        "a word that keepalived has dropped",
        r#"global_defs {
  lvs_id LVS_MAIN
}
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
warning[no-effect]: `lvs_id` has no effect: keepalived has dropped it
 --> k.conf:2:3
  |
2 |   lvs_id LVS_MAIN
  |   ^^^^^^
  |
  = help: the keyword of today is `router_id`
"#,
    ),
    (
        "words that keepalived has dropped",
        r#"virtual_server 10.1.0.9 80 {
  nat_mask 255.255.255.0
  real_server 10.1.0.7 80 {
    TCP_CHECK {
      nb_get_retry 3
    }
  }
  protocol TCP
}
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
warning[no-effect]: `nat_mask` has no effect: keepalived has dropped it
 --> k.conf:2:3
  |
2 |   nat_mask 255.255.255.0
  |   ^^^^^^^^
  |
  = help: a VIP has its mask in its own line, as in `10.0.0.3/24`

warning[no-effect]: `nb_get_retry` has no effect: keepalived has dropped it
 --> k.conf:5:7
  |
5 |       nb_get_retry 3
  |       ^^^^^^^^^^^^
  |
  = help: the keyword of today is `retry`
"#,
    ),
    (
        "a block where none is",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  priority 100 {
  }
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
error[takes-no-block]: `priority` takes no block
 --> k.conf:4:3
  |
4 |   priority 100 {
  |   ^^^^^^^^
  |
  = help: remove the `{` and its `}`: `priority` takes a whole number, 1 to 255; without the keyword it is 100
"#,
    ),
    (
        "a misspelt block that something names",
        r#"vrrp_scrpt c {
  script /bin/true
}
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  track_script {
    c
  }
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
error[unknown-keyword]: unknown keyword `vrrp_scrpt` at the top level
 --> k.conf:1:1
  |
1 | vrrp_scrpt c {
  | ^^^^^^^^^^
  |
  = help: did you mean `vrrp_script`?
"#,
    ),
    (
        "what does not belong behind an address",
        r#"vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress {
    10.1.0.9/24 eth0
    10.1.0.10/24,
    10.1.0.11/24;
  }
}
"#,
        r#"
error[unknown-word]: unknown word `eth0` after an address
 --> k.conf:5:17
  |
5 |     10.1.0.9/24 eth0
  |                 ^^^^
  |
  = help: for an interface write `dev eth0`

error[bad-value]: `10.1.0.10/24,` has a prefix length that is not a whole number
 --> k.conf:6:5
  |
6 |     10.1.0.10/24,
  |     ^^^^^^^^^^^^^
  |
  = help: write `10.1.0.10/24`: a statement ends with its line

error[bad-value]: `10.1.0.11/24;` has a prefix length that is not a whole number
 --> k.conf:7:5
  |
7 |     10.1.0.11/24;
  |     ^^^^^^^^^^^^^
  |
  = help: write `10.1.0.11/24`: a statement ends with its line
"#,
    ),
    (
        "words of other languages",
        r#"vrrp_script chk {
  script /bin/true
  interval 2s
  weight=0
}
vrrp_instance VI_1 {
  interface ${IF:-eth0}
  virtual_router_id = 9
  state backup
  track_script {
    chk
  }
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
error[bad-value]: interval `2s` is not a number of seconds
 --> k.conf:3:12
  |
3 |   interval 2s
  |            ^^
  |
  = help: write `2`: the unit is seconds

error[unknown-keyword]: unknown keyword `weight=0` in vrrp_script chk
 --> k.conf:4:3
  |
4 |   weight=0
  |   ^^^^^^^^
  |
  = help: write `weight 0` without the `=`

error[definition]: `${IF:-eth0}` is of a shell: definitions have no default
 --> k.conf:7:13
  |
7 |   interface ${IF:-eth0}
  |             ^^^^^^^^^^^
  |
  = help: write `$IF=eth0` on a line before it, and `${IF}` here

error[unexpected-word]: `=` after `virtual_router_id`
 --> k.conf:8:21
  |
8 |   virtual_router_id = 9
  |                     ^
  |
  = help: write `virtual_router_id 9` without the `=`

error[bad-value]: state `backup` is not a known value
 --> k.conf:9:9
  |
9 |   state backup
  |         ^^^^^^
  |
  = help: write `BACKUP`: capitals count
"#,
    ),
    (
        "a shell script",
        r#"cat > /etc/keepalived/keepalived.conf <<EOF
vrrp_instance VI_1 {
  interface eth0
  virtual_router_id 51
  virtual_ipaddress {
    10.1.0.9/24
  }
}
EOF
systemctl restart keepalived
"#,
        r#"
error[template]: this is a shell script that writes a configuration, not a configuration
 --> k.conf:1:39
  |
1 | cat > /etc/keepalived/keepalived.conf <<EOF
  |                                       ^^
  |
  = help: run it, and check the file that it writes
"#,
    ),
    (
        "a definition by itself",
        r#"$IF=${IF}
vrrp_instance VI_1 {
  interface ${IF}
  virtual_router_id 51
  virtual_ipaddress {
    10.1.0.9/24
  }
}
"#,
        r#"
error[definition]: `$IF` is defined by itself
 --> k.conf:1:1
  |
1 | $IF= ****
  | ^
  |
  = help: write its value; of an environment variable it is `${_ENV IF}`
"#,
    ),
];
