use super::saved::Saved;
use super::wanted::{Family, Wanted};

const EXPOSED: &str = "\
-i weave -o weave -j ACCEPT
-o weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-o weave -m conntrack --ctstate DNAT -j ACCEPT
-o weave -j DROP
-i weave -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-i weave -m conntrack --ctstate DNAT -j ACCEPT";

#[test]
fn bridged_frames_are_let_through_in_both_families_whatever_is_exposed() {
    for family in Family::BOTH {
        let wanted = wanted(family, &[]);
        assert_eq!(wanted.filter, ["-i weave -o weave -j ACCEPT"]);
        assert!(wanted.nat.is_empty() && !wanted.routes());
    }
}

#[test]
fn an_exposed_address_opens_its_own_family_only() {
    let wanted_4 = wanted(Family::V4, &["10.0.1.102/24"]);
    assert_eq!(wanted_4.filter.join("\n"), EXPOSED);
    assert_eq!(
        wanted_4.nat.join("\n"),
        "\
-d 224.0.0.0/4 -j RETURN
-d 255.255.255.255/32 -j RETURN
! -s 10.0.1.0/24 -d 10.0.1.0/24 -o weave -m physdev ! --physdev-is-bridged -j MASQUERADE
-s 10.0.1.0/24 ! -d 10.0.1.0/24 ! -o weave -m physdev ! --physdev-is-bridged -j MASQUERADE
-s 10.0.1.0/24 -d 10.0.1.0/24 -o weave -m conntrack --ctstate DNAT -m physdev ! --physdev-is-bridged -j MASQUERADE"
    );
    assert_eq!(
        wanted(Family::V6, &["10.0.1.102/24"]),
        wanted(Family::V6, &[])
    );
    let wanted_6 = wanted(Family::V6, &["10.0.1.102/24", "fd00:1::66/64"]);
    assert_eq!(wanted_6.filter.join("\n"), EXPOSED);
    assert_eq!(wanted_6.nat[0], "-d ff00::/8 -j RETURN");
    assert!(wanted_6.nat[1].starts_with("! -s fd00:1::/64 -d fd00:1::/64 "));
}

#[test]
fn two_addresses_of_one_network_need_its_rules_once() {
    let one = wanted(Family::V4, &["10.0.1.102/24"]);
    let two = wanted(Family::V4, &["10.0.1.103/24", "10.0.1.102/24"]);
    assert_eq!(one, two);
    let other = wanted(Family::V4, &["10.0.1.102/24", "10.0.2.102/24"]);
    assert_eq!(other.filter, one.filter);
    assert_eq!(other.nat.len(), one.nat.len() + 3);
}

#[test]
fn without_br_netfilter_nothing_loads_it() {
    let exposed = ["10.0.1.102/24".parse().unwrap()];
    let wanted = Wanted::new(Family::V4, "weave", &exposed, false);
    assert!(wanted.routes());
    assert!(!wanted.nat.join(" ").contains("physdev"));
}

#[test]
fn a_bridge_of_another_name_has_its_own_chain() {
    let wanted = Wanted::new(Family::V4, "weave-blue", &[], true);
    assert_eq!(wanted.chain(), "WEAVE-weave-blue");
    let saved = Saved::parse(&standing(), wanted.chain());
    let script = saved.repair_script(&wanted).unwrap();
    assert!(!script.contains("WEAVE\n") && !script.contains(":WEAVE "));
    assert!(super::check_name("weave-blue_2.1").is_ok());
    for name in ["a+", "a b", "a\"", "!a", "a\n"] {
        let line = super::check_name(name).unwrap_err().to_string();
        assert!(line.contains("something else to iptables"), "{line}");
    }
}

#[test]
fn a_host_without_rules_gets_all_and_nothing_when_they_stand() {
    let wanted = wanted(Family::V4, &["10.0.1.102/24"]);
    let empty = Saved::parse("", "WEAVE");
    assert_eq!(empty.clear_script(), None);
    let script = empty.repair_script(&wanted).unwrap();
    let rules = |rules: &[String]| {
        rules
            .iter()
            .map(|rule| format!("-A WEAVE {rule}\n"))
            .collect::<String>()
    };
    assert_eq!(
        script,
        format!(
            "*filter\n:WEAVE - [0:0]\n{}-I FORWARD 1 -j WEAVE\nCOMMIT\n\
             *nat\n:WEAVE - [0:0]\n{}-I POSTROUTING 1 -j WEAVE\nCOMMIT\n",
            rules(&wanted.filter),
            rules(&wanted.nat),
        )
    );
    let saved = Saved::parse(&standing(), "WEAVE");
    assert_eq!(saved.repair_script(&wanted), None);
}

#[test]
fn every_line_that_is_missing_is_noticed() {
    let wanted = wanted(Family::V4, &["10.0.1.102/24"]);
    let text = standing();
    let ours: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("-A") && line.contains("WEAVE"))
        .collect();
    assert_eq!(ours.len(), 13);
    for line in ours {
        let less = text.replacen(&format!("{line}\n"), "", 1);
        let saved = Saved::parse(&less, "WEAVE");
        assert!(saved.repair_script(&wanted).is_some(), "{line}");
    }
}

#[test]
fn hiding_takes_what_exposing_needed_and_leaves_the_rest() {
    let saved = Saved::parse(&standing(), "WEAVE");
    assert_eq!(
        saved.repair_script(&wanted(Family::V4, &[])).unwrap(),
        "*filter\n:WEAVE - [0:0]\n-A WEAVE -i weave -o weave -j ACCEPT\n-D FORWARD -j WEAVE\n-I FORWARD 1 -j WEAVE\nCOMMIT\n\
         *nat\n:WEAVE - [0:0]\n-D POSTROUTING -j WEAVE\n-X WEAVE\nCOMMIT\n"
    );
    assert_eq!(
        saved.clear_script().unwrap(),
        "*filter\n:WEAVE - [0:0]\n-D FORWARD -j WEAVE\n-X WEAVE\nCOMMIT\n\
         *nat\n:WEAVE - [0:0]\n-D POSTROUTING -j WEAVE\n-X WEAVE\nCOMMIT\n"
    );
}

