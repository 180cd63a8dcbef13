//! What a package holds besides the program: manual pages, completions, units, the image's recipe.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{output_of, pgark};

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("packaging")
        .join(name)
}

/// The verbs that `pgark --help` lists.
fn verbs() -> Vec<String> {
    let help = output_of(pgark().arg("--help"));
    let (_, list) = help.split_once("Commands:\n").unwrap();
    let list = list.split("\n\n").next().unwrap();
    let verbs = list
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    verbs
        .map(|line| line.split_whitespace().next().unwrap().to_owned())
        .collect()
}

/// Runs a checker if it is installed; what is not everywhere is left out by name.
fn checked_by(program: &str, command: &mut Command) -> Option<String> {
    match command.output() {
        Ok(output) => {
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert!(output.status.success(), "{command:?}\n{said}");
            Some(said)
        }
        Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => {
            println!("left out: {program} is not installed");
            None
        }
        Err(problem) => panic!("{program}: {problem}"),
    }
}

#[test]
fn every_verb_has_a_manual_page_that_formats_without_a_warning() {
    let verbs = verbs();
    assert!(
        verbs.len() >= 9 && verbs.contains(&"report".to_owned()),
        "{verbs:?}"
    );
    let folder = tempfile::tempdir().unwrap();
    let said = output_of(pgark().arg("man").arg(folder.path()));
    assert!(
        said.starts_with(&format!("{} pages", verbs.len() + 1)),
        "{said}"
    );
    let pages = verbs.iter().map(|verb| format!("pgark-{verb}.1"));
    let pages: Vec<PathBuf> = pages
        .chain(["pgark.1".to_owned()])
        .map(|name| folder.path().join(name))
        .collect();
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        for part in [
            ".TH",
            ".SH NAME",
            ".SH SYNOPSIS",
            ".SH EXAMPLES",
            ".SH \"SEE ALSO\"",
        ] {
            assert!(text.contains(part), "{}: {part}\n{text}", page.display());
        }
        let mut groff = Command::new("groff");
        groff.args(["-man", "-ww", "-Tutf8", "-z"]).arg(page);
        if let Some(said) = checked_by("groff", &mut groff) {
            assert_eq!(said, "", "{}", page.display());
        }
    }
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        pages.len()
    );
    let mut man = Command::new("groff");
    man.args(["-man", "-Tascii", "-P-c"])
        .arg(folder.path().join("pgark-report.1"));
    if let Some(text) = checked_by("groff", &mut man) {
        // Examples keep their lines.
        assert!(
            text.lines()
                .any(|line| line.trim().starts_with("pgark report -o backups.html  ")),
            "{text}"
        );
    }
}

#[test]
fn completions_are_sound_and_know_every_verb() {
    for (shell, file) in [
        ("bash", "pgark.bash"),
        ("zsh", "_pgark"),
        ("fish", "pgark.fish"),
    ] {
        let text = output_of(pgark().args(["completions", shell]));
        for verb in verbs() {
            assert!(text.contains(&verb), "{shell}: {verb}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        std::fs::write(&path, &text).unwrap();
        let option = if shell == "fish" {
            "--no-execute"
        } else {
            "-n"
        };
        checked_by(shell, Command::new(shell).arg(option).arg(&path));
    }
    // What the shell itself offers after `pgark rep` and TAB.
    let script = "source <(\"$0\" completions bash); COMP_WORDS=(pgark rep); COMP_CWORD=1; _pgark pgark rep pgark; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let offered = output_of(pgark_in("bash").args(["-c", script, env!("CARGO_BIN_EXE_pgark")]));
    assert!(offered.lines().any(|line| line == "report"), "{offered}");
}

fn pgark_in(shell: &str) -> Command {
    let mut command = Command::new(shell);
    command.env("LC_ALL", "C");
    command
}

#[test]
fn the_units_are_sound() {
    let folder = tempfile::tempdir().unwrap();
    for unit in ["pgark@.service", "pgark@.timer"] {
        let text = std::fs::read_to_string(packaging("systemd").join(unit)).unwrap();
        // The program is somewhere else here.
        let text = text.replace("/usr/bin/pgark", env!("CARGO_BIN_EXE_pgark"));
        std::fs::write(folder.path().join(unit.replace('@', "@nightly")), text).unwrap();
    }
    for unit in ["pgark@nightly.service", "pgark@nightly.timer"] {
        let mut verify = Command::new("systemd-analyze");
        verify
            .args(["verify", "--man=no"])
            .arg(folder.path().join(unit))
            .env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()));
        if let Some(said) = checked_by("systemd-analyze", &mut verify) {
            assert!(!said.contains("pgark@"), "{said}");
        }
    }
}

#[test]
fn the_image_is_made_of_nothing_but_the_program_and_runs_as_nobody() {
    let text = std::fs::read_to_string(packaging("Dockerfile")).unwrap();
    let lines = text.replace("\\\n", " ");
    let lines: Vec<Vec<&str>> = lines
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<&str>>())
        .filter(|words| words.first().is_some_and(|word| !word.starts_with('#')))
        .collect();
    let known = [
        "ARG",
        "FROM",
        "RUN",
        "COPY",
        "WORKDIR",
        "ENV",
        "USER",
        "ENTRYPOINT",
        "CMD",
        "LABEL",
        "VOLUME",
    ];
    for words in &lines {
        assert!(known.contains(&words[0]), "{words:?}");
    }
    let last = lines.iter().rposition(|words| words[0] == "FROM").unwrap();
    assert_eq!(lines[last][1], "scratch");
    let image = &lines[last + 1..];
    assert!(
        image.iter().all(|words| words[0] != "RUN"),
        "there is no shell to run"
    );
    assert!(image.contains(&vec!["USER", "65532:65532"]));
    assert!(
        image
            .iter()
            .any(|words| words[0] == "ENTRYPOINT" && words.join(" ").contains("[\"/pgark\"]"))
    );
    assert!(
        image
            .iter()
            .any(|words| words.join(" ").contains("SSL_CERT_FILE="))
    );
    let stages: Vec<&str> = lines
        .iter()
        .filter(|words| words[0] == "FROM")
        .filter_map(|words| words.get(3).copied())
        .collect();
    for words in image.iter().filter(|words| words[0] == "COPY") {
        let from = words[1].strip_prefix("--from=").unwrap();
        assert!(stages.contains(&from), "{words:?}");
    }
    let ignored =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(".dockerignore"))
            .unwrap();
    for folder in ["target", ".git", "backups"] {
        assert!(ignored.lines().any(|line| line == folder), "{folder}");
    }
}
