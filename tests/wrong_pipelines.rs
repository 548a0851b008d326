//! Wrong pipeline files, each beside the exact text that the user sees. `WEIR_REWRITE=1 cargo test` writes the
//! texts anew; read the difference before you commit it.

use std::fs;
use std::path::Path;

use weir::pipeline::{check, load};

use crate::support::{Running, repository, weir};

#[test]
fn each_wrong_file_gives_the_text_beside_it() {
    let folder = repository("tests/wrong-pipelines");
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    assert!(files.len() >= 10, "{files:?}");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_str().unwrap();
        // As a user in that folder would give it.
        let problems = match check(name, &text, Path::new("../tests/wrong-pipelines")) {
            Ok(_) => panic!("{name} is not wrong"),
            Err(problems) => format!("{problems}\n"),
        };
        let golden = file.with_extension("txt");
        if std::env::var_os("WEIR_REWRITE").is_some() {
            fs::write(&golden, &problems).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(problems, expected, "{name}; WEIR_REWRITE=1 writes it anew");
    }
}

#[test]
fn six_mistakes_give_six_lines_with_line_and_column() {
    let file = repository("tests/wrong-pipelines/six-mistakes.toml");
    let (status, lines) = Running::start(weir(&["check", file.to_str().unwrap()])).end();
    assert_eq!(status.code(), Some(1));
    assert_eq!(lines.len(), 6, "{lines:#?}");
    for line in lines {
        let place = line.split("six-mistakes.toml:").nth(1).unwrap();
        let numbers: Vec<_> =
            place.splitn(3, ':').take(2).map(|n| n.parse::<usize>().unwrap()).collect();
        assert_eq!(numbers.len(), 2, "{line}");
    }
}

#[test]
fn every_example_is_right() {
    let mut examples = 0;
    for entry in fs::read_dir(repository("pipelines")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            load(&file).unwrap_or_else(|problems| panic!("{problems}"));
            examples += 1;
        }
    }
    assert!(examples >= 3);
}

#[test]
fn the_readmes_examples_are_the_files() {
    // No value of these has a `#`.
    let bare = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap().trim().to_owned());
        lines.filter(|line| !line.is_empty()).collect()
    };
    let readme = fs::read_to_string(repository("README.md")).unwrap();
    let mut examples = 0;
    for part in readme.split("](pipelines/").skip(1) {
        let (name, rest) = part.split_once(')').unwrap();
        if !rest.trim_start().starts_with("without its comments") {
            continue;
        }
        let shown = rest.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
        let file = fs::read_to_string(repository("pipelines").join(name)).unwrap();
        assert_eq!(bare(shown), bare(&file), "{name}");
        examples += 1;
    }
    assert_eq!(examples, 3);
}

#[test]
fn no_text_makes_the_checker_panic() {
    let sound = fs::read_to_string(repository("pipelines/demo.toml")).unwrap();
    // Every way to cut the file off, and every way to lose one line.
    for end in (0..sound.len()).filter(|end| sound.is_char_boundary(*end)) {
        drop(check("cut.toml", &sound[..end], Path::new(".")));
    }
    let lines: Vec<&str> = sound.lines().collect();
    for lost in 0..lines.len() {
        let rest: Vec<&str> =
            lines.iter().enumerate().filter(|(at, _)| *at != lost).map(|(_, line)| *line).collect();
        drop(check("lost.toml", &rest.join("\n"), Path::new(".")));
    }
}
