use super::*;

#[test]
fn the_verdict_comes_first_and_what_mends_stands_below() {
    let check = |name, state, found: &str, mend: Option<&str>| Check {
        name,
        state,
        found: found.into(),
        mend: mend.map(str::to_owned),
    };
    let checks = [
        check("rights", State::Ok, "root", None),
        check("firewall", State::Missing, "it keeps out", Some("open it")),
        check("clock", State::Note, "not synchronised", None),
    ];
    let plain = Paint { colour: false };
    assert_eq!(
        rendered(&checks, plain),
        "one thing is missing\n\
         \x20 ok       rights    root\n\
         \x20 missing  firewall  it keeps out\n\
         \x20                    open it\n\
         \x20 note     clock     not synchronised\n"
    );
    assert!(
        rendered(&checks[..1], plain).starts_with("all well: this host has what weave needs\n")
    );
}
