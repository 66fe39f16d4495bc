//! `weave status` in words: the verdict, then sections in columns.

use std::fmt::Write;

use weave_core::Status;

use crate::output::Paint;
pub(crate) use sections::Section;
pub(crate) use table::Table;

mod sections;
mod table;
mod words;

/// The whole status, or the verdict and one section of it.
pub(crate) fn status(status: &Status, section: Option<Section>, paint: Paint) -> String {
    let mut text = verdict(status, paint);
    if let Some(section) = section {
        push_section(&mut text, status, section, paint);
        return text;
    }
    for warning in &status.warnings {
        let _ = writeln!(text, "{} {}", paint.bad("!"), clean(warning));
    }
    text.push('\n');
    text.push_str(&overview(status).render(paint));
    for section in Section::ALL {
        if section.in_whole(status) {
            push_section(&mut text, status, section, paint);
        }
    }
    text
}

fn verdict(status: &Status, paint: Paint) -> String {
    let verdict = status.verdict();
    let sentence = clean(&verdict.sentence);
    let sentence = if verdict.healthy {
        paint.good(&sentence)
    } else {
        paint.bad(&sentence)
    };
    format!("{sentence}\n")
}

fn push_section(text: &mut String, status: &Status, section: Section, paint: Paint) {
    let (heading, table) = section.table(status);
    let _ = writeln!(text, "\n{}", paint.bold(&heading));
    text.push_str(&table.render(paint));
}

/// What the router says of itself, one thing a line.
fn overview(status: &Status) -> Table {
    let mut table = Table::plain();
    let who = if status.nickname.is_empty() || status.nickname == status.name {
        status.name.clone()
    } else {
        format!("{} ({})", status.name, status.nickname)
    };
    table.row(["router", &who]);
    table.row(["identity", &status.peer_id]);
    let door = match (status.password, status.passwords) {
        (false, _) => "no password: whoever reaches the port can join",
        (true, 2..) => "password required, two are accepted",
        (true, _) => "password required",
    };
    table.row(["network", &format!("{}, {door}", status.network)]);
    table.row([
        "version",
        &format!("{}, up {}", status.version, duration(status.uptime_ms)),
    ]);
    table.row(["port", &format!("{} (TCP and UDP)", status.port)]);
    table.row([
        "frames",
        &format!(
            "{}, containers' MTU {}",
            status.frame_port, status.mtu_bytes
        ),
    ]);
    let traffic = &status.traffic;
    table.row([
        "from port",
        &format!(
            "{} frames, {}",
            traffic.frames_in,
            bytes(traffic.frame_bytes_in)
        ),
    ]);
    table.row([
        "to port",
        &format!(
            "{} frames, {}",
            traffic.frames_out,
            bytes(traffic.frame_bytes_out)
        ),
    ]);
    table.row([
        "received",
        &format!(
            "{} packets, {}",
            traffic.packets_in,
            bytes(traffic.packet_bytes_in)
        ),
    ]);
    table.row([
        "sent",
        &format!(
            "{} packets, {}, of them {} relayed for others",
            traffic.packets_out,
            bytes(traffic.packet_bytes_out),
            traffic.packets_relayed
        ),
    ]);
    for (heading, counters, section) in [
        ("dropped", &traffic.drops, "traffic"),
        ("refused", &status.refusals, "control"),
    ] {
        if !counters.is_empty() {
            let list: Vec<String> = counters
                .iter()
                .map(|(name, count)| format!("{name} {count}"))
                .collect();
            let list = list.join(", ");
            table.row([heading, &format!("{list}; why: weave status {section}")]);
        }
    }
    table
}

/// In place of what is not there.
pub(crate) fn dash() -> String {
    "-".to_owned()
}

/// Microseconds as milliseconds, with as many digits as mean something.
pub(crate) fn millis(us: u64) -> String {
    let ms = us as f64 / 1000.0;
    if ms < 10.0 {
        format!("{ms:.2} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// A share from 0 to 1.
pub(crate) fn percent(share: f32) -> String {
    format!("{:.0} %", share.clamp(0.0, 1.0) * 100.0)
}

/// A number of bytes in the largest unit that leaves something before the point.
fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = "B";
    for larger in UNITS {
        if value < 1000.0 {
            break;
        }
        value /= 1000.0;
        unit = larger;
    }
    if unit == "B" {
        format!("{count} B")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// Milliseconds in the two largest units.
pub(crate) fn duration(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// What other routers say of themselves must not steer the terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
