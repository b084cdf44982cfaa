//! Turns the command line into calls of the parts that do the work, and their results into output and an exit code.

mod check;
mod detach;
mod run;
mod schema;
mod status;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "balancer", version, about = "L4 load balancer for container networks, in XDP", max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway: forward what the config says, until SIGTERM
    Run(RunArgs),
    /// Show what a running gateway does: service ports, backends, counters, reasons
    Status(StatusArgs),
    /// Take the datapath out of the kernel: forwarding stops
    Detach(DetachArgs),
    /// Check a config and print what it amounts to, or everything that is wrong with it
    Check(CheckArgs),
    /// Print the JSON Schema of the config
    #[command(after_help = "Examples:\n  balancer schema > config.schema.json")]
    Schema,
}

/// Arguments of `balancer check`.
#[derive(Args, Debug)]
#[command(after_help = "Exit status: 0 when the config is right, 1 when it is not.\n\n\
    Examples:\n  balancer check --config /etc/balancer/balancer.toml\n  balancer check --config /etc/balancer/conf.d --json")]
pub struct CheckArgs {
    /// Config file, or directory whose *.toml files are taken together
    #[arg(long, value_name = "PATH")]
    pub config: PathBuf,
    /// Print JSON in place of text
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `balancer run`.
#[derive(Args, Debug)]
#[command(after_help = "Reloads when the config changes and on SIGHUP; a config with an error changes nothing.\n\
    SIGTERM ends the daemon and leaves the datapath forwarding; `balancer detach` removes it.\n\n\
    Examples:\n  balancer run --config /etc/balancer/balancer.toml\n  balancer run --config /etc/balancer/conf.d --log-format json")]
pub struct RunArgs {
    /// Config file, or directory whose *.toml files are taken together
    #[arg(long, value_name = "PATH")]
    pub config: PathBuf,
    /// How log lines look; RUST_LOG says which there are
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Arguments of `balancer status`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  balancer status\n  balancer status --json\n  balancer status --config /etc/balancer/balancer.toml"
)]
pub struct StatusArgs {
    /// Print JSON in place of tables
    #[arg(long)]
    pub json: bool,
    /// The daemon's admin socket [default: /run/balancer/admin.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub admin_socket: Option<PathBuf>,
    /// Config that names the admin socket
    #[arg(long, value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// Arguments of `balancer detach`.
#[derive(Args, Debug)]
#[command(
    after_help = "Forwarding stops. Examples:\n  balancer detach\n  balancer detach --config /etc/balancer/balancer.toml"
)]
pub struct DetachArgs {
    /// Config that names the directory of the pinned maps and links
    #[arg(long, value_name = "PATH", conflicts_with = "pin_dir")]
    pub config: Option<PathBuf>,
    /// Directory of the pinned maps and links [default: /sys/fs/bpf/balancer]
    #[arg(long, value_name = "PATH")]
    pub pin_dir: Option<PathBuf>,
}

/// Does what the command line says. Output goes to stdout, logs and failures to stderr.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Status(args) => status::run(&args),
        Command::Detach(args) => detach::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Schema => schema::run(),
    };
    done.unwrap_or_else(|error| {
        // `{:#}` puts the chain of causes on one line.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("balancer: {error:#}\n"));
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
