//! `placard completions`: completions for a shell, to standard output.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Context, Exit, Outcome};

#[derive(clap::Args)]
#[command(after_help = "bash: placard completions bash > /usr/share/bash-completion/completions/placard
zsh:  placard completions zsh > /usr/share/zsh/site-functions/_placard
fish: placard completions fish > /usr/share/fish/vendor_completions.d/placard.fish")]
pub struct Args {
    shell: Shell,
}

pub fn run(_context: &Context, args: Args) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "placard", &mut script);
    std::io::Write::write_all(&mut std::io::stdout().lock(), &script)?;
    Ok(Exit::Success)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound_and_every_shell_gets_its_commands() {
        Cli::command().debug_assert();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "placard", &mut script);
            let script = String::from_utf8(script).expect("text");
            assert!(["check", "status", "top", "commission"].iter().all(|c| script.contains(c)), "{shell}");
        }
    }
}
