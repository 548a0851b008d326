//! What is wrong with a pipeline file: all of it at once, each with its place.

use std::fmt;
use std::ops::Range;

use crate::file::printable;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// Key, value and what is allowed.
    pub text: String,
}

/// All that is wrong with one file, in its order. Each prints as `file:line:column: text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// The file's name as the user gave it.
    pub file: String,
    /// At least one.
    pub list: Vec<Problem>,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, Problem { line, column, text }) in self.list.iter().enumerate() {
            let end = if position + 1 < self.list.len() { "\n" } else { "" };
            write!(f, "{}:{line}:{column}: {text}{end}", printable(&self.file))?;
        }
        Ok(())
    }
}

/// A file's text and the problems found in it so far.
pub(super) struct Source<'a> {
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    problems: Vec<Problem>,
}

/// Most problems that are told of one file; who has more has given another kind of file.
const MOST_PROBLEMS: usize = 200;
/// How much of a value is repeated in a message, in characters.
const LONGEST_EXCERPT: usize = 60;

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let ends = text.match_indices('\n').map(|(end, _)| end + 1);
        Source { text, lines: [0].into_iter().chain(ends).collect(), problems: Vec::new() }
    }

    /// Notes a problem at a place in the text.
    pub(super) fn problem(&mut self, span: &Range<usize>, text: String) {
        let line = self.lines.partition_point(|begin| *begin <= span.start);
        let begin = self.lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column =
            self.text.get(begin..span.start).map_or(0, |before| before.chars().count()) + 1;
        self.problems.push(Problem { line, column, text: printable(&text) });
    }

    /// A value as the user wrote it, in one line.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> String {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let mut excerpt: String = written.chars().take(LONGEST_EXCERPT).collect();
        if excerpt.len() < written.len() {
            excerpt.push('…');
        }
        excerpt.replace("\r\n", " ").replace('\n', " ")
    }

    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        if let Some(last) = self.problems.get(MOST_PROBLEMS).cloned() {
            let more = self.problems.len() - MOST_PROBLEMS;
            self.problems.truncate(MOST_PROBLEMS);
            self.problems
                .push(Problem { text: format!("and {more} more problems from here on"), ..last });
        }
        self.problems
    }
}
