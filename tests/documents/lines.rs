//! The documents, and the command lines that they print.

use super::harness::root;
use std::fs;
use std::process::{Command, Output, Stdio};

pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Paths below a directory of the repository, by the ends of their names.
pub fn below(directory: &str, is_wanted: fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root().join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                open.push(path);
            } else if is_wanted(&name) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Every document in Markdown that tells somebody what to do.
pub fn markdown() -> Vec<String> {
    let is_markdown = |name: &str| name.ends_with(".md");
    let is_readme = |name: &str| name.starts_with("README");
    let top = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md"].map(str::to_owned);
    let mut documents = top.to_vec();
    documents.extend(below("doc", is_markdown));
    documents.extend(below("examples", is_readme));
    documents.extend(below("packaging", is_readme));
    documents
}

fn manuals() -> Vec<String> {
    below("doc/man", |_| true)
}

/// A command line, where it stands, and below which heading.
#[derive(Clone, Debug)]
pub struct Line {
    pub document: String,
    pub heading: String,
    pub text: String,
    /// What it is shown to print. Three dots stand for anything.
    pub output: Vec<String>,
}

impl Line {
    /// The first line of the shown output that the real one does not have behind those before.
    pub fn missing_in(&self, said: &str) -> Option<&str> {
        let mut said = said.lines();
        let shown = self.output.iter().map(String::as_str).filter(|line| *line != "...");
        shown.into_iter().find(|line| !said.any(|real| fits(line, real)))
    }
}

/// Whether a line is the shown one, in which three dots stand for anything.
fn fits(shown: &str, real: &str) -> bool {
    let mut rest = real;
    for (at, part) in shown.split("...").enumerate() {
        match rest.find(part).filter(|found| at > 0 || *found == 0) {
            Some(found) => rest = &rest[found + part.len()..],
            None => return false,
        }
    }
    rest.is_empty() || shown.ends_with("...")
}

/// Without the remark at its end.
pub fn without_remark(text: &str) -> &str {
    text.split("  # ").next().unwrap().trim_end()
}

/// The command lines of a document in Markdown: indented blocks, blocks of `sh`, and prompts in blocks of `console`.
pub fn of_markdown(document: &str, text: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let (mut heading, mut fence, mut was_blank, mut continues) = (String::new(), None, true, false);
    for line in text.lines() {
        let command = match (fence, line.strip_prefix("```")) {
            (None, Some(kind)) => {
                fence = Some(kind);
                None
            }
            (Some(_), Some(_)) => {
                fence = None;
                None
            }
            (Some("sh"), None) => Some(line),
            (Some("console"), None) => line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")),
            (Some(_), None) => None,
            (None, None) if line.starts_with('#') => {
                heading = line.to_owned();
                None
            }
            (None, None) => line.strip_prefix("    ").filter(|_| was_blank),
        };
        // A block goes on until there is a line that is not indented.
        was_blank = line.is_empty() || fence.is_none() && was_blank && line.starts_with("    ");
        let Some(command) = command.filter(|command| !command.trim().is_empty()) else { continue };
        let text = without_remark(command).to_owned();
        let end = text.strip_suffix('\\').map(str::trim_end);
        match lines.last_mut().filter(|_| continues) {
            Some(last) => last.text = format!("{} {}", last.text, end.unwrap_or(&text).trim()),
            None => lines.push(Line {
                document: document.to_owned(),
                heading: heading.clone(),
                text: end.unwrap_or(&text).to_owned(),
                output: Vec::new(),
            }),
        }
        continues = end.is_some();
    }
    lines
}

/// Text of a manual as a reader sees it.
fn unescaped(text: &str) -> String {
    text.replace("\\-", "-").replace("\\e", "\\").replace("\\&", "")
}

/// The command lines of a manual: displays of one line, and prompts in literal displays.
pub fn of_manual(document: &str, text: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let (mut heading, mut is_display, mut has_prompt) = (String::new(), false, false);
    for line in text.lines() {
        if line.starts_with(".Sh ") || line.starts_with(".Ss ") {
            heading = line.to_owned();
        }
        has_prompt = has_prompt && !line.starts_with(".Bd");
        is_display = is_display && line != ".Ed" || line.starts_with(".Bd -literal");
        let command = line.strip_prefix(".Dl ").or_else(|| line.strip_prefix("$ ").filter(|_| is_display));
        if let Some(command) = command {
            let text = without_remark(&unescaped(command)).to_owned();
            lines.push(Line { document: document.to_owned(), heading: heading.clone(), text, output: Vec::new() });
            has_prompt = is_display;
        } else if is_display && has_prompt {
            lines.last_mut().unwrap().output.push(unescaped(line));
        }
    }
    lines
}

pub fn mtasts(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mtasts")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What `--help` shows of the command and of each of its subcommands.
fn helps() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<String> = vec![String::new()];
    while let Some(path) = open.pop() {
        let arguments: Vec<&str> = path.split_whitespace().chain(["--help"]).collect();
        let help = String::from_utf8(mtasts(&arguments).stdout).unwrap();
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
        let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = names.map(|line| line.split_whitespace().next().unwrap()).filter(|name| *name != "help");
        open.extend(names.map(|name| format!("{path} {name}").trim().to_owned()));
        found.push((format!("mtasts {path} --help"), help));
    }
    found
}

/// The examples at the end of a help text; two blanks part them from what they do.
pub fn of_help(document: &str, text: &str) -> Vec<Line> {
    let Some((_, examples)) = text.split_once("Examples:\n") else { return Vec::new() };
    let lines = examples.lines().take_while(|line| line.starts_with("  "));
    let commands = lines.map(|line| line.trim().split("  ").next().unwrap().to_owned());
    commands
        .map(|text| Line { document: document.to_owned(), heading: "Examples".to_owned(), text, output: Vec::new() })
        .collect()
}

pub fn all_lines() -> Vec<Line> {
    let markdown = markdown().into_iter().flat_map(|name| of_markdown(&name, &read(&name)));
    let manuals = manuals().into_iter().flat_map(|name| of_manual(&name, &read(&name)));
    let helps = helps().into_iter().flat_map(|(name, help)| of_help(&name, &help));
    markdown.chain(manuals).chain(helps).collect()
}
