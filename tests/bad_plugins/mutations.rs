//! Ten thousand files that were good plugins once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use weir::plugin::PluginKind::{Alert, Calibration, Filter};
use weir::plugin::standard;

use super::guests::{Guest, LOOP};
use crate::plugin_file::{End, follow};
use crate::support::engine;

/// How many, unless the environment variable `WEIR_TEST_MUTANTS` says otherwise. The fuzz target in `tests/fuzz` goes on for
/// as long as one likes, and learns.
const MUTANTS: usize = 10_000;
/// After so long, mutants are checked and no longer compiled and run: the machine may be slow.
const COMPILING: Duration = Duration::from_secs(40);
/// One mutant in so many is made of a standard plugin, which is a hundred times larger than the others.
const LARGE: u64 = 50;
/// Numbers at which something changes: LEB128 continuations, signs, opcodes and sections that exist.
const INTERESTING: [u8; 16] = [
    0x00, 0x01, 0x02, 0x03, 0x04, 0x0b, 0x10, 0x20, 0x3f, 0x40, 0x41, 0x6f, 0x7f, 0x80, 0xfe, 0xff,
];

#[test]
fn no_mutation_of_a_good_plugin_makes_the_host_panic() {
    let (small, large) = originals();
    let engine = engine();
    for original in small.iter().chain(&large) {
        assert_eq!(follow(original.bytes.clone(), Some(&engine)), End::Ran, "an original");
    }
    let asked = std::env::var("WEIR_TEST_MUTANTS").ok().map(|number| number.parse().unwrap());
    let (mutants, compiling) = asked.map_or((MUTANTS, COMPILING), |number| (number, Duration::MAX));
    let begun = Instant::now();
    let next = AtomicUsize::new(0);
    let ends = Mutex::new(BTreeMap::<End, Vec<usize>>::new());
    let (panicked, slowest) = (Mutex::new(Vec::new()), Mutex::new((Duration::ZERO, 0)));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= mutants {
                        break;
                    }
                    let mutant = mutant(number as u64, &small, &large);
                    let engine = (begun.elapsed() < compiling).then_some(&engine);
                    let started = Instant::now();
                    match catch_unwind(AssertUnwindSafe(|| follow(mutant, engine))) {
                        Ok(end) => ends.lock().unwrap().entry(end).or_default().push(number),
                        Err(_) => panicked.lock().unwrap().push(number),
                    }
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = (*slowest).max((started.elapsed(), number));
                }
            });
        }
    });
    let (ends, (slowest, of)) = (ends.into_inner().unwrap(), slowest.into_inner().unwrap());
    println!(
        "{mutants} mutants in {:.1?}; the slowest, number {of}, took {slowest:.1?}",
        begun.elapsed()
    );
    for (end, numbers) in &ends {
        println!("{:>7}  {end:?}, such as {:?}", numbers.len(), &numbers[..numbers.len().min(5)]);
    }
    if ends.contains_key(&End::Checked) {
        println!(
            "those that are only Checked came after {COMPILING:?}: the machine was too slow for all"
        );
    }
    let panicked = panicked.into_inner().unwrap();
    assert!(panicked.is_empty(), "the host panicked over the mutants {panicked:?}");
    assert_eq!(ends.values().map(Vec::len).sum::<usize>(), mutants);
    // Else the mutations would be too wild, or too tame, to say anything.
    for end in [End::Refused, End::Trapped, End::Ran] {
        assert!(ends.get(&end).is_some_and(|numbers| numbers.len() > 20), "{end:?}");
    }
}

/// The number of a mutant to look at, and a file to write it to.
const LOOK_AT: &str = "WEIR_TEST_MUTANT";

#[test]
#[ignore = "writes one mutant to a file: WEIR_TEST_MUTANT=\"750 /tmp/750.wasm\""]
fn one_mutant() {
    let wanted = std::env::var(LOOK_AT).unwrap();
    let (number, file) = wanted.split_once(' ').unwrap();
    let (small, large) = originals();
    std::fs::write(file, mutant(number.parse().unwrap(), &small, &large)).unwrap();
}

#[test]
fn no_truncation_of_a_good_plugin_is_a_plugin() {
    let (small, large) = originals();
    for Original { bytes: original, .. } in &small {
        for length in 0..original.len() {
            let end = follow(original[..length].to_vec(), None);
            assert!(end == End::Refused || is_whole(original, length), "{length}: {end:?}");
        }
    }
    for Original { bytes: original, .. } in &large {
        for length in (0..original.len()).step_by(original.len() / 100) {
            let end = follow(original[..length].to_vec(), None);
            assert!(end == End::Refused || is_whole(original, length), "{length}: {end:?}");
        }
    }
}

