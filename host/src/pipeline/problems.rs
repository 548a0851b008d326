//! What is wrong with a pipeline file: all of it at once, each with its place.

use std::fmt;
use std::ops::Range;

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
            write!(f, "{}:{line}:{column}: {text}{end}", self.file)?;
        }
        Ok(())
    }
}

/// A file's text and the problems found in it so far.
pub(super) struct Source<'a> {
    text: &'a str,
    problems: Vec<Problem>,
}

/// How much of a value is repeated in a message, in characters.
const LONGEST_EXCERPT: usize = 60;

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Source { text, problems: Vec::new() }
    }

    /// Notes a problem at a place in the text.
    pub(super) fn problem(&mut self, span: &Range<usize>, text: String) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let last_line = before.rsplit('\n').next().unwrap_or_default();
        self.problems.push(Problem { line, column: last_line.chars().count() + 1, text });
    }

    /// A value as the user wrote it, in one line.
    pub(super) fn excerpt(&self, span: &Range<usize>) -> String {
        let written = self.text.get(span.clone()).unwrap_or_default();
        let mut excerpt: String = written.chars().take(LONGEST_EXCERPT).collect();
        if excerpt.len() < written.len() {
            excerpt.push('…');
        }
        excerpt.replace('\n', " ")
    }

    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems.dedup();
        self.problems
    }
}
