//! Recordings that are cut off, damaged or made up.

use super::*;

#[test]
fn a_recording_that_is_cut_off_anywhere_replays_up_to_there() {
    let bare = bare();
    let (recording, messages) = record(&bare, 1 << 20, day().into_iter().take(8).collect());
    let first = recording.find('\n').unwrap();
    for length in first + 1..recording.len() {
        let (run, lines, warned) = replayed(&bare, &recording.as_bytes()[..length]);
        run.unwrap_or_else(|error| panic!("{length}: {error}"));
        assert_eq!(lines, messages[..lines.len()]);
        // A last line that is whole but for its end counts.
        let rest = &recording[..length];
        let (whole, torn) = rest.rsplit_once('\n').unwrap();
        let is_torn =
            !torn.is_empty() && !recording[whole.len() + 1..].starts_with(&format!("{torn}\n"));
        let number = whole.lines().count() + 1;
        let expected = format!("line {number} is cut off: all before it was replayed");
        assert_eq!(warned, if is_torn { vec![expected] } else { vec![] });
    }
    for length in 0..first {
        let (run, ..) = replayed(&bare, &recording.as_bytes()[..length]);
        let error = run.unwrap_err();
        assert!(error.starts_with("line 1: it does not begin as a recording does: "), "{error}");
    }
}

#[test]
fn a_damaged_line_is_named_with_what_is_allowed() {
    let bare = bare();
    let (recording, _) = record(&bare, 1 << 20, day().into_iter().take(4).collect());
    let (header, rest) = recording.split_once('\n').unwrap();
    for (line, what) in [
        ("", "column 0: EOF while parsing a value"),
        ("rubbish", "column 1: expected value"),
        (r#"{"tock":1}"#, "unknown variant `tock`, expected one of `state`, `batch`, `tick`"),
        (r#"{"tick":-1}"#, "invalid value: integer `-1`, expected u64"),
        (r#"{"tick":18446744073709551616}"#, "expected u64"),
        (r#"{"tick":1.5}"#, "expected u64"),
        (r#"{"tick":1}{"tick":2}"#, "trailing characters"),
        (r#"{"batch":{"reading":[]}}"#, "unknown field `reading`, expected one of `readings`"),
        (
            r#"{"batch":{"readings":[[2,1,1.0,"good"]]}}"#,
            "series 2: the recording has 2, counted from 0",
        ),
        (r#"{"batch":{"readings":[[0,1,NaN,"good"]]}}"#, "expected value"),
        (r#"{"batch":{"readings":[[0,1,null,"good"]]}}"#, "invalid type: null, expected f64"),
        (r#"{"batch":{"readings":[[0,1,1e999,"good"]]}}"#, "number out of range"),
        (r#"{"batch":{"readings":[[0,1,1.0]]}}"#, "invalid length 3"),
        (
            r#"{"batch":{"readings":[[0,1,1.0,"great"]]}}"#,
            "quality `great`: must be one of good, uncertain",
        ),
        (
            r#"{"batch":{"faults":[[0,1,"crc"]]}}"#,
            "fault `crc`: must be one of not-present, crc-mismatch, ",
        ),
        (r#"{"batch":{"doubts":[[0,1,"x"]]}}"#, "doubt `x`: must be one of power-on-value, "),
        (
            r#"{"ended":{"stage":0,"call":1,"reason":"plugin-trap"}}"#,
            "stage 0: the recording has 0",
        ),
        (r#"{"message":{"type":"temperature"}}"#, "unknown variant `temperature`"),
        ("{\"tick\u{7}\":1}", "control character"),
    ] {
        let damaged = format!("{header}\n{line}\n{rest}");
        let error = replayed(&bare, damaged.as_bytes()).0.unwrap_err();
        assert!(error.starts_with("line 2: ") && error.contains(what), "{line}: {error}");
    }
    let late = format!("{recording}{{\"tick\":1}}\n");
    let error = replayed(&bare, late.as_bytes()).0.unwrap_err();
    assert!(error.ends_with("nothing may follow the line `end`"), "{error}");
    let long = format!("{header}\n{}\n", " ".repeat(LONGEST_LINE + 1));
    let error = replayed(&bare, long.as_bytes()).0.unwrap_err();
    assert_eq!(error, "line 2: it has more than 4194304 bytes, which no line has");
    for (from, to, what) in [
        (
            r#""recording":1"#,
            r#""recording":2"#,
            "the recording has format 2: this version reads 1",
        ),
        (r#""sensor":"a""#, r#""sensor":"b""#, "the sensor `b` is there twice"),
        (r#""sensor":"a""#, r#""sensor":"""#, "`sensor` must be 1 to 64 printable characters"),
        (
            r#""temperature""#,
            r#""taste""#,
            "quantity `taste`: must be one of temperature, humidity, ",
        ),
        (r#""sensor":"a""#, r#""sensor":"c""#, "the pipeline knows no sensor `c`"),
    ] {
        let error = replayed(&bare, recording.replacen(from, to, 1).as_bytes()).0.unwrap_err();
        assert!(error.contains(what), "{error}");
    }
}

#[test]
fn a_damaged_state_is_named_with_what_is_allowed() {
    let pipeline = pipeline();
    let header = Header::new("d", 0, WallClock::default(), &pipeline.series(), &pipeline.stages);
    let header = to_json(&header);
    let clock = r#"{"clock":{"ahead":1,"synchronized":true,"time":1}}"#;
    let state = r#"{"state":{"stage":0,"part":"00"}}"#;
    let replay = |rest: String| replayed(&pipeline, format!("{header}\n{rest}\n").as_bytes()).0;
    let tick = r#"{"tick":1}"#;
    for (rest, error) in [
        (format!("{state}\n{tick}"), "the state of stage"),
        (format!("{clock}\n{state}"), "line 3: a state must come before the first input"),
        (state.replace("00", "0g"), "line 2: `part` must be pairs of hex digits"),
        (state.replace("00", "012"), "line 2: `part` must be pairs of hex digits"),
        (state.replace("\"stage\":0", "\"stage\":2"), "line 2: stage 2: the recording has 2"),
    ] {
        let refused = replay(rest).unwrap_err();
        assert!(refused.starts_with(error), "{refused}");
    }
}

#[test]
fn no_flipped_byte_makes_the_replay_panic() {
    let bare = bare();
    let (recording, _) = record(&bare, 1 << 20, day().into_iter().take(6).collect());
    let mut random = fastrand::Rng::with_seed(4);
    let mut outcomes = [0, 0];
    for _ in 0..300 {
        let mut bytes = recording.clone().into_bytes();
        for _ in 0..random.usize(1..4) {
            let place = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[place] = random.u8(..),
                1 => drop(bytes.remove(place)),
                _ => bytes
                    .insert(place, *b"0123456789[]{}\",:eE.-\n".get(random.usize(..22)).unwrap()),
            }
        }
        outcomes[usize::from(replayed(&bare, &bytes).0.is_ok())] += 1;
    }
    println!("refused, replayed: {outcomes:?}");
    assert!(outcomes.iter().all(|&count| count > 0), "{outcomes:?}");
}