/// Whether nothing but custom sections that nobody needs, such as names, is cut off.
fn is_whole(original: &[u8], length: usize) -> bool {
    let mut needed = 0;
    let mut depth = 0;
    for payload in wasmparser::Parser::new(0).parse_all(original) {
        match payload.unwrap() {
            wasmparser::Payload::CustomSection(section)
                if depth == 1
                    && section.name() != "weir-manifest"
                    && !section.name().starts_with("component-type") => {}
            wasmparser::Payload::Version { .. } => depth += 1,
            wasmparser::Payload::End(_) => depth -= 1,
            other => {
                if let Some((_, range)) = other.as_section() {
                    needed = needed.max(range.end);
                } else if let wasmparser::Payload::CodeSectionEntry(body) = other {
                    needed = needed.max(body.range().end);
                }
            }
        }
    }
    length >= needed
}

/// Good plugins, as modules and as components: small ones, and a standard one.
fn originals() -> (Vec<Original>, Vec<Original>) {
    let log = "(call $log (i32.const 1) (i32.const 8) (i32.const 5))";
    let count = "(call $count (i32.const 8) (i32.const 5) (i64.const 3))";
    let tables = "(table $t 4 funcref) (func $f (result i32) (i32.const 1)) (elem (table $t) (i32.const 0) func $f)";
    let busy = format!("{log} {count} (drop (call_indirect $t (result i32) (i32.const 0)))");
    let guests = [
        Guest::new(Filter).fields(tables).when_hot(&busy),
        Guest::new(Calibration).when_hot(&format!("{count} (drop (memory.grow (i32.const 1)))")),
        Guest::new(Alert).memory("1 4"),
        // A plugin that is never hot: mutations find out.
        Guest::new(Filter).when_hot(&format!(
            "(if (f64.gt (f64.load (local.get 4)) (f64.const 1e9)) (then {LOOP}))"
        )),
    ];
    let small = guests.iter().flat_map(|guest| [guest.module(), guest.component()]);
    let module = standard("filter-median").unwrap().to_vec();
    let mut encoder = wit_component::ComponentEncoder::default().module(&module).unwrap();
    let component = encoder.encode().unwrap();
    (small.map(Original::new).collect(), [module, component].map(Original::new).into())
}

/// A good plugin, and where its code is.
struct Original {
    bytes: Vec<u8>,
    code: Range<usize>,
}

impl Original {
    fn new(bytes: Vec<u8>) -> Original {
        let sections = wasmparser::Parser::new(0).parse_all(&bytes).filter_map(|payload| {
            match payload.unwrap() {
                wasmparser::Payload::CodeSectionStart { range, .. } => Some(range),
                _ => None,
            }
        });
        let code = sections.max_by_key(|range| range.end - range.start).unwrap();
        Original { code, bytes }
    }
}

/// The mutant of a number: the same in every run.
fn mutant(number: u64, small: &[Original], large: &[Original]) -> Vec<u8> {
    let mut random = Rng::with_seed(number);
    let from = if number.is_multiple_of(LARGE) { large } else { small };
    let original = &from[random.usize(..from.len())];
    let mut bytes = original.bytes.clone();
    for _ in 0..=random.usize(..3) {
        // Code is where a mutant can be wrong and valid still.
        let at = if random.u8(..4) == 0 {
            random.usize(..bytes.len())
        } else {
            random.usize(original.code.clone()).min(bytes.len() - 1)
        };
        mutate(&mut bytes, at, from, &mut random);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, at: usize, others: &[Original], random: &mut Rng) {
    // Short pieces are the usual thing: an instruction, an index, a type.
    let most = if random.u8(..8) == 0 { 256 } else { 8 };
    let end = (at + 1 + random.usize(..most)).min(bytes.len());
    match random.u8(..8) {
        0 | 1 => bytes[at] ^= 1 << random.u8(..8),
        2 | 3 => bytes[at] = INTERESTING[random.usize(..INTERESTING.len())],
        4 => drop(bytes.drain(at..end)),
        5 => {
            let piece = bytes[at..end].to_vec();
            let to = random.usize(..=bytes.len());
            bytes.splice(to..to, piece);
        }
        6 => {
            let other = &others[random.usize(..others.len())].bytes;
            let from = random.usize(..other.len());
            let piece = &other[from..(from + end - at).min(other.len())];
            let end = (at + piece.len()).min(bytes.len());
            bytes.splice(at..end, piece.iter().copied());
        }
        _ => bytes[at..end].rotate_left(1),
    }
}
