//! Which toolchain made a file, and how it is told to leave out what no plugin may import.

use wasmparser::{KnownCustom, Payload};

/// A toolchain whose imports can be got rid of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// Python.
    ComponentizePy,
    /// JavaScript with SpiderMonkey.
    ComponentizeJs,
    /// JavaScript with QuickJS.
    ComponentizeQjs,
    /// Go.
    TinyGo,
    /// Go's own compiler.
    Go,
    /// C and C++.
    Clang,
    /// Rust.
    Rust,
}

impl Toolchain {
    /// What leaves the imports out.
    fn remedy(self) -> &'static str {
        match self {
            Toolchain::ComponentizePy => {
                "componentize-py made it: build with `componentize-py … componentize --stub-wasi`"
            }
            Toolchain::ComponentizeJs => {
                "componentize-js made it: build with `jco componentize --disable all`, or in its API with \
                 `disableFeatures: [\"stdio\", \"random\", \"clocks\", \"http\", \"fetch-event\"]`"
            }
            Toolchain::ComponentizeQjs => {
                "componentize-qjs made it: build with `componentize-qjs --sync --stub-wasi`, or with `jco \
                 componentize --backend qjs --backend-qjs-disable-async --backend-qjs-stub-wasi`"
            }
            Toolchain::TinyGo => {
                "TinyGo made it: build with `-target=wasm-unknown -buildmode=c-shared` instead of a wasi target"
            }
            Toolchain::Go => {
                "Go's own compiler made it, whose runtime always needs a host of its own: build with `tinygo build \
                 -target=wasm-unknown -buildmode=c-shared`"
            }
            Toolchain::Clang => {
                "clang made it: build with `--target=wasm32-unknown-unknown -nostdlib -Wl,--no-entry` instead of a \
                 wasi target, and define what the linker then misses"
            }
            Toolchain::Rust => {
                "rustc made it: build with `--target wasm32-unknown-unknown` instead of a wasi target"
            }
        }
    }
}

/// What the parts of a file say of who made them.
#[derive(Debug, Default)]
pub(super) struct Makers {
    found: Vec<Toolchain>,
}

impl Makers {
    /// Looks at one part of the file. What cannot be read says nothing: it must not make a file better or worse.
    pub(super) fn see(&mut self, payload: &Payload<'_>) {
        match payload {
            Payload::CustomSection(section) => {
                let KnownCustom::Producers(fields) = section.as_known() else { return };
                for field in fields.into_iter().flatten() {
                    for value in field.values.into_iter().flatten() {
                        self.add(of_producer(value.name));
                    }
                }
            }
            Payload::ImportSection(imports) => {
                for import in imports.clone().into_imports().flatten() {
                    self.add(of_import(import.module));
                }
            }
            _ => {}
        }
    }

    fn add(&mut self, toolchain: Option<Toolchain>) {
        if let Some(toolchain) = toolchain.filter(|toolchain| !self.found.contains(toolchain)) {
            self.found.push(toolchain);
        }
    }

    /// The one that its author called. Interpreters are themselves made by rustc and clang, so those come last.
    fn outermost(&self) -> Option<Toolchain> {
        use Toolchain::{Clang, ComponentizeJs, ComponentizePy, ComponentizeQjs, Go, Rust, TinyGo};
        let order = [ComponentizePy, ComponentizeJs, ComponentizeQjs, TinyGo, Go, Rust, Clang];
        order.into_iter().find(|toolchain| self.found.contains(toolchain))
    }

    /// What to do about imports that no plugin may have.
    pub(super) fn remedy(&self, imports: &[String]) -> &'static str {
        let wasi = |import: &String| import.starts_with("wasi") || import.starts_with("gojs");
        let known = self.outermost();
        if imports.iter().all(wasi) {
            return known.map_or(
                "WASI is never given: build for wasm32-unknown-unknown, or have the toolchain replace WASI by stubs",
                Toolchain::remedy,
            );
        }
        if imports.iter().any(wasi) {
            return "neither WASI nor functions of another host are given: build for wasm32-unknown-unknown, and \
                    take out what calls the others";
        }
        if imports.iter().any(|import| import.starts_with("env#")) {
            // What a linker makes of functions that nobody defined.
            return "functions of `env` were called and never defined: define them or take out what calls them";
        }
        "only weir:plugin/host@0.1.0 is given: take out what calls the others"
    }
}

