use super::*;

/// Whether strangers reach port 6783 by TCP and UDP over IPv4.
fn reach(rulesets: &[Ruleset]) -> [Reach; 2] {
    ["tcp", "udp"].map(|protocol| {
        barrier(rulesets, 0, protocol, 6783).map_or(Reach::Open, |barrier| barrier.reach)
    })
}

fn iptables(text: &str) -> [Reach; 2] {
    reach(&[parse_iptables(Family::V4, text)])
}

const OPEN: [Reach; 2] = [Reach::Open; 2];
const CLOSED: [Reach; 2] = [Reach::Closed; 2];

#[test]
fn iptables_rules_are_followed_as_the_kernel_follows_them() {
    for (text, wanted) in [
        ("", OPEN),
        ("-P INPUT ACCEPT\n-P FORWARD DROP\n", OPEN),
        ("-P INPUT DROP\n", CLOSED),
        ("-P INPUT DROP\n-A INPUT -j ACCEPT\n", OPEN),
        (
            "-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n",
            CLOSED,
        ),
        (
            "-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport 6783 -j ACCEPT\n",
            [Reach::Open, Reach::Closed],
        ),
        (
            "-P INPUT DROP\n-A INPUT -p udp -m multiport --dports 53,6000:7000 -j ACCEPT\n",
            [Reach::Closed, Reach::Open],
        ),
        // As Red Hat had it: let in by policy, kept out by the last rule.
        (
            "-P INPUT ACCEPT\n-A INPUT -p tcp -m state --state NEW -m tcp --dport 22 -j ACCEPT\n-A INPUT -j REJECT --reject-with icmp-host-prohibited\n",
            CLOSED,
        ),
        // Whoever comes from there is let in; all that is known is that somebody may.
        (
            "-P INPUT DROP\n-A INPUT -s 192.0.2.0/24 -j ACCEPT\n",
            [Reach::Perhaps; 2],
        ),
        ("-P INPUT ACCEPT\n-A INPUT -s 192.0.2.0/24 -j DROP\n", OPEN),
        (
            "-P INPUT DROP\n-A INPUT ! -p tcp -j ACCEPT\n",
            [Reach::Closed, Reach::Open],
        ),
        (
            "-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp ! --dport 22 -j DROP\n",
            [Reach::Closed, Reach::Open],
        ),
        (
            "-P INPUT DROP\n-A INPUT -p tcp -m tcp --dport :6783 -j ACCEPT\n",
            [Reach::Open, Reach::Closed],
        ),
        // Chains of one's own, one that returns, one that is left for good, one that logs.
        (
            "-P INPUT DROP\n-N mine\n-N done\n-A INPUT -j LOG --log-prefix \"in: -j DROP \"\n-A INPUT -j done\n-A INPUT -j mine\n-A done -p udp -j RETURN\n-A done -j RETURN\n-A done -j DROP\n-A mine -p udp -m udp --dport 6783 -m comment --comment \"the mesh -p tcp\" -j ACCEPT\n",
            [Reach::Closed, Reach::Open],
        ),
        (
            "-P INPUT DROP\n-N a\n-A INPUT -g a\n-A INPUT -j ACCEPT\n-A a -p tcp -j ACCEPT\n",
            [Reach::Open, Reach::Closed],
        ),
        // Circles and chains that are not there: no kernel has them.
        (
            "-P INPUT DROP\n-N a\n-A INPUT -j a\n-A INPUT -j b\n-A a -j a\n",
            CLOSED,
        ),
        ("-P\n-A\n-A INPUT -p\n-A INPUT --dport\n\"", OPEN),
    ] {
        assert_eq!(iptables(text), wanted, "{text}");
    }
}

#[test]
fn ufw_lets_in_what_it_was_told_to() {
    let chains = "-P INPUT DROP\n-N ufw-before-input\n-N ufw-user-input\n-N ufw-not-local\n\
        -A INPUT -j ufw-before-input\n\
        -A ufw-before-input -i lo -j ACCEPT\n\
        -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
        -A ufw-before-input -m conntrack --ctstate INVALID -j DROP\n\
        -A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT\n\
        -A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT\n\
        -A ufw-before-input -j ufw-not-local\n\
        -A ufw-before-input -d 224.0.0.251/32 -p udp -m udp --dport 5353 -j ACCEPT\n\
        -A ufw-before-input -j ufw-user-input\n\
        -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN\n\
        -A ufw-not-local -m addrtype --dst-type MULTICAST -j RETURN\n\
        -A ufw-not-local -m limit --limit 3/min -j LOG\n\
        -A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\n";
    assert_eq!(iptables(chains), CLOSED);
    let opened = format!(
        "{chains}-A ufw-user-input -p tcp -m tcp --dport 6783 -j ACCEPT\n-A ufw-user-input -p udp -m udp --dport 6783 -j ACCEPT\n"
    );
    assert_eq!(iptables(&opened), OPEN);
}

