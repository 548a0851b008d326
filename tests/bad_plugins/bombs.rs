//! Files that cost more than they look: nested, wide, slow to compile, or greedy for handles.

use wasm_encoder::{
    BlockType, CanonicalFunctionSection, CodeSection, Component, ComponentSection,
    ComponentTypeSection, CustomSection, EntityType, ExportSection, Function, FunctionSection,
    ImportSection, Instruction, ModuleArg, ModuleSection, NestedComponentSection, StartSection,
    TypeSection, ValType,
};

/// Components in each other, so many deep. Each level is a few bytes.
pub fn nested(depth: usize) -> Vec<u8> {
    let mut inner = Component::new().finish();
    // Each further level would copy all inner ones; sections are put in front of them instead, from the inside out.
    let mut reversed: Vec<u8> = inner.iter().rev().copied().collect();
    for _ in 1..depth {
        let mut length = Vec::new();
        wasm_encoder::Encode::encode(&reversed.len(), &mut length);
        reversed.extend(length.iter().rev());
        reversed.push(u8::from(wasm_encoder::ComponentSectionId::Component));
        reversed.extend(Component::HEADER.iter().rev());
    }
    inner.clear();
    inner.extend(reversed.iter().rev());
    inner
}

/// A component with so many others beside each other in it.
pub fn wide(components: usize) -> Vec<u8> {
    let mut outer = Component::new();
    let inner = Component::new();
    for _ in 0..components {
        outer.section(&NestedComponentSection(&inner));
    }
    outer.finish()
}

/// A good component with so many modules, each instantiated.
pub fn crowd(good: &[u8], modules: usize) -> Vec<u8> {
    let indices = Indices::of(good);
    let mut bytes = good.to_vec();
    let mut instances = wasm_encoder::InstanceSection::new();
    for number in 0..modules {
        append(&mut bytes, &ModuleSection(&wasm_encoder::Module::new()));
        let none: [(&str, ModuleArg); 0] = [];
        instances.instantiate(indices.modules + u32::try_from(number).unwrap(), none);
    }
    append(&mut bytes, &instances);
    bytes
}

/// A good component that makes handles of a resource of its own, without end, when it is instantiated.
pub fn handles(good: &[u8]) -> Vec<u8> {
    let indices = Indices::of(good);
    let mut bytes = good.to_vec();
    let mut types = ComponentTypeSection::new();
    types.resource(ValType::I32, None);
    append(&mut bytes, &types);
    let mut canonical = CanonicalFunctionSection::new();
    canonical.resource_new(indices.types);
    append(&mut bytes, &canonical);

    let mut types = TypeSection::new();
    types.ty().function([ValType::I32], [ValType::I32]);
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    imports.import("host", "new", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    functions.function(1);
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instruction(&Instruction::Loop(BlockType::Empty));
    body.instruction(&Instruction::I32Const(1));
    body.instruction(&Instruction::Call(0));
    body.instruction(&Instruction::Drop);
    body.instruction(&Instruction::Br(0));
    body.instruction(&Instruction::End);
    body.instruction(&Instruction::End);
    code.function(&body);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports).section(&functions);
    module.section(&StartSection { function_index: 1 }).section(&code);
    append(&mut bytes, &ModuleSection(&module));

    let mut instances = wasm_encoder::InstanceSection::new();
    instances.export_items([("new", wasm_encoder::ExportKind::Func, indices.core_functions)]);
    instances.instantiate(indices.modules, [("host", ModuleArg::Instance(indices.core_instances))]);
    append(&mut bytes, &instances);
    bytes
}

/// A good component with one more module in it, which is never instantiated: all of it is compiled all the same.
pub fn with_module(good: &[u8], module: &wasm_encoder::Module) -> Vec<u8> {
    let mut bytes = good.to_vec();
    append(&mut bytes, &ModuleSection(module));
    bytes
}

/// One function whose loops, in each other, all carry all its locals: a compiler that brings it into SSA form makes
/// `locals` × `depth` values of it. The file grows by their sum only.
pub fn many_locals(locals: u32, depth: u32) -> wasm_encoder::Module {
    let mut body = Function::new([(locals, ValType::I32)]);
    for _ in 0..depth {
        body.instruction(&Instruction::Loop(BlockType::Empty));
    }
    for local in 0..locals {
        body.instruction(&Instruction::LocalGet(local));
        body.instruction(&Instruction::I32Const(1));
        body.instruction(&Instruction::I32Add);
        body.instruction(&Instruction::LocalSet(local));
    }
    for level in 0..depth {
        body.instruction(&Instruction::LocalGet(level % locals));
        body.instruction(&Instruction::BrIf(0));
        body.instruction(&Instruction::End);
    }
    body.instruction(&Instruction::End);
    one_function(&body)
}

