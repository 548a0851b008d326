//! The parameter tables of the plugins' READMEs, made from the manifests. `WEIR_REWRITE=1 cargo test` writes them anew.

use std::fmt::Write as _;
use std::fs;

use weir::plugin::{HostLimits, Parameter, ParameterKind, PluginFile, STANDARD};

use crate::support::repository;

const BEGIN: &str = "<!-- parameters: begin -->\n";
const END: &str = "<!-- parameters: end -->";

#[test]
fn readme_tables_are_the_manifests() {
    for (name, bytes) in STANDARD {
        let manifest = PluginFile::check(bytes, &HostLimits::default()).unwrap().manifest;
        assert_eq!(manifest.name, name);
        let mut table = String::from(
            "| parameter | type | default | allowed | unit | description |\n| --- | --- | --- | --- | --- | --- |\n",
        );
        rows(&mut table, "", &manifest.parameters);
        let file = repository(&format!("plugins/{name}/README.md"));
        let text = fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once(BEGIN).expect("the README has the marker");
        let (written, after) = rest.split_once(END).expect("the README has the end marker");
        if std::env::var_os("WEIR_REWRITE").is_some() {
            fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
            continue;
        }
        assert_eq!(written, table, "{name}; WEIR_REWRITE=1 writes it anew");
    }
}

fn rows(table: &mut String, path: &str, parameters: &[Parameter]) {
    for parameter in parameters {
        let Parameter { name, description, kind, required, default, min, max, step, unit } =
            parameter;
        let (word, inner) = match kind {
            ParameterKind::Number => ("number", None),
            ParameterKind::Integer => ("integer", None),
            ParameterKind::Boolean => ("boolean", None),
            ParameterKind::Text => ("text", None),
            ParameterKind::Duration => ("duration", None),
            ParameterKind::Choice { .. } => ("choice", None),
            ParameterKind::Table { parameters } => {
                ("table", Some((format!("{path}{name}."), parameters)))
            }
            ParameterKind::PerSensor { parameters } => {
                ("table by sensor", Some((format!("{path}{name}.NAME."), parameters)))
            }
        };
        let default = match (default, required) {
            (Some(default), _) => format!("`{default}`"),
            (None, true) => "required".to_owned(),
            (None, false) => String::new(),
        };
        let seconds = if matches!(kind, ParameterKind::Duration) { " s" } else { "" };
        let number = |bound: &Option<f64>| bound.map(|bound| format!("{bound}{seconds}"));
        let allowed = match (kind, number(min), number(max)) {
            (ParameterKind::Choice { choices }, ..) => choices.join(", "),
            (_, Some(min), Some(max)) => format!("{min} to {max}"),
            (_, Some(min), None) => format!("from {min}"),
            (_, None, Some(max)) => format!("up to {max}"),
            (_, None, None) => String::new(),
        };
        let allowed = match step {
            Some(step) => format!("{allowed} in steps of {step}"),
            None => allowed,
        };
        let unit = unit.as_deref().unwrap_or_default();
        writeln!(
            table,
            "| `{path}{name}` | {word} | {default} | {allowed} | {unit} | {description} |"
        )
        .unwrap();
        if let Some((path, inner)) = inner {
            rows(table, &path, inner);
        }
    }
}