/// By a name in the custom section `producers`, under `language`, `processed-by` or `sdk`.
fn of_producer(name: &str) -> Option<Toolchain> {
    Some(match name {
        "componentize-py" => Toolchain::ComponentizePy,
        "ComponentizeJS" => Toolchain::ComponentizeJs,
        "componentize-qjs" => Toolchain::ComponentizeQjs,
        "TinyGo" => Toolchain::TinyGo,
        "Go cmd/compile" | "Go" => Toolchain::Go,
        "Rust" | "rustc" => Toolchain::Rust,
        // Debian calls its own "Debian clang".
        _ if name == "clang" || name.ends_with(" clang") => Toolchain::Clang,
        _ => return None,
    })
}

/// By what a part of the file imports from other parts of it: these toolchains write no `producers` of their own.
fn of_import(module: &str) -> Option<Toolchain> {
    Some(match module {
        "gojs" => Toolchain::Go,
        _ if module.contains("componentize_py_runtime") => Toolchain::ComponentizePy,
        _ if module.contains("componentize_qjs_runtime") => Toolchain::ComponentizeQjs,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::plugin::{FileError, HostLimits, PluginFile};

    /// A `producers` section with one field of one value.
    fn producers(field: &str, name: &str) -> String {
        let text = |text: &str| format!("\\{:02x}{text}", text.len());
        format!(r#"(@custom "producers" "\01{}\01{}{}")"#, text(field), text(name), text("1.2.3"))
    }

    fn refused(wat: &str) -> String {
        let bytes = wat::parse_str(wat).unwrap_or_else(|e| panic!("{e}: {wat}"));
        let error = PluginFile::check(bytes, &HostLimits::default()).unwrap_err();
        assert!(matches!(error, FileError::ForeignImports { .. }), "{error}");
        error.to_string()
    }

    #[test]
    fn a_refused_import_says_which_flag_of_its_toolchain_leaves_it_out() {
        let wasi_module = r#"(import "wasi_snapshot_preview1" "fd_write" (func (param i32 i32 i32 i32) (result i32)))"#;
        for (field, name, expected) in [
            ("language", "Rust", "`--target wasm32-unknown-unknown`"),
            ("processed-by", "rustc", "`--target wasm32-unknown-unknown`"),
            ("processed-by", "clang", "`--target=wasm32-unknown-unknown -nostdlib"),
            ("processed-by", "Debian clang", "`--target=wasm32-unknown-unknown -nostdlib"),
            ("processed-by", "TinyGo", "`-target=wasm-unknown -buildmode=c-shared`"),
            ("processed-by", "Go cmd/compile", "tinygo build"),
            ("processed-by", "ComponentizeJS", "`jco componentize --disable all`"),
            ("processed-by", "componentize-py", "--stub-wasi`"),
            ("processed-by", "somebody", "WASI is never given: build for wasm32-unknown-unknown"),
        ] {
            let text = refused(&format!("(module {wasi_module} {})", producers(field, name)));
            assert!(
                text.contains("wasi_snapshot_preview1#fd_write; ") && text.contains(expected),
                "{name}: {text}"
            );
            let text = refused(&format!(
                r#"(component (import "wasi:cli/exit@0.2.6" (instance)) (core module {}))"#,
                producers(field, name)
            ));
            assert!(
                text.contains("wasi:cli/exit@0.2.6; ") && text.contains(expected),
                "{name}: {text}"
            );
        }
    }

    #[test]
    fn a_toolchain_that_does_not_name_itself_is_known_by_its_parts() {
        for (module, expected) in [
            ("libcomponentize_py_runtime.so", "--stub-wasi`"),
            (
                "componentize_qjs_runtime.wasm",
                "--backend-qjs-disable-async --backend-qjs-stub-wasi`",
            ),
        ] {
            // Made by rustc, as their interpreters are.
            let text = refused(&format!(
                r#"(component (import "wasi:io/poll@0.2.0" (instance))
                    (core module (import "{module}" "f" (func)) {}))"#,
                producers("language", "Rust")
            ));
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn imports_beside_wasi_are_told_apart() {
        for (imports, expected) in [
            (
                r#"(import "env" "sqrt" (func))"#,
                "env#sqrt; functions of `env` were called and never defined",
            ),
            (r#"(import "math" "sqrt" (func))"#, "math#sqrt; only weir:plugin/host@0.1.0 is given"),
            (
                r#"(import "math" "sqrt" (func)) (import "wasi_unstable" "f" (func))"#,
                "math#sqrt, wasi_unstable#f; neither WASI nor functions of another host are given",
            ),
        ] {
            let text = refused(&format!("(module {imports} {})", producers("language", "Rust")));
            assert!(text.contains(expected), "{text}");
        }
    }

    #[test]
    fn a_damaged_producers_section_changes_nothing() {
        let text = refused(
            r#"(module (import "wasi_unstable" "f" (func)) (@custom "producers" "\ff\ff\ff\ff\0f\01"))"#,
        );
        assert!(text.contains("WASI is never given"), "{text}");
    }
}
