use super::*;

#[test]
fn the_image_is_found_behind_flags_of_every_form() {
    for (line, image, rest) in [
        ("ubuntu", "ubuntu", ""),
        ("-t -i ubuntu", "ubuntu", ""),
        ("-ti ubuntu bash -c x", "ubuntu", "bash -c x"),
        ("-e A=b ubuntu -e C", "ubuntu", "-e C"),
        ("-eA=b ubuntu", "ubuntu", ""),
        ("-e=A ubuntu", "ubuntu", ""),
        ("-dite A=b ubuntu", "ubuntu", ""),
        ("-itv/a:/b ubuntu", "ubuntu", ""),
        ("-itv /a:/b ubuntu", "ubuntu", ""),
        ("--name ubuntu ubuntu ubuntu", "ubuntu", "ubuntu"),
        (
            "--name=x --rm --init=false --read-only img --rm",
            "img",
            "--rm",
        ),
        ("--net none --dns-opt x img", "img", ""),
        ("-t -- img --", "img", "--"),
        ("-- -img", "-img", ""),
        (
            "--env-host --tls-verify=false --pod p --rootfs /r sh",
            "/r",
            "sh",
        ),
        ("-p 80:80 -P -u 1:1 -w /x -h h -m 1g -l a=b img", "img", ""),
        ("- img", "-", "img"),
    ] {
        let words = words(line);
        let arguments = Arguments::read(&words, None).unwrap();
        assert_eq!(arguments.image(), image, "{line}");
        let command = &arguments.words[arguments.image + 1..];
        assert_eq!(command, self::words(rest), "{line}");
    }
}

#[test]
fn arguments_without_image_or_value_are_told_apart() {
    let read = |line| Arguments::read(&words(line), None).map(drop).unwrap_err();
    for line in ["", "-t", "-e A", "--rm --", "--name=x"] {
        assert_eq!(read(line), Unreadable::NoImage, "{line}");
    }
    for (line, flag) in [("-e", "-e"), ("-t --name", "--name"), ("-ite", "-ite")] {
        let flag = flag.to_owned();
        assert_eq!(read(line), Unreadable::NoValue { flag }, "{line}");
    }
}

#[test]
fn a_flag_of_tomorrow_is_looked_for_in_the_engines_help() {
    let help = "\
Options:
  -i, --interactive          Keep stdin open
      --future               A switch with a long
                             --tail string
  -z, --zip string           Takes one
  -Z                         Takes none
      --memory <n>[<unit>]   Memory
";
    for (line, image) in [
        ("--future img sh", "img"),
        ("--zip v img", "img"),
        ("-z v img", "img"),
        ("-Z img sh", "img"),
        ("-tZi img sh", "img"),
        // Not in the help at all, as --net once: hidden flags take values.
        ("--hidden v img", "img"),
        ("--tail v img", "img"),
    ] {
        let words = words(line);
        let unknown = Arguments::read(&words, None).unwrap_err();
        assert!(matches!(unknown, Unreadable::Unknown { .. }), "{line}");
        let arguments = Arguments::read(&words, Some(help)).unwrap();
        assert_eq!(arguments.image(), image, "{line}");
    }
    // With a value of its own it is clear.
    assert!(Arguments::read(&words("--future=1 img"), None).is_ok());
}

#[test]
fn what_is_known_agrees_with_the_lists_order() {
    let sorted = |list: &[&str]| list.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(sorted(&SWITCHES) && sorted(&VALUED) && sorted(&DECIDES_COMMAND));
    assert!(SWITCHES.iter().all(|flag| !VALUED.contains(flag)));
    assert!(
        DECIDES_COMMAND
            .iter()
            .all(|flag| SWITCHES.contains(flag) || VALUED.contains(flag))
    );
}

#[test]
fn switches_that_are_off_are_known() {
    let off = |line| {
        let words = words(line);
        let arguments = Arguments::read(&words, None).unwrap();
        arguments.has_off("detach")
    };
    for line in ["-d img", "-itd img", "--detach=true img", "img -d=false"] {
        assert!(!off(line), "{line}");
    }
    for line in ["-d=false img", "-itd=f img", "--detach=0 img -d"] {
        assert!(off(line), "{line}");
    }
    let words = words("-a stdin -astdout --attach=stderr img -a x");
    let arguments = Arguments::read(&words, None).unwrap();
    let values: Vec<_> = arguments.values("attach").collect();
    assert_eq!(values, ["stdin", "stdout", "stderr"]);
}

#[test]
fn the_container_that_is_asked_for_its_command_has_nothing_else_of_the_other() {
    let line = "-dit --name n --cidfile f --entrypoint e -v /a:/b -p 1:1 --platform=linux/arm64 -- img a -v";
    let words = words(line);
    let arguments = Arguments::read(&words, None).unwrap();
    assert_eq!(
        arguments.command_only(),
        self::words("--network=none --entrypoint e --platform=linux/arm64 -- img a -v")
    );
}

#[test]
fn an_entry_point_takes_the_place_of_the_users() {
    let line = "-dit --entrypoint e --name n --entrypoint=f img a -v";
    let words = words(line);
    let arguments = Arguments::read(&words, None).unwrap();
    let args = arguments.with_entry(self::words("--entrypoint w"), self::words("wait -- f a -v"));
    assert_eq!(
        args,
        self::words("--entrypoint w -dit --name n img wait -- f a -v")
    );
}

#[test]
fn bytes_that_are_no_text_pass_through() {
    use std::os::unix::ffi::OsStringExt;
    let raw = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
    let words = vec![
        raw(b"--env"),
        raw(b"A=\xff"),
        raw(b"--label=\xfe"),
        raw(b"-e\xff=\xff"),
        raw(b"img"),
        raw(b"\xff"),
    ];
    let arguments = Arguments::read(&words, None).unwrap();
    assert_eq!(arguments.image(), "img");
    let values: Vec<_> = arguments.values("label").collect();
    assert_eq!(values, [raw(b"\xfe")]);
    assert_eq!(
        arguments.with_entry([], [raw(b"\xff")]),
        words,
        "untouched but for the command"
    );
    // No word, cut anywhere, makes it panic.
    let bytes = b"-\xff\xe2\x82=--\xc3=\xc3\xa4";
    for begin in 0..bytes.len() {
        for end in begin..=bytes.len() {
            let words = vec![raw(&bytes[begin..end]), raw(b"img")];
            let _ = Arguments::read(&words, Some(""));
        }
    }
}

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}