#[test]
fn nft_rules_are_followed_as_the_kernel_follows_them() {
    let ruleset = |rules: &str| {
        let text = format!(
            r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}},
            {{"table": {{"family": "inet", "name": "filter"}}}},
            {{"chain": {{"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}}}},
            {{"chain": {{"family": "inet", "table": "filter", "name": "mine"}}}},
            {{"chain": {{"family": "inet", "table": "filter", "name": "forward", "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}}}
            {rules}]}}"#
        );
        parse_nft(&text).unwrap()
    };
    let rule = |chain: &str, expressions: &str| {
        format!(
            r#", {{"rule": {{"family": "inet", "table": "filter", "chain": "{chain}", "handle": 4, "expr": [{expressions}]}}}}"#
        )
    };
    let input = |expressions: &str| reach(&ruleset(&rule("input", expressions)));
    assert_eq!(reach(&ruleset("")), CLOSED);
    for (expressions, wanted) in [
        (r#"{"accept": null}"#, OPEN),
        (
            r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}"#,
            CLOSED,
        ),
        (
            r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}"#,
            CLOSED,
        ),
        (
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 6783}}, {"counter": {"packets": 0, "bytes": 0}}, {"accept": null}"#,
            [Reach::Open, Reach::Closed],
        ),
        (
            r#"{"match": {"op": "==", "left": {"meta": {"key": "l4proto"}}, "right": {"set": ["tcp", "udp"]}}}, {"match": {"op": "==", "left": {"payload": {"protocol": "th", "field": "dport"}}, "right": {"set": [22, {"range": [6000, 7000]}]}}}, {"accept": null}"#,
            OPEN,
        ),
        (
            r#"{"match": {"op": "!=", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 53}}, {"accept": null}"#,
            [Reach::Closed, Reach::Open],
        ),
        (
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": "@open"}}, {"accept": null}"#,
            [Reach::Perhaps, Reach::Closed],
        ),
        (
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "192.0.2.1"}}, {"accept": null}"#,
            [Reach::Perhaps; 2],
        ),
        (
            r#"{"xt": {"type": "match", "name": "addrtype"}}, {"accept": null}"#,
            [Reach::Perhaps; 2],
        ),
        (
            r#"{"vmap": {"key": {"ct": {"key": "state"}}, "data": {"set": [["established", {"accept": null}], ["invalid", {"drop": null}]]}}}"#,
            CLOSED,
        ),
        (
            r#"{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[22, {"drop": null}], [6783, {"accept": null}]]}}}"#,
            [Reach::Open, Reach::Closed],
        ),
        (
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "icmp", "field": "type"}}, "right": "echo-request"}}, {"accept": null}"#,
            CLOSED,
        ),
    ] {
        assert_eq!(input(expressions), wanted, "{expressions}");
    }
    let jumps = rule("input", r#"{"jump": {"target": "mine"}}"#)
        + &rule(
            "mine",
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 6783}}, {"accept": null}"#,
        );
    assert_eq!(reach(&ruleset(&jumps)), [Reach::Closed, Reach::Open]);

    for none in ["", "{}", "[]", r#"{"nftables": 3}"#] {
        assert_eq!(parse_nft(none), None);
    }
    assert_eq!(
        parse_nft(r#"{"nftables": [{"rule": 1}, {"chain": {"family": "inet"}}, 5]}"#),
        Some(vec![])
    );
}

#[test]
fn the_worst_barrier_is_named_with_what_opens_it() {
    let open = parse_iptables(Family::V4, "-P INPUT ACCEPT\n");
    let closed = parse_iptables(Family::V4, "-P INPUT DROP\n");
    let closed_v6 = parse_iptables(Family::V6, "-P INPUT DROP\n");
    let all = [open, closed_v6, closed];
    let found = barrier(&all, 0, "tcp", 6783).unwrap();
    assert_eq!(
        found.ruleset.insert.accept(found.chain, 6783),
        "iptables -I INPUT -p tcp --dport 6783 -j ACCEPT && iptables -I INPUT -p udp --dport 6783 -j ACCEPT"
    );
    let found = barrier(&all, 1, "udp", 6783).unwrap();
    assert_eq!(found.ruleset.insert, Insert::Iptables("ip6tables"));
    let nft = Insert::Nft {
        family: "inet".into(),
        table: "filter".into(),
    };
    assert_eq!(
        nft.accept("input", 6784),
        "nft insert rule inet filter input meta l4proto '{ tcp, udp }' th dport 6784 accept"
    );
    assert_eq!(barrier(&all[..1], 0, "tcp", 6783), None);
}
