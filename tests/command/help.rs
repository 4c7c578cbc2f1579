//! What the command says of itself, and what shells complete.

use super::*;

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mtasts")).args(arguments).output().unwrap()
}

/// The names of all subcommands, as `--help` lists them.
fn subcommands() -> Vec<String> {
    let help = text(&run(&["--help"]).stdout);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.map(|line| line.split_whitespace().next().unwrap().to_owned()).filter(|name| name != "help").collect()
}

#[test]
fn help_has_examples_and_exit_statuses_and_fits_80_columns() {
    let names = subcommands();
    assert!(
        ["lookup", "refresh", "parse", "config", "completions"].iter().all(|name| names.iter().any(|is| is == name))
    );
    for name in [""].into_iter().chain(names.iter().map(String::as_str)) {
        let arguments = if name.is_empty() { vec!["--help"] } else { vec![name, "--help"] };
        let output = run(&arguments);
        let help = text(&output.stdout);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{name}");
        assert!(help.contains("\nExamples:\n  mtasts "), "{name}: {help}");
        assert!(name == "completions" || help.contains("Exit status:"), "{name}: {help}");
        let example = help.split("Examples:\n").nth(1).unwrap();
        assert!(example.lines().all(|line| line.len() <= 80), "{name}: {example}");
    }
    let help = text(&run(&["--help"]).stdout);
    for status in 0..=5 {
        assert!(help.contains(&format!("\n  {status}  ")), "{status}: {help}");
    }
}

#[test]
fn every_example_is_understood() {
    for name in subcommands().iter().map(String::as_str).chain([""]) {
        let arguments: Vec<&str> = [name, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let help = text(&run(&arguments).stdout);
        for line in help.split("Examples:\n").nth(1).unwrap().lines() {
            // A remark stands behind two blanks, a redirection behind its sign; a pipe leads into the command.
            let line = line.trim_start().split("| ").last().unwrap();
            let command = line.split("  ").next().unwrap().split(['<', '>']).next().unwrap();
            let words: Vec<&str> = command.split_whitespace().skip(1).collect();
            // An option that there is not stops the reading of the line behind all that there are.
            let output = run(&[&words[..], &["--no-such-option"]].concat());
            let said = text(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{line}");
            assert!(said.contains("unexpected argument '--no-such-option'"), "{line}: {said}");
        }
    }
}

#[test]
fn each_shell_has_completions_that_name_every_subcommand() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{shell}");
        let script = text(&output.stdout);
        for name in subcommands() {
            assert!(script.contains(&name), "{shell}: {name}");
        }
        assert!(script.contains("cache-only"), "{shell}");
    }
    let output = run(&["completions", "csh"]);
    assert!(output.status.code() == Some(2) && text(&output.stderr).contains("bash"), "{output:?}");
}

/// Runs a script in a shell; none, told aloud, where the shell is not there.
fn in_shell(shell: &str, script: &str) -> Option<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("script");
    std::fs::write(&path, script).unwrap();
    match Command::new(shell).arg(&path).env("HOME", directory.path()).output() {
        Ok(output) => {
            assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
            Some(text(&output.stdout))
        }
        Err(_) => {
            println!("SKIPPED: {shell} is not installed");
            // Only bash is installed for the tests.
            let may_skip = shell != "bash" || std::env::var("MTASTS_NO_SKIP").as_deref() != Ok("1");
            assert!(may_skip, "skipped, and MTASTS_NO_SKIP=1 forbids that");
            None
        }
    }
}

#[test]
fn bash_completes_subcommands_options_and_values() {
    let script = text(&run(&["completions", "bash"]).stdout);
    let complete = |words: &str, at: usize| {
        let ask = format!(
            "COMP_WORDS=({words}); COMP_CWORD={at}; _mtasts mtasts \"${{COMP_WORDS[{at}]}}\" \"${{COMP_WORDS[{at}-1]}}\"; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        in_shell("bash", &format!("{script}\n{ask}\n"))
    };
    let Some(subcommand) = complete("mtasts look", 1) else { return };
    assert_eq!(subcommand, "lookup\n");
    assert_eq!(complete("mtasts lookup --expl", 2).unwrap(), "--explain\n");
    let colors = complete("mtasts lookup --color ''", 3).unwrap();
    assert_eq!(colors.split_whitespace().collect::<Vec<_>>(), ["auto", "always", "never"]);
}

#[test]
fn fish_and_zsh_load_their_completions() {
    let script = text(&run(&["completions", "fish"]).stdout);
    if let Some(completed) = in_shell("fish", &format!("{script}\ncomplete --do-complete 'mtasts look'\n")) {
        assert!(completed.starts_with("lookup"), "{completed}");
    }
    let script = text(&run(&["completions", "zsh"]).stdout);
    in_shell("zsh", &format!("autoload -U compinit; compinit -D\n{script}\n"));
}
