//! Completion scripts and manual pages of both programs, out of the very definitions that parse their command lines.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory, ValueEnum};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use weave_router::{Failure, Options, words};

use crate::cli::Cli;

/// The flags of `weave completion`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: ShellName,
    /// The program whose command line is to be completed
    #[arg(value_enum, value_name = "PROGRAM", default_value_t = Program::Weave)]
    program: Program,
}

/// The flags of `weave man`.
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder for the pages, made if it isn't there
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
}

/// A shell that a script is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ShellName {
    Bash,
    Zsh,
    Fish,
}

/// One of the two programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    Weave,
    WeaveRouter,
}

const EXAMPLES: &str = "\
For this shell only:
  source <(weave completion bash)
  source <(weave completion zsh)
  weave completion fish | source

For all to come:
  weave completion bash > /etc/bash_completion.d/weave
  weave completion zsh > /usr/share/zsh/site-functions/_weave
  weave completion fish > /usr/share/fish/vendor_completions.d/weave.fish

The same for the daemon with: weave completion SHELL weave-router";

/// The completion script for a shell.
pub(crate) fn completion(args: &CompletionArgs) -> String {
    let shell = match args.shell {
        ShellName::Bash => Shell::Bash,
        ShellName::Zsh => Shell::Zsh,
        ShellName::Fish => Shell::Fish,
    };
    let mut command = args.program.command();
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

/// Writes a manual page for each program and for each command of the tool: `weave.1`, `weave-ping.1`, ...
///
/// # Errors
/// When a file cannot be written.
pub(crate) fn man(args: &ManArgs) -> Result<(), Failure> {
    let write = |name: &str, page: Vec<u8>| fs::write(args.folder.join(name), page);
    let written = fs::create_dir_all(&args.folder).and_then(|()| {
        for (name, page) in pages()? {
            write(&name, page)?;
        }
        Ok(())
    });
    written.map_err(|error| failure(&args.folder, &error))
}

/// Every page and the name of its file.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    for program in [Program::Weave, Program::WeaveRouter] {
        // The command `help` needs no page: the pages are the help.
        let mut command = program.command().disable_help_subcommand(true);
        command.build();
        let mut waiting = vec![command];
        while let Some(command) = waiting.pop() {
            let below: Vec<Command> = command.get_subcommands().cloned().collect();
            waiting.extend(below.into_iter().rev());
            pages.push(page(command)?);
        }
    }
    Ok(pages)
}

/// As the crate would render it, but for the examples, whose lines it would join.
fn page(command: Command) -> io::Result<(String, Vec<u8>)> {
    let help = command.get_after_help().map(ToString::to_string);
    let has_commands = command.has_subcommands();
    let page = Man::new(command)
        .manual("Weave")
        .source(concat!("weave ", env!("CARGO_PKG_VERSION")));
    let mut bytes = Vec::new();
    page.render_title(&mut bytes)?;
    page.render_name_section(&mut bytes)?;
    page.render_synopsis_section(&mut bytes)?;
    page.render_description_section(&mut bytes)?;
    page.render_options_section(&mut bytes)?;
    if has_commands {
        page.render_subcommands_section(&mut bytes)?;
    }
    if let Some(help) = help {
        examples(&help).to_writer(&mut bytes)?;
    }
    Ok((page.get_filename(), bytes))
}

/// What stands below the flags in the help: indented lines stay lines.
fn examples(help: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for paragraph in help.split("\n\n") {
        roff.control("PP", []);
        let mut verbatim = false;
        for line in paragraph.lines().filter(|line| *line != "Examples:") {
            if line.starts_with(' ') != verbatim {
                verbatim = !verbatim;
                roff.control(if verbatim { "nf" } else { "fi" }, []);
            }
            roff.text([roman(line)]);
        }
        if verbatim {
            roff.control("fi", []);
        }
    }
    roff
}

impl Program {
    /// Its definition, without what is hidden from its help.
    fn command(self) -> Command {
        match self {
            Self::Weave => visible("weave", &Cli::command()),
            Self::WeaveRouter => visible("weave-router", &Options::command()),
        }
    }
}

/// Definitions can't be taken out of a command: so a new one of that name, of what is seen.
fn visible(name: &'static str, command: &Command) -> Command {
    let arguments = command
        .get_arguments()
        .filter(|argument| !argument.is_hide_set());
    let commands = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    let mut seen = Command::new(name)
        .version(env!("CARGO_PKG_VERSION"))
        .args(arguments.cloned())
        .subcommands(commands.cloned());
    if let Some(about) = command.get_about() {
        seen = seen.about(about.clone());
    }
    if let Some(about) = command.get_long_about() {
        seen = seen.long_about(about.clone());
    }
    if let Some(help) = command.get_after_help() {
        seen = seen.after_help(help.clone());
    }
    seen
}

fn failure(folder: &Path, error: &io::Error) -> Failure {
    Failure::new(
        format!("cannot write manual pages to {}", folder.display()),
        words(error),
        "give a folder that you may write to",
    )
}

#[cfg(test)]
mod tests;
