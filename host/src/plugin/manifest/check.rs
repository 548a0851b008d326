//! What JSON alone does not say of a manifest: names that are told apart, and defaults that their own ranges allow.

use std::collections::HashSet;

use super::{Manifest, Parameter, ParameterKind};
use crate::file::excerpt;

/// Most parameters, those of tables included. `alert-limit` has eight.
const MOST_PARAMETERS: usize = 1_000;
/// Most problems that are told; of further ones their number.
const MOST_PROBLEMS: usize = 20;

/// All that is wrong, or its beginning.
pub(super) fn problems(manifest: &Manifest) -> Vec<String> {
    let has = number_of(&manifest.parameters);
    if has > MOST_PARAMETERS {
        return vec![format!("it has {has} parameters: at most {MOST_PARAMETERS} are allowed")];
    }
    let mut problems = Problems::default();
    for (key, text) in [("name", &manifest.name), ("version", &manifest.version)] {
        if text.trim().is_empty() {
            problems.tell(&format!("`{key}` is empty"));
        }
    }
    of_parameters(&mut problems, "", &manifest.parameters);
    problems.all()
}

#[derive(Default)]
struct Problems {
    told: Vec<String>,
    more: usize,
}

impl Problems {
    /// What is in a manifest may be as long as it.
    fn tell(&mut self, problem: &str) {
        if self.told.len() < MOST_PROBLEMS {
            self.told.push(excerpt(problem));
        } else {
            self.more += 1;
        }
    }

    fn all(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        self.told
    }
}

/// Those of a table.
fn inner(parameter: &Parameter) -> Option<&[Parameter]> {
    match &parameter.kind {
        ParameterKind::Table { parameters } | ParameterKind::PerSensor { parameters } => {
            Some(parameters)
        }
        _ => None,
    }
}

fn number_of(parameters: &[Parameter]) -> usize {
    let inside = |parameter| inner(parameter).map_or(0, number_of);
    parameters.len() + parameters.iter().map(inside).sum::<usize>()
}

fn of_parameters(problems: &mut Problems, path: &str, parameters: &[Parameter]) {
    let mut names = HashSet::new();
    for parameter in parameters {
        let key = format!("{path}{}", parameter.name);
        if parameter.name.is_empty() {
            problems.tell(&format!("a parameter of `{path}` has an empty name"));
        }
        if !names.insert(&parameter.name) {
            problems.tell(&format!("parameter `{key}` is there twice"));
        }
        if let Some(problem) = of_range(parameter).or_else(|| of_default(parameter)) {
            problems.tell(&format!("parameter `{key}`: {problem}"));
        }
        if let Some(parameters) = inner(parameter) {
            of_parameters(problems, &format!("{key}."), parameters);
        }
    }
}

fn of_range(parameter: &Parameter) -> Option<String> {
    let (min, max) = (parameter.min, parameter.max);
    if let (Some(min), Some(max)) = (min, max)
        && min > max
    {
        return Some(format!("`min` is {min} and `max` is {max}: no number is allowed"));
    }
    if let Some(step) = parameter.step
        && step <= 0.0
    {
        return Some(format!("`step` is {step}: must be above 0"));
    }
    match &parameter.kind {
        ParameterKind::Choice { choices } if choices.is_empty() => {
            Some("`choices` is empty: no word is allowed".to_owned())
        }
        _ => None,
    }
}

fn of_default(parameter: &Parameter) -> Option<String> {
    let default = parameter.default.as_ref()?;
    if parameter.required {
        return Some(
            "it is `required`, so its `default` never holds: leave one of them out".to_owned(),
        );
    }
    let (fits, must) = match &parameter.kind {
        ParameterKind::Number => (in_range(default.as_f64(), parameter), "a number in its range"),
        ParameterKind::Integer => {
            let whole = default.is_i64() || default.is_u64();
            (whole && in_range(default.as_f64(), parameter), "a whole number in its range")
        }
        ParameterKind::Boolean => (default.is_boolean(), "true or false"),
        ParameterKind::Text => (default.is_string(), "a text"),
        ParameterKind::Duration => {
            let duration = default.as_str().and_then(|text| humantime::parse_duration(text).ok());
            let secs = duration.map(|duration| duration.as_secs_f64());
            (in_range(secs, parameter), "a duration in its range, such as \"5m\"")
        }
        ParameterKind::Choice { choices } => {
            let word = default.as_str();
            (
                word.is_some_and(|word| choices.iter().any(|choice| choice == word)),
                "one of its `choices`",
            )
        }
        ParameterKind::Table { .. } | ParameterKind::PerSensor { .. } => {
            (false, "left out: a table has none")
        }
    };
    (!fits).then(|| format!("its `default` is {default}: must be {must}"))
}