/// So many functions that do nothing much.
pub fn many_functions(count: u32) -> wasm_encoder::Module {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    let mut code = CodeSection::new();
    let mut body = Function::new([]);
    body.instruction(&Instruction::End);
    for _ in 0..count {
        functions.function(0);
        code.function(&body);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&code);
    module
}

/// Tables of jumps, each as long as the blocks around it are deep, all with all locals alive.
pub fn jump_tables(depth: u32, tables: u32) -> wasm_encoder::Module {
    let mut body = Function::new([(1, ValType::I32)]);
    for _ in 0..depth {
        body.instruction(&Instruction::Block(BlockType::Empty));
    }
    let targets: Vec<u32> = (0..depth).collect();
    for _ in 0..tables {
        body.instruction(&Instruction::Block(BlockType::Empty));
        body.instruction(&Instruction::LocalGet(0));
        body.instruction(&Instruction::BrTable(targets.clone().into(), 0));
        body.instruction(&Instruction::End);
    }
    for _ in 0..=depth {
        body.instruction(&Instruction::End);
    }
    one_function(&body)
}

/// A module of types that all differ.
pub fn many_types(count: u32) -> Vec<u8> {
    let kinds = [ValType::I32, ValType::I64, ValType::F32, ValType::F64];
    let mut types = TypeSection::new();
    for number in 0..count {
        // Ten digits of two bits: more than a million.
        let parameters = (0..10).map(|digit| kinds[(number >> (2 * digit)) as usize % 4]);
        types.ty().function(parameters, []);
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types);
    module.finish()
}

/// A component of lists of numbers.
pub fn many_component_types(count: u32) -> Vec<u8> {
    let mut types = ComponentTypeSection::new();
    for _ in 0..count {
        types.defined_type().list(wasm_encoder::PrimitiveValType::U8);
    }
    let mut component = Component::new();
    component.section(&types);
    component.finish()
}

/// A component of records with one field.
pub fn many_records(count: u32) -> Vec<u8> {
    let mut types = ComponentTypeSection::new();
    for _ in 0..count {
        types.defined_type().record([("a", wasm_encoder::PrimitiveValType::U8)]);
    }
    let mut component = Component::new();
    component.section(&types);
    component.finish()
}

/// A component of records that have so many fields.
pub fn wide_records(records: u32, fields: u32) -> Vec<u8> {
    let names: Vec<String> = (0..fields).map(|number| format!("a{number}")).collect();
    let mut types = ComponentTypeSection::new();
    for _ in 0..records {
        let fields = names.iter().map(|name| (&**name, wasm_encoder::PrimitiveValType::U8.into()));
        types
            .defined_type()
            .record::<Vec<(&str, wasm_encoder::ComponentValType)>, _>(fields.collect());
    }
    let mut component = Component::new();
    component.section(&types);
    component.finish()
}

/// A component of one type, of an instance that has so many types in it.
pub fn instance_type(declarations: u32) -> Vec<u8> {
    let mut instance = wasm_encoder::InstanceType::new();
    for _ in 0..declarations {
        instance.ty().defined_type().list(wasm_encoder::PrimitiveValType::U8);
    }
    let mut types = ComponentTypeSection::new();
    types.instance(&instance);
    let mut component = Component::new();
    component.section(&types);
    component.finish()
}

/// The same of a component's type.
pub fn component_type(declarations: u32) -> Vec<u8> {
    let mut inner = wasm_encoder::ComponentType::new();
    for _ in 0..declarations {
        inner.ty().defined_type().list(wasm_encoder::PrimitiveValType::U8);
    }
    let mut types = ComponentTypeSection::new();
    types.component(&inner);
    let mut component = Component::new();
    component.section(&types);
    component.finish()
}