#[test]
fn a_jump_behind_dockers_is_moved_before_it() {
    let wanted = wanted(Family::V4, &["10.0.1.102/24"]);
    let behind = standing().replace(
        "-A FORWARD -j WEAVE\n",
        "-A FORWARD -j DOCKER-USER\n-A FORWARD -j WEAVE\n-A FORWARD -j WEAVE\n",
    );
    let saved = Saved::parse(&behind, "WEAVE");
    let script = saved.repair_script(&wanted).unwrap();
    assert!(
        script.contains("-D FORWARD -j WEAVE\n-D FORWARD -j WEAVE\n-I FORWARD 1 -j WEAVE\n"),
        "{script}"
    );
    assert!(
        !script.contains("DOCKER") && !script.contains("*nat"),
        "{script}"
    );
}

#[test]
fn the_administrators_rules_about_the_bridge_stay_before_ours() {
    let wanted = wanted(Family::V4, &["10.0.1.102/24"]);
    let own = "-A FORWARD -s 192.0.2.0/24 -o weave -j ACCEPT\n";
    let first = standing().replace(
        "-A FORWARD -j WEAVE\n",
        &format!("{own}-A FORWARD -j WEAVE\n"),
    );
    let saved = Saved::parse(&first, "WEAVE");
    assert_eq!(saved.repair_script(&wanted), None);
    let lost = first.replace("-A FORWARD -j WEAVE\n", "");
    let script = Saved::parse(&lost, "WEAVE").repair_script(&wanted).unwrap();
    assert!(script.contains("-I FORWARD 2 -j WEAVE\n"), "{script}");
}

#[test]
fn rules_that_others_made_lead_to_our_chain_go_with_it() {
    let stray = standing().replace(
        "-A FORWARD -j DOCKER-USER\n",
        "-A FORWARD -j DOCKER-USER\n-A FORWARD -i eth0 -g WEAVE\n-A DOCKER-USER -p tcp -j WEAVE\n",
    );
    let script = Saved::parse(&stray, "WEAVE").clear_script().unwrap();
    for wanted in [
        "-D FORWARD -j WEAVE\n",
        "-D FORWARD -i eth0 -g WEAVE\n",
        "-D DOCKER-USER -p tcp -j WEAVE\n",
    ] {
        assert!(script.contains(wanted), "{wanted} is not in {script}");
    }
}

#[test]
fn a_host_with_docker_forwards_for_others_as_well() {
    let forwards = |text: &str| Saved::parse(text, "WEAVE").others_forward("weave");
    assert!(forwards(&standing()));
    assert!(!forwards(""));
    assert!(!forwards(
        "*filter\n-A FORWARD -j WEAVE\n-A FORWARD -s 192.0.2.0/24 -o weave -j ACCEPT\nCOMMIT\n"
    ));
}

#[test]
fn any_text_is_read() {
    let text = standing();
    for end in 0..text.len() {
        let saved = Saved::parse(&text[..end], "WEAVE");
        let _ = saved.repair_script(&wanted(Family::V4, &[]));
        let _ = saved.clear_script();
    }
}

fn wanted(family: Family, exposed: &[&str]) -> Wanted {
    let exposed: Vec<_> = exposed.iter().map(|text| text.parse().unwrap()).collect();
    Wanted::new(family, "weave", &exposed, true)
}

/// What iptables-save (1.8.9, nf_tables) prints on a host with Docker and 10.0.1.102/24 exposed.
fn standing() -> String {
    let rules: String = EXPOSED
        .lines()
        .map(|rule| format!("-A WEAVE {rule}\n"))
        .collect();
    format!(
        "# Generated by iptables-save v1.8.9 (nf_tables) on Wed Nov 25 17:31:37 2026\n\
*filter\n\
:INPUT ACCEPT [0:0]\n\
:FORWARD DROP [0:0]\n\
:OUTPUT ACCEPT [0:0]\n\
:DOCKER - [0:0]\n\
:DOCKER-USER - [0:0]\n\
:WEAVE - [0:0]\n\
-A FORWARD -j WEAVE\n\
-A FORWARD -j DOCKER-USER\n\
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n\
-A DOCKER-USER -j RETURN\n\
{rules}COMMIT\n\
# Completed on Wed Nov 25 17:31:37 2026\n\
*nat\n\
:PREROUTING ACCEPT [0:0]\n\
:POSTROUTING ACCEPT [0:0]\n\
:WEAVE - [0:0]\n\
-A POSTROUTING -j WEAVE\n\
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE\n\
-A WEAVE -d 224.0.0.0/4 -j RETURN\n\
-A WEAVE -d 255.255.255.255/32 -j RETURN\n\
-A WEAVE ! -s 10.0.1.0/24 -d 10.0.1.0/24 -o weave -m physdev ! --physdev-is-bridged -j MASQUERADE\n\
-A WEAVE -s 10.0.1.0/24 ! -d 10.0.1.0/24 ! -o weave -m physdev ! --physdev-is-bridged -j MASQUERADE\n\
-A WEAVE -s 10.0.1.0/24 -d 10.0.1.0/24 -o weave -m conntrack --ctstate DNAT -m physdev ! --physdev-is-bridged -j MASQUERADE\n\
COMMIT\n"
    )
}