fn in_range(number: Option<f64>, parameter: &Parameter) -> bool {
    let low = parameter.min.unwrap_or(f64::MIN);
    let high = parameter.max.unwrap_or(f64::MAX);
    number.is_some_and(|number| (low..=high).contains(&number))
}

#[cfg(test)]
mod tests {
    use crate::plugin::Manifest;

    /// What is wrong with a manifest that has these parameters; empty when it is good.
    fn wrong(parameters: &str) -> String {
        let text = format!(
            r#"{{"api":"0.1.0","kind":"filter","name":"n","version":"1","description":"d","parameters":[{parameters}]}}"#
        );
        Manifest::read(text.as_bytes()).map_or_else(|error| error.to_string(), |_| String::new())
    }

    #[test]
    fn a_default_fits_its_own_type_and_range() {
        for (rest, expected) in [
            (r#""type":"number","default":1.5,"min":1,"max":2"#, ""),
            (
                r#""type":"number","default":3,"min":1,"max":2"#,
                "`p`: its `default` is 3: must be a number in its range",
            ),
            (r#""type":"number","default":"1""#, "must be a number"),
            (r#""type":"integer","default":5,"min":1"#, ""),
            (r#""type":"integer","default":5.5"#, "must be a whole number"),
            (r#""type":"boolean","default":true"#, ""),
            (r#""type":"boolean","default":0"#, "must be true or false"),
            (r#""type":"text","default":"x""#, ""),
            (r#""type":"text","default":1"#, "must be a text"),
            (r#""type":"duration","default":"10m","min":1"#, ""),
            (r#""type":"duration","default":"10 moons""#, "must be a duration"),
            (r#""type":"duration","default":"10m","max":60"#, "must be a duration"),
            (r#""type":"choice","choices":["a","b"],"default":"b""#, ""),
            (
                r#""type":"choice","choices":["a","b"],"default":"c""#,
                "must be one of its `choices`",
            ),
            (r#""type":"choice","choices":[]"#, "`choices` is empty"),
            (r#""type":"table","parameters":[],"default":{}"#, "a table has none"),
            (r#""type":"number","default":1,"required":true"#, "`required`"),
            (r#""type":"number","min":2,"max":1"#, "`min` is 2 and `max` is 1"),
            (r#""type":"number","step":0"#, "`step` is 0"),
            (r#""type":"float""#, "unknown variant `float`"),
        ] {
            let wrong = wrong(&format!(r#"{{"name":"p","description":"d",{rest}}}"#));
            assert!(
                wrong.contains(expected) && expected.is_empty() == wrong.is_empty(),
                "{rest}: {wrong}"
            );
        }
    }

    #[test]
    fn all_problems_are_told_at_once_with_their_paths() {
        let wrong = wrong(
            r#"{"name":"a","description":"","type":"text"},{"name":"a","description":"","type":"text"},
            {"name":"s","description":"","type":"per-sensor","parameters":[
                {"name":"low","description":"","type":"number","default":9,"max":1}]}"#,
        );
        assert_eq!(
            wrong,
            "its manifest is wrong: parameter `a` is there twice; parameter `s.low`: its `default` is 9: \
             must be a number in its range"
        );
    }

    #[test]
    fn what_is_told_is_bounded_however_much_is_wrong() {
        let parameters = |count: usize| {
            let one = r#"{"name":"a","description":"","type":"text"}"#;
            vec![one; count].join(",")
        };
        let twice = wrong(&parameters(1_000));
        assert_eq!(twice.matches("is there twice").count(), 20);
        assert!(twice.ends_with("; and 979 more"), "{twice}");
        let table = format!(
            r#"{{"name":"t","description":"","type":"table","parameters":[{}]}}"#,
            parameters(1_000)
        );
        assert!(wrong(&table).contains("it has 1001 parameters: at most 1000 are allowed"));
        let long = parameters(2).replace(r#""a""#, &format!(r#""{}""#, "a".repeat(100_000)));
        assert!(wrong(&long).len() < 1_000);
    }
}