/// A component of instances that are nothing but names of one function, so many each.
pub fn instances_of_names(instances: u32, names: u32) -> Vec<u8> {
    let mut section = wasm_encoder::ComponentInstanceSection::new();
    let names: Vec<String> = (0..names).map(|number| format!("a{number}")).collect();
    for _ in 0..instances {
        let exports: Vec<_> = names
            .iter()
            .map(|name| (&**name, wasm_encoder::ComponentExportKind::Component, 0))
            .collect();
        section.export_items(exports);
    }
    let mut component = Component::new();
    component.section(&NestedComponentSection(&Component::new()));
    component.section(&section);
    component.finish()
}

/// A module that imports the same function again and again.
pub fn many_imports(count: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    for _ in 0..count {
        imports.import("a", "b", EntityType::Function(0));
    }
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&imports);
    module.finish()
}

/// A module that exports one function under many names.
pub fn many_exports(count: u32) -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    for number in 0..count {
        exports.export(&format!("{number}"), wasm_encoder::ExportKind::Func, 0);
    }
    let mut body = Function::new([]);
    body.instruction(&Instruction::End);
    let mut code = CodeSection::new();
    code.function(&body);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module.finish()
}

/// A module whose manifest is so long.
pub fn long_manifest(bytes: usize) -> Vec<u8> {
    let data = vec![b'['; bytes];
    let mut module = wasm_encoder::Module::new();
    module.section(&CustomSection { name: "weir-manifest".into(), data: data.into() });
    module.finish()
}

fn one_function(body: &Function) -> wasm_encoder::Module {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut functions = FunctionSection::new();
    functions.function(0);
    let mut exports = ExportSection::new();
    exports.export("f", wasm_encoder::ExportKind::Func, 0);
    let mut code = CodeSection::new();
    code.function(body);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module
}

/// Bytes that nobody reads, so that a file has a size.
pub fn padded(good: &[u8], padding: usize) -> Vec<u8> {
    let mut bytes = good.to_vec();
    append(&mut bytes, &CustomSection { name: "padding".into(), data: vec![0; padding].into() });
    bytes
}

fn append(bytes: &mut Vec<u8>, section: &impl ComponentSection) {
    bytes.push(section.id());
    wasm_encoder::Encode::encode(section, bytes);
}

/// How many there are in a component already: the index of the next one.
#[derive(Default)]
struct Indices {
    types: u32,
    modules: u32,
    core_functions: u32,
    core_instances: u32,
}

impl Indices {
    fn of(component: &[u8]) -> Indices {
        use wasmparser::{
            CanonicalFunction, ComponentAlias, ComponentExternalKind, ComponentOuterAliasKind,
            ComponentTypeRef, ExternalKind, Payload,
        };
        let mut count = Indices::default();
        let mut depth = 0;
        for payload in wasmparser::Parser::new(0).parse_all(component) {
            match payload.unwrap() {
                Payload::End(_) => depth -= 1,
                Payload::Version { .. } => depth += 1,
                _ if depth > 1 => {}
                Payload::ModuleSection { .. } => count.modules += 1,
                Payload::InstanceSection(section) => count.core_instances += section.count(),
                Payload::ComponentTypeSection(section) => count.types += section.count(),
                Payload::ComponentImportSection(section) => {
                    for import in section {
                        let is_type = matches!(import.unwrap().ty, ComponentTypeRef::Type(_));
                        count.types += u32::from(is_type);
                    }
                }
                Payload::ComponentExportSection(section) => {
                    for export in section {
                        let is_type = export.unwrap().kind == ComponentExternalKind::Type;
                        count.types += u32::from(is_type);
                    }
                }
                Payload::ComponentAliasSection(section) => {
                    for alias in section {
                        match alias.unwrap() {
                            ComponentAlias::InstanceExport {
                                kind: ComponentExternalKind::Type,
                                ..
                            }
                            | ComponentAlias::Outer {
                                kind: ComponentOuterAliasKind::Type, ..
                            } => {
                                count.types += 1;
                            }
                            ComponentAlias::CoreInstanceExport {
                                kind: ExternalKind::Func, ..
                            } => count.core_functions += 1,
                            _ => {}
                        }
                    }
                }
                Payload::ComponentCanonicalSection(section) => {
                    for function in section {
                        let is_core = !matches!(function.unwrap(), CanonicalFunction::Lift { .. });
                        count.core_functions += u32::from(is_core);
                    }
                }
                _ => {}
            }
        }
        count
    }
}
