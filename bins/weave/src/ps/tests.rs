use super::*;

fn attachment(of: Subject) -> Attachment {
    Attachment {
        of,
        mac: "02:00:00:00:00:01".to_owned(),
        addresses: vec!["10.2.1.1/24".to_owned(), "fd00::1/64".to_owned()],
    }
}

fn container() -> Attachment {
    attachment(Subject::Container {
        engine: EngineKind::Docker,
        id: "0123456789abcdef".to_owned(),
        name: "web".to_owned(),
    })
}

fn row(attachment: &Attachment) -> Row<'_> {
    Row {
        attachment,
        name: attachment.of.label(),
        state: "running",
        mac: attachment.mac.clone(),
        addresses: Vec::new(),
        remarks: Vec::new(),
        port: None,
    }
}

fn seen(addresses: &[&str]) -> Seen {
    Seen {
        port: "vethwe1".to_owned(),
        mac: Some([2, 0, 0, 0, 0, 2]),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        on_bridge: true,
        up: true,
    }
}

#[test]
fn each_is_a_line_in_columns() {
    let [web, bare] = [
        container(),
        attachment(Subject::Namespace {
            path: "/run/netns/a".into(),
        }),
    ];
    let mut rows = [row(&web), row(&bare)];
    rows[0].compare(Some(seen(&["10.2.1.1/24", "fd00::1/64"])));
    rows[1].addresses = bare.cidrs();
    rows[1].idle("gone");
    assert_eq!(
        text(&rows),
        "0123456789ab  web  02:00:00:00:00:02  10.2.1.1/24 fd00::1/64\n\
         netns:a       -    02:00:00:00:00:01  10.2.1.1/24 fd00::1/64  (gone)"
    );
}

#[test]
fn what_is_not_as_it_should_be_is_said() {
    let web = container();
    let remarks = |seen| {
        let mut row = row(&web);
        row.compare(seen);
        row.remarks.join("; ")
    };
    assert_eq!(
        remarks(Some(seen(&["10.2.1.1/24", "fd00::1/64", "10.2.9.9/24"]))),
        ""
    );
    assert_eq!(
        remarks(Some(seen(&["10.2.9.9/24"]))),
        "lacks 10.2.1.1/24 fd00::1/64: attach it again"
    );
    assert_eq!(
        remarks(None),
        "has no interface on the network: attach it again"
    );
    assert_eq!(
        remarks(Some(Seen {
            on_bridge: false,
            up: false,
            ..seen(&["10.2.1.1/24", "fd00::1/64"])
        })),
        "is not on the bridge: attach it again; is switched off: attach it again"
    );
}

#[test]
fn the_document_holds_all_of_it() {
    let web = container();
    let mut row = row(&web);
    row.compare(Some(seen(&["10.2.1.1/24"])));
    assert_eq!(
        row.json(),
        json!({
            "kind": "container",
            "engine": "docker",
            "id": "0123456789abcdef",
            "name": "web",
            "state": "running",
            "mac": "02:00:00:00:00:02",
            "addresses": ["10.2.1.1/24"],
            "attached": ["10.2.1.1/24", "fd00::1/64"],
            "port": "vethwe1",
            "remarks": ["lacks fd00::1/64: attach it again"],
        })
    );
}
